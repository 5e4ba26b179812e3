package conductor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// Queue is what the conductor needs of the queue. Both nudges return
// [jet.ErrBusy] while the slot of the host or tenant is taken.
type Queue interface {
	NudgeTask(ctx context.Context, host string, n rollover.Nudge) error
	NudgePlan(ctx context.Context, tenant string, n rollover.Nudge) error
	InFlight(ctx context.Context, q jet.Queue) (map[string]rollover.Nudge, error)
	// Room is what room the workers of a queue have together; none while none was
	// heard of.
	Room(q jet.Queue) (jet.Room, error)
}

// sent is a nudge that is out.
type sent struct {
	at   time.Time // real time, since it is about the queue and not about the plan
	seq  uint64    // version of the task's state when that was decided
	busy bool      // the slot was taken: nothing is out, but wait a little

	host, tenant string // of a task
	opened       int    // see [rollover.Nudge]
	urgent       bool   // its rotation's lane
	trace        string // its rotation's
}

// outbox holds the nudges that are out, by what they name.
type outbox[K comparable] map[K]sent

// busyPause is how long a taken slot is left alone.
const busyPause = 50 * time.Millisecond

// sweep forgets nudges that are settled, and slots that were found taken a while
// ago. It returns how many were settled, and those that had no effect in time:
// they are lost, or a worker takes long. They are to be sent again, and count as
// out until that says more.
func (o outbox[K]) sweep(patience time.Duration, settled func(K, sent) bool) (n int, late []K) {
	for k, s := range o {
		age := time.Since(s.at)
		switch {
		case s.busy && age > busyPause:
			delete(o, k)
		case s.busy:
		case settled(k, s):
			n++
			delete(o, k)
		case age > patience:
			late = append(late, k)
		}
	}
	return n, late
}

// remind sends late nudges again that still make sense and may be sent now. A slot
// that is taken says that the nudge is most likely with a worker; then it stays out.
func (o outbox[K]) remind(late []K, makesSense, may func(K) bool, send func(K, sent) error) error {
	for _, k := range late {
		if !makesSense(k) {
			delete(o, k)
			continue
		}
		if _, still := o[k]; !still || !may(k) {
			continue
		}
		s := o[k]
		if err := send(k, s); err != nil && !errors.Is(err, jet.ErrBusy) {
			return err
		}
		s.at = time.Now()
		o[k] = s
	}
	return nil
}

func (o outbox[K]) out(k K) bool { _, ok := o[k]; return ok }

// note remembers a nudge that was tried, and returns an error that is more than
// a taken slot.
func (o outbox[K]) note(k K, s sent, err error) error {
	if s.busy = errors.Is(err, jet.ErrBusy); err != nil && !s.busy {
		return err
	}
	s.at = time.Now()
	o[k] = s
	return nil
}

// settled reports whether the task moved since its nudge was sent, and now
// waits or has ended, or was opened again, by which its nudge is void.
func (t *turn) settled(id rollover.TaskID, s sent) bool {
	row := t.Mirror.Row(id)
	if row.Seq == s.seq {
		return false
	}
	v, err := t.Mirror.Rotation(context.Background(), id.Rotation)
	if err != nil {
		return true
	}
	if t.due(v, row) && (s.opened == 0 || row.Opened() < s.opened) {
		return false
	}
	t.hosts.told(s.host, row.Progress, t.Now())
	return true
}

// due reports whether a task wants a step now.
func (t *turn) due(v mirror.View, row rollover.Row) bool {
	step := rollover.Next(rollover.Task{Progress: row.Progress, Orders: v.Rotation.Orders(v.Rotation.Spec.New)}, t.Now())
	return step != rollover.StepWait && step != rollover.StepNothing
}

// adopt takes over what is out of the time before this reign, so that no limit is
// passed by a change of conductors. It reports whether that is done.
func (t *turn) adopt(ctx context.Context) bool {
	if t.adopted {
		return true
	}
	out, err := t.Queue.InFlight(ctx, jet.Tasks)
	t.once(ctx, "?", "what is out is not known; trying on", err)
	if err != nil {
		return false
	}
	for host, n := range out {
		id := rollover.TaskID{Rotation: n.Rotation, Ord: n.Ord}
		s := sent{at: time.Now(), seq: t.Mirror.Row(id).Seq, host: host, urgent: n.Urgent, opened: n.Opened}
		if it, err := t.item(ctx, id); err == nil { // Else it names nothing, and a worker drops it.
			s.tenant = it.Tenant
		}
		t.tasks[id] = s
	}
	t.adopted = true
	return true
}

// run moves a running rotation: its phase and its end. It reports whether tasks of
// it may be released.
func (t *turn) run(ctx context.Context, v mirror.View) (bool, error) {
	if v.Rotation.Rev == 0 || v.Counts.Total != v.Rotation.Tasks {
		return false, nil // The mirror has not read the plan yet.
	}
	if next, changed := t.phase(v); changed {
		return false, t.save(ctx, next)
	}
	if next, changed := t.askGate(ctx, v); changed {
		return false, t.save(ctx, next)
	}
	if written, err := t.schedule(ctx, v); written || err != nil {
		return false, err
	}
	if v.Rotation.Closed(t.Now()) {
		t.forget(v.Rotation.ID)
		return false, nil
	}
	return true, t.recall(ctx, v)
}

// hold keeps a paused rotation still. What is out of it is forgotten: a nudge
// that is looked at while the rotation is paused moves nothing, so that what is
// due is sent anew as soon as it is resumed. A rotation whose last tasks were in
// hand and have ended is closed.
func (t *turn) hold(ctx context.Context, v mirror.View) error {
	t.forget(v.Rotation.ID)
	if v.Counts.Total == v.Rotation.Tasks && v.Counts.OpenTasks == 0 && !v.Rotation.UndoUnderWay() {
		return t.save(ctx, v.Rotation.End(v.Counts, t.Now()))
	}
	_, err := t.schedule(ctx, v)
	return err
}

// forget forgets the nudges of a rotation that are out.
func (t *turn) forget(rotation string) {
	for id := range t.tasks {
		if id.Rotation == rotation {
			delete(t.tasks, id)
		}
	}
}

// phase returns the rotation as the fold of its tasks, its tolerance, its waves and
// the clock say it should be.
func (t *turn) phase(v mirror.View) (rollover.Rotation, bool) {
	r, now := v.Rotation, t.Now()
	if v.Counts.OpenTasks == 0 {
		return t.judged(v, now).End(v.Counts, now), true
	}
	if b := r.Budget(v.Counts); b.Exceeded() {
		next, err := r.Exceed(b, now)
		return next, err == nil
	}
	if w, ok := r.Wave(v.Counts); ok && w.Exceeded() {
		next, err := r.Exceed(w.Budget, now)
		return next, err == nil
	}
	if next, changed := r.NextWave(v.Counts, now); changed {
		return next, true
	}
	if next, changed := r.HoldTenants(v.Counts, now); changed {
		return next, true
	}
	if r.Phase == rollover.PhaseRetire {
		return r, false
	}
	if p := v.Counts.Phase(); p != r.Phase && (p != rollover.PhaseOverlap || r.GatesOpen(v.Counts)) {
		return r.Enter(p, now), true
	}
	if r.Phase == rollover.PhaseOverlap && r.Spec.RetirePolicy == rollover.RetireAutomatic {
		if next, err := r.BeginRetire(now); err == nil {
			return next, true
		}
	}
	return r, false
}

// deepest is how far into what is due a turn looks for tasks that nothing holds
// up.
const deepest = 1 << 14

// rescan is how long a rotation is not looked at again that had nothing to release,
// while nothing is settled: limits may hold up thousands of tasks that are due.
const rescan = 25 * time.Millisecond

// scan is a look at a rotation that found nothing to release.
type scan struct {
	at    time.Time
	moves int    // what was settled by then
	rev   uint64 // of the rotation's record
}

// release sends nudges for up to room tasks that are due and that no limit holds
// up, the tenants with the least out first. It returns how many it sent and whether
// it could have sent more.
func (t *turn) release(ctx context.Context, r rollover.Rotation, l *load, room int) (n int, more bool, err error) {
	lim := t.starts(r)
	if lim != nil {
		room = min(room, int(lim.TokensAt(t.Now())))
	}
	if room <= 0 {
		return 0, false, nil
	}
	if last := t.scans[r.ID]; last.moves == t.moves && last.rev == r.Rev && time.Since(last.at) < rescan {
		return 0, false, nil // Nothing was able then, and nothing has moved.
	}
	chosen, more, err := t.choose(ctx, r, l, room)
	if err != nil {
		return 0, false, err
	}
	if len(chosen) == 0 {
		t.scans[r.ID] = scan{at: time.Now(), moves: t.moves, rev: r.Rev}
	}
	for _, c := range chosen {
		nudge := rollover.Nudge{Rotation: c.id.Rotation, Ord: c.id.Ord, Urgent: c.urgent, Opened: c.opened}
		err := t.Queue.NudgeTask(spans.Part(ctx, c.trace, c.id.Ord), c.host, nudge)
		if err := t.tasks.note(c.id, c.sent, err); err != nil {
			return n, false, fmt.Errorf("nudging task %s: %w", c.id, err)
		}
		if err != nil {
			continue // The slot is taken.
		}
		n++
		l.add(c.id, c.sent)
		t.hosts.begin(c.host, t.Now())
		if lim != nil {
			lim.AllowN(t.Now(), 1)
		}
	}
	return n, more, nil
}

// chosen is a task that is to be released.
type chosen struct {
	id rollover.TaskID
	sent
}

// choose returns up to room tasks to release, in the order of the plan.
func (t *turn) choose(ctx context.Context, r rollover.Rotation, l *load, room int) (out []chosen, more bool, err error) {
	var able []chosen
	for limit := 2*room + 1 + l.rotations[r.ID]; ; limit *= 4 {
		due := t.Mirror.Releasable(r, limit, t.Now())
		if able, err = t.able(ctx, r, l, due, 2*room); err != nil {
			return nil, false, err
		}
		if len(able) > room || len(due) < limit || limit >= deepest {
			break
		}
	}
	// Each tenant is one of those who share what is released now.
	at := map[string]int{}
	var claims []rollover.Claim
	for _, c := range able {
		i, known := at[c.tenant]
		if !known {
			i = len(claims)
			at[c.tenant] = i
			claims = append(claims, rollover.Claim{Has: l.tenants[c.tenant], Most: l.tenants[c.tenant]})
		}
		claims[i].Most++
	}
	if most := r.Spec.Limits.PerTenant; most > 0 {
		for i := range claims {
			claims[i].Most = min(claims[i].Most, most)
		}
	}
	shares := rollover.Share(room, claims)
	for _, c := range able {
		if i := at[c.tenant]; shares[i] > 0 {
			shares[i]--
			out = append(out, c)
		}
	}
	return out, len(able) > room && len(out) == room, nil
}

// able returns up to most of the tasks that are due and that neither their host
// nor their tenant's limit holds up, at most one a host.
func (t *turn) able(ctx context.Context, r rollover.Rotation, l *load, due []mirror.Due, most int) ([]chosen, error) {
	var out []chosen
	taken := map[string]bool{}
	for _, d := range due {
		id := rollover.TaskID{Rotation: r.ID, Ord: d.Ord}
		if t.tasks.out(id) {
			continue
		}
		it, err := t.item(ctx, id)
		if err != nil {
			return nil, err
		}
		host := it.Target.Host
		switch {
		case l.hosts[host], taken[host], !t.hosts.ready(host, t.Now()),
			r.Spec.Limits.PerTenant > 0 && l.tenants[it.Tenant] >= r.Spec.Limits.PerTenant:
			continue
		}
		taken[host] = true
		out = append(out, chosen{id, sent{
			seq: d.Seq, host: host, tenant: it.Tenant, opened: d.Opened + 1, urgent: r.Spec.Lane == rollover.Urgent, trace: r.Trace,
		}})
		if len(out) == most {
			break
		}
	}
	return out, nil
}

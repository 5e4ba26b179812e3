package conductor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Queue is what the conductor needs of the queue. Both nudges return
// [jet.ErrBusy] while the slot of the host or tenant is taken.
type Queue interface {
	NudgeTask(ctx context.Context, host string, n rollover.Nudge) error
	NudgePlan(ctx context.Context, tenant string, n rollover.Nudge) error
	InFlight(ctx context.Context, q jet.Queue) (map[string]rollover.Nudge, error)
}

// sent is a nudge that is out.
type sent struct {
	at   time.Time // real time, since it is about the queue and not about the plan
	seq  uint64    // version of the task's state when it was sent
	busy bool      // the slot was taken: nothing is out, but wait a little
}

// outbox holds the nudges that are out, by what they name.
type outbox[K comparable] map[K]sent

// busyPause is how long a taken slot is left alone.
const busyPause = 50 * time.Millisecond

// sweep forgets nudges that are settled, and those that had no effect in time.
func (o outbox[K]) sweep(patience time.Duration, settled func(K, sent) bool) {
	for k, s := range o {
		age := time.Since(s.at)
		if age > patience || (s.busy && age > busyPause) || (!s.busy && settled(k, s)) {
			delete(o, k)
		}
	}
}

func (o outbox[K]) out(k K) bool { _, ok := o[k]; return ok }

// note remembers a nudge that was tried, and returns an error that is more than
// a taken slot.
func (o outbox[K]) note(k K, seq uint64, err error) error {
	switch {
	case err == nil:
		o[k] = sent{at: time.Now(), seq: seq}
	case errors.Is(err, jet.ErrBusy):
		o[k] = sent{at: time.Now(), seq: seq, busy: true}
	default:
		return err
	}
	return nil
}

// settled reports whether the task moved since its nudge was sent, and now
// waits or has ended.
func (t *turn) settled(id rollover.TaskID, s sent) bool {
	row := t.Mirror.Row(id)
	if row.Seq == s.seq {
		return false
	}
	v, err := t.Mirror.Rotation(context.Background(), id.Rotation)
	if err != nil {
		return true
	}
	step := rollover.Next(rollover.Task{Progress: row.Progress, Orders: v.Rotation.Orders(v.Rotation.Spec.New)}, t.Now())
	return step == rollover.StepWait || step == rollover.StepNothing
}

// run moves a running rotation: its phase, its end, and what is due. sharers is
// how many rotations still have to share what is left of the window.
func (t *turn) run(ctx context.Context, v mirror.View, sharers int) error {
	if v.Rotation.Rev == 0 || v.Counts.Total != v.Rotation.Tasks {
		return nil // The mirror has not read the plan yet.
	}
	if next, changed := t.phase(v); changed {
		return t.save(ctx, next)
	}
	if next, changed := t.check(ctx, v); changed {
		return t.save(ctx, next)
	}
	share := (t.Window - len(t.tasks)) / sharers
	room := min(share, v.Rotation.Spec.MaxInFlight-t.outOf(v.Rotation.ID))
	if room <= 0 {
		return nil
	}
	return t.release(ctx, v.Rotation, room)
}

// hold keeps a paused rotation still. What is out of it is forgotten: a nudge
// that is looked at while the rotation is paused moves nothing, so that what is
// due is sent anew as soon as it is resumed. A rotation whose last tasks were in
// hand and have ended is closed.
func (t *turn) hold(ctx context.Context, v mirror.View) error {
	for id := range t.tasks {
		if id.Rotation == v.Rotation.ID {
			delete(t.tasks, id)
		}
	}
	if v.Counts.Total == v.Rotation.Tasks && v.Counts.OpenTasks == 0 {
		return t.save(ctx, v.Rotation.End(v.Counts, t.Now()))
	}
	return nil
}

// phase returns the rotation as the fold of its tasks, its tolerance, its waves and
// the clock say it should be.
func (t *turn) phase(v mirror.View) (rollover.Rotation, bool) {
	r, now := v.Rotation, t.Now()
	if v.Counts.OpenTasks == 0 {
		return r.End(v.Counts, now), true
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
		r.Phase, r.UpdatedAt = p, now
		return r, true
	}
	if r.Phase == rollover.PhaseOverlap && r.Spec.RetirePolicy == rollover.RetireAutomatic {
		if next, err := r.BeginRetire(now); err == nil {
			return next, true
		}
	}
	return r, false
}

// outOf counts the nudges of a rotation that are out.
func (t *turn) outOf(rotation string) int {
	n := 0
	for id := range t.tasks {
		if id.Rotation == rotation {
			n++
		}
	}
	return n
}

// release sends nudges for up to room tasks that are due.
func (t *turn) release(ctx context.Context, r rollover.Rotation, room int) error {
	for _, ord := range t.Mirror.Releasable(r, room+len(t.tasks), t.Now()) {
		id := rollover.TaskID{Rotation: r.ID, Ord: ord}
		if t.tasks.out(id) {
			continue
		}
		items, err := t.Store.Plan(ctx, r.ID, ord, ord+1)
		if err != nil || len(items) == 0 {
			return fmt.Errorf("reading item %d of the plan: %w", ord, errors.Join(err, rollover.ErrNotFound))
		}
		err = t.Queue.NudgeTask(ctx, items[0].Target.Host, rollover.Nudge(id))
		if err := t.tasks.note(id, t.Mirror.Row(id).Seq, err); err != nil {
			return fmt.Errorf("nudging task %s: %w", id, err)
		}
		if room--; room == 0 {
			return nil
		}
	}
	return nil
}

// cancelBatch is how many tasks are cancelled in one turn, so that other
// rotations get their turn.
const cancelBatch = 1024

// cancel ends a rotation that was cancelled: it waits until no nudge of it is
// out, so that whatever a worker has in hand is finished and recorded, and then
// ends every open task where it stands.
func (t *turn) cancel(ctx context.Context, v mirror.View) error {
	if v.Counts.Total != v.Rotation.Tasks {
		return nil
	}
	if v.Counts.OpenTasks == 0 {
		return t.save(ctx, v.Rotation.End(v.Counts, t.Now()))
	}
	out, err := t.Queue.InFlight(ctx, jet.Tasks)
	if err != nil {
		return fmt.Errorf("reading what is in flight: %w", err)
	}
	for _, n := range out {
		if n.Rotation == v.Rotation.ID {
			return nil
		}
	}
	var batch []rollover.Task
	for ord := 0; ord < v.Rotation.Tasks && len(batch) < cancelBatch; ord++ {
		row := t.Mirror.Row(rollover.TaskID{Rotation: v.Rotation.ID, Ord: ord})
		if row.Outcome != rollover.Open {
			continue
		}
		k := rollover.Task{ID: rollover.TaskID{Rotation: v.Rotation.ID, Ord: ord}, Progress: row.Progress, Rev: row.Seq}
		k.V, k.UpdatedAt = rollover.RecordVersion, t.Now()
		k.Outcome, k.Reason, k.NextAt = rollover.Cancelled, rollover.ByRequest, time.Time{}
		k.Detail = "stands as it was: " + string(k.Phase)
		batch = append(batch, k)
	}
	if _, err := t.Store.SaveTasks(ctx, batch); err != nil {
		return fmt.Errorf("cancelling tasks: %w", err)
	}
	return nil
}

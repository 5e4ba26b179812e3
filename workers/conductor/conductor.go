// Package conductor leads rotations: it has tenants planned, freezes plans,
// releases tasks in windows, opens the retire phase when its time has come, and
// closes rotations. One conductor is alive at a time; another takes over when it
// dies.
package conductor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// Store is what the conductor needs of the store.
type Store interface {
	Rotation(ctx context.Context, id string) (rollover.Rotation, error)
	SaveRotation(ctx context.Context, r rollover.Rotation) (rollover.Rotation, error)
	SelectedTenants(ctx context.Context, rotation string) ([]string, error)
	Findings(ctx context.Context, rotation string) (map[int]rollover.Finding, error)
	FreezePlan(ctx context.Context, r rollover.Rotation, plan []rollover.Item) (rollover.Rotation, error)
	Plan(ctx context.Context, rotation string, from, to int) ([]rollover.Item, error)
	Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error)
	SaveTasks(ctx context.Context, ks []rollover.Task) ([]rollover.Task, error)
	// DeleteRotation removes all of a rotation but its record.
	DeleteRotation(ctx context.Context, id string) error
	// ForgetRotation removes the record of one that was deleted, too.
	ForgetRotation(ctx context.Context, id string) error
}

// Config is what a Conductor is made of. Fields without a default are required.
type Config struct {
	Store  Store
	Mirror *mirror.Mirror
	Queue  Queue
	Checks CheckQueue // nil: no checks for drift are led
	Gates  Gates      // the checks that gates name; nil: each of them is inconclusive
	// Elect runs lead while this process is the one conductor, again and again
	// until ctx ends. lead's context ends when the lease is lost.
	Elect func(ctx context.Context, lead func(context.Context)) error
	Now   func() time.Time
	Log   *slog.Logger
	// Window bounds how many task nudges of a lane may be out at once, all its
	// rotations together. Below it as many are out as the workers have hands, and
	// those that they finish in a quarter of a second besides, so that no hand runs
	// dry and nothing waits long behind what is out. Default 4096.
	Window int
	// PlanWindow is the same for planning. Default 1024.
	PlanWindow int
	// Status is told how things stand, once a tick. Nil: nobody is told.
	Status func(Status)
	// Repeated is told how many nudges of tasks and plans had no effect in time and were
	// sent again, for metrics. It may be nil.
	Repeated func(tasks, plans int)
	// Retention says which ended rotations are deleted. The zero one keeps all.
	Retention rollover.Retention
	// Deleted is told after rotations were deleted, how many. Nil: nobody is told.
	Deleted func(n int)
	// CheckWindow is how many parts of checks for drift may be out at once. Default
	// 16.
	CheckWindow int
	// Tick is how often due times are looked at when nothing changes. Default
	// 100 ms of real time.
	Tick time.Duration
	// LookFor is how long a cancellation waits for looks, in real time. Default
	// [rollover.LookFor].
	LookFor time.Duration
	// Patience is how long a nudge may be out without effect before it is sent
	// again. Default 3 s of real time. It may be much shorter than the work: while
	// a nudge is in a worker's hand its slot is taken and a second one refused.
	Patience time.Duration
}

// Conductor leads rotations while it is elected.
type Conductor struct{ c Config }

// New returns a conductor.
func New(c Config) *Conductor {
	if c.Window == 0 {
		c.Window = 4096
	}
	if c.PlanWindow == 0 {
		c.PlanWindow = 1024
	}
	if c.CheckWindow == 0 {
		c.CheckWindow = defaultCheckWindow
	}
	if c.Tick == 0 {
		c.Tick = 100 * time.Millisecond
	}
	if c.LookFor == 0 {
		c.LookFor = rollover.LookFor
	}
	if c.Patience == 0 {
		c.Patience = 3 * time.Second
	}
	return &Conductor{c}
}

// Run leads whenever this process is elected, until ctx ends.
func (c *Conductor) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.c.Mirror.Ready():
	}
	return c.c.Elect(ctx, c.lead)
}

// rest is the least time between two turns: changes come by the thousand, and
// one turn takes them all in.
const rest = 10 * time.Millisecond

// lead takes turns until ctx ends. All that it remembers is what is out; that
// is read from the queue at the start, and a mistake in it costs a nudge.
func (c *Conductor) lead(ctx context.Context) {
	c.c.Log.InfoContext(ctx, "conducting")
	t := newTurn(c.c)
	defer t.jobs.Wait()
	if c.c.Status != nil {
		defer c.c.Status(Status{Pace: 1}) // Another tells from now on.
	}
	defer t.asker.wg.Wait() // Each ends with ctx.
	tick := time.NewTicker(c.c.Tick)
	defer tick.Stop()
	for {
		begun := time.Now()
		t.all(ctx)
		pause := time.NewTimer(rest - time.Since(begun))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-c.c.Mirror.Changed():
		case <-t.asker.wake:
		case <-tick.C:
		}
	}
}

// turn is what one reign of a conductor remembers. It is used by one goroutine.
type turn struct {
	Config
	tenants map[string][]string // selections read so far, of rotations in planning
	tasks   outbox[rollover.TaskID]
	plans   outbox[rollover.TaskID] // Ord is the tenant's position
	parts   outbox[rollover.TaskID] // of checks; Ord is the part's position
	undoing map[undoID]*coverage    // what each undo is for
	looking map[string]time.Time    // since when targets of a cancelled rotation are looked at, in real time
	said    map[string]string       // the last complaint about each rotation, so that it is logged once
	times   map[string]*times       // schedules that were read, by rotation

	settling tempo // of tasks
	finding  tempo // of plans
	hosts    hosts // in bad order
	recalled map[string]bool
	moves    int                      // tasks settled so far
	scans    map[string]scan          // of rotations that had nothing to release
	adopted  bool                     // what was out before this reign is known
	limiters map[string]*rate.Limiter // of rotations with a limit of starts
	freezing map[string]chan error    // of rotations whose plan is being frozen
	jobs     sync.WaitGroup           // those who freeze
	told     time.Time                // when Status was told
	asker    *asker
	cleaning chan cleaning   // tells what was done, when it is; nil: nobody is at it
	cleaned  map[string]bool // what this reign has purged of what is gone
	looked   time.Time       // when it was last looked for what is to be deleted
	last     time.Time       // what the clock showed in the turn before
}

func newTurn(c Config) *turn {
	return &turn{
		Config: c, tenants: map[string][]string{}, tasks: outbox[rollover.TaskID]{}, plans: outbox[rollover.TaskID]{}, parts: outbox[rollover.TaskID]{},
		looking: map[string]time.Time{}, hosts: hosts{}, recalled: map[string]bool{}, scans: map[string]scan{}, limiters: map[string]*rate.Limiter{}, freezing: map[string]chan error{},
		asker: newAsker(c.Gates), cleaned: map[string]bool{},
	}
}

// all looks at every rotation that has not ended, the urgent ones first and then
// the oldest, and then shares out what room there is among those that have work.
func (t *turn) all(ctx context.Context) {
	if !t.adopt(ctx) {
		return
	}
	t.doubtClock()
	late := t.sweep()
	views := t.Mirror.Rotations()
	t.retain(ctx, views)
	slices.Reverse(views)
	defer t.checks(ctx, slices.Clone(views))
	views = slices.DeleteFunc(views, func(v mirror.View) bool { return v.Rotation.State.Ended() && !leftOpen(v) })
	views = append(views, t.discoveries()...)
	slices.SortStableFunc(views, func(a, b mirror.View) int { return rank(a.Rotation.Spec.Lane) - rank(b.Rotation.Spec.Lane) })
	var planning, running []mirror.View
	for _, v := range views {
		if v.Seq < v.Rotation.Reopened {
			continue // Tasks were opened again, and the mirror has not heard of it.
		}
		var err error
		var ready bool
		switch {
		case v.Rotation.State == rollover.StatePlanning, v.Rotation.Discovers():
			if ready, err = t.planning(ctx, v); ready {
				planning = append(planning, v)
			}
		case v.Rotation.State == rollover.StateRunning:
			if ready, err = t.run(ctx, v); ready {
				running = append(running, v)
			}
		case v.Rotation.State == rollover.StatePaused:
			err = t.hold(ctx, v)
		case v.Rotation.State == rollover.StateCancelling, v.Rotation.State == rollover.StateCancelled:
			if ready, err = t.cancel(ctx, v); ready {
				running = append(running, v)
			}
		case v.Rotation.State == rollover.StateUndoing:
			if ready, err = t.undo(ctx, v); ready {
				running = append(running, v)
			}
		}
		t.complain(ctx, v.Rotation.ID, err)
	}
	t.remind(ctx, late, running, planning)
	plans := loadOf(t.plans)
	t.serve(ctx, plans, t.rooms(ctx, jet.Plans, &t.finding, plans.urgent, t.PlanWindow), planning,
		func(v mirror.View, n int) (int, bool, error) { return t.plan(ctx, v, plans, n) })
	tasks := loadOf(t.tasks)
	t.serve(ctx, tasks, t.rooms(ctx, jet.Tasks, &t.settling, tasks.urgent, t.Window), running,
		func(v mirror.View, n int) (int, bool, error) { return t.release(ctx, v.Rotation, tasks, n) })
	t.report(time.Now(), tasks)
}

// leftOpen reports whether tasks of a cancelled rotation were opened again, by a
// retry that came while it was being cancelled. They are cancelled too.
func leftOpen(v mirror.View) bool {
	return v.Rotation.State == rollover.StateCancelled && v.Counts.Total == v.Rotation.Tasks && v.Counts.OpenTasks > 0
}

// rank orders lanes.
func rank(l rollover.Lane) int {
	if l == rollover.Urgent {
		return 0
	}
	return 1
}

// report tells how things stand, once a tick.
func (t *turn) report(now time.Time, l *load) {
	if now.Sub(t.told) < t.Tick {
		return
	}
	t.told = now
	slowed, open := t.hosts.sweep(t.Now())
	if t.Config.Status != nil {
		t.Config.Status(Status{Leads: true, Urgent: l.urgent, Bulk: l.bulk, Hands: t.hands(), Slowed: slowed, Open: open, Pace: t.Mirror.Pace()})
	}
}

// hands counts what all workers that were heard of can work on at once: plans, tasks and
// checks. What is not known counts as none; rooms complains of it.
func (t *turn) hands() (n [3]int) {
	for i, q := range []jet.Queue{jet.Plans, jet.Tasks, jet.Checks} {
		if r, err := t.Queue.Room(q); err == nil {
			n[i] = r.Hands
		}
	}
	return n
}

// complain logs an error about a rotation once, until it changes. A lost race is
// none: the next turn sees who won.
func (t *turn) complain(ctx context.Context, id string, err error) {
	t.once(ctx, id, "rotation does not move; trying on", err)
}

// once logs an error about something once, until it changes.
func (t *turn) once(ctx context.Context, id, message string, err error) {
	if t.said == nil {
		t.said = map[string]string{}
	}
	switch {
	case err == nil:
		delete(t.said, id)
	case errors.Is(err, rollover.ErrConflict), ctx.Err() != nil:
	case t.said[id] != err.Error():
		t.said[id] = err.Error()
		t.Log.WarnContext(ctx, message, "rotation", id, "err", err)
	}
}

// save writes a rotation and logs what it became.
func (t *turn) save(ctx context.Context, r rollover.Rotation) error {
	r, err := t.Store.SaveRotation(ctx, r)
	if err != nil {
		return fmt.Errorf("saving rotation %s: %w", r.ID, err)
	}
	t.Log.InfoContext(ctx, "rotation", "rotation", r.ID, "state", r.State, "phase", r.Phase, "wave", r.WaveNumber, "detail", r.Detail)
	return nil
}

// planning reports whether tenants of the rotation are still to be planned. When
// all are, its plan is frozen beside the turns, since a large one takes seconds
// and urgent rotations must not wait for it. A discovery is concluded so.
func (t *turn) planning(ctx context.Context, v mirror.View) (bool, error) {
	r := v.Rotation
	if r.State == rollover.StatePlanning && t.Mirror.Found(r.ID) != r.Tenants {
		return true, nil
	}
	end := t.freeze
	if r.Discovers() {
		end = t.conclude
	}
	delete(t.tenants, r.ID)
	done := t.freezing[r.ID]
	if done == nil {
		done = make(chan error, 1)
		t.freezing[r.ID] = done
		t.jobs.Go(func() { done <- end(ctx, r) })
		return false, nil
	}
	select {
	case err := <-done:
		if err != nil { // Else the mirror is about to hear of it.
			delete(t.freezing, r.ID)
		}
		return false, err
	default:
		return false, nil
	}
}

// plan sends nudges for up to room tenants that are to be planned. It returns how
// many it sent and whether it could have sent more.
func (t *turn) plan(ctx context.Context, v mirror.View, l *load, room int) (n int, more bool, err error) {
	r := v.Rotation
	tenants, ok := t.tenants[r.ID]
	if !ok {
		if tenants, err = t.Store.SelectedTenants(ctx, r.ID); err != nil {
			return 0, false, fmt.Errorf("reading the selection: %w", err)
		}
		t.tenants[r.ID] = tenants
	}
	for _, ord := range t.Mirror.Missing(r.ID, len(tenants), room+len(t.plans)) {
		id := rollover.TaskID{Rotation: r.ID, Ord: ord}
		if n == room {
			return n, true, nil
		}
		if t.plans.out(id) {
			continue
		}
		s := sent{tenant: tenants[ord], urgent: r.Spec.Lane == rollover.Urgent, trace: r.Trace}
		err := t.Queue.NudgePlan(spans.Part(ctx, r.Trace, ord), tenants[ord], rollover.Nudge{Rotation: r.ID, Ord: ord, Urgent: s.urgent})
		if err := t.plans.note(id, s, err); err != nil {
			return n, false, fmt.Errorf("nudging tenant %s: %w", tenants[ord], err)
		}
		if err == nil {
			n++
			l.add(id, s)
		}
	}
	return n, false, nil
}

// freeze makes one plan of what was found for every tenant.
func (t *turn) freeze(ctx context.Context, r rollover.Rotation) error {
	found, err := t.Store.Findings(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("reading findings: %w", err)
	}
	findings := make([]rollover.Finding, r.Tenants)
	for ord := range findings {
		f, ok := found[ord]
		if !ok { // The mirror was told, so it will be there.
			return fmt.Errorf("finding of tenant %d: %w", ord, rollover.ErrNotFound)
		}
		f.Endpoints = nil // The plan is made of the items alone.
		findings[ord] = f
		delete(found, ord)
	}
	plan := rollover.Assemble(findings, r.Spec.Strategy.Order...)
	if r.Spec.FailedOf != "" {
		failed, err := t.failedTargets(ctx, r.Spec.FailedOf)
		if err != nil {
			return fmt.Errorf("reading what failed in rotation %s: %w", r.Spec.FailedOf, err)
		}
		plan = rollover.OnlyTargets(plan, failed, r.Spec.FailedOf)
	}
	if r, err = r.PlannedIn(findings).Freeze(plan, t.Now()); err != nil {
		return err
	}
	planned := r
	if r, err = t.Store.FreezePlan(ctx, r, plan); errors.Is(err, rollover.ErrFull) {
		return t.save(ctx, planned.NoRoom(err, t.Now()))
	}
	if err != nil {
		return fmt.Errorf("freezing the plan: %w", err)
	}
	t.Log.InfoContext(ctx, "plan frozen", "rotation", r.ID, "tasks", r.Tasks, "digest", r.Digest)
	return nil
}

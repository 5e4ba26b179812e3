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
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
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
}

// Config is what a Conductor is made of. Fields without a default are required.
type Config struct {
	Store  Store
	Mirror *mirror.Mirror
	Queue  Queue
	Checks Checks // that gates name; nil: each of them is inconclusive
	// Elect runs lead while this process is the one conductor, again and again
	// until ctx ends. lead's context ends when the lease is lost.
	Elect func(ctx context.Context, lead func(context.Context)) error
	Now   func() time.Time
	Log   *slog.Logger
	// Window is how many task nudges may be out at once, all rotations together.
	// Default 512: twice the slots of four workers, so that no slot runs dry and
	// nothing waits long behind what is already out.
	Window int
	// PlanWindow is the same for planning. Default 64.
	PlanWindow int
	// Tick is how often due times are looked at when nothing changes. Default
	// 100 ms of real time.
	Tick time.Duration
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
		c.Window = 512
	}
	if c.PlanWindow == 0 {
		c.PlanWindow = 64
	}
	if c.Tick == 0 {
		c.Tick = 100 * time.Millisecond
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
	t := &turn{Config: c.c, tenants: map[string][]string{}, tasks: outbox[rollover.TaskID]{}, plans: outbox[rollover.TaskID]{}, asker: newAsker(c.c.Checks)}
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
	asker   *asker
	said    map[string]string // the last complaint about each rotation, so that it is logged once
}

// all looks at every rotation that has not ended, oldest first.
func (t *turn) all(ctx context.Context) {
	t.tasks.sweep(t.Patience, t.settled)
	t.plans.sweep(t.Patience, func(id rollover.TaskID, _ sent) bool { return t.Mirror.HasFinding(id) })
	views := t.Mirror.Rotations()
	slices.Reverse(views)
	views = slices.DeleteFunc(views, func(v mirror.View) bool { return v.Rotation.State.Ended() })
	for i, v := range views {
		var err error
		switch v.Rotation.State {
		case rollover.StatePlanning:
			err = t.plan(ctx, v)
		case rollover.StateRunning:
			err = t.run(ctx, v, len(views)-i)
		case rollover.StatePaused:
			err = t.hold(ctx, v)
		case rollover.StateCancelling:
			err = t.cancel(ctx, v)
		}
		t.complain(ctx, v.Rotation.ID, err)
	}
}

// complain logs an error once, until it changes. A lost race is none: the next
// turn sees who won.
func (t *turn) complain(ctx context.Context, id string, err error) {
	if t.said == nil {
		t.said = map[string]string{}
	}
	switch {
	case err == nil:
		delete(t.said, id)
	case errors.Is(err, rollover.ErrConflict), ctx.Err() != nil:
	case t.said[id] != err.Error():
		t.said[id] = err.Error()
		t.Log.WarnContext(ctx, "rotation does not move; trying on", "rotation", id, "err", err)
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

// plan has every selected tenant planned, and freezes the plan when all are.
func (t *turn) plan(ctx context.Context, v mirror.View) error {
	r := v.Rotation
	if t.Mirror.Found(r.ID) == r.Tenants {
		return t.freeze(ctx, r)
	}
	tenants, ok := t.tenants[r.ID]
	if !ok {
		var err error
		if tenants, err = t.Store.SelectedTenants(ctx, r.ID); err != nil {
			return fmt.Errorf("reading the selection: %w", err)
		}
		t.tenants[r.ID] = tenants
	}
	for _, ord := range t.Mirror.Missing(r.ID, len(tenants), t.PlanWindow+len(t.plans)) {
		id := rollover.TaskID{Rotation: r.ID, Ord: ord}
		if len(t.plans) >= t.PlanWindow {
			return nil
		}
		if t.plans.out(id) {
			continue
		}
		err := t.Queue.NudgePlan(ctx, tenants[ord], rollover.Nudge(id))
		if err := t.plans.note(id, 0, err); err != nil {
			return fmt.Errorf("nudging tenant %s: %w", tenants[ord], err)
		}
	}
	return nil
}

// freeze makes one plan of what was found for every tenant.
func (t *turn) freeze(ctx context.Context, r rollover.Rotation) error {
	delete(t.tenants, r.ID)
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
		findings[ord] = f
	}
	plan := rollover.Assemble(findings, r.Spec.Strategy.Order...)
	if r, err = r.Freeze(plan, t.Now()); err != nil {
		return err
	}
	if r, err = t.Store.FreezePlan(ctx, r, plan); err != nil {
		return fmt.Errorf("freezing the plan: %w", err)
	}
	t.Log.InfoContext(ctx, "plan frozen", "rotation", r.ID, "tasks", r.Tasks, "digest", r.Digest)
	return nil
}

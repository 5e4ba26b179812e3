package checker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// look reads every target of a part that was rotated. An error means that some
// were not read, for a reason that says nothing about them.
func (k *Checker) look(ctx context.Context, r rollover.Rotation, part int) (rollover.CheckPart, error) {
	p := rollover.CheckPart{V: rollover.RecordVersion, Check: r.Check.Number, At: k.c.Now()}
	from := part * rollover.CheckChunk
	others := &marks{store: k.c.Store, known: map[string]rollover.Rotation{}}
	var mu sync.Mutex // guards p
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(k.c.Parallel)
	for ord := from; ord < min(from+rollover.CheckChunk, r.Tasks); ord++ {
		g.Go(func() error {
			d, looked, err := k.target(ctx, rollover.TaskID{Rotation: r.ID, Ord: ord}, others)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if looked {
				p.Looked++
			}
			if len(d.Drifts) > 0 {
				p.Targets = append(p.Targets, d)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return p, err
	}
	slices.SortFunc(p.Targets, func(a, b rollover.Drifted) int { return a.Ord - b.Ord })
	return p, nil
}

// maxMoves is how often a target is read anew because its task moved meanwhile.
const maxMoves = 3

// target says what is other on one target, and whether there was anything to look
// for. A drift is believed if the task did not move while it was looked at: in the
// retire phase our own removal must not look like somebody else's.
func (k *Checker) target(ctx context.Context, id rollover.TaskID, others *marks) (rollover.Drifted, bool, error) {
	for moves := 0; ; moves++ {
		t, err := k.c.Store.Task(ctx, id)
		if err != nil {
			return rollover.Drifted{}, false, fmt.Errorf("reading task %s: %w", id, err)
		}
		if !t.Checkable() {
			return rollover.Drifted{}, false, nil
		}
		d := rollover.Drifted{Ord: id.Ord, Tenant: t.Item.Tenant, Target: t.Item.Target}
		if d.Drifts, err = k.drifts(ctx, t, others); err != nil {
			return d, false, err
		}
		if len(d.Drifts) == 0 {
			return d, true, nil
		}
		again, err := k.c.Store.Task(ctx, id)
		if err != nil {
			return d, false, fmt.Errorf("reading task %s: %w", id, err)
		}
		if again.Rev == t.Rev {
			return d, true, nil
		}
		if moves == maxMoves {
			return d, false, fmt.Errorf("task %s moved %d times while it was looked at: %w", id, moves, rollover.ErrConflict)
		}
	}
}

// drifts reads the target and compares. A target that cannot be read is a result;
// the error is that of ctx or of the store.
func (k *Checker) drifts(ctx context.Context, t rollover.Task, others *marks) ([]rollover.Drift, error) {
	for tries := 1; ; tries++ {
		if err := k.pace.Wait(ctx); err != nil {
			return nil, fmt.Errorf("waiting to read %s: %w", t.Item.Target, err)
		}
		o, err := k.ask(ctx, t)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading %s: %w", t.Item.Target, context.Cause(ctx))
		}
		if err == nil {
			if err := others.find(ctx, t.ID.Rotation, o); err != nil {
				return nil, err
			}
			return rollover.Look{Task: t, Now: o, Rotation: others.rotation}.Drifts(), nil
		}
		var s *rollover.StepError
		final := errors.As(err, &s) && s.Outcome != rollover.Open
		if final || tries >= k.c.Attempts {
			return []rollover.Drift{{Kind: rollover.DriftUnreadable, Detail: detail(err)}}, nil
		}
		wait := rollover.Backoff(tries, 0)
		if s != nil {
			wait = max(wait, s.After)
		}
		if err := k.c.Pause(ctx, wait); err != nil {
			return nil, fmt.Errorf("waiting to read %s again: %w", t.Item.Target, err)
		}
	}
}

// ask has the driver read one target. A panic of the driver is an error like
// another: one poisonous answer must not take the other targets down.
func (k *Checker) ask(ctx context.Context, t rollover.Task) (o rollover.Observation, err error) {
	defer func() {
		if why := recover(); why != nil {
			k.c.Log.ErrorContext(ctx, "driver panicked", "rotation", t.ID.Rotation, "task", t.ID.Ord, "stack", string(debug.Stack()))
			err = rollover.Permanent(rollover.Refused, errors.New("the driver panicked"))
		}
	}()
	d, err := k.c.Driver(t.Item.Target.Kind)
	if err != nil {
		return rollover.Observation{}, rollover.Permanent(rollover.Refused, err)
	}
	ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
	defer cancel()
	return d.Observe(ctx, rollover.Work{
		Rotation: t.ID.Rotation, Tenant: t.Item.Tenant, Target: t.Item.Target, New: t.Orders.New, Old: t.Item.Retire, Now: k.c.Now(),
	})
}

// longestDetail bounds what is kept of an error, in characters.
const longestDetail = 300

func detail(err error) string {
	if r := []rune(err.Error()); len(r) > longestDetail {
		return string(r[:longestDetail-1]) + "…"
	}
	return err.Error()
}

// marks finds the rotations that the marks of credentials name, each once for a
// part.
type marks struct {
	store store
	mu    sync.Mutex                   // guards known
	known map[string]rollover.Rotation // with no ID: there is none
}

// find looks up every mark on a target that is not the rotation's own. A mark that
// names no rotation is nobody's; a store that does not answer is an error.
func (m *marks) find(ctx context.Context, own string, o rollover.Observation) error {
	for _, s := range o.Standing {
		if s.Mark == "" || s.Mark == own {
			continue
		}
		m.mu.Lock()
		_, done := m.known[s.Mark]
		m.mu.Unlock()
		if done {
			continue
		}
		r, err := m.store.Rotation(ctx, s.Mark)
		if err != nil && !errors.Is(err, rollover.ErrNotFound) {
			return fmt.Errorf("reading rotation %s, which a credential names: %w", s.Mark, err)
		}
		m.mu.Lock()
		m.known[s.Mark] = r
		m.mu.Unlock()
	}
	return nil
}

// rotation is [rollover.Look.Rotation].
func (m *marks) rotation(id string) (rollover.Rotation, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.known[id]
	return r, r.ID != ""
}

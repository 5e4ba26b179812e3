package rollover_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// backwards is a store whose rotation is being undone.
type backwards struct{ rollover.Store }

func (s backwards) Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error) {
	k, err := s.Store.Task(ctx, id)
	k.Orders.Undo, k.Undo = 1, 1
	return k, err
}

// Undo takes back what this rotation added and nothing else, whichever call
// breaks and how.
func TestAdvance_UndoRemovesOnlyOurs(t *testing.T) {
	for _, mode := range []rollovertest.Mode{rollovertest.Lost, rollovertest.DoneLost} {
		for n := range 12 {
			w := newWorld(t)
			w.stageAll(t)
			base := len(w.faults.Calls())
			w.faults.Break = func(i int, _ string) (rollovertest.Mode, bool) { return mode, i == base+n }
			for round := 0; round < 20; round++ {
				for _, k := range w.tasks(t) {
					e := rollover.NewEngine(rollover.Config{
						Store: backwards{rollovertest.FaultyStore{Store: w.store, Faults: w.faults}}, Now: func() time.Time { return w.now },
						Driver: func(string) (rollover.Driver, error) { return w.cloud, nil },
					})
					_, _ = e.Advance(t.Context(), k.ID) // A broken call is looked at in the next round.
				}
				w.now = w.now.Add(time.Minute)
			}
			for _, k := range w.tasks(t) {
				if k.Outcome != rollover.Undone {
					t.Errorf("call %d %s: task %d ended as %q: %s", n, mode, k.ID.Ord, k.Outcome, k.Detail)
				}
				before, now := w.ledger.Before[k.Item.Target], w.cloud.Standing(k.Item.Target)
				if before.Digest("") != now.Digest("") {
					t.Errorf("call %d %s: %s holds other credentials than before the rotation", n, mode, k.Item.Target)
				}
			}
		}
	}
}

// What another side says at length is kept short: the record is stored with each
// change, a hundred thousand times.
func TestAdvance_DetailIsBounded(t *testing.T) {
	w := newWorld(t)
	w.faults.Break = nil
	e := rollover.NewEngine(rollover.Config{
		Store: w.store, Now: func() time.Time { return w.now },
		Driver: func(string) (rollover.Driver, error) { return nil, errors.New(strings.Repeat("ä", 5000)) },
	})
	k, err := e.Advance(t.Context(), rollover.TaskID{Rotation: rotationID})
	check(t, err)
	if k.Outcome != rollover.Failed || len(k.Detail) > 1100 || !strings.HasSuffix(k.Detail, "…") {
		t.Errorf("the task ended as %s with a detail of %d bytes, want failed and a bounded one", k.Outcome, len(k.Detail))
	}
}

// rival saves a task in between: the first save of the engine loses its race.
type rival struct {
	rollover.Store
	once *bool
}

func (s rival) SaveTask(ctx context.Context, k rollover.Task) (rollover.Task, error) {
	if !*s.once {
		*s.once = true
		other := k
		other.Phase, other.Added = rollover.Staged, true
		if _, err := s.Store.SaveTask(ctx, other); err != nil {
			return k, err
		}
	}
	return s.Store.SaveTask(ctx, k)
}

func TestAdvance_LosesARaceAndLooksAgain(t *testing.T) {
	w := newWorld(t)
	e := rollover.NewEngine(rollover.Config{
		Store: rival{w.store, new(bool)}, Now: func() time.Time { return w.now },
		Driver: func(string) (rollover.Driver, error) { return w.cloud, nil },
	})
	k, err := e.Advance(t.Context(), rollover.TaskID{Rotation: rotationID})
	if err != nil || k.Phase != rollover.Activated {
		t.Errorf("Advance = %s, %v, want the task in the overlap all the same", k.Phase, err)
	}
	w.ledger.Check(t, rotationID)
}

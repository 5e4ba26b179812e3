package rollover_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// calls returns what f makes the engine call, in order.
func (w *world) calls(t *testing.T, f func()) []string {
	t.Helper()
	before := len(w.faults.Calls())
	f()
	return w.faults.Calls()[before:]
}

// A save is a write that is synced to a disk: there is one for all that is done
// to a target before the overlap.
func TestAdvance_SavesOnceForStageVerifyAndActivate(t *testing.T) {
	w := newWorld(t)
	id := w.tasks(t)[0].ID
	got := w.calls(t, func() {
		k, err := w.engine().Advance(t.Context(), id)
		if err != nil || k.Phase != rollover.Activated || k.Evidence == nil || !k.Added {
			t.Errorf("Advance = %s, added %v, evidence %v, %v, want activated by us with its evidence", k.Phase, k.Added, k.Evidence, err)
		}
	})
	if want := []string{"task", "list", "add", "list", "save"}; !slices.Equal(got, want) {
		t.Errorf("Advance called %v, want %v", got, want)
	}
	got = w.calls(t, func() { _, _ = w.engine().Advance(t.Context(), id) })
	if want := []string{"task"}; !slices.Equal(got, want) {
		t.Errorf("Advance of a task that waits called %v, want %v", got, want)
	}
}

// Renewed evidence and what could be put back are on the disk, and the orders are
// read anew, before the old credential is removed.
func TestAdvance_SavesEvidenceBeforeRetire(t *testing.T) {
	w := newWorld(t)
	w.stageAll(t)
	w.openRetirePhase(t)
	w.now = switchAt.Add(time.Hour)
	got := w.calls(t, func() {
		if k, err := w.engine().Advance(t.Context(), w.tasks(t)[0].ID); err != nil || k.Phase != rollover.Retired {
			t.Errorf("Advance = %s, %v, want retired", k.Phase, err)
		}
	})
	if want := []string{"task", "list", "save", "task", "list", "keep", "save", "task", "list", "delete", "save"}; !slices.Equal(got, want) {
		t.Errorf("Advance called %v, want %v", got, want)
	}
}

// switcher is a driver whose sender must be told, which is a write.
type switcher struct {
	rollover.Driver
	faults *rollovertest.Faults
	verify func()
}

func (d switcher) Verify(ctx context.Context, w rollover.Work) (rollover.Evidence, error) {
	if d.verify != nil {
		d.verify()
	}
	return d.Driver.Verify(ctx, w)
}

func (d switcher) Activate(ctx context.Context, _ rollover.Work) error {
	return d.faults.Call(ctx, "activate", func() error { return nil })
}

// switching returns an engine whose driver's activation writes.
func (w *world) switching(verify func()) *rollover.Engine {
	return rollover.NewEngine(rollover.Config{
		Store: rollovertest.FaultyStore{Store: w.store, Faults: w.faults}, Now: func() time.Time { return w.now },
		Driver: func(string) (rollover.Driver, error) { return switcher{w.cloud, w.faults, verify}, nil },
	})
}

func TestAdvance_ActivationThatWritesHasItsOwnSaves(t *testing.T) {
	w := newWorld(t)
	got := w.calls(t, func() {
		k, err := w.switching(nil).Advance(t.Context(), w.tasks(t)[0].ID)
		if err != nil || k.Phase != rollover.Activated {
			t.Errorf("Advance = %s, %v, want activated", k.Phase, err)
		}
	})
	if want := []string{"task", "list", "add", "list", "save", "task", "activate", "save"}; !slices.Equal(got, want) {
		t.Errorf("Advance called %v, want %v", got, want)
	}
}

// A rotation that is paused while a target is read is not written to after that.
func TestAdvance_PausedInTheMidstDoesNotActivate(t *testing.T) {
	w := newWorld(t)
	e := w.switching(func() {
		r, err := w.store.Rotation(t.Context(), rotationID)
		check(t, err)
		r, err = r.Pause("to look", w.now)
		check(t, err)
		_, err = w.store.SaveRotation(t.Context(), r)
		check(t, err)
	})
	k, err := e.Advance(t.Context(), w.tasks(t)[0].ID)
	if err != nil || k.Phase != rollover.Verified || slices.Contains(w.faults.Calls(), "activate") {
		t.Errorf("Advance of a rotation paused meanwhile = %s, %v, calls %v, want verified and no activation", k.Phase, err, w.faults.Calls())
	}
	if stored := w.tasks(t)[0]; stored.Phase != rollover.Verified || !stored.Added {
		t.Errorf("stored as %s, added %v, want what was done", stored.Phase, stored.Added)
	}
}

// A process that is told to stop between two steps leaves a record of the first.
func TestAdvance_StoppedBetweenStepsKeepsWhatWasDone(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	added := false
	w.faults.Break = func(_ int, call string) (rollovertest.Mode, bool) {
		broken := added && call == "list"
		if broken {
			cancel()
		}
		added = added || call == "add"
		return rollovertest.Lost, broken
	}
	if _, err := w.engine().Advance(ctx, w.tasks(t)[0].ID); !errors.Is(err, context.Canceled) {
		t.Fatalf("Advance with a context that ended = %v, want its error", err)
	}
	if k := w.tasks(t)[0]; k.Phase != rollover.Staged || !k.Added || k.Tries != 0 {
		t.Errorf("stored as %s, added %v, %d tries, want staged by us and no failed try", k.Phase, k.Added, k.Tries)
	}
	w.faults.Break = nil
	w.allRotated(t, w.finish(t))
}

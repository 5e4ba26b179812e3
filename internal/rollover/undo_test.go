package rollover_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// counts folds the world's tasks.
func (w *world) counts(t testing.TB) rollover.Counts {
	t.Helper()
	b := rollover.NewBoard(w.plan)
	for _, k := range w.tasks(t) {
		b.Apply(k.ID.Ord, k.Progress, k.Rev)
	}
	return b.Counts()
}

// change saves what f makes of the rotation, past the faults.
func (w *world) change(t testing.TB, f func(rollover.Rotation) (rollover.Rotation, error)) rollover.Rotation {
	t.Helper()
	r, err := w.store.Rotation(context.Background(), rotationID)
	check(t, err)
	r, err = f(r)
	check(t, err)
	r, err = w.store.SaveRotation(context.Background(), r)
	check(t, err)
	return r
}

// beginUndo orders an undo and marks its tasks, as the conductor does.
func (w *world) beginUndo(t testing.TB, scope rollover.UndoScope) rollover.Rotation {
	t.Helper()
	w.ledger.Undone = true
	r := w.change(t, func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.BeginUndo(scope, "wrong certificate", "", w.now)
	})
	ks, err := scope.Covers(r, w.counts(t), w.read)
	check(t, err)
	for _, k := range ks {
		_, err := w.store.SaveTask(context.Background(), k.GoBack(r.Undo.N, w.now))
		check(t, err)
	}
	return r
}

// read reads a part of the tasks.
func (w *world) read(from, to int) ([]rollover.Task, error) {
	var out []rollover.Task
	for ord := from; ord < to; ord++ {
		k, err := w.store.Task(context.Background(), rollover.TaskID{Rotation: rotationID, Ord: ord})
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// allUndone complains unless every task was taken back and its target holds what it
// held before.
func (w *world) allUndone(t testing.TB, ks []rollover.Task) {
	t.Helper()
	for _, k := range ks {
		if k.Outcome != rollover.Undone || k.Phase != rollover.Planned || k.Added || k.Archive != nil || k.Removed != nil {
			t.Errorf("task %d on %s ended as %s/%s in %s: %s", k.ID.Ord, k.Item.Target, k.Outcome, k.Reason, k.Phase, k.Detail)
		}
	}
	w.ledger.Check(t, rotationID)
}

// Every call of an undo is broken, each both ways, before and after the retirement.
func TestUndo_EveryFault(t *testing.T) {
	for name, ready := range map[string]func(w *world){
		"before retirement": func(w *world) { w.stageAll(t) },
		"after retirement":  func(w *world) { w.finish(t) },
	} {
		clean := newWorld(t)
		ready(clean)
		first := len(clean.faults.Calls())
		clean.beginUndo(t, rollover.UndoScope{All: true})
		clean.allUndone(t, clean.finish(t))
		total := len(clean.faults.Calls()) - first
		if total < 16 {
			t.Fatalf("an undo %s makes %d calls, want more: the test looks at nothing", name, total)
		}
		for n := range total {
			for _, mode := range []rollovertest.Mode{rollovertest.Lost, rollovertest.DoneLost} {
				t.Run(fmt.Sprintf("%s, call %d %s", name, n, mode), func(t *testing.T) {
					w := newWorld(t)
					ready(w)
					base := len(w.faults.Calls())
					w.faults.Break = func(i int, _ string) (rollovertest.Mode, bool) { return mode, i == base+n }
					w.beginUndo(t, rollover.UndoScope{All: true})
					w.allUndone(t, w.finish(t))
				})
			}
		}
	}
}

// At any moment, in the middle of anything, with calls that break, an undo is
// ordered: the promises hold at every moment, and whatever was taken back is as it
// was.
func TestUndo_RandomSchedules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		percent := rapid.IntRange(0, 30).Draw(rt, "percent broken")
		w.faults.Break = func(int, string) (rollovertest.Mode, bool) {
			broken := rapid.IntRange(0, 99).Draw(rt, "break") < percent
			return rollovertest.Mode(rapid.IntRange(0, 1).Draw(rt, "mode")), broken
		}
		move := func(label string) {
			switch rapid.IntRange(0, 4).Draw(rt, label) {
			case 0:
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 20*3600).Draw(rt, "leap")) * time.Second)
			case 1:
				w.conduct(t)
			default:
				ord := rapid.IntRange(0, len(w.plan)-1).Draw(rt, "task")
				_, _ = w.engine().Advance(context.Background(), rollover.TaskID{Rotation: rotationID, Ord: ord})
			}
			w.ledger.Check(t, rotationID)
		}
		for range rapid.IntRange(0, 40).Draw(rt, "moves before") {
			move("before")
		}
		w.beginUndo(t, rollover.UndoScope{All: true})
		for range rapid.IntRange(0, 30).Draw(rt, "moves after") {
			move("after")
		}
		w.faults.Break = nil
		for _, k := range w.finish(t) {
			if k.Outcome != rollover.Undone && k.Reason != rollover.TriesUsedUp && k.Reason != rollover.Refused && k.Reason != rollover.UndoWindowOver {
				t.Errorf("task %d ended as %s/%s: %s", k.ID.Ord, k.Outcome, k.Reason, k.Detail)
			}
		}
		w.ledger.Check(t, rotationID)
	})
}

// An undo of one half of a federated endpoint takes the other half along, and not
// the rest, which goes on after it.
func TestUndo_OfAPartTakesSiblingsAlong(t *testing.T) {
	w := newWorld(t)
	w.stageAll(t)
	r := w.beginUndo(t, rollover.UndoScope{Tasks: []int{1}})
	for range 3 {
		for _, k := range w.tasks(t) {
			_, err := w.engine().Advance(t.Context(), k.ID)
			check(t, err)
		}
	}
	for ord, k := range w.tasks(t) {
		want := rollover.Open
		if ord == 1 || ord == 2 {
			want = rollover.Undone
		}
		if k.Outcome != want {
			t.Errorf("task %d is %q, want %q: %s", ord, k.Outcome, want, k.Detail)
		}
	}
	w.change(t, func(rollover.Rotation) (rollover.Rotation, error) { return r.EndUndo(w.counts(t), w.now), nil })
	ks := w.finish(t)
	w.ledger.Check(t, rotationID)
	if ks[0].Reason != rollover.Rotated || ks[0].Phase != rollover.Retired || ks[1].Outcome != rollover.Undone {
		t.Errorf("after the undo of a part the others ended as %s/%s, want rotated", ks[0].Outcome, ks[0].Reason)
	}
}

// What cannot be put back is refused, with nothing written.
func TestUndo_WhatCannotBePutBackIsLeftAlone(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"the window is over":        func(w *world) { w.now = w.now.Add(rollover.DefaultUndoWindow + time.Hour) },
		"the archive is lost":       func(w *world) { w.vault.Forget() },
		"nothing was ever archived": func(w *world) { w.dropArchives(t) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.finish(t)
			spoil(w)
			writes := len(w.cloud.Journal())
			w.beginUndo(t, rollover.UndoScope{All: true})
			for _, k := range w.finish(t) {
				if k.Outcome != rollover.Failed || k.Reason != rollover.UndoWindowOver {
					t.Errorf("task %d ended as %s/%s: %s", k.ID.Ord, k.Outcome, k.Reason, k.Detail)
				}
			}
			if n := len(w.cloud.Journal()); n != writes {
				t.Errorf("%d writes, want none", n-writes)
			}
		})
	}
}

// dropArchives makes the records what they were before there were archives.
func (w *world) dropArchives(t testing.TB) {
	t.Helper()
	for _, k := range w.tasks(t) {
		k.Archive = nil
		_, err := w.store.SaveTask(context.Background(), k)
		check(t, err)
	}
}

// The old certificate has run out since it was removed: ours stays, and nothing is
// written.
func TestUndo_KeepsTheNewWhereNoOldIsValid(t *testing.T) {
	w := newWorld(t)
	w.stageAll(t)
	w.now = w.ledger.Old.NotAfter.Add(time.Hour)
	writes := len(w.cloud.Journal())
	w.beginUndo(t, rollover.UndoScope{All: true})
	for ord, k := range w.finish(t) {
		want := rollover.Failed
		if ord == 3 { // The new one stood there before us; nothing is to be taken back.
			want = rollover.Undone
		}
		if k.Outcome != want {
			t.Errorf("task %d ended as %s/%s: %s", k.ID.Ord, k.Outcome, k.Reason, k.Detail)
		}
	}
	if n := len(w.cloud.Journal()); n != writes {
		t.Errorf("%d writes, want none", n-writes)
	}
}

func TestRotation_UndoInEachState(t *testing.T) {
	now := rollovertest.Epoch
	states := map[rollover.RotationState]bool{
		rollover.StatePlanning: false, rollover.StatePlanned: false, rollover.StateRunning: true, rollover.StatePaused: true,
		rollover.StateCancelling: false, rollover.StateCancelled: true, rollover.StateSucceeded: true, rollover.StateFailed: true,
		rollover.StateUndoing: false, rollover.StateUndone: false,
	}
	for from, allowed := range states {
		r := rollover.Rotation{State: from, Phase: rollover.PhaseOverlap, Detail: "before", Rev: 7}
		if from == rollover.StateUndoing {
			r.Undo = &rollover.Undo{N: 1}
		}
		part, err := r.BeginUndo(rollover.UndoScope{Tasks: []int{1}}, "why", "id", now)
		if !allowed {
			if !errors.Is(err, rollover.ErrState) || part.State != from {
				t.Errorf("undoing a rotation that is %s = %s, %v, want ErrState", from, part.State, err)
			}
			continue
		}
		if err != nil || part.State != rollover.StateUndoing || part.Phase != r.Phase || part.Orders(rollover.Credential{}).Undo != 1 || part.Orders(rollover.Credential{}).Hold {
			t.Errorf("undoing a rotation that is %s = %+v, %v", from, part, err)
		}
		held, err := part.Pause("x", now)
		if err != nil || held.State != rollover.StatePaused || !held.Orders(rollover.Credential{}).Hold {
			t.Errorf("pausing the undo = %s, %v", held.State, err)
		}
		if again, err := held.Resume(false, rollover.Counts{}, now); err != nil || again.State != rollover.StateUndoing {
			t.Errorf("resuming the undo = %s, %v, want undoing", again.State, err)
		}
		if _, err := held.BeginUndo(rollover.UndoScope{All: true}, "", "", now); !errors.Is(err, rollover.ErrState) {
			t.Errorf("a second undo while one is paused = %v, want ErrState", err)
		}
		for _, under := range []rollover.Rotation{part, held} {
			gone, err := under.Cancel("enough", now)
			if err != nil || gone.State != rollover.StateCancelling || gone.UndoUnderWay() {
				t.Errorf("cancelling an undo that is %s = %s, %v", under.State, gone.State, err)
			}
		}
		if done := part.EndUndo(rollover.Counts{}, now); done.State != from || done.Detail != "before" || done.UndoUnderWay() {
			t.Errorf("after the undo of a part it is %s (%q), want %s", done.State, done.Detail, from)
		}
		all, _ := r.BeginUndo(rollover.UndoScope{All: true}, "why", "id", now)
		if done := all.EndUndo(rollover.Counts{}, now); done.State != rollover.StateUndone || !done.State.Ended() {
			t.Errorf("after the undo of all it is %s, want undone", done.State)
		}
		for what, c := range map[string]rollover.UndoCounts{
			"with a failure":                         {Covered: 3, Undone: 2, Failed: 1},
			"that left a task to its owner":          {Covered: 3, Undone: 2},
			"that failed once, and left one besides": {Covered: 3, Undone: 1, Failed: 1},
		} {
			done := all.EndUndo(rollover.Counts{Undos: map[int]rollover.UndoCounts{1: c}}, now)
			if want := fmt.Sprintf("%d of 3 tasks could not be undone", 3-c.Undone); done.State != rollover.StateFailed || done.Detail != want {
				t.Errorf("after an undo of all %s it is %s (%q), want failed (%q)", what, done.State, done.Detail, want)
			}
			if again, err := done.BeginUndo(rollover.UndoScope{All: true}, "again", "", now); err != nil || again.Undo.N != 2 {
				t.Errorf("another undo after one %s = %+v, %v, want the second", what, again.Undo, err)
			}
		}
		whole := rollover.Counts{Undos: map[int]rollover.UndoCounts{1: {Covered: 3, Undone: 3}}}
		if done := all.EndUndo(whole, now); done.State != rollover.StateUndone {
			t.Errorf("after an undo of all that took all back it is %s, want undone", done.State)
		}
	}
}

// The undo's own failures are held against the tolerance, the first task is alone,
// and what is accepted counts no more.
func TestBoard_UndoObeysTheTolerance(t *testing.T) {
	now := rollovertest.Epoch
	plan := rollovertest.Plan(12)
	b := rollover.NewBoard(plan)
	r := rollover.Rotation{ID: "r", State: rollover.StateRunning, Phase: rollover.PhaseOverlap, Tasks: 12, Spec: rollover.Spec{
		ReplacesSubject: true, RetireNotBefore: now, Tolerance: rollover.Tolerance{Mode: rollover.Strict, Limit: 2},
	}}
	r, _ = r.BeginUndo(rollover.UndoScope{All: true}, "", "", now)
	seq := uint64(0)
	set := func(ord int, p rollover.Progress) { seq++; p.Undo = 1; b.Apply(ord, p, seq) }
	for i := range plan {
		set(i, rollover.Progress{Phase: rollover.Retired, Archive: &rollover.Archive{}})
	}
	next := func(want ...int) {
		t.Helper()
		if got := b.Releasable(r, 20, now); !slices.Equal(got, want) {
			t.Errorf("Releasable = %v, want %v", got, want)
		}
	}
	next(0)
	set(0, rollover.Progress{Outcome: rollover.Undone})
	next(1, 2, 3)
	set(1, rollover.Progress{Outcome: rollover.Failed})
	next(2, 3)
	set(2, rollover.Progress{Phase: rollover.Activated}) // It waits for a sibling and is not at risk.
	next(3, 4)
	for i := 3; i < 12; i++ {
		set(i, rollover.Progress{Phase: rollover.Activated})
	}
	next(2, 3)
	set(2, rollover.Progress{Outcome: rollover.Failed})
	set(3, rollover.Progress{Outcome: rollover.Conflict})
	next()
	if budget := r.Budget(b.Counts()); !budget.Exceeded() || budget.Failed != 3 || budget.Total != 12 {
		t.Errorf("Budget = %+v, want 3 failed of 12, exceeded", budget)
	}
	stopped, err := r.Exceed(r.Budget(b.Counts()), now)
	check(t, err)
	if _, err := stopped.Resume(false, b.Counts(), now); !errors.Is(err, rollover.ErrState) {
		t.Errorf("resuming an exceeded undo = %v, want ErrState", err)
	}
	if r, err = stopped.Resume(true, b.Counts(), now); err != nil || r.State != rollover.StateUndoing {
		t.Fatalf("accepting = %s, %v, want undoing", r.State, err)
	}
	next(4, 5, 6)
}

// Every call of the way forward is broken, each both ways: what was removed under
// it was kept before, and an undo puts it back.
func TestUndo_AfterEveryFaultOfTheWayForward(t *testing.T) {
	clean := newWorld(t)
	clean.finish(t)
	for n := range len(clean.faults.Calls()) {
		for _, mode := range []rollovertest.Mode{rollovertest.Lost, rollovertest.DoneLost} {
			t.Run(fmt.Sprintf("call %d %s", n, mode), func(t *testing.T) {
				w := newWorld(t)
				w.faults.Break = func(i int, _ string) (rollovertest.Mode, bool) { return mode, i == n }
				w.allRotated(t, w.finish(t))
				w.beginUndo(t, rollover.UndoScope{All: true})
				w.allUndone(t, w.finish(t))
			})
		}
	}
}

// late is a store that knows of no undo when it tells the orders of a task: it was
// read just before.
type late struct{ rollover.Store }

func (s late) Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error) {
	k, err := s.Store.Task(ctx, id)
	k.Orders.Undo, k.Orders.Hold, k.Orders.Retire = 0, false, true
	return k, err
}

// A worker is about to retire one half of a federated endpoint while the other half
// begins to be undone: the old credential stays.
func TestUndo_ASiblingThatGoesBackIsNoEvidence(t *testing.T) {
	w := newWorld(t)
	w.stageAll(t)
	w.openRetirePhase(t)
	w.now = switchAt.Add(time.Hour)
	half := w.tasks(t)[1]
	_, err := w.store.SaveTask(t.Context(), half.GoBack(1, w.now))
	check(t, err)
	half = w.tasks(t)[1]
	half.Evidence = &rollover.Evidence{Kind: rollover.Listed, At: w.now}
	_, err = w.store.SaveTask(t.Context(), half)
	check(t, err)
	e := rollover.NewEngine(rollover.Config{
		Store: late{w.store}, Now: func() time.Time { return w.now }, Archive: &w.vault,
		Driver: func(string) (rollover.Driver, error) { return w.cloud, nil },
	})
	k, err := e.Advance(t.Context(), rollover.TaskID{Rotation: rotationID, Ord: 2})
	if err != nil || k.Reason != rollover.RotatedOldKept {
		t.Errorf("the other half ended as %s/%s, %v, want the old kept", k.Outcome, k.Reason, err)
	}
	if _, ok := w.cloud.Standing(k.Item.Target).Find(w.ledger.Old.SHA256); !ok {
		t.Errorf("the old credential is gone from %s", k.Item.Target)
	}
}

// Right after a removal a reading may show what stood before it: the target is left
// alone for a moment, and that uses up no try.
func TestUndo_LeavesATargetAloneRightAfterARemoval(t *testing.T) {
	w := newWorld(t)
	w.finish(t)
	k := w.tasks(t)[0]
	w.now = k.Archive.At.Add(time.Second)
	w.beginUndo(t, rollover.UndoScope{All: true})
	before := len(w.cloud.Journal())
	k, err := w.engine().Advance(t.Context(), k.ID)
	if err != nil || k.Outcome != rollover.Open || k.Tries != 0 || !k.NextAt.Equal(k.Archive.At.Add(5*time.Second)) || len(w.cloud.Journal()) != before {
		t.Errorf("Advance = %+v, %v, want it to wait for 4 seconds with nothing written", k.Progress, err)
	}
	w.allUndone(t, w.finish(t))
}

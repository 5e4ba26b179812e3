package rollover_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestTask_RetryTakesUpWhereItStood(t *testing.T) {
	now := rollovertest.Epoch
	ev := &rollover.Evidence{At: now}
	k := rollover.Task{Rev: 4, Progress: rollover.Progress{
		Phase: rollover.Activated, Outcome: rollover.Failed, Reason: rollover.TriesUsedUp, Detail: "no", Added: true, Tries: 5,
		NextAt: now.Add(time.Hour), Evidence: ev, Archive: &rollover.Archive{Ready: true, Keys: []rollover.ArchivedKey{{SHA256: "ab"}}},
	}}
	got := k.Retry("id", now)
	if got.Outcome != rollover.Open || got.Reason != "" || got.Phase != rollover.Activated || got.Tries != 0 || !got.NextAt.IsZero() ||
		!got.Added || got.RetryID != "id" || got.Retried != 1 {
		t.Errorf("Retry = %+v, want it open where it stood", got.Progress)
	}
	if got.Evidence != nil || got.Archive == nil || got.Archive.Ready || len(got.Archive.Keys) != 1 {
		t.Errorf("Retry = evidence %v, archive %+v, want no old evidence and the archive to be looked over", got.Evidence, got.Archive)
	}
	if !k.Archive.Ready || k.Evidence == nil {
		t.Error("Retry changed the task that it was given")
	}
}

func TestTask_WhichCanBeRetried(t *testing.T) {
	planned := rollover.Item{Outcome: rollover.Failed}
	for _, c := range []struct {
		name       string
		k          rollover.Task
		all, named bool
	}{
		{"failed", rollover.Task{Progress: rollover.Progress{Outcome: rollover.Failed}}, true, true},
		{"conflict", rollover.Task{Progress: rollover.Progress{Outcome: rollover.Conflict}}, false, true},
		{"handed over", rollover.Task{Progress: rollover.Progress{Outcome: rollover.HandedOver}}, false, true},
		{"succeeded", rollover.Task{Progress: rollover.Progress{Outcome: rollover.Succeeded}}, false, false},
		{"skipped", rollover.Task{Progress: rollover.Progress{Outcome: rollover.Skipped}}, false, false},
		{"cancelled", rollover.Task{Progress: rollover.Progress{Outcome: rollover.Cancelled}}, false, false},
		{"undone", rollover.Task{Progress: rollover.Progress{Outcome: rollover.Undone, Undo: 1}}, false, false},
		{"open", rollover.Task{}, false, false},
		{"failed while undone", rollover.Task{Progress: rollover.Progress{Outcome: rollover.Failed, Undo: 1}}, false, false},
		{"failed at planning", rollover.Task{Item: planned, Progress: rollover.Progress{Outcome: rollover.Failed}}, false, false},
	} {
		if all, named := c.k.NotRetryable(false) == "", c.k.NotRetryable(true) == ""; all != c.all || named != c.named {
			t.Errorf("%s: retried with all %v, by name %v, want %v and %v", c.name, all, named, c.all, c.named)
		}
	}
}

func TestRotation_RetryInEachState(t *testing.T) {
	now := rollovertest.Epoch
	const none = rollover.RotationState("")
	for from, want := range map[rollover.RotationState]rollover.RotationState{
		rollover.StatePlanning: none, rollover.StatePlanned: none, rollover.StateRunning: rollover.StateRunning,
		rollover.StatePaused: rollover.StatePaused, rollover.StateCancelling: none, rollover.StateCancelled: none,
		rollover.StateSucceeded: rollover.StateRunning, rollover.StateFailed: rollover.StateRunning,
		rollover.StateUndoing: none, rollover.StateUndone: none,
	} {
		r := rollover.Rotation{State: from, Phase: rollover.PhaseRetire, EndedAt: now, Detail: "x"}
		got, err := r.Retry(9, "id", "why", now)
		switch {
		case want == none && (!errors.Is(err, rollover.ErrState) || got.State != from):
			t.Errorf("retrying in %s = %s, %v, want ErrState", from, got.State, err)
		case want != none && (err != nil || got.State != want || got.Phase != rollover.PhaseRetire || got.Reopened != 9):
			t.Errorf("retrying in %s = %s/%s, %v, want %s in its phase", from, got.State, got.Phase, err, want)
		case from == rollover.StateFailed && (!got.EndedAt.IsZero() || got.Detail != ""):
			t.Errorf("retrying in %s leaves %q, ended %s", from, got.Detail, got.EndedAt)
		}
	}
	paused := rollover.Rotation{State: rollover.StatePaused, Undo: &rollover.Undo{N: 1}}
	if _, err := paused.Retry(1, "", "", now); !errors.Is(err, rollover.ErrState) {
		t.Errorf("retrying while an undo is paused = %v, want ErrState", err)
	}
}

// A target that is still not as planned is in conflict again; one that was mended
// is rotated.
func TestAdvance_RetriedConflictObeysThePlan(t *testing.T) {
	w := newWorld(t)
	target := w.plan[0].Target
	planned := w.cloud.Standing(target).Standing
	w.cloud.Set(target, planned[1])
	w.ledger.Before[target] = w.cloud.Standing(target)
	for _, mended := range []bool{false, true} {
		if k := w.finish(t)[0]; k.Outcome != rollover.Conflict {
			t.Fatalf("the task ended as %s, want conflict", k.Outcome)
		}
		if mended {
			w.cloud.Set(target, planned...)
			w.ledger.Before[target] = w.cloud.Standing(target)
		}
		_, err := w.store.SaveTask(t.Context(), w.tasks(t)[0].Retry("", w.now))
		check(t, err)
	}
	w.allRotated(t, w.finish(t))
}

// A nudge of before a task was opened again is void: what may be at risk was decided
// anew since. So it is where its worker was lost.
func TestTake_ANudgeOfBeforeARetryIsVoid(t *testing.T) {
	for _, undo := range []bool{false, true} {
		w := newWorld(t)
		id := rollover.TaskID{Rotation: rotationID, Ord: 0}
		k, err := w.store.Task(t.Context(), id)
		check(t, err)
		k.Outcome, k.Reason = rollover.Failed, rollover.TriesUsedUp
		k, err = w.store.SaveTask(t.Context(), k)
		check(t, err)
		if undo {
			w.change(t, func(r rollover.Rotation) (rollover.Rotation, error) {
				return r.BeginUndo(rollover.UndoScope{All: true}, "", "", w.now)
			})
			w.ledger.Undone = true
			k = k.GoBack(1, w.now)
		} else {
			k = k.Retry("", w.now)
		}
		k, err = w.store.SaveTask(t.Context(), k)
		check(t, err)
		take := func(opened int, lost bool) rollover.Task {
			t.Helper()
			got, err := w.engine().Take(t.Context(), rollover.Nudge{Rotation: rotationID, Opened: opened}, lost)
			check(t, err)
			return got
		}
		for _, lost := range []bool{false, true} {
			if got := take(k.Opened(), lost); got.Rev != k.Rev || len(w.cloud.Journal()) != 0 {
				t.Errorf("a void nudge, lost: %t, undo: %t, led to %s/%s with %d writes", lost, undo, got.Phase, got.Outcome, len(w.cloud.Journal()))
			}
		}
		if got := take(k.Opened()+1, false); got.Rev == k.Rev {
			t.Errorf("the nudge of after it, undo: %t, led to nothing", undo)
		}
		if got := take(0, false); got.Rev < k.Rev {
			t.Errorf("the nudge of an older build led to version %d, want %d or a later one", got.Rev, k.Rev)
		}
		w.ledger.Check(t, rotationID)
	}
}

// However failures come, are accepted, are retried and waves are opened: no more
// are left out of account than those that were accepted and have failed still.
func TestBudget_RetryNeverLoosensIt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "tasks")
		b := rollover.NewBoard(rollovertest.Plan(n))
		state := make([]rollover.Progress, n)
		accepted, before := map[int]bool{}, map[int]bool{} // failures accepted, and from before the wave, that are failures still
		r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{
			Tolerance: rollover.Tolerance{Mode: rollover.Strict, Limit: 3}, Strategy: rollover.Strategy{Start: rollover.SlowStart},
		}}
		for i := range state {
			state[i] = rollover.Progress{Phase: rollover.Planned}
		}
		for seq := uint64(1); seq < 40; seq++ {
			ord := rapid.IntRange(0, n-1).Draw(rt, "task")
			k := rollover.Task{Progress: state[ord]}
			switch rapid.IntRange(0, 4).Draw(rt, "move") {
			case 0:
				paused := r
				paused.State = rollover.StatePaused
				r, _ = paused.Resume(true, b.Counts(), rollovertest.Epoch)
				for i := range state {
					accepted[i] = state[i].Outcome == rollover.Failed
				}
				continue
			case 1:
				r.WaveNumber, r.WaveBase, r.WaveRetried = r.WaveNumber+1, b.Counts().Broken, b.Counts().Retried
				for i := range state {
					before[i] = state[i].Outcome == rollover.Failed
				}
				continue
			case 2:
				if k.NotRetryable(false) != "" {
					continue
				}
				k = k.Retry("", rollovertest.Epoch)
				delete(accepted, ord)
				delete(before, ord)
			default:
				if k.Outcome != rollover.Open {
					continue
				}
				k.Outcome = rollover.Failed
			}
			state[ord] = k.Progress
			b.Apply(ord, state[ord], seq)
			failed, unaccepted, inWave := 0, 0, 0
			for i := range state {
				if state[i].Outcome != rollover.Failed {
					continue
				}
				failed++
				if !accepted[i] {
					unaccepted++
				}
				if !accepted[i] && !before[i] {
					inWave++
				}
			}
			c := b.Counts()
			if got := r.Budget(c).Failed; got < unaccepted || got > failed {
				rt.Fatalf("Budget = %d failed, want at least the %d not accepted and at most all %d", got, unaccepted, failed)
			}
			if w, ok := r.Wave(c); ok && (w.Failed < inWave || w.Failed > failed) {
				rt.Fatalf("Wave = %d failed, want at least the %d of the wave and at most all %d", w.Failed, inWave, failed)
			}
		}
	})
}

func TestOnlyTargets_TheFailedAndTheirOtherHalves(t *testing.T) {
	plan := rollovertest.Plan(6)
	plan[1].Siblings, plan[2].Siblings = []int{2}, []int{1}
	plan[5].Outcome, plan[5].Reason = rollover.HandedOver, rollover.NoAccess
	whole := rollover.Task{Item: rollover.Item{Tenant: "tenant-4", Target: rollover.Target{Kind: "acs-x509"}}, Progress: rollover.Progress{Outcome: rollover.Failed}}
	one := rollover.Task{Item: plan[1], Progress: rollover.Progress{Outcome: rollover.Conflict}}
	failed := map[rollover.Target]bool{}
	for _, k := range []rollover.Task{whole, one, {Item: plan[0], Progress: rollover.Progress{Outcome: rollover.Succeeded}}} {
		if target, ok := k.FailedTarget(); ok {
			failed[target] = true
		}
	}
	for i, it := range rollover.OnlyTargets(plan, failed, "r0") {
		want := map[int]rollover.Reason{0: rollover.NotSelected, 3: rollover.NotSelected, 5: rollover.NoAccess}[i]
		if it.Reason != want || (want == rollover.NotSelected) != (it.Outcome == rollover.Skipped) {
			t.Errorf("item %d is %s/%s, want %q", i, it.Outcome, it.Reason, want)
		}
	}
}

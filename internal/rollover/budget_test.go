package rollover_test

import (
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestBudget_TheOneRule(t *testing.T) {
	tasks := func(n int) rollover.Tolerance { return rollover.Tolerance{Mode: rollover.Strict, Limit: n} }
	percent := func(n int) rollover.Tolerance {
		return rollover.Tolerance{Mode: rollover.Strict, Limit: n, Percent: true}
	}
	soft := rollover.Tolerance{Mode: rollover.Soft, Limit: 2}
	for _, c := range []struct {
		name          string
		tolerance     rollover.Tolerance
		total, failed int
		allowed, room int
		exceeded      bool
	}{
		{"0: nothing failed", tasks(0), 10, 0, 0, 1, false},
		{"0: the first failure stops", tasks(0), 10, 1, 0, 0, true},
		{"2: two failed", tasks(2), 10, 2, 2, 1, false},
		{"2: the third stops", tasks(2), 10, 3, 2, 0, true},
		{"more tolerated than there are", tasks(50), 10, 10, 50, 41, false},
		{"10 % of 19 is 1", percent(10), 19, 1, 1, 1, false},
		{"10 % of 20 is 2", percent(10), 20, 1, 2, 2, false},
		{"10 % of 9 is none", percent(10), 9, 1, 0, 0, true},
		{"0 %", percent(0), 100, 1, 0, 0, true},
		{"100 %: all may fail", percent(100), 7, 7, 7, 1, false},
		{"one target, it fails", percent(10), 1, 1, 0, 0, true},
		{"one target, 100 %", percent(100), 1, 1, 1, 1, false},
		{"nothing to be worked on: all skipped", percent(10), 0, 0, 0, 1, false},
		{"soft: full speed", soft, 10, 2, 2, 10, false},
		{"soft: stops", soft, 10, 3, 2, 0, true},
		{"no tolerance, as before there were any", rollover.Tolerance{}, 10, 10, 0, 10, false},
	} {
		b := rollover.Budget{Tolerance: c.tolerance, Total: c.total, Failed: c.failed}
		if got := b.Allowed(c.total); got != c.allowed || b.Room() != c.room || b.Exceeded() != c.exceeded {
			t.Errorf("%s: Allowed = %d, Room = %d, Exceeded = %v; want %d, %d, %v",
				c.name, got, b.Room(), b.Exceeded(), c.allowed, c.room, c.exceeded)
		}
	}
}

// Only failures of tasks that were begun are counted: not what planning decided,
// what was handed over or found in conflict.
func TestBudget_WhatIsAFailure(t *testing.T) {
	plan := rollovertest.Plan(8)
	plan[0].Outcome, plan[0].Reason = rollover.Failed, rollover.InventoryUnreadable
	plan[1].Outcome, plan[1].Reason = rollover.Skipped, rollover.NotACS
	b := rollover.NewBoard(plan)
	for ord, o := range map[int]rollover.Outcome{2: rollover.HandedOver, 3: rollover.Conflict, 4: rollover.Skipped, 5: rollover.Failed, 6: rollover.Succeeded} {
		b.Apply(ord, rollover.Progress{Phase: rollover.Staged, Outcome: o}, uint64(ord))
	}
	r := rollover.Rotation{Spec: rollover.Spec{Tolerance: rollover.Tolerance{Mode: rollover.Strict}}}
	if got := r.Budget(b.Counts()); got.Total != 6 || got.Failed != 1 {
		t.Errorf("Budget = %d failed of %d, want 1 of 6", got.Failed, got.Total)
	}
}

func TestRotation_ExceededGoesOnOnlyWhenAccepted(t *testing.T) {
	now := rollovertest.Epoch
	c := rollover.Counts{Workable: 10, Broken: 2, OpenTasks: 5}
	r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{Tolerance: rollover.Tolerance{Mode: rollover.Strict, Limit: 1}}}
	b := r.Budget(c)
	if !b.Exceeded() {
		t.Fatalf("%+v is not exceeded", b)
	}
	stopped, err := r.Exceed(b, now)
	if err != nil || stopped.State != rollover.StatePaused || !stopped.Exceeded ||
		stopped.Detail != "failure tolerance exceeded: 2 of 10 tasks failed, 1 are tolerated (1)" {
		t.Fatalf("Exceed = %+v, %v", stopped, err)
	}
	if got, err := stopped.Resume(false, c, now); err == nil || got.State != rollover.StatePaused {
		t.Errorf("Resume without accepting = %s, %v, want ErrState", got.State, err)
	}
	c.Broken = 3 // One was in hand.
	got, err := stopped.Resume(true, c, now)
	if err != nil || got.State != rollover.StateRunning || got.Exceeded || got.Budget(c).Exceeded() || got.Budget(c).Room() != 2 {
		t.Errorf("Resume = %+v, %v, want it running with a budget as at the start", got, err)
	}
	c.Broken = 5
	if !got.Budget(c).Exceeded() {
		t.Errorf("two failures more than were accepted do not exceed a tolerance of 1: %+v", got.Budget(c))
	}
}

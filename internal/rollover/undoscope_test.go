package rollover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestUndoScope_CoversAPartOrAll(t *testing.T) {
	plan := rollovertest.Plan(10)
	plan[0].Outcome = rollover.Skipped
	plan[3].Siblings, plan[4].Siblings = []int{4}, []int{3}
	plan[5].Endpoints = append(plan[5].Endpoints, rollover.EndpointRef{Tenant: "tenant-9"})
	ks := make([]rollover.Task, len(plan))
	for i, it := range plan {
		ks[i] = rollover.Task{ID: rollover.TaskID{Ord: i}, Item: it, Progress: it.Start(), Rev: uint64(i)}
	}
	ks[8].Rev = 0
	ks[9].Outcome = rollover.Undone
	r := rollover.Rotation{Tasks: 10, Spec: rollover.Spec{Strategy: rollover.Strategy{Start: rollover.SlowStart}}}
	for _, c := range []struct {
		name  string
		scope rollover.UndoScope
		want  []int
	}{
		{"all, also what was not begun", rollover.UndoScope{All: true}, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{"a tenant, and what it shares", rollover.UndoScope{Tenants: []string{"tenant-9", "tenant-1"}}, []int{1, 5}},
		{"a task with its sibling", rollover.UndoScope{Tasks: []int{4}}, []int{3, 4}},
		{"what planning decided, or is undone", rollover.UndoScope{Tasks: []int{0, 9}}, nil},
		{"what was not begun", rollover.UndoScope{Tasks: []int{8}}, []int{8}},
		{"the second wave", rollover.UndoScope{Wave: 2}, []int{2, 3, 4}},
		{"no wave", rollover.UndoScope{Wave: 9}, nil},
	} {
		got, err := c.scope.Covers(r, rollover.Counts{Workable: 9}, func(from, to int) ([]rollover.Task, error) { return ks[from:to], nil })
		var ords []int
		for _, k := range got {
			ords = append(ords, k.ID.Ord)
		}
		if err != nil || !slices.Equal(ords, c.want) {
			t.Errorf("%s: Covers = %v, %v, want %v", c.name, ords, err, c.want)
		}
	}
}

// A rotation that failed by nothing but an undo is what it was once another undo has
// taken the rest back, and not before.
func TestRotation_AnotherUndoMendsWhatOneLeft(t *testing.T) {
	at := func(h int) time.Time { return rollovertest.Epoch.Add(time.Duration(h) * time.Hour) }
	r := rollover.Rotation{State: rollover.StateSucceeded, Detail: "well", Phase: rollover.PhaseRetire}
	undo := func(h int, scope rollover.UndoScope, undos map[int]rollover.UndoCounts) {
		t.Helper()
		var err error
		if r, err = r.BeginUndo(scope, "why", "", at(h)); err != nil {
			t.Fatal(err)
		}
		r = r.EndUndo(rollover.Counts{Undos: undos}, at(h+1))
	}
	is := func(state rollover.RotationState, detail string) {
		t.Helper()
		if r.State != state || r.Detail != detail {
			t.Errorf("it is %s (%q), want %s (%q)", r.State, r.Detail, state, detail)
		}
	}
	a, b := rollover.UndoScope{Tenants: []string{"a"}}, rollover.UndoScope{Tenants: []string{"b"}}
	undo(0, a, map[int]rollover.UndoCounts{1: {Covered: 3, Undone: 1, Failed: 2}})
	is(rollover.StateFailed, "2 of 3 tasks could not be undone")
	undo(2, b, map[int]rollover.UndoCounts{1: {Covered: 3, Undone: 1, Failed: 2}, 2: {Covered: 4, Undone: 4}})
	is(rollover.StateFailed, "2 of 7 tasks could not be undone")
	undo(4, a, map[int]rollover.UndoCounts{1: {Covered: 1, Undone: 1}, 2: {Covered: 4, Undone: 4}, 3: {Covered: 2, Undone: 2}})
	is(rollover.StateSucceeded, "well")

	r = rollover.Rotation{State: rollover.StateFailed, Detail: "1 task failed"}
	undo(0, a, map[int]rollover.UndoCounts{1: {Covered: 1, Undone: 1}})
	is(rollover.StateFailed, "1 task failed")

	r = rollover.Rotation{State: rollover.StateSucceeded}
	undo(0, a, map[int]rollover.UndoCounts{1: {Covered: 1, Failed: 1}})
	r.Detail, r.EndedAt = "it failed anew", at(3) // After a retry of others.
	undo(4, a, map[int]rollover.UndoCounts{2: {Covered: 1, Undone: 1}})
	is(rollover.StateFailed, "it failed anew")
}

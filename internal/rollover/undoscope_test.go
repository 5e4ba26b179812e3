package rollover_test

import (
	"slices"
	"testing"

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

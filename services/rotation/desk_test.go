package rotation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// letters lists all pages of so many and returns the names of the tasks.
func (h *house) letters(t *testing.T, server int, req *pb.ListDeadLettersRequest) []string {
	t.Helper()
	var out []string
	for {
		resp, err := h.desks[server].ListDeadLetters(t.Context(), req)
		if err != nil {
			t.Fatalf("ListDeadLetters(%v) = %v", req, err)
		}
		for _, l := range resp.GetDeadLetters() {
			out = append(out, l.GetTask().GetName())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return out
		}
	}
}

func tasksOf(r *pb.Rotation, ords ...int) []string {
	var out []string
	for _, ord := range ords {
		out = append(out, fmt.Sprintf("%s/tasks/%06d", r.GetName(), ord))
	}
	return out
}

func TestListDeadLetters_AllRotationsByPageAndFilter(t *testing.T) {
	h := open(t, nil)
	old, fresh := h.ended(t), h.ended(t)
	want := append(tasksOf(fresh, 0, 1, 2, 3), tasksOf(old, 0, 1, 2, 3)...)
	for size := range int32(4) {
		if got := h.letters(t, int(size%2), &pb.ListDeadLettersRequest{PageSize: size}); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", size, got, want)
		}
	}
	for filter, want := range map[string][]string{
		"outcome = OUTCOME_CONFLICT":                                    append(tasksOf(fresh, 2), tasksOf(old, 2)...),
		"rotation = \"" + old.GetName() + "\"":                          tasksOf(old, 0, 1, 2, 3),
		"outcome = OUTCOME_FAILED AND since > \"2100-01-01T00:00:00Z\"": nil,
		"NOT retriable": nil,
	} {
		if got := h.letters(t, 0, &pb.ListDeadLettersRequest{Filter: filter}); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	_, err := h.desks[0].ListDeadLetters(t.Context(), &pb.ListDeadLettersRequest{Filter: "colour = \"red\""})
	refused(t, err, codes.InvalidArgument, "FILTER_INVALID")
	_, err = h.desks[0].ListDeadLetters(t.Context(), &pb.ListDeadLettersRequest{PageToken: "x"})
	refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")

	sum, err := h.desks[0].SummarizeDeadLetters(t.Context(), &pb.SummarizeDeadLettersRequest{})
	if err != nil || len(sum.GetGroups()) != 3 || sum.GetTruncated() {
		t.Fatalf("SummarizeDeadLetters = %v, %v, want three groups", sum, err)
	}
	if g := sum.GetGroups()[0]; g.GetOutcome() != pb.RotationTask_OUTCOME_FAILED || g.GetCount() != 4 || g.GetTenantCount() != 2 ||
		!slices.Equal(g.GetSampleTasks(), append(tasksOf(fresh, 0, 1), tasksOf(old, 0, 1)...)) {
		t.Errorf("the first group is %v, want 4 that failed of 2 tenants", g)
	}
}

// A letter goes when a newer rotation succeeds on its target, and not before.
func TestListDeadLetters_WhatANewerRotationDidIsLeftOut(t *testing.T) {
	h := open(t, nil)
	old := h.ended(t)
	newer := h.start(t, h.plan(t, h.create(t).GetName(), 6))
	h.save(t, newer.GetName(), 1, rollover.Retired, rollover.Succeeded)
	h.save(t, newer.GetName(), 2, rollover.Staged, rollover.Failed)
	h.told(t, newer.GetName(), func(c *pb.TaskCounts) bool { return c.GetSucceeded() == 1 && c.GetFailed() == 1 })
	want := append(tasksOf(newer, 2), tasksOf(old, 0, 2, 3)...)
	if got := h.letters(t, 0, &pb.ListDeadLettersRequest{}); !slices.Equal(got, want) {
		t.Errorf("letters = %v, want %v", got, want)
	}
	resp, err := h.desks[0].ListDeadLetters(t.Context(), &pb.ListDeadLettersRequest{IncludeSuperseded: true})
	if err != nil || len(resp.GetDeadLetters()) != 5 || !resp.GetDeadLetters()[2].GetSuperseded() || resp.GetDeadLetters()[1].GetSuperseded() {
		t.Errorf("all letters = %v, %v, want five, and task 1 of the old rotation superseded", resp, err)
	}
}

// counting counts how often tasks are read with their plan.
type counting struct {
	rotation.Mirror
	reads *atomic.Int64
}

func (c counting) Tasks(ctx context.Context, id string, from, to int) ([]rollover.Task, error) {
	c.reads.Add(int64(to - from))
	return c.Mirror.Tasks(ctx, id, from, to)
}

// A page costs what it shows: of 20,000 tasks 200 want a person, and a page of 100
// reads one more than 100 of them.
func TestListDeadLetters_APageOfALargeRotationIsCheap(t *testing.T) {
	var reads atomic.Int64
	h := open(t, func(c *rotation.Config) { c.Mirror = counting{c.Mirror, &reads} })
	name := h.create(t).GetName()
	id, _ := edge.ParseRotation(name)
	r, err := h.store.Rotation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	const tasks = 20_000
	items := rollovertest.Plan(tasks)
	for i := range items {
		if i%100 == 7 {
			items[i].Outcome, items[i].Reason = rollover.HandedOver, rollover.NoAccess
		}
	}
	if r, err = r.Freeze(items, h.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.FreezePlan(context.Background(), r, items); err != nil {
		t.Fatal(err)
	}
	h.get(t, name) // The mirror has read the plan.
	reads.Store(0)
	resp, err := h.desks[0].ListDeadLetters(t.Context(), &pb.ListDeadLettersRequest{})
	if err != nil || len(resp.GetDeadLetters()) != 100 || resp.GetNextPageToken() == "" {
		t.Fatalf("the first page has %d letters, %v, want 100 and more to come", len(resp.GetDeadLetters()), err)
	}
	if n := reads.Load(); n > 101 {
		t.Errorf("a page of 100 read %d tasks", n)
	}
	if got := h.letters(t, 0, &pb.ListDeadLettersRequest{PageSize: 60}); len(got) != tasks/100 || !strings.HasSuffix(got[0], "/000007") {
		t.Errorf("all pages have %d letters, want %d from task 7 on", len(got), tasks/100)
	}
	l := resp.GetDeadLetters()[0]
	if l.GetRetriable() || l.GetSinceTime().AsTime().IsZero() || l.GetTask().GetHint() == "" {
		t.Errorf("what planning decided is told as %v, want it not retriable, with an instant and a hint", l)
	}
}

// A letter says of itself what RetryRotationTasks says of it, whatever its rotation
// is, and whatever took the task there.
func TestListDeadLetters_RetriableIsWhatRetryTakes(t *testing.T) {
	for name, c := range map[string]struct {
		state rollover.RotationState
		undo  bool // the tasks were undone, and not taken back
		want  int
	}{
		"failed":                 {rollover.StateFailed, false, 4},
		"running":                {rollover.StateRunning, false, 4},
		"cancelled":              {rollover.StateCancelled, false, 0},
		"undone":                 {rollover.StateUndone, false, 0},
		"failed to undo":         {rollover.StateFailed, true, 0},
		"running after a part's": {rollover.StateRunning, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, nil)
			r := h.ended(t)
			id, _ := edge.ParseRotation(r.GetName())
			for ord := range 4 {
				k, err := h.store.Task(t.Context(), rollover.TaskID{Rotation: id, Ord: ord})
				if err != nil {
					t.Fatal(err)
				}
				if c.undo {
					k.Undo = 1
				}
				if _, err := h.store.SaveTask(t.Context(), k); err != nil {
					t.Fatal(err)
				}
			}
			h.write(t, r.GetName(), func(r *rollover.Rotation) { r.State = c.state })
			resp, err := h.desks[0].ListDeadLetters(t.Context(), &pb.ListDeadLettersRequest{})
			if err != nil || len(resp.GetDeadLetters()) != 4 {
				t.Fatalf("ListDeadLetters = %v, %v, want four", resp, err)
			}
			if got := len(h.letters(t, 0, &pb.ListDeadLettersRequest{Filter: "retriable"})); got != c.want {
				t.Errorf("%d are retriable, want %d", got, c.want)
			}
			for _, l := range resp.GetDeadLetters() {
				_, err := h.client().RetryRotationTasks(t.Context(), &pb.RetryRotationTasksRequest{
					Parent: r.GetName(), Names: []string{l.GetTask().GetName()}, Reason: "mended",
				})
				if taken := err == nil; taken != l.GetRetriable() {
					t.Errorf("%s is retriable: %t, and RetryRotationTasks = %v", l.GetTask().GetName(), l.GetRetriable(), err)
				}
			}
		})
	}
}

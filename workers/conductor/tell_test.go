package conductor_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/workers/conductor"
)

// desk is a store with one plan, and keeps what it is told; the rest of a store is not
// asked for.
type desk struct {
	conductor.Store
	plan    []rollover.Item
	records []audit.Record
	saved   int
}

func (d *desk) Tell(_ context.Context, rs ...audit.Record) error {
	d.records = append(d.records, rs...)
	return nil
}

func (d *desk) Plan(_ context.Context, _ string, from, to int) ([]rollover.Item, error) {
	return d.plan[from:min(to, len(d.plan))], nil
}

func (d *desk) SaveTasks(_ context.Context, ks []rollover.Task) ([]rollover.Task, error) {
	d.saved += len(ks)
	return ks, nil
}

func (d *desk) SaveRotation(_ context.Context, r rollover.Rotation) (rollover.Rotation, error) {
	return r, nil
}

func (d *desk) FreezePlan(_ context.Context, r rollover.Rotation, plan []rollover.Item) (rollover.Rotation, error) {
	d.plan = plan
	return r, nil
}

// positions reads "0-4,7".
func positions(t *testing.T, text string) []int {
	t.Helper()
	var out []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, two := strings.Cut(part, "-")
		if !two {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil {
			t.Fatalf("%q are no positions", text)
		}
		for n := from; n <= to; n++ {
			out = append(out, n)
		}
	}
	return out
}

// Of many tasks that end at once each is told, with whose it is, in records that fit.
func TestTelling_EveryTaskAndWhoseItIs(t *testing.T) {
	d := &desk{}
	for ord := range 3000 {
		d.plan = append(d.plan, rollover.Item{Ord: ord, Tenant: fmt.Sprint("t", ord/3)})
	}
	d.plan[10].Endpoints = []rollover.EndpointRef{{Tenant: "other"}}
	var ks []rollover.Task
	for ord := range 3000 {
		if ord%7 == 0 {
			continue
		}
		k := rollover.Task{ID: rollover.TaskID{Rotation: "r1", Ord: ord}}
		k.Outcome = rollover.Cancelled
		if ord%2 == 1 && ord > 1500 {
			k.Outcome = rollover.Open
			k.Undo = 2
		}
		ks = append(ks, k)
	}
	s := conductor.Telling(d, d)
	if _, err := s.SaveTasks(t.Context(), ks); err != nil || d.saved != len(ks) {
		t.Fatalf("SaveTasks = %v, %d saved", err, d.saved)
	}
	told := map[int]bool{}
	shelf := nowhere{}
	if err := audit.NewLog(shelf, nil, nil).Tell(t.Context(), stamped(d.records)...); err != nil {
		t.Fatal(err) // It is larger than fits.
	}
	for _, r := range d.records {
		if r.Object != "rotations/r1" || len(r.Detail["ords"]) > 512 || (r.Detail["outcome"] == "") != (r.Detail["undo"] == "2") {
			t.Errorf("told %+v", r)
		}
		ords := positions(t, r.Detail["ords"])
		if fmt.Sprint(len(ords)) != r.Detail["tasks"] {
			t.Errorf("%s tasks are %s", r.Detail["tasks"], r.Detail["ords"])
		}
		for _, ord := range ords {
			if told[ord] {
				t.Errorf("task %d is told twice", ord)
			}
			told[ord] = true
			for _, name := range d.plan[ord].Tenants() {
				if !r.Concerns(name) {
					t.Errorf("the record of task %d is not about %s", ord, name)
				}
			}
		}
	}
	if len(told) != len(ks) || len(d.records) > 100 {
		t.Errorf("%d of %d tasks are told in %d records", len(told), len(ks), len(d.records))
	}
}

// nowhere is a log that keeps nothing.
type nowhere struct{}

func (nowhere) AppendAudit(context.Context, string, []byte) error { return nil }

// stamped gives records a time, for a log without a clock.
func stamped(rs []audit.Record) []audit.Record {
	out := make([]audit.Record, len(rs))
	for i, r := range rs {
		r.At = switchAt
		out[i] = r
	}
	return out
}

// What planning itself decided is counted beside the digest of the plan that is frozen,
// and a decision that did not change is told once.
func TestTelling_WhatPlanningDecided(t *testing.T) {
	d := &desk{}
	s := conductor.Telling(d, d)
	r := rollover.Rotation{ID: "r1", State: rollover.StatePlanned, Digest: "abc", Detail: "contoso waits"}
	plan := []rollover.Item{{}, {}, {Outcome: rollover.HandedOver, Reason: "no_access"}, {Outcome: rollover.Skipped, Reason: "not_acs"}, {Outcome: rollover.Skipped, Reason: "not_acs"}}
	for range 2 {
		if _, err := s.FreezePlan(t.Context(), r, plan); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.records) != 1 {
		t.Fatalf("%d records of one plan, want 1", len(d.records))
	}
	for key, want := range map[string]string{
		"plan_digest": "abc", "tasks": "5", "planned open": "2", "planned handed_over": "1", "planned handed_over no_access": "1", "planned skipped not_acs": "2",
	} {
		if got := d.records[0].Detail[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if d.records[0].Detail["why"] != "" || d.records[0].Private["why"] != "contoso waits" {
		t.Errorf("told %+v, want the sentence sealed", d.records[0])
	}
}

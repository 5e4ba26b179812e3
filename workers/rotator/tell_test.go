package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/workers/rotator"
)

// desk keeps records and tasks, or refuses records.
type desk struct {
	records []audit.Record
	saved   []rollover.TaskID
	err     error
}

func (d *desk) Tell(_ context.Context, rs ...audit.Record) error {
	if d.err == nil {
		d.records = append(d.records, rs...)
	}
	return d.err
}

func (d *desk) Task(context.Context, rollover.TaskID) (rollover.Task, error) {
	return rollover.Task{}, rollover.ErrNotFound
}

func (d *desk) SaveTask(_ context.Context, k rollover.Task) (rollover.Task, error) {
	d.saved = append(d.saved, k.ID)
	return k, nil
}

func task(ord int) rollover.Task {
	k := rollover.Task{ID: rollover.TaskID{Rotation: "r1", Ord: ord}, Item: rollover.Item{Tenant: "contoso", Target: rollover.Target{Kind: "acs-x509", Host: "h"}}}
	k.Phase = rollover.Staged
	return k
}

func TestTeller_TellsBeforeItSaves(t *testing.T) {
	d := &desk{}
	tell := &rotator.Teller{Tasks: d, To: d}
	k := task(7)
	tell.Tried(k, rollover.StepStage, time.Second, errors.New("lost"))
	tell.Tried(k, rollover.StepStage, time.Second, nil)
	if _, err := tell.SaveTask(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if len(d.records) != 1 || len(d.saved) != 1 {
		t.Fatalf("%d records and %d saved tasks, want one each", len(d.records), len(d.saved))
	}
	r := d.records[0]
	if r.Object != "rotations/r1/tasks/000007" || r.Outcome != audit.Done || r.Tenant != "contoso" || r.Detail["steps"] != "stage failed, stage ok" || r.Detail["phase"] != "staged" {
		t.Errorf("told %+v", r)
	}
	// The next save has nothing of it.
	if _, err := tell.SaveTask(t.Context(), k); err != nil || d.records[1].Detail["steps"] != "" {
		t.Errorf("told %+v, %v, want no steps", d.records[1], err)
	}
}

// What could not be told is not saved, and is told with the next.
func TestTeller_WhatCouldNotBeToldIsToldLater(t *testing.T) {
	d := &desk{err: errors.New("no disk")}
	tell := &rotator.Teller{Tasks: d, To: d}
	k := task(7)
	tell.Tried(k, rollover.StepStage, 0, nil)
	if _, err := tell.SaveTask(t.Context(), k); !errors.Is(err, d.err) || len(d.saved) != 0 {
		t.Fatalf("SaveTask = %v with %d saved, want that it is not saved", err, len(d.saved))
	}
	tell.Tried(k, rollover.StepVerify, 0, nil)
	d.err = nil
	if _, err := tell.SaveTask(t.Context(), k); err != nil || d.records[0].Detail["steps"] != "stage ok, verify ok" {
		t.Errorf("told %+v, %v, want both steps", d.records, err)
	}
}

// Tasks that this process gave up leave room for others.
func TestTeller_TasksThatWereGivenUpAreForgottenFirst(t *testing.T) {
	d := &desk{}
	tell := &rotator.Teller{Tasks: d, To: d}
	for ord := range 10_000 {
		tell.Tried(task(ord), rollover.StepStage, 0, nil)
	}
	for ord, want := range map[int]string{9_999: "stage ok", 0: ""} {
		d.records = nil
		if _, err := tell.SaveTask(t.Context(), task(ord)); err != nil || d.records[0].Detail["steps"] != want {
			t.Errorf("of task %d it tells %q, %v, want %q", ord, d.records[0].Detail["steps"], err, want)
		}
	}
}

// A target of very many tenants is told to each of them.
func TestTeller_EveryTenantOfATarget(t *testing.T) {
	d := &desk{}
	tell := &rotator.Teller{Tasks: d, To: d}
	k := task(7)
	for i := range 200 {
		k.Item.Endpoints = append(k.Item.Endpoints, rollover.EndpointRef{Tenant: fmt.Sprint("t", i/2)})
	}
	if _, err := tell.SaveTask(t.Context(), k); err != nil || len(d.records) != 2 || len(d.saved) != 1 {
		t.Fatalf("%d records, %v, want 2 of 101 tenants", len(d.records), err)
	}
	for _, name := range append([]string{"contoso"}, "t0", "t50", "t99") {
		if d.records[0].Concerns(name) == d.records[1].Concerns(name) {
			t.Errorf("%s is told %t and %t, want in one of both", name, d.records[0].Concerns(name), d.records[1].Concerns(name))
		}
	}
}

package e2e_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// quota is what each of three NATS servers may keep on its disk: what this test's
// streams reserve (64 MiB of records, 40 MiB of nudges and leases), and some.
const quota = 128 << 20

// fill uses up the disk quota of the brokers with a stream of somebody else's, and
// returns how to give it back.
func (f *fleet) fill(urls string) (empty func()) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	nc, err := nats.Connect(urls)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "FILLER", Subjects: []string{"filler"}, Replicas: 3}); err != nil {
		f.t.Fatal(err)
	}
	for piece := make([]byte, 900<<10); err == nil; {
		_, err = js.Publish(ctx, "filler", piece)
	}
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		f.t.Fatalf("filling the disk quota ended with %v, want a refusal of the broker", err)
	}
	f.t.Logf("filled until: %v", err)
	return func() {
		f.t.Helper()
		ctx, cancel := context.WithTimeout(f.t.Context(), patience)
		defer cancel()
		err := js.DeleteStream(ctx, "FILLER")
		for ; err != nil && ctx.Err() == nil && !errors.Is(err, jetstream.ErrStreamNotFound); err = js.DeleteStream(ctx, "FILLER") {
			// The servers elect who may do it: each that finds itself full steps down.
			f.t.Logf("giving the room back: %v", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			f.t.Fatal(err)
		}
	}
}

// Somebody else's stream uses up the brokers' disks in the middle of a rotation: a new
// one is refused as such, the one that runs waits, and when there is room again it goes
// on by itself, with nothing lost and nothing done twice.
func TestFull_WhatRunsGoesOnByItself(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 60, Seed: 12, Latency: 100 * time.Millisecond})
	tr := f.truth()
	_, urls := f.cluster(quota)
	f.serve("--config", f.config("crossfade.yaml", func(c *daemon.Config) {
		c.NATS.URL, c.NATS.Replicas, c.NATS.MaxStore, c.Workers.TaskSlots = urls, 3, 64<<20, 2
	}))
	f.setUp()
	name, watch := f.watched()
	f.written(3)
	empty := f.fill(urls)
	// A server over its quota campaigns no more: a stream may be without a leader until
	// there is room, and then nothing is refused or shown but for that reason.
	if out, status := f.run(f.rotateFlags("--plan-only", "--lane", "urgent")...); status == 0 || !strings.Contains(out, "STORAGE_") {
		t.Errorf("a new rotation on full disks: exit status %d, want STORAGE_FULL:\n%s", status, out)
	}
	if out, status := f.run("rotation", "show", name); !strings.Contains(out, "running") && (status == 0 || !strings.Contains(out, "STORAGE_UNAVAILABLE")) {
		t.Errorf("the rotation that runs is shown with exit status %d as\n%s", status, out)
	}
	tr.check(t)
	writes := f.cloud.ACS().Counters().Writes
	empty()
	f.written(10) // Of the first phase: nothing old may go yet.
	t.Logf("%d writes until there was room again", writes)
	if out := f.ok("rotation", "show", name); !strings.Contains(out, "running") {
		t.Errorf("with room again, the rotation is shown as\n%s", out)
	}
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if out, status := f.run("rotation", "watch", name); status != 0 {
		t.Errorf("watching to the end: exit status %d:\n%s", status, out)
	}
	if status := watch.ends(); status != 0 {
		t.Errorf("the watch of before ended with %d:\n%s", status, watch.said())
	}
	tr.finished(t)
}

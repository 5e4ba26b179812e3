package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// newScene makes the world of a golden store as it stood when the build was
// killed, with the store in the data directory.
func newScene(t *testing.T, g *golden) (*fleet, *truth) {
	t.Helper()
	f := newFleet(t, emulator.Config{Tenants: g.scene.Tenants, Seed: g.scene.Seed})
	f.advance(max(0, g.scene.Now.Sub(f.clock.Now())))
	tr := f.truth()
	tr.old, tr.new = g.scene.Old, g.scene.New
	for _, id := range g.identities {
		where := id.Host + " " + id.Name
		if _, there := tr.before[where]; !there {
			t.Fatalf("the emulator makes another world from seed %d than when the golden store was made: %s is not in it", g.scene.Seed, where)
		}
		before, now := g.keys(t, id.Before), g.keys(t, id.Now)
		if err := f.cloud.ACS().SetKeys(id.Host, id.Name, now); err != nil {
			// Two identities of one name cannot be told apart, by nobody.
			if !slices.EqualFunc(before, now, same) {
				t.Fatalf("%s: %v", where, err)
			}
			continue
		}
		tr.before[where] = before
	}
	g.restore(t, f.file("data"))
	return f, tr
}

// first returns the first message of a watch from a cursor on.
func (f *fleet) first(name, cursor string) *crossfadev1.WatchRotationResponse {
	f.t.Helper()
	conn, err := grpc.NewClient(f.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stream, err := crossfadev1.NewRotationServiceClient(conn).WatchRotation(f.t.Context(), &crossfadev1.WatchRotationRequest{Name: name, Cursor: cursor, IncludeTasks: true})
	if err != nil {
		f.t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil {
		f.t.Fatalf("watching %s from cursor %q: %v", name, cursor, err)
	}
	return m
}

// A rotation that an earlier build began, and left when it was killed, is finished
// by this one.
func TestUpgrade_WhatAnEarlierBuildBeganIsFinished(t *testing.T) {
	t.Parallel() // It waits more than it works.
	stores, err := filepath.Glob(filepath.Join(goldenDir, "*", "*.jsonl"))
	if err != nil || len(stores) == 0 {
		t.Fatalf("no golden stores in %s (%v)", goldenDir, err)
	}
	for _, path := range stores {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(path, goldenDir+"/"), ".jsonl"), func(t *testing.T) {
			g := readGolden(t, path)
			f, tr := newScene(t, g)
			f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
			f.finish(g.scene)
			tr.finished(t)
			if out := f.ok("rotation", "list"); !strings.Contains(out, strings.TrimPrefix(g.scene.Rotation, "rotations/")) {
				t.Errorf("rotation list does not show %s:\n%s", g.scene.Rotation, out)
			}
			report := f.ok("rotation", "report", g.scene.Rotation)
			for _, x := range f.cloud.World().Expected() {
				if !strings.Contains(report, x.Tenant) {
					t.Errorf("the report does not name %s:\n%s", x.Tenant, report)
				}
			}
		})
	}
}

// finish takes a rotation from where it was left to its end.
func (f *fleet) finish(sc scene) {
	f.t.Helper()
	name := sc.Rotation
	if sc.Cursor != "" { // The store is a copy, so its cursors are of another.
		m := f.first(name, sc.Cursor)
		if s := m.GetSnapshot(); s == nil || !s.GetReset_() {
			f.t.Errorf("watching from the cursor of another store begins with %v, want a snapshot that resets", m)
		}
	}
	switch sc.Moment {
	case "planning":
		p := start(f.t, crossfade, "--address", f.api, "rotation", "watch", name)
		p.says(`planned`)
		p.kill()
		f.ok("rotation", "start", name, "--digest", f.digest(name))
	case "planned":
		if out, status := f.run("rotation", "start", name, "--digest", strings.Repeat("0", 64)); status != 3 {
			f.t.Errorf("starting with another digest: exit status %d, want 3:\n%s", status, out)
		}
		f.ok("rotation", "start", name, "--digest", sc.Digest)
	case "paused":
		if out := f.ok("rotation", "show", name); !strings.Contains(out, "paused/stage") || !strings.Contains(out, "an upgrade") {
			f.t.Errorf("rotation show of a paused one said:\n%s", out)
		}
		f.ok("rotation", "resume", name)
	}
	if sc.Digest != "" && f.digest(name) != sc.Digest {
		f.t.Errorf("plan digest of %s = %s, want %s as it was frozen", name, f.digest(name), sc.Digest)
	}
	p := start(f.t, crossfade, "--address", f.api, "rotation", "watch", name)
	if sc.Now.Before(switchAt) {
		p.says(`running/overlap`)
		f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	}
	if status := p.ends(); status != 0 {
		f.t.Errorf("watching %s to its end: exit status %d, want 0:\n%s", name, status, p.said())
	}
}

// broker starts one NATS server and returns its URL.
func (f *fleet) broker() string {
	f.t.Helper()
	at := freePort(f.t)
	conf := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: always }\n", at, f.file("nats"))
	if err := os.WriteFile(f.file("nats.conf"), []byte(conf), 0o600); err != nil {
		f.t.Fatal(err)
	}
	start(f.t, natsServer, "-c", f.file("nats.conf")).says("Server is ready")
	return "nats://" + at
}

// Processes of two builds work on one rotation: one leads, the other takes over
// in the middle, workers of both write.
func TestUpgrade_TwoBuildsSideBySide(t *testing.T) {
	t.Parallel() // It waits more than it works.
	before := crossfade
	if *previous != "" {
		before = *previous
	}
	for name, programs := range map[string][2]string{"the earlier one leads first": {before, crossfade}, "the later one leads first": {crossfade, before}} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, emulator.Config{Tenants: 40, Seed: 12, Latency: 10 * time.Millisecond})
			tr := f.truth()
			f.cloud.ACS().SetFaults(acs.Faults{Seed: 2, Rules: []acs.FaultRule{
				{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultTimeoutApplied, Probability: 0.2},
			}})
			url := f.broker()
			config := f.config("crossfade.yaml", func(c *daemon.Config) { c.NATS.URL, c.NATS.Replicas, c.Workers.TaskSlots = url, 1, 2 })
			f.program = programs[0]
			leader := f.serve("--config", config)
			leader.says("msg=conducting")
			f.setUp()
			other := start(t, programs[1], "work", "--config", config)
			other.says("msg=working")
			rotation, watch := f.watched()
			watch.says(`"cursor"`)
			f.written(6)
			tr.check(t)

			f.program = programs[1]
			successor := f.serve("--config", config)
			leader.kill()
			watch.kill()
			// Workers may lead as well: it is the other build in any case.
			f.await("a leader of the other build", func() bool {
				return strings.Contains(successor.said()+other.said(), "msg=conducting")
			})
			said := watch.said()
			_, cursor, _ := strings.Cut(said[strings.LastIndex(said, `"cursor":"`):], `"cursor":"`)
			cursor, _, _ = strings.Cut(cursor, `"`)
			if m := f.first(rotation, cursor); m.GetSnapshot().GetReset_() {
				t.Errorf("watching from a cursor of the other build begins with %v, want no reset", m)
			}
			start(t, programs[0], "work", "--config", config).says("msg=working")
			ended := start(t, programs[1], "--address", f.api, "rotation", "watch", rotation)
			ended.says(`running/overlap`)
			f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
			if status := ended.ends(); status != 0 {
				t.Errorf("watching to the end: exit status %d, want 0:\n%s", status, ended.said())
			}
			tr.finished(t)
		})
	}
}

// What an earlier build must not touch it refuses to read, and says so: it sees a
// limit that it does not know only as a record of a version that it does not know.
func TestUpgrade_AnEarlierBuildLeavesWhatItDoesNotKnow(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 10, Seed: 13})
	tr := f.truth()
	url := f.broker()
	config := f.config("crossfade.yaml", func(c *daemon.Config) { c.NATS.URL, c.NATS.Replicas = url, 1 })
	f.serve("--config", config)
	f.setUp()
	before := crossfade
	if *previous != "" {
		before = *previous
	}
	earlier := start(t, before, "serve", "--config", config)
	earlier.says("msg=ready")
	out := f.ok(f.rotateFlags("--max-in-flight-per-tenant", "1", "--plan-only")...)
	if *previous == "" { // The program under test knows it.
		if !strings.Contains(out, "rotations/") {
			t.Errorf("rotate said:\n%s", out)
		}
		return
	}
	earlier.says(`version 2`)
	if status := earlier.ends(); status == 0 {
		t.Errorf("the earlier build ended with 0, want an error:\n%s", earlier.said())
	}
	tr.check(t)
}

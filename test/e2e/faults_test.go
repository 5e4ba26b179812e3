package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// written waits until ACS has taken in n more writes: the fleet is in the middle
// of something.
func (f *fleet) written(n int64) {
	f.t.Helper()
	want := f.cloud.ACS().Counters().Writes + n
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for f.cloud.ACS().Counters().Writes < want {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("ACS has seen %d writes, want %d", f.cloud.ACS().Counters().Writes, want)
		}
	}
}

// Workers and the service are killed again and again while they write, and every
// third add is answered 504 although it was done: each certificate stands once,
// and the rotation ends as it would have without.
func TestFaults_KilledProcessesAndLostAnswers(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 80, Seed: 5, Latency: 10 * time.Millisecond})
	tr := f.truth()
	f.cloud.ACS().SetFaults(acs.Faults{Seed: 1, Rules: []acs.FaultRule{
		{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultTimeoutApplied, Probability: 0.3},
		{Method: "DELETE", Kind: acs.FaultResetApplied, Probability: 0.3},
		{Method: "GET", PathContains: "mgmt", Kind: acs.FaultBusy, Probability: 0.02},
	}})
	broker := freePort(t)
	api := freePort(t)
	serveConfig := f.config("crossfade.yaml", func(c *daemon.Config) { c.NATS.Listen, c.Listen.GRPC = broker, api })
	workConfig := f.config("worker.yaml", func(c *daemon.Config) {
		c.NATS.URL, c.NATS.Replicas, c.Workers.TaskSlots = "nats://"+broker, 1, 4
	})
	serve := f.serve("--workers", "0", "--config", serveConfig)
	work := func() *process {
		p := start(t, crossfade, "work", "--config", workConfig)
		p.says("msg=working")
		return p
	}
	workers := []*process{work(), work()}
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch", "--max-tries", "20")...)...)
	watch.says("running/")
	for i := range 4 {
		f.written(4)
		workers[i%2].kill()
		tr.check(t)
		workers[i%2] = work()
	}
	serve.kill() // With the broker in it.
	begun := time.Now()
	serve = f.serve("--workers", "0", "--config", serveConfig)
	watch.says("running/overlap")
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("after kill -9 of the broker it took %s to the overlap", took)
	}
	tr.check(t)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	f.written(5)
	workers[0].kill()
	tr.check(t)
	if status := watch.ends(); status != 0 {
		t.Errorf("rotate --watch ended with %d:\n%s", status, watch.said())
	}
	tr.finished(t)
	if fired := f.cloud.ACS().Counters().Faults; fired < 5 {
		t.Errorf("only %d faults fired: the test looks at little", fired)
	}
	_ = serve
}

// Someone else edits a target between plan and start: it ends as a conflict with
// nothing written, and the others are rotated.
func TestFaults_TargetChangedSincePlan(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 28, Seed: 3})
	tr := f.truth()
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	plan := f.ok(f.rotateFlags("--plan-only")...)
	name, digest := between(t, plan, "plan of ", ":"), between(t, plan, "--digest ", "\n")

	var host, identity string
	for _, e := range f.cloud.World().Expected() {
		if e.Ending == "rotated" {
			host, identity = e.Host, e.Identity
			break
		}
	}
	keys := f.cloud.ACS().Identity(host, identity)
	c, _ := rollovertest.Certificate(t, "CN=somebody.else", f.clock.Now().Add(-time.Hour), f.clock.Now().AddDate(1, 0, 0))
	foreign := acs.Key{Usage: "Signing", Type: "X509Certificate", Value: c.DER, Start: c.NotBefore, End: c.NotAfter, DisplayName: "somebody's"}
	if err := f.cloud.ACS().SetKeys(host, identity, append(keys, foreign)); err != nil {
		t.Fatal(err)
	}
	tr.before[host+" "+identity] = f.cloud.ACS().Identity(host, identity)

	if out, status := f.run("rotation", "start", name, "--digest", strings.Repeat("0", 64)); status != 3 || !strings.Contains(out, "PLAN_CHANGED") {
		t.Errorf("starting with another digest: exit status %d, want 3 and PLAN_CHANGED:\n%s", status, out)
	}
	f.ok("rotation", "start", name, "--digest", digest)
	if out, status := f.run("rotation", "retire", name); status != 3 {
		t.Errorf("retiring before the time: exit status %d, want 3:\n%s", status, out)
	}
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	out, status := f.run("rotation", "watch", name)
	if status != 1 || !strings.Contains(out, "1 conflict") {
		t.Errorf("watching to the end: exit status %d, want 1 and one conflict:\n%s", status, out)
	}
	tr.check(t)
	for _, j := range f.cloud.ACS().Journal() {
		if j.Host == host && (j.Op == acs.OpCreate || j.Op == acs.OpDelete) {
			t.Errorf("%s on %s, which had changed since the plan", j.Op, host)
		}
	}
}

// between returns what stands between two marks.
func between(t *testing.T, s, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(s, from)
	found, _, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("nothing between %q and %q in:\n%s", from, to, s)
	}
	return strings.TrimSpace(found)
}

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// A pause in the middle of staging: by ACS's own journal no write comes later
// than a second after it was answered, and what was paused goes on to its end.
func TestSteer_PauseAndResume(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 80, Seed: 4, Latency: 20 * time.Millisecond})
	tr := f.truth()
	f.serve("--config", f.config("crossfade.yaml", func(c *daemon.Config) { c.Workers.TaskSlots = 4 }))
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	name := watch.says(`plan of (rotations/\S+):`)[1]
	f.written(8)
	if out := f.ok("rotation", "pause", name, "--reason", "customers complain"); !strings.Contains(out, "paused/stage") || !strings.Contains(out, "customers complain") {
		t.Errorf("rotation pause said:\n%s", out)
	}
	paused := f.clock.Now()
	watch.says(`paused/stage`)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for f.clock.Now().Sub(paused) < 2*time.Second {
		<-tick.C
	}
	var last time.Time
	for _, j := range f.cloud.ACS().Journal() {
		if j.Op == acs.OpCreate {
			last = j.At
		}
	}
	t.Logf("the last write came %s after the pause was answered", last.Sub(paused))
	if last.Sub(paused) > time.Second {
		t.Errorf("a write came %s after the pause, want none after 1 s", last.Sub(paused))
	}
	if strings.Contains(watch.said(), "running/overlap") {
		t.Fatal("everything was done before the pause: the test looked at nothing")
	}
	tr.check(t)
	f.ok("rotation", "resume", name)
	watch.says(`running/overlap`)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if status := watch.ends(); status != 0 {
		t.Errorf("rotate --watch ended with %d:\n%s", status, watch.said())
	}
	tr.finished(t)
}

// ACS stores what it is sent with a bit changed, everywhere. With the defaults, a
// certificate sent at 200 tenants reaches one target before everything stops.
func TestSteer_ABadCertificateReachesOneTarget(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 200, Seed: 6})
	f.cloud.ACS().SetFaults(acs.Faults{Seed: 1, Rules: []acs.FaultRule{
		{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultCorruptWrite, Probability: 1},
	}})
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	name := watch.says(`plan of (rotations/\S+):`)[1]
	watch.says(`paused/stage.*failure tolerance exceeded: wave`)
	reached := map[string]bool{}
	for _, j := range f.cloud.ACS().Journal() {
		if j.Op == acs.OpCreate {
			reached[j.Host] = true
		}
	}
	if len(reached) != 1 {
		t.Errorf("%d targets were written to, want 1: %v", len(reached), reached)
	}
	if out, status := f.run("rotation", "resume", name); status != 3 || !strings.Contains(out, "accept_failures") {
		t.Errorf("resuming without accepting the failures: exit status %d, want 3:\n%s", status, out)
	}
	if out := f.ok("rotation", "show", name); !strings.Contains(out, "1 failed") || !strings.Contains(out, "waves") {
		t.Errorf("rotation show says:\n%s", out)
	}
}

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// ACS refuses every add on some hosts until the rotation has failed. When that is
// mended, what failed is tried again; and a new rotation over what failed would
// have found as much.
func TestRetry_OfAFailedRotation(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 60, Seed: 9})
	tr := f.truth()
	f.cloud.ACS().SetFaults(acs.Faults{Seed: 1, Rules: []acs.FaultRule{
		{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultInternal, Probability: 0.3},
	}})
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch", "--tolerate", "100%", "--max-tries", "1")...)...)
	name := watch.says(`plan of (rotations/\S+):`)[1]
	watch.says("running/overlap")
	f.cloud.ACS().SetFaults(acs.Faults{})
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if status := watch.ends(); status != 1 {
		t.Fatalf("the rotation ended with %d, want failures:\n%s", status, watch.said())
	}
	failed := strings.Count(f.ok("--json", "rotation", "tasks", name, "--filter", "outcome = OUTCOME_FAILED"), "\n")
	if out, status := f.run("rotation", "retry", name); status != 2 {
		t.Errorf("retrying without a reason: exit status %d, want 2:\n%s", status, out)
	}
	plan := f.ok(f.rotateFlags("--failed-of", name, "--plan-only")...)
	if !strings.Contains(plan, "not selected") && !strings.Contains(plan, "skipped") {
		t.Errorf("the plan over what failed says:\n%s", plan)
	}
	out := f.ok("rotation", "retry", name, "--reason", "ACS is back")
	t.Logf("%d failed; %s", failed, strings.SplitN(out, "\n", 2)[0])
	if failed == 0 || !strings.Contains(out, "running/") {
		t.Errorf("%d failed, and rotation retry says:\n%s", failed, out)
	}
	out, status := f.run("rotation", "watch", name)
	if status != 0 || !strings.Contains(out, "succeeded") {
		t.Fatalf("after the retry watch ended with %d:\n%s", status, out)
	}
	tr.check(t)
}

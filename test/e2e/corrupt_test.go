package e2e_test

import (
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// ACS stores the new certificate with a bit changed, everywhere. Of 2,000 targets,
// with nothing said about waves and tolerance, one is written to: the first is
// alone, what is read back of it is not what was written, and that stops the
// rotation.
func TestFaults_ACertificateStoredCorruptedReachesOneTarget(t *testing.T) {
	t.Parallel() // It waits more than it works.
	const tenants, each = 400, 5
	f := newFleet(t, emulator.Config{Tenants: tenants, Uniform: each, Seed: 6})
	f.cloud.ACS().SetFaults(acs.Faults{Seed: 1, Rules: []acs.FaultRule{
		{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultCorruptWrite},
	}})
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	plan := f.ok(f.rotateFlags("--plan-only")...)
	if !strings.Contains(plan, "will be added on: 2000\n") {
		t.Fatalf("the plan is not over 2,000 targets:\n%s", plan)
	}
	name := between(t, plan, "plan of ", ":")
	f.ok("rotation", "start", name, "--digest", between(t, plan, "--digest ", "\n"))
	start(t, crossfade, "--address", f.api, "rotation", "watch", "--plain", name).says("paused")

	written := map[string]int{}
	for _, e := range f.cloud.ACS().Journal() {
		if e.Applied && (e.Op == acs.OpCreate || e.Op == acs.OpUpdate || e.Op == acs.OpDelete) {
			written[e.Host+" "+e.Identity]++
		}
	}
	if n := f.cloud.ACS().Counters().Writes; len(written) != 1 || n != 1 {
		t.Errorf("ACS has seen %d writes on %d identities, want 1 on 1 of 2,000", n, len(written))
	}
	show := f.ok("--json", "rotation", "show", name)
	for _, want := range []string{"STATE_PAUSED", "ERROR_REASON_TOLERANCE_EXCEEDED", "wave 1 of 11: 1 of 1 tasks failed, 0 are tolerated (10 %)"} {
		if !strings.Contains(show, want) {
			t.Errorf("rotation show has no %q:\n%s", want, show)
		}
	}
	if out, status := f.run("rotation", "resume", name); status != 3 || !strings.Contains(out, "accept_failures") {
		t.Errorf("resuming without accepting: exit status %d, want 3 and what to do:\n%s", status, out)
	}
}

package e2e_test

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// undone checks that every identity holds what it held before the rotation: the
// keys that were put back have other ids and versions, those that were never
// removed have not even those.
func (tr *truth) undone(t *testing.T) {
	t.Helper()
	for _, e := range tr.f.cloud.World().Expected() {
		if e.Host == "" {
			continue
		}
		before, now := tr.before[e.Host+" "+e.Identity], tr.f.cloud.ACS().Identity(e.Host, e.Identity)
		a, b := asSet(before), asSet(now)
		if !slices.Equal(a, b) {
			t.Errorf("%s (seeded as %s) holds\n%s\nwant\n%s", e.Host, e.Ending, strings.Join(b, "\n"), strings.Join(a, "\n"))
		}
		for _, k := range before {
			if sum(k.Value) == tr.old {
				continue
			}
			if !slices.ContainsFunc(now, func(x acs.Key) bool { return same(k, x) && k.Version == x.Version }) {
				t.Errorf("add-only: a key of %s that nobody asked for was touched: %s", e.Host, k.DisplayName)
			}
		}
	}
}

// asSet returns everything of the keys but ids and versions, sorted.
func asSet(ks []acs.Key) []string {
	var out []string
	for _, k := range ks {
		out = append(out, fmt.Sprintf("%s %s %q %s %s %v %x", k.Type, k.Usage, k.DisplayName,
			k.Start.UTC().Format(time.RFC3339Nano), k.End.UTC().Format(time.RFC3339Nano), k.SystemReserved, sum(k.Value)))
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}

// undoTenants is how large the undone rotation is. With 2,200 it has more than 2,000
// targets and takes some minutes: go test -timeout 10m ./test/e2e -run TestUndo_OfAFinished -undo-tenants 2200.
var undoTenants = flag.Int("undo-tenants", 250, "tenants of the rotation that is undone")

// A rotation is run to its end, with the old certificates removed, and undone as
// a whole, while every tenth write is answered with an error although it was done: each
// identity holds what it held before, byte for byte, and a second undo is refused.
func TestUndo_OfAFinishedRotationGivesWhatStoodBefore(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: *undoTenants, Seed: 11})
	tr := f.truth()
	f.serve("--config", f.config("crossfade.yaml", func(c *daemon.Config) { c.Workers.TaskSlots = 32 }))
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch", "--max-tries", "20")...)...)
	name := watch.says(`plan of (rotations/\S+):`)[1]
	watch.says("running/overlap")
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	watch.says(`succeeded`)
	watch.ends()
	tr.finished(t)

	writes := f.cloud.ACS().Counters().Writes
	f.cloud.ACS().SetFaults(acs.Faults{Seed: 1, Rules: []acs.FaultRule{
		{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultTimeoutApplied, Probability: 0.1},
		{Method: "DELETE", Kind: acs.FaultResetApplied, Probability: 0.1},
	}})
	out := f.ok("rotation", "undo", name, "--all", "--reason", "wrong certificate", "--dry-run")
	t.Log(strings.TrimSpace(out))
	if f.cloud.ACS().Counters().Writes != writes || !strings.Contains(out, "would be undone") {
		t.Errorf("a dry run wrote, or said:\n%s", out)
	}
	begun := time.Now()
	f.ok("rotation", "undo", name, "--all", "--reason", "wrong certificate")
	end, status := f.run("rotation", "watch", name)
	if status != 0 || !strings.Contains(end, "undone") {
		t.Fatalf("watching the undo ended with %d:\n%s", status, end)
	}
	t.Logf("undone in %s", time.Since(begun))
	tr.undone(t)
	if out, status := f.run("rotation", "undo", name, "--all", "--reason", "again"); status != 3 {
		t.Errorf("undoing it again: exit status %d, want 3:\n%s", status, out)
	}
	if out := f.ok("rotation", "report", name); !strings.Contains(out, "wrong certificate") || !strings.Contains(out, "| undone |") {
		t.Errorf("the report does not tell of the undo:\n%.500s", out)
	}
}

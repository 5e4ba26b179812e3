package e2e_test

import (
	"cmp"
	"flag"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// The flags of an upgrade. Without them the program under test stands on both
// sides, and golden stores stand for the build before.
var (
	previous = flag.String("previous", "", "program of an earlier build, to work beside this one")
	record   = flag.String("record", "", "commit of -previous: write its golden stores")
)

// sceneTenants is how many there are around a golden store: few enough to keep it
// small, and some of each common scenario.
const sceneTenants = 16

// goldenDir holds the golden stores, a folder for each build.
const goldenDir = "testdata/stores"

// sceneSeed is the seed of their world.
const sceneSeed = 11

// leave runs the program until a moment and kills it there. It returns the
// rotation's name and the output of its watch.
type leave func(f *fleet, serve *process) (name, said string)

// moments are those at which builds are killed.
func moments() map[string]leave {
	planOnly := func(f *fleet, _ *process) (string, string) {
		out := f.ok(f.rotateFlags("--plan-only")...)
		return between(f.t, out, "plan of ", ":"), ""
	}
	return map[string]leave{
		"planning": func(f *fleet, serve *process) (string, string) {
			reads := f.cloud.ACS().Counters().Reads
			p := start(f.t, f.binary(), append([]string{"--address", f.api}, f.rotateFlags("--plan-only")...)...)
			f.await("reads by the planner", func() bool { return f.cloud.ACS().Counters().Reads > reads+4 })
			name := regexp.MustCompile(`rotations/[0-9a-f-]{36}`).FindString(f.ok("--json", "rotation", "list"))
			serve.kill()
			p.kill()
			return name, ""
		},
		"planned": planOnly,
		"running": func(f *fleet, _ *process) (string, string) { return f.underWay(5) },
		"paused": func(f *fleet, _ *process) (string, string) {
			name, said := f.underWay(4)
			f.ok("rotation", "pause", name, "--reason", "an upgrade")
			return name, said
		},
		"overlap": func(f *fleet, _ *process) (string, string) {
			name, p := f.watched()
			p.says(`running/overlap|"phase": ?"\w*OVERLAP"`)
			return name, p.said()
		},
		"retiring": func(f *fleet, _ *process) (string, string) {
			name, p := f.watched()
			p.says(`running/overlap|"phase": ?"\w*OVERLAP"`)
			f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
			f.written(4)
			return name, p.said()
		},
	}
}

// binary is the program that the fleet runs.
func (f *fleet) binary() string {
	if f.program != "" {
		return f.program
	}
	return crossfade
}

// await waits until a condition holds.
func (f *fleet) await(what string, cond func() bool) {
	f.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// watched starts a rotation and returns its name, and its watch as JSON lines.
func (f *fleet) watched() (string, *process) {
	f.t.Helper()
	out := f.ok(f.rotateFlags("--plan-only")...)
	name := between(f.t, out, "plan of ", ":")
	f.ok("rotation", "start", name, "--digest", f.digest(name))
	return name, start(f.t, f.binary(), "--json", "--address", f.api, "rotation", "watch", name)
}

// underWay starts a rotation and returns after n writes.
func (f *fleet) underWay(n int64) (string, string) {
	f.t.Helper()
	name, p := f.watched()
	f.written(n)
	p.says(`"cursor"`)
	return name, p.said()
}

// digest returns that of a rotation's frozen plan; "" while there is none.
func (f *fleet) digest(name string) string {
	f.t.Helper()
	found := regexp.MustCompile(`"plan_?[dD]igest": ?"([0-9a-f]{64})"`).FindStringSubmatch(f.ok("--json", "rotation", "show", name))
	if found == nil {
		return ""
	}
	return found[1]
}

// The golden stores of a build are made by it: each of its moments is a file. With
// -record this test writes them; without it, it only shows that it could.
func TestUpgrade_GoldenStoresAreMade(t *testing.T) {
	t.Parallel() // It waits more than it works.
	for moment, until := range moments() {
		if *record == "" && moment != "running" {
			continue
		}
		t.Run(moment, func(t *testing.T) {
			f := newFleet(t, emulator.Config{Tenants: sceneTenants, Seed: sceneSeed, Latency: 25 * time.Millisecond})
			f.program = *previous
			tr := f.truth()
			f.cloud.ACS().SetFaults(acs.Faults{Seed: 3, Rules: []acs.FaultRule{
				{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultTimeoutApplied, Probability: 0.3},
				{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultInternal, Probability: 0.3},
			}})
			serve := f.serve("--config", f.config("crossfade.yaml", func(c *daemon.Config) { c.Workers.TaskSlots, c.Workers.PlanSlots = 2, 2 }))
			f.setUp()
			sc := scene{Build: cmp.Or(*record, "this build"), Moment: moment, Tenants: sceneTenants, Seed: sceneSeed, Old: tr.old, New: tr.new}
			var said string
			sc.Rotation, said = until(f, serve)
			if moment != "planning" {
				sc.Digest = f.digest(sc.Rotation)
			}
			serve.kill()
			sc.Now = f.clock.Now()
			if i := strings.LastIndex(said, `"cursor":"`); i >= 0 {
				sc.Cursor, _, _ = strings.Cut(said[i+len(`"cursor":"`):], `"`)
			}
			path := filepath.Join(t.TempDir(), "store.jsonl")
			if *record != "" {
				path = filepath.Join(goldenDir, *record, moment+".jsonl")
			}
			dump(t, path, f.file("data"), sc, tr.identities())
			if g := readGolden(t, path); len(g.lines) < 10 || g.scene != sc {
				t.Errorf("readGolden(%s) = %d lines of %+v, want what was dumped", path, len(g.lines), g.scene)
			}
		})
	}
}

// identities are all that can be named without doubt, before and now.
func (tr *truth) identities() []goldenIdentity {
	var out []goldenIdentity
	for _, e := range tr.f.cloud.World().Expected() {
		if e.Host == "" || len(tr.before[e.Host+" "+e.Identity]) == 0 {
			continue
		}
		out = append(out, goldenIdentity{
			Host: e.Host, Name: e.Identity, Before: append([]acs.Key(nil), tr.before[e.Host+" "+e.Identity]...),
			Now: tr.f.cloud.ACS().Identity(e.Host, e.Identity),
		})
	}
	return out
}

package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// A storm of 429 on a twentieth of the hosts: hardly a call is refused, since a
// host is left alone for as long as it asks, the other hosts are through before any
// of the struck ones is asked again, and nothing fails.
func TestFaults_AStormOnSomeHostsDoesNotHoldUpTheOthers(t *testing.T) {
	const share, after = 0.05, 10 * time.Second
	f := newFleet(t, emulator.Config{Tenants: 60, Uniform: 5, Seed: 4})
	tr := f.truth()
	storm := acs.Faults{Seed: 2, Rules: []acs.FaultRule{{Kind: acs.FaultThrottled, HostShare: share, For: after - 2*time.Second, RetryAfter: after}}}
	var hosts []string
	for _, x := range f.cloud.World().Expected() {
		hosts = append(hosts, x.Host)
	}
	struck := map[string]bool{}
	// The first target of a rotation is alone, and all wait for it. It is not to be
	// one of the struck here; that would be another test.
	for len(struck) == 0 || len(struck) > len(hosts)/20 || slices.ContainsFunc(hosts[:5], func(h string) bool { return struck[h] }) {
		storm.Seed++
		clear(struck)
		for _, h := range storm.StruckHosts(share, hosts) {
			struck[h] = true
		}
	}
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	plan := f.ok(f.rotateFlags("--plan-only", "--start", "full", "--tolerate", "0", "--tolerate-soft", "--max-tries", "1")...)
	f.cloud.ACS().SetFaults(storm)
	f.ok("rotation", "start", between(t, plan, "plan of ", ":"), "--digest", between(t, plan, "--digest ", "\n"))
	watch := start(t, crossfade, "--address", f.api, "rotation", "watch", between(t, plan, "plan of ", ":"))
	watch.says("running/overlap")
	tr.check(t)

	var lastOther, firstStruck time.Time
	for _, e := range f.cloud.ACS().Journal() {
		switch {
		case e.Op != acs.OpCreate || !e.Applied:
		case !struck[e.Host]:
			lastOther = e.At
		case firstStruck.IsZero():
			firstStruck = e.At
		}
	}
	if len(struck) == 0 || firstStruck.IsZero() || !lastOther.Before(firstStruck) {
		t.Errorf("%d hosts struck, the first of them written at %s, the last of the others at %s: want the others first", len(struck), firstStruck, lastOther)
	}
	c := f.cloud.ACS().Counters()
	if refused := float64(c.Refused429) / float64(c.Calls); c.Refused429 == 0 || refused >= 0.01 {
		t.Errorf("%d of %d calls were refused, want some and less than 1 %%", c.Refused429, c.Calls)
	}
}

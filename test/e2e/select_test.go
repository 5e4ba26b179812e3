package e2e_test

import (
	"crypto/sha1" //nolint:gosec // The thumbprint that Microsoft's tools show.
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// writtenHosts returns the hosts on which a key was made, by ACS's own journal.
func (f *fleet) writtenHosts() []string {
	var hosts []string
	for _, j := range f.cloud.ACS().Journal() {
		if j.Op == acs.OpCreate && j.Applied {
			hosts = append(hosts, j.Host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// carriers returns a certificate that is neither the old nor the new one and stands
// on a target that can be rotated, and the hosts that a rotation of all endpoints
// which carry it writes to.
func (tr *truth) carriers(t *testing.T) (thumbprint string, endpoints, hosts []string) {
	t.Helper()
	var der []byte
	for _, e := range tr.f.cloud.World().Expected() {
		for _, k := range tr.before[e.Host+" "+e.Identity] {
			if s := sum(k.Value); e.Ending == "rotated" && k.Type == "X509Certificate" && s != tr.old && s != tr.new {
				der = k.Value
			}
		}
	}
	if der == nil {
		t.Fatal("no target has a foreign certificate: the test looks at nothing")
	}
	carry := map[string]bool{}
	for _, e := range tr.f.cloud.World().Expected() {
		if count(tr.before[e.Host+" "+e.Identity], sum(der)) > 0 {
			for _, id := range e.Endpoints {
				carry[id] = true
			}
		}
	}
	for id := range carry {
		endpoints = append(endpoints, id)
	}
	for _, e := range tr.f.cloud.World().Expected() {
		if (e.Ending == "rotated" || e.Ending == "rotated_old_kept") && slices.ContainsFunc(e.Endpoints, func(id string) bool { return carry[id] }) {
			hosts = append(hosts, e.Host)
		}
	}
	slices.Sort(endpoints)
	slices.Sort(hosts)
	return fmt.Sprintf("%X", sha1.Sum(der)), endpoints, hosts //nolint:gosec // As above.
}

// A rotation over the carriers of one certificate writes to exactly their hosts, by
// ACS's own journal, and the inventory finds the same endpoints afterwards.
func TestSelect_ByThumbprintTouchesExactlyTheCarriers(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 80, Seed: 4})
	tr := f.truth()
	thumbprint, endpoints, hosts := tr.carriers(t)
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	filter := `thumbprint:"` + thumbprint + `"`
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch", "--endpoints", filter)...)...)
	watch.says(`running/overlap`)
	if got := f.writtenHosts(); !slices.Equal(got, hosts) {
		t.Errorf("written to %q, want exactly %q", got, hosts)
	}
	if !strings.Contains(watch.said(), "not_selected") && !strings.Contains(watch.said(), "not selected") {
		t.Errorf("the plan does not say what was left out:\n%s", watch.said())
	}
	tr.check(t)
	var found []string
	for _, o := range objects(t, f.ok("endpoints", "list", "--json", "--filter", filter)) {
		name, _ := o["endpoint"].(map[string]any)["name"].(string)
		found = append(found, name[strings.LastIndex(name, "/")+1:])
	}
	slices.Sort(found)
	if !slices.Equal(found, endpoints) {
		t.Errorf("the inventory finds %q, want %q", found, endpoints)
	}
}

// A list of two tenants is sent as a target set, and a rotation for it leaves all
// others alone.
func TestSelect_TargetSetIsAllThatIsTouched(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 6, Uniform: 2, Seed: 3})
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	var one, all string
	var want []string
	for _, e := range f.cloud.World().Expected() {
		switch {
		case one == "": // One endpoint of the first tenant.
			one = e.Tenant + "/" + e.Endpoints[0]
			want = append(want, e.Host)
		case !strings.HasPrefix(one, e.Tenant+"/") && (all == "" || all == e.Tenant): // All of the second.
			all = e.Tenant
			want = append(want, e.Host)
		}
	}
	slices.Sort(want)
	if err := os.WriteFile(f.file("list.txt"), []byte("# two\n"+one+"\n"+all+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := f.run("rotate", "--certificate", f.file("new.cer"), "--targets", "two"); status != 3 || !strings.Contains(out, "targetSets/two") {
		t.Errorf("a set that is not there: exit status %d, want 3:\n%s", status, out)
	}
	if out := f.ok("targets", "create", "two", "--file", f.file("list.txt")); !strings.Contains(out, "2 rows, 2 tenants") {
		t.Errorf("targets create said:\n%s", out)
	}
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch", "--targets", "two")...)...)
	watch.says(`running/overlap`)
	if got := f.writtenHosts(); !slices.Equal(got, want) {
		t.Errorf("written to %q, want exactly %q", got, want)
	}
	f.ok("targets", "delete", "two") // The plan is frozen and needs it no more.
	if out := f.ok("targets", "list"); strings.TrimSpace(out) != "" {
		t.Errorf("targets list after delete:\n%s", out)
	}
}

// A certificate that is blocked while it is being put in place is put nowhere any
// more: by ACS's own journal, within two seconds.
func TestBlock_InTheMiddleOfARun(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 80, Seed: 4, Latency: 20 * time.Millisecond})
	tr := f.truth()
	f.serve("--config", f.config("crossfade.yaml", func(c *daemon.Config) { c.Workers.TaskSlots = 4 }))
	f.setUp()
	// Failures do not stop it, so that only the block does.
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch", "--start", "full", "--tolerate", "100%")...)...)
	name := watch.says(`plan of (rotations/\S+):`)[1]
	f.written(8)
	if out := f.ok("certificate", "block", f.file("new.cer"), "--key", "--reason", "leaked"); !strings.Contains(out, "key_hash.") {
		t.Errorf("certificate block said:\n%s", out)
	}
	blocked := f.clock.Now()
	if out := f.ok("certificate", "blocked"); !strings.Contains(out, "leaked") {
		t.Errorf("certificate blocked said:\n%s", out)
	}
	watch.says(`running/overlap`) // Every task was looked at.
	var last time.Time
	for _, j := range f.cloud.ACS().Journal() {
		if j.Op == acs.OpCreate {
			last = j.At
		}
	}
	t.Logf("the last write came %s after the block was answered", last.Sub(blocked))
	if last.Sub(blocked) > 2*time.Second {
		t.Errorf("a write came %s after the block, want none after 2 s", last.Sub(blocked))
	}
	if out := f.ok("rotation", "tasks", name, "--json"); !strings.Contains(out, "REASON_BLOCKED") {
		t.Error("no task ended as blocked: the test looks at nothing")
	}
	tr.check(t)
	if out, status := f.run(f.rotateFlags("--plan-only")...); status != 3 || !strings.Contains(out, "CERTIFICATE_BLOCKED") {
		t.Errorf("another rotation to it: exit status %d, want 3:\n%s", status, out)
	}
	// The old one is not removed in favour of what is blocked.
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	watch.ends()
	for _, j := range f.cloud.ACS().Journal() {
		if j.Op == acs.OpDelete && j.Applied {
			t.Errorf("%s was removed from %s in favour of a blocked certificate", j.SHA256, j.Host)
		}
	}
}

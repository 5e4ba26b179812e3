package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// foreign returns a certificate that nobody planned, as a key.
func foreign(t *testing.T) acs.Key {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "somebody.example"},
		NotBefore: switchAt.AddDate(-1, 0, 0), NotAfter: switchAt.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return acs.Key{Usage: "Signing", Type: "X509Certificate", Value: der, Start: tmpl.NotBefore, End: tmpl.NotAfter, DisplayName: "by hand"}
}

// edit changes the keys of an identity as another client of ACS would.
func (f *fleet) edit(e emulator.Expected, change func([]acs.Key) []acs.Key) {
	f.t.Helper()
	if err := f.cloud.ACS().SetKeys(e.Host, e.Identity, change(f.cloud.ACS().Identity(e.Host, e.Identity))); err != nil {
		f.t.Fatal(err)
	}
}

// drifts lists what is drifted, as "kind host", sorted.
func (f *fleet) drifts(name string) []string {
	f.t.Helper()
	out := f.ok("rotation", "drifts", name, "--json")
	var got []string
	if strings.TrimSpace(out) == "" {
		return got
	}
	for _, o := range objects(f.t, out) {
		d, _ := o["drift"].(map[string]any)
		got = append(got, fmt.Sprintf("%v %v", d["kind"], d["host"]))
	}
	slices.Sort(got)
	return got
}

// A fleet is rotated, and a check finds nothing. Then others change five targets
// behind our back: the check says exactly these, and a rotation over the drifted
// mends what a rotation can.
func TestDrift_CheckSaysWhatIsOtherAndARotationMendsIt(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 40, Seed: 5})
	tr := f.truth()
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	name := watch.says(`plan of (rotations/\S+):`)[1]
	watch.says(`running/overlap`)
	if out := f.ok("rotation", "check", name, "--wait"); !strings.Contains(out, "check 1 done") || !strings.Contains(out, " 0 drifted, 0 unreadable") {
		t.Errorf("in the overlap the check said %q, want that nothing drifted", out)
	}
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if status := watch.ends(); status != 0 {
		t.Fatalf("rotate --watch ended with %d:\n%s", status, watch.said())
	}
	tr.finished(t)
	if out := f.ok("rotation", "check", name, "--wait"); !strings.Contains(out, "check 2 done") || !strings.Contains(out, " 0 drifted, 0 unreadable") {
		t.Errorf("the check after the end said %q, want that nothing drifted", out)
	}
	if got := f.drifts(name); len(got) != 0 {
		t.Errorf("drifts = %v, want none", got)
	}

	var rotated []emulator.Expected
	for _, e := range f.cloud.World().Expected() {
		if e.Ending == "rotated" && len(e.Endpoints) == 1 {
			rotated = append(rotated, e)
		}
	}
	if len(rotated) < 5 {
		t.Fatalf("%d targets were rotated, want at least 5", len(rotated))
	}
	isNew := func(k acs.Key) bool { return sum(k.Value) == tr.new }
	f.edit(rotated[0], func(ks []acs.Key) []acs.Key { return slices.DeleteFunc(ks, isNew) })
	f.edit(rotated[1], func(ks []acs.Key) []acs.Key {
		for _, k := range tr.before[rotated[1].Host+" "+rotated[1].Identity] {
			if sum(k.Value) == tr.old {
				k.ID = 0
				ks = append(ks, k)
			}
		}
		return ks
	})
	f.edit(rotated[2], func(ks []acs.Key) []acs.Key { return append(ks, foreign(t)) })
	f.edit(rotated[3], func(ks []acs.Key) []acs.Key {
		for i := range ks {
			if isNew(ks[i]) {
				ks[i].End = ks[i].End.AddDate(0, -1, 0)
			}
		}
		return ks
	})
	f.cloud.ACS().RemoveNamespace(rotated[4].Host)
	hopeless := []string{"KIND_FOREIGN_ADDED " + rotated[2].Host, "KIND_NEW_ALTERED " + rotated[3].Host, "KIND_UNREADABLE " + rotated[4].Host}
	want := append([]string{"KIND_NEW_MISSING " + rotated[0].Host, "KIND_OLD_BACK " + rotated[1].Host}, hopeless...)
	slices.Sort(want)
	out, status := f.run("rotation", "check", name, "--wait")
	if status != 1 || !strings.Contains(out, "4 targets drifted, 1 could not be read") {
		t.Errorf("the check ended with %d and said %q, want 1, and 4 drifted and 1 unreadable", status, out)
	}
	if got := f.drifts(name); !slices.Equal(got, want) {
		t.Errorf("drifts = %v\nwant     %v", got, want)
	}
	if out := f.ok("rotation", "report", name); !strings.Contains(out, "- drift: check 3 done") {
		t.Errorf("the report says nothing of the check:\n%s", out)
	}

	out = f.ok(f.rotateFlags("--drifted-of", name, "--watch")...)
	if n := len(f.cloud.World().Expected()); !strings.Contains(out, "not selected") && !strings.Contains(out, "skipped") {
		t.Errorf("of %d targets none was left out:\n%s", n, out)
	}
	now := f.cloud.ACS().Identity(rotated[0].Host, rotated[0].Identity)
	if count(now, tr.new) != 1 {
		t.Errorf("%s holds the new certificate %d times after the repair, want once", rotated[0].Host, count(now, tr.new))
	}
	if now = f.cloud.ACS().Identity(rotated[1].Host, rotated[1].Identity); count(now, tr.old) != 0 || count(now, tr.new) != 1 {
		t.Errorf("%s holds the old certificate %d times after the repair, want none", rotated[1].Host, count(now, tr.old))
	}
	f.run("rotation", "check", name, "--wait")
	slices.Sort(hopeless)
	if got := f.drifts(name); !slices.Equal(got, hopeless) {
		t.Errorf("after the repair drifts = %v\nwant what no rotation mends, %v", got, hopeless)
	}
	if out, status := f.run(f.rotateFlags("--drifted-of", name)...); status != 3 || !strings.Contains(out, "nothing that a rotation mends") {
		t.Errorf("a second repair ended with %d: %s, want 3 and why", status, out)
	}
}

// The service is killed in the middle of a check. Started again it goes on with the
// same check and looks at every target.
func TestDrift_ACheckOutlivesAKilledProcess(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 60, Uniform: 5, Seed: 8})
	// Slow enough to be caught in the middle by commands that take their time, and then not so slow.
	at := func(rate float64) string {
		return f.config("crossfade.yaml", func(c *daemon.Config) { c.Drift.MaxRate = rate })
	}
	p := f.serve("--config", at(20))
	f.setUp()
	out := f.ok("rotate", "--certificate", f.file("new.cer"), "--watch")
	name := regexp.MustCompile(`plan of (rotations/\S+):`).FindStringSubmatch(out)[1]
	victim := f.cloud.World().Expected()[250]
	f.edit(victim, func([]acs.Key) []acs.Key { return nil })
	f.ok("rotation", "check", name)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for strings.Contains(f.ok("rotation", "show", name), "check 1 running, 0 of 300") {
		<-tick.C
	}
	if out := f.ok("rotation", "show", name); !strings.Contains(out, "check 1 running") {
		t.Fatalf("the check was over before it could be interrupted:\n%s", out)
	}
	p.kill()
	f.serve("--config", at(200))
	out, status := f.run("rotation", "check", name, "--wait")
	if status != 1 || !strings.Contains(out, "check 1 done, 300 of 300 targets checked, 1 drifted, 0 unreadable") {
		t.Errorf("the check ended with %d and said %q, want check 1 over all 300 and one drifted", status, out)
	}
	want := []string{"KIND_NEW_MISSING " + victim.Host, "KIND_OTHERS_CHANGED " + victim.Host}
	if got := f.drifts(name); !slices.Equal(got, want) {
		t.Errorf("drifts = %v, want %v", got, want)
	}
}

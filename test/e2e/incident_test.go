package e2e_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// writes returns "op host" of every key that was made or deleted, by ACS's own
// journal.
func (f *fleet) writes(ops ...string) []string {
	var out []string
	for _, j := range f.cloud.ACS().Journal() {
		if j.Applied && slices.Contains(ops, j.Op) {
			out = append(out, j.Host)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A leaked certificate stands on some of the targets. A rotation over all tenants
// changes exactly those, a second person shortens the overlap, and then it is gone
// everywhere and cannot come back.
func TestIncident_TheCompromisedIsGoneAndCannotComeBack(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 12, Uniform: 2, Seed: 9})
	f.advance(switchAt.Sub(f.clock.Now()) + time.Hour) // The new one is valid.
	leaked := foreign(t)
	x, err := x509.ParseCertificate(leaked.Value)
	if err != nil {
		t.Fatal(err)
	}
	spki := sha256.Sum256(x.RawSubjectPublicKeyInfo)
	key := hex.EncodeToString(spki[:])
	if err := os.WriteFile(f.file("leaked.cer"), leaked.Value, 0o600); err != nil {
		t.Fatal(err)
	}
	all := f.cloud.World().Expected()
	var carriers []string
	for i, e := range all {
		if i%3 == 0 {
			f.edit(e, func(ks []acs.Key) []acs.Key { return append(ks, leaked) })
			carriers = append(carriers, e.Host)
		}
	}
	slices.Sort(carriers)
	if len(carriers) < 3 || len(carriers) >= len(all) {
		t.Fatalf("%d of %d targets carry it: the test looks at nothing", len(carriers), len(all))
	}
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	before := len(f.writes(acs.OpCreate, acs.OpDelete))

	rotate := []string{
		"--address", f.api, "--as", "alice", "rotate", "--incident", "--compromised", key, "--certificate", f.file("new.cer"),
		"--shortened-overlap", "15m", "--summary", "key in a public repository", "--watch",
	}
	watch := start(t, crossfade, rotate...)
	m := watch.says(`(?s)plan of (rotations/\S+):.*plan digest\s+(\S+)`)
	name, digest := m[1], m[2]
	watch.says(`running/overlap`)
	if got := f.writes(acs.OpCreate); before != 0 || !slices.Equal(got, carriers) {
		t.Errorf("written to %q, want exactly %q", got, carriers)
	}
	if out := f.ok("certificate", "blocked"); !strings.Contains(out, key) || !strings.Contains(out, "alice") {
		t.Errorf("certificate blocked does not tell of the key and of alice:\n%s", out)
	}
	if out, status := f.run("rotate", "--certificate", f.file("leaked.cer")); status != 3 || !strings.Contains(out, "CERTIFICATE_BLOCKED") {
		t.Errorf("rotating to the leaked one: exit status %d, want 3 and that it is blocked:\n%s", status, out)
	}

	if out, status := f.run("--as", "bob", "rotation", "approve", name); status != 2 || !strings.Contains(out, digest) {
		t.Errorf("approve without a digest: exit status %d, want 2 and the plan:\n%s", status, out)
	}
	if out, status := f.run("--as", "alice", "rotation", "approve", name, "--digest", digest, "--reason", "me"); status != 3 || !strings.Contains(out, "SECOND_PERSON_NEEDED") {
		t.Errorf("approve by the creator: exit status %d, want 3:\n%s", status, out)
	}
	if out := f.ok("--as", "bob", "rotation", "approve", name, "--digest", digest, "--reason", "seen with alice"); !strings.Contains(out, "by bob at") || !strings.Contains(out, "NOT contained") {
		t.Errorf("approve said:\n%s", out)
	}
	if got := f.writes(acs.OpDelete); len(got) != 0 {
		t.Errorf("deleted on %q within the overlap, want nothing", got)
	}
	f.advance(20*time.Minute + 10*time.Second)
	if status := watch.ends(); status != 0 {
		t.Fatalf("rotate --watch ended with %d:\n%s", status, watch.said())
	}
	if !strings.Contains(watch.said(), "contained in 2") { // 20 minutes and some seconds.
		t.Errorf("the watch does not say in what time it was contained:\n%s", watch.said())
	}
	if got := f.writes(acs.OpDelete); !slices.Equal(got, carriers) {
		t.Errorf("deleted on %q, want exactly %q", got, carriers)
	}
	for _, e := range all {
		keys := f.cloud.ACS().Identity(e.Host, e.Identity)
		if count(keys, sum(leaked.Value)) != 0 {
			t.Errorf("the leaked one stands on %s", e.Host)
		}
	}
	if out := f.ok("rotation", "show", name); !strings.Contains(out, "contained in 2") {
		t.Errorf("show does not say in what time it was contained:\n%s", out)
	}
	if out := f.ok("rotation", "report", name); !strings.Contains(out, "contained in 2") || !strings.Contains(out, "by bob at") {
		t.Errorf("the report does not tell of containment and approval:\n%s", out)
	}
}

package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// truth is what the emulator knows, from which all promises are checked. It
// shares no code with the service.
type truth struct {
	f        *fleet
	before   map[string][]acs.Key // by host and identity
	old, new string               // SHA-256
}

func (f *fleet) truth() *truth {
	w := f.cloud.World()
	tr := &truth{f: f, before: map[string][]acs.Key{}, old: sum(w.Old.DER), new: sum(w.New.DER)}
	for _, e := range w.Expected() {
		if e.Host != "" {
			tr.before[e.Host+" "+e.Identity] = f.cloud.ACS().Identity(e.Host, e.Identity)
		}
	}
	return tr
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func count(ks []acs.Key, sha string) int {
	n := 0
	for _, k := range ks {
		if sum(k.Value) == sha {
			n++
		}
	}
	return n
}

// check looks at every identity and every write.
func (tr *truth) check(t *testing.T) {
	t.Helper()
	for _, e := range tr.f.cloud.World().Expected() {
		if e.Host == "" {
			continue
		}
		tr.identity(t, e)
	}
	for _, j := range tr.f.cloud.ACS().Journal() {
		if j.Op == acs.OpDelete && j.Applied && j.At.Before(switchAt) {
			t.Errorf("not-before: %s deleted on %s at %s", j.SHA256, j.Host, j.At)
		}
		if j.Op == acs.OpUpdate && j.Applied {
			t.Errorf("add-only: %s on %s was updated", j.SHA256, j.Host)
		}
	}
}

// identity compares one identity with what stood there before.
func (tr *truth) identity(t *testing.T, e emulator.Expected) {
	t.Helper()
	before, now := tr.before[e.Host+" "+e.Identity], tr.f.cloud.ACS().Identity(e.Host, e.Identity)
	if n := count(now, tr.new); n > 1 {
		t.Errorf("one-effect: the new certificate stands %d times on %s", n, e.Host)
	}
	if count(before, tr.old) > 0 && count(now, tr.old)+count(now, tr.new) == 0 {
		t.Errorf("never-both-gone: %s has neither certificate", e.Host)
	}
	for _, b := range before {
		if s := sum(b.Value); s == tr.old || s == tr.new {
			continue
		}
		if !slices.ContainsFunc(now, func(k acs.Key) bool { return same(b, k) }) {
			t.Errorf("add-only: a foreign %s key of %s is gone or changed", b.Type, e.Host)
		}
	}
}

// same compares two keys in everything but the version.
func same(a, b acs.Key) bool {
	return a.ID == b.ID && a.Usage == b.Usage && a.Type == b.Type && string(a.Value) == string(b.Value) &&
		a.Start.Equal(b.Start) && a.End.Equal(b.End) && a.DisplayName == b.DisplayName && a.SystemReserved == b.SystemReserved
}

// finished checks that every target is as the world was seeded for, after a
// whole rotation.
func (tr *truth) finished(t *testing.T) {
	t.Helper()
	tr.check(t)
	rotated := 0
	for _, e := range tr.f.cloud.World().Expected() {
		now := tr.f.cloud.ACS().Identity(e.Host, e.Identity)
		where := fmt.Sprintf("%s (seeded as %s)", e.Host, e.Ending)
		switch e.Ending {
		case "rotated", "already_present":
			rotated++
			if count(now, tr.new) != 1 || count(now, tr.old) != 0 {
				t.Errorf("%s holds the new certificate %d times and the old one %d times, want 1 and 0", where, count(now, tr.new), count(now, tr.old))
			}
		case "rotated_old_kept":
			if count(now, tr.new) != 1 || count(now, tr.old) == 0 {
				t.Errorf("%s holds the new certificate %d times and the old one %d times, want both", where, count(now, tr.new), count(now, tr.old))
			}
		default:
			if e.Host != "" && count(now, tr.new) != count(tr.before[e.Host+" "+e.Identity], tr.new) {
				t.Errorf("%s was written to", where)
			}
		}
	}
	if rotated == 0 {
		t.Error("no target was to be rotated: the test looks at nothing")
	}
}

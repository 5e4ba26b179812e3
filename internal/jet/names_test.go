package jet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func FuzzEscape_EveryTextIsOneTokenAndComesBack(f *testing.F) {
	for _, s := range []string{"", "a", "ns-sb.accesscontrol.windows.net", "*", ">", "a b", "=2E", "=", "ä", "\x00\xff", "$SYS", "a.b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok := escape(s)
		if !server.IsValidLiteralSubject(tok) || strings.ContainsAny(tok, ". ") || tok == "" {
			t.Errorf("escape(%q) = %q, want one legal token", s, tok)
		}
		if got, err := unescape(tok); err != nil || got != s {
			t.Errorf("unescape(escape(%q)) = %q, %v", s, got, err)
		}
	})
}

func FuzzUnescape_OnlyWhatEscapeWrites(f *testing.F) {
	for _, s := range []string{"", "=", "=2E", "=2e", "=41", "=4", "==", "a.b", "a=2Eb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tok string) {
		if s, err := unescape(tok); err == nil && escape(s) != tok {
			t.Errorf("unescape(%q) = %q, which escapes to %q", tok, s, escape(s))
		}
	})
}

func FuzzNames_SubjectsAreReadBack(f *testing.F) {
	f.Add("0192f0c4-7a1e-7c3a-9f5e-2b1d7c8e9f00", 7, 3, 1)
	f.Add("", 0, 0, 64)
	f.Add("a.b>*", 99_999, 12, 7)
	f.Fuzz(func(t *testing.T, rotation string, ord, p, shards int) {
		if ord < 0 || p < 0 || shards < 1 || shards > 1024 {
			return
		}
		n := names{shards: shards}
		for subject, want := range map[string]address{
			n.record(rotation): {recordPrefix, rotation, -1, 0},
			n.state(rollover.TaskID{Rotation: rotation, Ord: ord}): {statePrefix, rotation, ord, 0},
			part(n.finding(rotation, ord), p):                      {findingPrefix, rotation, ord, p},
			part(n.plan(rotation, ord), p):                         {planPrefix, rotation, ord, p},
			n.check(rotation, ord):                                 {checkPrefix, rotation, ord, 0},
			n.selection(rotation, ord):                             {selectionPrefix, rotation, ord, 0},
		} {
			if !server.IsValidLiteralSubject(subject) {
				t.Errorf("%q is no subject", subject)
			}
			if got, err := parseAddress(subject); err != nil || got != want {
				t.Errorf("parseAddress(%q) = %+v, %v, want %+v", subject, got, err, want)
			}
		}
		for _, q := range queues() {
			if gq, key, err := parseSlot(slot(q, rotation)); err != nil || gq != q || key != rotation {
				t.Errorf("parseSlot(%q) = %q, %q, %v", slot(q, rotation), gq, key, err)
			}
		}
		if key, err := parseBucketKey(bucketKey("tenants", rotation)); err != nil || key != rotation {
			t.Errorf("parseBucketKey(%q) = %q, %v", bucketKey("tenants", rotation), key, err)
		}
	})
}

func FuzzParseAddress_OnlyWhatNamesWrites(f *testing.F) {
	for _, s := range []string{"s.0.r.1", "s.0.r.01", "s.0.r.-1", "r.0.r", "f.0.r.1.2", "s..r", "s.0.r.1.2.3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		a, err := parseAddress(subject)
		if err != nil {
			return
		}
		tok := strings.Split(subject, ".")
		if escape(a.rotation) != tok[2] || a.prefix != tok[0] {
			t.Errorf("parseAddress(%q) = %+v", subject, a)
		}
	})
}

func TestNames_ASlotKnowsNoRotation(t *testing.T) {
	if a, b := slot(Tasks, "ns-sb.accesscontrol.windows.net"), "w.t.ns-sb=2Eaccesscontrol=2Ewindows=2Enet"; a != b {
		t.Errorf("slot = %q, want %q: two rotations must meet in it", a, b)
	}
}

func TestNames_ShardsAreAllUsed(t *testing.T) {
	n, seen := names{shards: 4}, map[string]bool{}
	for i := range 100 {
		seen[n.shard(fmt.Sprintf("0192f0c4-7a1e-7c3a-9f5e-2b1d7c8e%04x", i))] = true
	}
	if len(seen) != 4 {
		t.Errorf("100 rotations lie in %d shards, want 4", len(seen))
	}
}

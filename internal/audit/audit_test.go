package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// shelf is a log in memory.
type shelf struct{ records, checkpoints [][]byte }

func (s *shelf) AppendAudit(_ context.Context, _ string, data []byte) error {
	s.records = append(s.records, data)
	return nil
}

func each(all [][]byte, after uint64, f func(uint64, []byte) error) error {
	for i := after; i < uint64(len(all)); i++ {
		if all[i] == nil { // Taken out of the middle, as of a stream.
			continue
		}
		if err := f(i+1, all[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) AuditRecords(ctx context.Context, f func(uint64, []byte) error) error {
	return s.AuditRecordsAfter(ctx, 0, f)
}

func (s *shelf) AuditRecordsAfter(_ context.Context, after uint64, f func(uint64, []byte) error) error {
	return each(s.records, after, f)
}

func (s *shelf) AuditLast(context.Context) (uint64, error) { return uint64(len(s.records)), nil }

func (s *shelf) AuditCheckpoints(_ context.Context, f func(uint64, []byte) error) error {
	return each(s.checkpoints, 0, f)
}

func (s *shelf) AppendCheckpoint(_ context.Context, last uint64, data []byte) (uint64, error) {
	if last != uint64(len(s.checkpoints)) {
		return 0, errors.New("another stands")
	}
	s.checkpoints = append(s.checkpoints, data)
	return last + 1, nil
}

func (s *shelf) clone() *shelf {
	return &shelf{slices.Clone(s.records), slices.Clone(s.checkpoints)}
}

type fataler interface{ Fatal(args ...any) }

func key(t fataler) (note.Signer, audit.Keys) {
	s, text := pair(t)
	return s, keys(t, "", text)
}

// pair returns a key that signs, and the text that verifies it.
func pair(t fataler) (note.Signer, string) {
	text, _, err := audit.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s, _, v, err := audit.ParseSigner(text)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func keys(t fataler, origin string, texts ...string) audit.Keys {
	k, err := audit.NewKeys(origin, texts...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signed tells n records and signs them after each of some, with a new keeper each time.
func signed(t fataler, sg note.Signer, v audit.Keys, n, every int) *shelf {
	s := &shelf{}
	for i := range n {
		tell(t, s, 1)
		if (i+1)%every == 0 {
			keep(t, s, sg, v)
		}
	}
	return s
}

// tell tells of n tasks of the tenants t0, t1 and t2 in turn. Every other one has texts
// that are sealed.
func tell(t fataler, s *shelf, n int) {
	log := audit.NewLog(s, func() time.Time { return time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC) }, nil)
	for range n {
		i := len(s.records)
		r := audit.Record{Who: "cert:jane", By: "certificate", Act: "task", Object: "rotations/r1/tasks/" + string(rune('a'+i%26)), Outcome: audit.Done}
		if i%2 == 1 {
			r.Why = "because of t9"
		}
		if err := log.Tell(context.Background(), r.About("t"+string(rune('0'+i%3)))); err != nil {
			t.Fatal(err)
		}
	}
}

// keep lets a keeper begin and end once.
func keep(t fataler, s *shelf, sg note.Signer, v audit.Keys) {
	ctx, cancel := context.WithCancel(context.Background())
	k := &audit.Keeper{Store: s, Signer: sg, Keys: v, Log: slog.New(slog.DiscardHandler), Signed: func(n int64) {
		if n == int64(len(s.records)) {
			cancel()
		}
	}}
	if err := k.Run(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
}

func verify(t fataler, s *shelf, v audit.Keys, known string) *audit.Summary {
	sum, err := audit.Verify(context.Background(), s, v, known)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestVerify_AnUntouchedLogIsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sg, v := key(t)
		n, every := rapid.IntRange(0, 40).Draw(t, "records"), rapid.IntRange(1, 12).Draw(t, "every")
		s := signed(t, sg, v, n, every)
		sum := verify(t, s, v, "")
		if !sum.OK() || sum.Records != int64(n) || sum.Signed != int64(n/every*every) {
			t.Fatalf("Verify = %+v, want %d records and nothing found", sum, n)
		}
		if sum.Latest != "" && !verify(t, s, v, sum.Latest).OK() {
			t.Fatalf("its own checkpoint is not of it")
		}
	})
}

// Whatever is done to a record that was signed is found, and the record is named.
func TestVerify_EveryChangeIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sg, v := key(t)
		n := rapid.IntRange(2, 40).Draw(t, "records")
		s := signed(t, sg, v, n, 1+rapid.IntRange(0, n-1).Draw(t, "every"))
		covered := int(verify(t, s, v, "").Signed)
		i := rapid.IntRange(0, covered-1).Draw(t, "which")
		known := ""
		var named string
		switch rapid.SampledFrom([]string{"flip", "drop", "take out", "reorder", "truncate", "truncate all"}).Draw(t, "how") {
		case "flip":
			at := rapid.IntRange(0, len(s.records[i])-1).Draw(t, "byte")
			b := bytes.Clone(s.records[i])
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			s.records[i], named = b, "record "+num(i)
		case "drop":
			named = "record " + num(i)
			s.records = slices.Delete(s.records, i, i+1)
		case "take out":
			s.records[i], named = nil, "record "+num(i)+" is missing"
		case "reorder":
			j := rapid.IntRange(0, covered-1).Filter(func(j int) bool { return covered == 1 || j != i }).Draw(t, "with")
			if i == j {
				return
			}
			s.records[i], s.records[j], named = s.records[j], s.records[i], "record "+num(i)+" stands where record "+num(j)
		case "truncate":
			s.records, named = s.records[:i], "record "+num(i)+" is missing"
		case "truncate all":
			// Records and their checkpoints together: found by whoever has the last note.
			known = verify(t, s, v, "").Latest
			s.records, s.checkpoints, named = s.records[:0], s.checkpoints[:len(s.checkpoints)-1], "its end is missing"
			if len(s.checkpoints) > 0 {
				named = "is" // Also what the checkpoints before say is missing.
			}
		}
		sum := verify(t, s, v, known)
		if sum.OK() || !strings.Contains(strings.Join(sum.Findings, "\n"), named) {
			t.Fatalf("Verify finds %q, want %q among it", sum.Findings, named)
		}
	})
}

func num(i int) string { b, _ := json.Marshal(i + 1); return string(b) }

// What was signed cannot be signed anew by somebody else, nor left out of the middle.
func TestVerify_CheckpointsAreOurs(t *testing.T) {
	sg, v := key(t)
	s := signed(t, sg, v, 12, 4)
	other, mine := key(t)
	_ = mine
	forged := signed(t, other, mine, 12, 4)
	for name, change := range map[string]func(*shelf){
		"another's signature": func(c *shelf) { c.checkpoints[1] = forged.checkpoints[1] },
		"one left out":        func(c *shelf) { c.checkpoints = slices.Delete(c.checkpoints, 1, 2) },
		"swapped":             func(c *shelf) { c.checkpoints[0], c.checkpoints[1] = c.checkpoints[1], c.checkpoints[0] },
		"another leaf": func(c *shelf) {
			var k audit.Checkpoint
			if err := json.Unmarshal(c.checkpoints[1], &k); err != nil {
				t.Fatal(err)
			}
			k.Leaf[0][0] ^= 1
			c.checkpoints[1], _ = json.Marshal(k)
		},
		"rubbish": func(c *shelf) { c.checkpoints[1] = []byte("{") },
		"not one": func(c *shelf) { c.checkpoints[1] = []byte(`{"v":1,"first":4,"leaf":[],"note":"hello"}`) },
	} {
		c := s.clone()
		change(c)
		sum := verify(t, c, v, "")
		if sum.OK() {
			t.Errorf("%s: nothing is found", name)
		}
		k := &audit.Keeper{Store: c, Signer: sg, Keys: v, Log: slog.New(slog.DiscardHandler)}
		if err := k.Run(t.Context()); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: a keeper goes on: %v", name, err)
		}
	}
	// A whole log of another key is another log.
	if verify(t, forged, v, "").OK() {
		t.Error("a log that another signed is believed")
	}
}

// A keeper does not sign over a gap.
func TestKeeper_SignsNoGap(t *testing.T) {
	sg, v := key(t)
	s := signed(t, sg, v, 6, 4)
	s.records[4] = nil
	k := &audit.Keeper{Store: s, Signer: sg, Keys: v, Log: slog.New(slog.DiscardHandler)}
	if err := k.Run(t.Context()); !errors.Is(err, audit.ErrTampered) || len(s.checkpoints) != 1 {
		t.Errorf("Run = %v with %d checkpoints, want ErrTampered and no new one", err, len(s.checkpoints))
	}
}

func TestEvidence_ProvesATenantsRecordsAndNamesNobodyElse(t *testing.T) {
	sg, v := key(t)
	s := signed(t, sg, v, 20, 20)
	log := audit.NewLog(s, time.Now, nil)
	if err := log.Tell(t.Context(), audit.Record{Act: "task", Object: "rotations/r1/tasks/9", Outcome: audit.Done}.About("t1", "t2")); err != nil {
		t.Fatal(err)
	}
	keep(t, s, sg, v)
	e, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: "t1", Rotation: "rotations/r1"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = audit.ParseEvidence(b); err != nil {
		t.Fatal(err)
	}
	got, err := e.Check(v, "")
	if err != nil || len(got) != 8 {
		t.Fatalf("Check = %d records, %v, want 8", len(got), err)
	}
	if bytes.Contains(b, []byte(`"t2"`)) || bytes.Contains(b, []byte(`"t0"`)) {
		t.Errorf("the evidence names another tenant: %s", b)
	}
	for name, change := range map[string]func(*audit.Evidence){
		"a word changed": func(e *audit.Evidence) { e.Records[2].Record = strings.Replace(e.Records[2].Record, "done", "dont", 1) },
		"another place":  func(e *audit.Evidence) { e.Records[2].Number++ },
		"another tenant": func(e *audit.Evidence) { e.Tenant = "t0" },
		"another note":   func(e *audit.Evidence) { e.Note = strings.Replace(e.Note, "21", "20", 1) },
		"swapped":        func(e *audit.Evidence) { e.Records[0], e.Records[1] = e.Records[1], e.Records[0] },
	} {
		c, err := audit.ParseEvidence(b)
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		if _, err := c.Check(v, ""); err == nil {
			t.Errorf("%s: it is believed", name)
		}
	}
	if other, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: "nobody"}); err != nil || len(other.Records) != 0 {
		t.Errorf("evidence for nobody = %+v, %v", other, err)
	}
	s.records[3] = []byte(strings.Replace(string(s.records[3]), "jane", "john", 1))
	if _, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: "t1"}); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("Gather of a changed log = %v, want ErrTampered", err)
	}
}

func TestKey_IsMadeOnceAndReadAgain(t *testing.T) {
	dir := t.TempDir()
	one, err := audit.OpenKey(dir, never)
	if err != nil {
		t.Fatal(err)
	}
	two, err := audit.OpenKey(dir, never)
	if err != nil || one != two {
		t.Errorf("the key is another one after it was made, %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, audit.KeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file has mode %v, %v, want 0600", info.Mode(), err)
	}
	_, v, text, err := audit.ParseSigner(one)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := audit.ParseVerifier(text); err != nil || again.KeyHash() != v.KeyHash() {
		t.Errorf("ParseVerifier = %v", err)
	}
	for _, bad := range []string{"", "PRIVATE+KEY+x", "crossfade-audit+0000+AAAA", one[:len(one)-4]} {
		if _, _, _, err := audit.ParseSigner(bad); !errors.Is(err, audit.ErrKey) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("ParseSigner(%.12q…) = %v, want ErrKey that does not quote it", bad, err)
		}
	}
}

func TestRecord_IsOneLineAndBounded(t *testing.T) {
	s := &shelf{}
	log := audit.NewLog(s, func() time.Time { return time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC) }, nil)
	long := strings.Repeat("é\n<&>", 4000)
	if err := log.Tell(t.Context(), audit.Record{Act: "task", Why: long, Detail: map[string]string{"x": long}, Outcome: audit.Done}); err != nil {
		t.Fatal(err)
	}
	b := s.records[0]
	r, err := audit.Decode(b)
	if err != nil || bytes.ContainsRune(b, '\n') || len(b) > audit.MaxRecord || r.V != audit.Version || r.ID == "" || r.At.IsZero() {
		t.Errorf("a long record is stored as %d bytes, %+v, %v", len(b), r, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"x","at":"2016-11-04T01:00:00Z","act":"task","outcome":"done"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := audit.Decode(b); err == nil {
			_ = r.String()
			_ = r.Concerns("t")
		}
		if e, err := audit.ParseEvidence(b); err == nil {
			_, v := key(t)
			if _, err := e.Check(v, ""); err == nil {
				t.Errorf("evidence that nobody signed is believed: %q", b)
			}
		}
	})
}

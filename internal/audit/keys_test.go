package audit_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/crossfade-project/crossfade/internal/audit"
)

func never() (bool, error) { return false, nil }

// Another key would not continue a log that was signed: none is made.
func TestOpenKey_NoneIsMadeForALogThatWasSigned(t *testing.T) {
	dir := t.TempDir()
	_, err := audit.OpenKey(dir, func() (bool, error) { return true, nil })
	if !errors.Is(err, audit.ErrKeyGone) || !strings.Contains(err.Error(), "put audit.key back") {
		t.Errorf("OpenKey of a signed log without its key = %v, want ErrKeyGone", err)
	}
	if _, err := audit.OpenKey(dir, func() (bool, error) { return false, os.ErrDeadlineExceeded }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("OpenKey that cannot look = %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("there are %v, %v, want no file", files, err)
	}
}

// A file that was torn is said to be, and is left as it is.
func TestOpenKey_ATornFileIsRefused(t *testing.T) {
	whole, _, err := audit.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"empty": "", "cut": whole[:len(whole)/2], "another thing": "hello\n"} {
		dir := t.TempDir()
		path := filepath.Join(dir, audit.KeyFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := audit.OpenKey(dir, never)
		if !errors.Is(err, audit.ErrKey) || !strings.Contains(err.Error(), "empty or damaged") || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: OpenKey = %v, want that it is damaged, and no word of it", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s: the file is %q now, %v", name, b, err)
		}
	}
}

func TestWriteKey_LeavesOneWholeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "k")
	if err := audit.WriteKey(path, "one"); err != nil {
		t.Fatal(err)
	}
	if err := audit.WriteKey(path, "two"); !errors.Is(err, os.ErrExist) {
		t.Errorf("WriteKey over a key = %v, want that it exists", err)
	}
	files, err := os.ReadDir(dir)
	if b, rerr := os.ReadFile(path); err != nil || rerr != nil || string(b) != "one\n" || len(files) != 1 {
		t.Errorf("the file is %q, %v, of %d files, %v", b, rerr, len(files), err)
	}
}

// A key is changed with the old one known: what it signed stays right, and it signs
// nothing more.
func TestKeys_AreChanged(t *testing.T) {
	oldSigner, oldText := pair(t)
	newSigner, newText := pair(t)
	before, both := keys(t, "", oldText), keys(t, "", oldText, newText)
	s := signed(t, oldSigner, before, 4, 2)
	kept := verify(t, s, before, "").Latest
	tell(t, s, 2)
	keep(t, s, newSigner, both)

	sum := verify(t, s, both, kept)
	if !sum.OK() || sum.Signed != 6 || sum.Checkpoints != 3 {
		t.Fatalf("Verify by both keys = %+v", sum)
	}
	for name, k := range map[string]audit.Keys{"the old one alone": before, "the new one alone": keys(t, "", newText), "the wrong order": keys(t, "", newText+"\n"+oldText)} {
		if verify(t, s, k, "").OK() {
			t.Errorf("Verify by %s finds nothing", name)
		}
	}
	e, err := audit.Gather(t.Context(), s, both, audit.Ask{Tenant: "t1", Since: kept})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Check(both, kept); err != nil || len(got) != 2 {
		t.Errorf("Check by both keys = %d records, %v, want 2", len(got), err)
	}
	if _, err := e.Check(before, ""); err == nil {
		t.Error("evidence of the new key is right by the old one")
	}

	// Whoever has the old key goes on with it.
	stale := s.clone()
	tell(t, stale, 1)
	k := &audit.Keeper{Store: stale, Signer: oldSigner, Keys: before, Log: slog.New(slog.DiscardHandler)}
	if err := k.Run(t.Context()); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("a keeper that does not know the new key goes on: %v", err)
	}
	forge(t, stale, oldSigner, before)
	if sum := verify(t, stale, both, ""); sum.OK() || !strings.Contains(sum.Findings[0], "signed by an old key") {
		t.Errorf("a checkpoint of the old key behind one of the new: %q", sum.Findings)
	}
	k = &audit.Keeper{Store: stale, Signer: newSigner, Keys: both, Log: slog.New(slog.DiscardHandler)}
	if err := k.Run(t.Context()); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("a keeper goes on behind a checkpoint of the old key: %v", err)
	}
	latest := verify(t, s, both, "").Latest
	fork := signed(t, oldSigner, before, 8, 8)
	e, err = audit.Gather(t.Context(), fork, before, audit.Ask{Tenant: "t1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Check(both, latest); err == nil || !strings.Contains(err.Error(), "old key") {
		t.Errorf("evidence of the old key against a checkpoint of the new: %v", err)
	}
}

// forge adds a checkpoint of the last record by a signer who knows how.
func forge(t *testing.T, s *shelf, by note.Signer, who audit.Keys) {
	t.Helper()
	all := &shelf{records: s.records}
	keep(t, all, by, who)
	var whole audit.Checkpoint
	if err := json.Unmarshal(all.checkpoints[0], &whole); err != nil {
		t.Fatal(err)
	}
	n := len(s.records) - 1
	whole.First, whole.Leaf = int64(n), whole.Leaf[n:]
	b, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	s.checkpoints = append(s.checkpoints, b)
}

// A log has a name of its own where its operator gives it one: the notes of another are
// not its, also by the same key.
func TestKeys_TheOriginSaysWhichLogItIs(t *testing.T) {
	sg, text := pair(t)
	production, staging := keys(t, "crossfade.example/production", text), keys(t, "crossfade.example/staging", text)
	s := signed(t, sg, production, 3, 3)
	if sum := verify(t, s, production, ""); !sum.OK() || !strings.HasPrefix(sum.Latest, "crossfade.example/production\n3\n") {
		t.Errorf("Verify = %+v", sum)
	}
	other := signed(t, sg, staging, 3, 3)
	if sum := verify(t, s, production, verify(t, other, staging, "").Latest); sum.OK() {
		t.Error("a checkpoint of another log is believed")
	}
	e, err := audit.Gather(t.Context(), other, staging, audit.Ask{Tenant: "t1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Check(production, ""); err == nil || !strings.Contains(err.Error(), "no checkpoint of crossfade.example/production") {
		t.Errorf("evidence of another log: %v", err)
	}
	for _, bad := range []string{"a b", "a\nb", "é", strings.Repeat("x", 129)} {
		if _, err := audit.NewKeys(bad, text); err == nil {
			t.Errorf("NewKeys(%q) is right", bad)
		}
	}
	for _, bad := range [][]string{nil, {""}, {text, text}, {"x"}} {
		if _, err := audit.NewKeys("", bad...); err == nil {
			t.Errorf("NewKeys of %q is right", bad)
		}
	}
}

package jet_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// A record is stored with the lowest version that will do; one of a newer program
// is neither read nor written over, and no subject of its streams is taken away.
func TestVersion_NewerRecordsAndSubjectsAreLeftAlone(t *testing.T) {
	cert := newCert(t)
	c := config(t, cert)
	c.Listen = "127.0.0.1:0"
	b := open(t, c)
	plain, err := b.CreateRotation(t.Context(), rollovertest.NewRotation("r1", cert, rollovertest.Epoch), []string{"a"})
	if err != nil || plain.V != rollover.RecordVersion {
		t.Fatalf("CreateRotation = version %d, %v, want %d", plain.V, err, rollover.RecordVersion)
	}
	r := rollovertest.NewRotation("r2", cert, rollovertest.Epoch)
	r.Spec.Limits.PerTenant = 1
	bound, err := b.CreateRotation(t.Context(), r, []string{"a"})
	if err != nil || bound.V != rollover.LatestVersion {
		t.Fatalf("CreateRotation with a limit = version %d, %v, want %d", bound.V, err, rollover.LatestVersion)
	}

	js := dialRaw(t, b.URL())
	s, err := js.Stream(t.Context(), "ROT")
	if err != nil {
		t.Fatal(err)
	}
	subject := "r.0.r1"
	if m, err := s.GetLastMsgForSubject(t.Context(), "r.*.r1"); err == nil {
		subject = m.Subject
	}
	newer, err := json.Marshal(map[string]any{"v": rollover.LatestVersion + 1, "id": "r1", "unheard_of": true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), subject, newer); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Rotation(t.Context(), "r1"); err == nil || !strings.Contains(err.Error(), "leaves it alone") {
		t.Errorf("Rotation of a newer program = %v, want an error that says so", err)
	}
	if _, err := b.SaveRotation(t.Context(), plain); err == nil {
		t.Error("SaveRotation over the record of a newer program = nil, want an error")
	}

	conf := s.CachedInfo().Config
	conf.Subjects = append(conf.Subjects, "later.>")
	if _, err := js.UpdateStream(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	second := c
	second.Dir, second.Listen, second.URL = "", "", b.URL()
	open(t, second)
	if s, err = js.Stream(t.Context(), "ROT"); err != nil || !slices.Contains(s.CachedInfo().Config.Subjects, "later.>") {
		t.Errorf("subjects of ROT after this program started = %v, %v, want later.> among them", s.CachedInfo().Config.Subjects, err)
	}
}

package jet_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// A store in which a rotation lacks a part, as after damage to the files of a server, is
// not backed up as if it were whole.
func TestBackup_OfAStoreThatLostRecordsIsRefused(t *testing.T) {
	for _, lost := range []string{"sel.>", "m.>"} {
		t.Run(lost, func(t *testing.T) {
			cert := newCert(t)
			c := config(t, cert)
			c.Listen = "127.0.0.1:0"
			b := open(t, c)
			r, err := b.CreateRotation(t.Context(), rollovertest.NewRotation("r1", cert, rollovertest.Epoch), []string{"a"})
			if err != nil {
				t.Fatal(err)
			}
			plan := rollovertest.Plan(3)
			if r, err = r.Freeze(plan, rollovertest.Epoch); err != nil {
				t.Fatal(err)
			}
			if _, err := b.FreezePlan(t.Context(), r, plan); err != nil {
				t.Fatal(err)
			}
			copied(t, b)
			js := dialRaw(t, b.URL())
			s, err := js.Stream(t.Context(), "ROT")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(lost)); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Backup(t.Context(), shelf{}.create); err == nil || !strings.Contains(err.Error(), "the store has lost records: rotation r1") {
				t.Errorf("Backup = %v, want that records are lost", err)
			}
			if lost == "sel.>" {
				return
			}
			// Who reads the plan anew is not told that the rotation was deleted.
			other, err := jet.Dial(t.Context(), jet.Config{URL: b.URL()})
			if err != nil {
				t.Fatal(err)
			}
			defer shut(t, other)
			if _, err := other.Plan(t.Context(), r.ID, 0, 3); !errors.Is(err, rollover.ErrNotFound) || errors.Is(err, rollover.ErrGone) {
				t.Errorf("Plan = %v, want that a part is missing", err)
			}
		})
	}
}

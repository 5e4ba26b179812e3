package jet_test

import (
	"errors"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// A batch has 1,000 messages at most: a plan of which no part would find room is
// refused before anything is sent, and the rotation stays as it was.
func TestFreezePlan_RefusesMoreThanABatchHolds(t *testing.T) {
	cert := newCert(t)
	b := open(t, config(t, cert))
	r, err := b.CreateRotation(t.Context(), rollovertest.NewRotation("r1", cert, rollovertest.Epoch), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	const most = 999 * 256
	f := r
	f.Tasks, f.Digest = most+1, "d"
	if _, err := b.FreezePlan(t.Context(), f, make([]rollover.Item, most+1)); !errors.Is(err, rollover.ErrFull) {
		t.Errorf("FreezePlan of %d items = %v, want ErrFull", most+1, err)
	}
	if got, err := b.Rotation(t.Context(), "r1"); err != nil || got.Digest != "" {
		t.Errorf("Rotation = %q, %v, want it without a plan", got.Digest, err)
	}
}

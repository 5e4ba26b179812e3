package planner_test

import (
	"context"
	"errors"
	"testing"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// A login that was changed where it is kept is taken up at once, not after the time for
// which it is remembered.
func TestPlan_ARefusedLoginIsLookedUpAnew(t *testing.T) {
	h := newHouse(t)
	asked := 0
	list := h.list
	h.list = func(ctx context.Context) (dataverse.Org, error) {
		if asked == 0 {
			return dataverse.Org{}, rollover.HandOver(rollover.NoAccess, errors.New("AADSTS7000215"))
		}
		return list(ctx)
	}
	h.anew = func(_ secrets.Ref, refused secrets.Secret) (secrets.Secret, bool, error) {
		asked++
		return secrets.NewSecret("changed " + refused.Reveal()), true, nil
	}
	f := h.plan(h.planner())
	if asked != 1 || h.lists != 2 || h.logins[1].Secret.Reveal() != "changed "+h.logins[0].Secret.Reveal() {
		t.Errorf("asked anew %d times, listed %d times, want once and twice with the new secret", asked, h.lists)
	}
	for _, it := range f.Items {
		if it.Outcome == rollover.HandedOver {
			t.Errorf("%s is handed over, with a login that works", it.Target)
		}
	}
}

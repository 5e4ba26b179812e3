package planner_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

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

// A store of secrets that is away, for however long, fails no tenant and hands none over:
// neither where the login is looked for first, nor where it is looked for anew.
func TestPlan_WaitsForAStoreThatIsAway(t *testing.T) {
	away := fmt.Errorf("%w: signing in to Vault: refused", secrets.ErrAway)
	for name, c := range map[string]func(h *house){
		"first": func(h *house) {
			h.secret = func(secrets.Ref) (secrets.Secret, error) { return secrets.Secret{}, away }
		},
		"anew": func(h *house) {
			h.list = func(context.Context) (dataverse.Org, error) {
				return dataverse.Org{}, rollover.HandOver(rollover.NoAccess, errors.New("AADSTS7000215"))
			}
			h.anew = func(secrets.Ref, secrets.Secret) (secrets.Secret, bool, error) { return secrets.Secret{}, false, away }
		},
	} {
		h := newHouse(t)
		before := h.secret
		list := h.list
		c(h)
		p := h.planner()
		for n := range 20 {
			if got := h.again(p.Plan(t.Context(), nudge(0)), 0); got != 30*time.Second {
				t.Fatalf("%s: wait %d = %s, want 30s", name, n, got)
			}
			h.pass(&h.now, 30*time.Second)
			h.pass(&h.real, 30*time.Second)
		}
		h.secret, h.list, h.anew = before, list, nil
		for _, it := range h.plan(p).Items {
			if it.Outcome != rollover.Open {
				t.Errorf("%s: %s ended as %s, %s, want that it goes on when the store is back", name, it.Target, it.Outcome, it.Reason)
			}
		}
	}
}

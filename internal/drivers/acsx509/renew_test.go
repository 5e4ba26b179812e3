package acsx509_test

import (
	"context"
	"errors"
	"testing"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// A management key that was changed where it is kept is taken up when the old one is
// refused, once.
func TestDriver_ARefusedKeyIsLookedUpAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		anew  string
		other bool
		ok    bool
	}{
		"changed":             {managementKey, true, true},
		"changed to nonsense": {"bm9uc2Vuc2U=", true, false},
		"the same":            {"", false, false},
	} {
		w := newWorld(t, acs.Switches{})
		renewed := 0
		d := w.driver(func(k *kit.Kit) {
			k.Access = func(context.Context, string, string) (kit.Access, error) {
				return kit.Access{Secret: secrets.NewSecret("b2xkIGtleQ==")}, nil
			}
			k.Renew = func(_ context.Context, tenant, at string, refused secrets.Secret) (kit.Access, bool, error) {
				renewed++
				if tenant != "contoso" || at != host || refused.Reveal() != "b2xkIGtleQ==" {
					t.Errorf("%s: asked anew for %s at %s and another secret than was refused", name, tenant, at)
				}
				return kit.Access{Secret: secrets.NewSecret(tt.anew)}, tt.other, nil
			}
		})
		_, err := d.Observe(t.Context(), rollover.Work{Tenant: "contoso", Target: rollover.Target{Kind: "acs-x509", Host: host, Identity: identity}})
		if (err == nil) != tt.ok || renewed != 1 {
			t.Errorf("%s: %v after %d renewals, want it to work: %t, after one", name, err, renewed, tt.ok)
		}
	}
}

// A host refuses a key while the store of keys is away: nobody knows whether there is
// another, so the step waits, and the task is not handed over.
func TestDriver_ARefusedKeyWaitsForItsStore(t *testing.T) {
	w := newWorld(t, acs.Switches{})
	d := w.driver(func(k *kit.Kit) {
		k.Access = func(context.Context, string, string) (kit.Access, error) {
			return kit.Access{Secret: secrets.NewSecret("b2xkIGtleQ==")}, nil
		}
		k.Renew = func(context.Context, string, string, secrets.Secret) (kit.Access, bool, error) {
			return kit.Access{}, false, rollover.StoreAway(errors.New("the vault is shut"))
		}
	})
	_, err := d.Observe(t.Context(), rollover.Work{Tenant: "contoso", Target: rollover.Target{Kind: "acs-x509", Host: host, Identity: identity}})
	var s *rollover.StepError
	if !errors.As(err, &s) || s.Outcome != rollover.Open || !s.Throttle.Waits() {
		t.Errorf("Observe = %v, want that it waits", err)
	}
}

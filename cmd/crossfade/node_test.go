package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
)

// storeOf is a store of secrets that says one thing.
type storeOf func() (secrets.Secret, error)

func (s storeOf) Get(context.Context, secrets.Ref) (secrets.Secret, error) { return s() }

// aTenant returns a valid tenant whose references are those.
func aTenant(id string, login, key secrets.Ref) tenants.Tenant {
	return tenants.Tenant{
		ID: id, Organization: "https://" + id + ".crm4.dynamics.com", EntraTenant: "6f1f9b8e-0d0f-4e60-8f0e-2b1d3c4d5e6f",
		Login:      tenants.Login{ClientID: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", Secret: login},
		Namespaces: []tenants.Namespace{{Host: id + "-sb.accesscontrol.windows.net", Account: "ManagementClient", Secret: key}},
	}
}

// A secret that is not there is its tenant's business, and the task is handed over. A store
// that is away, or that we cannot sign in to, is ours: the task waits, and uses up no try.
func TestAccess_OnlyWhatIsSaidOfTheSecretHandsOver(t *testing.T) {
	const host = "contoso-sb.accesscontrol.windows.net"
	for name, c := range map[string]struct {
		err      error
		noAccess bool
	}{
		"missing":           {fmt.Errorf("x: %w", secrets.ErrMissing), true},
		"forbidden":         {fmt.Errorf("x: %w", secrets.ErrForbidden), true},
		"a refused log-in":  {errors.New("signing in to Vault: the vault refuses our role or secret id with 400"), false},
		"a store that died": {errors.New("the vault cannot be reached"), false},
	} {
		n := &node{
			inventory: tenants.New(tenantstest.NewBucket(), tenantstest.NewBucket()),
			secrets: secrets.New(secrets.Config{Stores: map[string]secrets.Store{
				secrets.SchemeVault: storeOf(func() (secrets.Secret, error) { return secrets.Secret{}, c.err }),
			}}),
		}
		if _, _, err := n.inventory.Put(t.Context(), aTenant("contoso", "file:login", "vault://kv/contoso#key")); err != nil {
			t.Fatal(err)
		}
		_, err := n.access(t.Context(), "contoso", host)
		var s *rollover.StepError
		waits := errors.As(err, &s) && s.Outcome == rollover.Open && s.Throttle.Waits()
		if errors.Is(err, kit.ErrNoAccess) != c.noAccess || waits == c.noAccess {
			t.Errorf("%s: access = %v, want ErrNoAccess: %t, or that it waits", name, err, c.noAccess)
		}
		if _, _, err = n.renew(t.Context(), "contoso", host, secrets.NewSecret("old")); err == nil || errors.As(err, &s) == c.noAccess {
			t.Errorf("%s: renew = %v, want that it waits: %t", name, err, !c.noAccess)
		}
	}
}

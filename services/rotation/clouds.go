package rotation

import (
	"context"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// lister lists all tenants of the inventory.
type lister interface {
	List(ctx context.Context) ([]tenants.Tenant, error)
}

// Clouds returns the clouds in which a rotation's tenants are now. A tenant that is not in
// the inventory any more may be in any.
func Clouds(ctx context.Context, store interface {
	SelectedTenants(ctx context.Context, rotation string) ([]string, error)
}, inventory lister, id string,
) ([]string, error) {
	ids, err := store.SelectedTenants(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading the selection of rotation %s: %w", id, err)
	}
	return cloudsOf(ctx, inventory, ids)
}

// cloudsOf returns the clouds in which tenants are now.
func cloudsOf(ctx context.Context, inventory lister, ids []string) ([]string, error) {
	list, err := inventory.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	hosts := map[string]string{}
	for _, t := range list {
		hosts[t.ID] = t.OrganizationHost()
	}
	var out []string
	for _, t := range ids {
		host, there := hosts[t]
		if !there {
			return crm.Clouds(), nil
		}
		place, _ := crm.PlaceOf(host)
		if !slices.Contains(out, place.Cloud) {
			out = append(out, place.Cloud)
		}
	}
	return out, nil
}

// cloudsAsked returns the clouds in which tenants are, for a rotation to keep. It looks
// only where a rule asks.
func (s *Service) cloudsAsked(ctx context.Context, ids []string) ([]string, error) {
	if !s.c.Approvals.AsksClouds() {
		return nil, nil
	}
	return cloudsOf(ctx, s.c.Tenants, ids)
}

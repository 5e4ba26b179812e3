package rotation

import (
	"context"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// Clouds returns the clouds of a rotation's tenants. A tenant that is not in the
// inventory any more may be in any.
func Clouds(ctx context.Context, store interface {
	SelectedTenants(ctx context.Context, rotation string) ([]string, error)
}, inventory interface {
	List(ctx context.Context) ([]tenants.Tenant, error)
}, id string,
) ([]string, error) {
	ids, err := store.SelectedTenants(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading the selection of rotation %s: %w", id, err)
	}
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

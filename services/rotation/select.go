package rotation

import (
	"context"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/services/edge"
)

// selectFields are the fields of tenants that a selection may name.
func selectFields() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"id", "display_name", "organization", "region", "cloud", "entra_tenant"},
		Bools:   []string{"disabled"},
		Maps:    []string{"labels"},
	}
}

// matching returns the ids of the tenants that a filter selects now, sorted.
func (s *Service) matching(ctx context.Context, text string) ([]string, error) {
	filter, err := edge.ParseFilter(text, selectFields())
	if err != nil {
		return nil, err
	}
	list, err := s.c.Tenants.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	var ids []string
	for _, t := range list {
		if filter.Match(selectValue(t)) {
			ids = append(ids, t.ID)
		}
	}
	if len(ids) == 0 {
		return nil, edge.Invalid(edge.Violated("rotation.spec.target.filter", "RANGE",
			fmt.Sprintf("selects none of the %d tenants of the inventory", len(list))))
	}
	slices.Sort(ids)
	return ids, nil
}

// selectValue returns the values of the fields of one tenant.
func selectValue(t tenants.Tenant) func(string) any {
	return func(field string) any {
		switch field {
		case "id":
			return t.ID
		case "display_name":
			return t.DisplayName
		case "organization":
			return t.OrganizationHost()
		case "region":
			region, _ := t.Place()
			return region
		case "cloud":
			_, cloud := t.Place()
			return cloud
		case "entra_tenant":
			return t.EntraTenant
		case "disabled":
			return t.Disabled
		case "labels":
			return t.Labels
		default:
			return nil
		}
	}
}

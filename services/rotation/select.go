package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
			region, _ := place(t.OrganizationHost())
			return region
		case "cloud":
			_, cloud := place(t.OrganizationHost())
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

// place returns the region and the cloud that the host of an organisation stands
// for: contoso.crm4.dynamics.com is in crm4, commercial. Both are empty for a
// host that is not CRM's.
func place(host string) (region, cloud string) {
	labels := strings.Split(host, ".")
	n := len(labels)
	if n < 4 || !strings.HasPrefix(labels[n-3], "crm") {
		return "", ""
	}
	region = labels[n-3]
	switch labels[n-2] + "." + labels[n-1] {
	case "dynamics.com":
		if region == "crm9" {
			return region, "gcc"
		}
		return region, "commercial"
	case "microsoftdynamics.us":
		return region, "gcc_high"
	case "appsplatform.us":
		return region, "dod"
	case "dynamics.cn":
		return region, "china"
	default:
		return "", ""
	}
}

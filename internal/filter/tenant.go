package filter

import (
	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// TenantFields are the fields of tenants that a selection, and a grant, may name.
func TenantFields() Fields {
	return Fields{
		Strings: []string{"id", "display_name", "organization", "region", "cloud", "entra_tenant"},
		Bools:   []string{"disabled"},
		Maps:    []string{"labels"},
	}
}

// TenantValue returns the values of [TenantFields] of one tenant.
func TenantValue(t tenants.Tenant) func(string) any {
	return func(field string) any {
		switch field {
		case "id":
			return t.ID
		case "display_name":
			return t.DisplayName
		case "organization":
			return t.OrganizationHost()
		case "region":
			place, _ := crm.PlaceOf(t.OrganizationHost())
			return place.Region
		case "cloud":
			place, _ := crm.PlaceOf(t.OrganizationHost())
			return place.Cloud
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

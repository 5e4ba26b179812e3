package tenants

import (
	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// OrderValues returns the tenant's value for each key, empty where it has none.
func (t Tenant) OrderValues(keys []rollover.OrderKey) []string {
	var out []string
	region, cloud := t.Place()
	for _, k := range keys {
		switch k.By {
		case rollover.ByLabel:
			out = append(out, t.Labels[k.Label])
		case rollover.ByRegion:
			out = append(out, region)
		case rollover.ByCloud:
			out = append(out, cloud)
		default:
			out = append(out, "")
		}
	}
	return out
}

// Place returns the region and the cloud that the host of the organisation stands
// for: contoso.crm4.dynamics.com is in crm4, commercial. Both are empty for a
// host that is not CRM's.
func (t Tenant) Place() (region, cloud string) {
	p, _ := crm.PlaceOf(t.OrganizationHost())
	return p.Region, p.Cloud
}

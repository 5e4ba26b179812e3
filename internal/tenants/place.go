package tenants

import (
	"strings"

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
	labels := strings.Split(t.OrganizationHost(), ".")
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

package tenants_test

import (
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

func TestPlace_IsTheHostsRegionAndCloud(t *testing.T) {
	for organization, want := range map[string][2]string{
		"https://contoso.crm4.dynamics.com":            {"crm4", "commercial"},
		"https://contoso.crm.dynamics.com":             {"crm", "commercial"},
		"https://Contoso.CRM9.Dynamics.com/":           {"crm9", "gcc"},
		"https://contoso.crm.microsoftdynamics.us":     {"crm", "gcc_high"},
		"https://contoso.crm.appsplatform.us":          {"crm", "dod"},
		"https://contoso.crm.dynamics.cn":              {"crm", "china"},
		"https://crm4.dynamics.com":                    {},
		"https://contoso.crm4.dynamics.com.example.io": {},
		"https://contoso.sales.dynamics.com":           {},
		"https://contoso.crm4.example.com":             {},
		"":                                             {},
	} {
		if region, cloud := (tenants.Tenant{Organization: organization}).Place(); region != want[0] || cloud != want[1] {
			t.Errorf("Place of %q = %q, %q, want %q", organization, region, cloud, want)
		}
	}
}

func TestOrderValues_OneForEachKey(t *testing.T) {
	label := func(name string) rollover.OrderKey { return rollover.OrderKey{By: rollover.ByLabel, Label: name} }
	region, cloud := rollover.OrderKey{By: rollover.ByRegion}, rollover.OrderKey{By: rollover.ByCloud}
	crm9 := tenants.Tenant{Organization: "https://contoso.crm9.dynamics.com", Labels: map[string]string{"tier": "gold", "ring": "1"}}
	for _, c := range []struct {
		t    tenants.Tenant
		keys []rollover.OrderKey
		want []string
	}{
		{crm9, nil, nil},
		{crm9, []rollover.OrderKey{label("tier"), region, cloud, label("ring")}, []string{"gold", "crm9", "gcc", "1"}},
		{crm9, []rollover.OrderKey{label("missing"), {By: "moon"}, region}, []string{"", "", "crm9"}},
		{tenants.Tenant{Organization: "https://x.example"}, []rollover.OrderKey{label("tier"), region, cloud}, []string{"", "", ""}},
	} {
		if got := c.t.OrderValues(c.keys); !slices.Equal(got, c.want) {
			t.Errorf("OrderValues(%v) = %q, want %q", c.keys, got, c.want)
		}
	}
}

package crm_test

import (
	"testing"

	"github.com/crossfade-project/crossfade/internal/crm"
)

func TestPlaceOf_TellsOrganisationsFromOthers(t *testing.T) {
	for host, want := range map[string]crm.Place{
		"contoso.crm.dynamics.com":         {Region: "crm", Domain: "dynamics.com", Cloud: crm.Commercial},
		"Contoso.CRM4.Dynamics.com":        {Region: "crm4", Domain: "dynamics.com", Cloud: crm.Commercial},
		"contoso.api.crm9.dynamics.com":    {Region: "crm9", Domain: "dynamics.com", Cloud: crm.GCC},
		"contoso.crm.microsoftdynamics.us": {Region: "crm", Domain: "microsoftdynamics.us", Cloud: crm.GCCHigh},
		"contoso.crm.appsplatform.us":      {Region: "crm", Domain: "appsplatform.us", Cloud: crm.DoD},
		"contoso.crm.dynamics.cn":          {Region: "crm", Domain: "dynamics.cn", Cloud: crm.China},
		"":                                 {},
		"crm4.dynamics.com":                {},
		"contoso.crmx.dynamics.com":        {},
		"contoso.crm444.dynamics.com":      {},
		"contoso.crm4.dynamics.cn":         {},
		"contoso.crm4.dynamics.com.evil":   {},
		"a.b.crm4.dynamics.com":            {},
		"contoso_.crm4.dynamics.com":       {},
		"-contoso.crm4.dynamics.com":       {},
	} {
		got, ok := crm.PlaceOf(host)
		if got != want || ok != (want != crm.Place{}) {
			t.Errorf("PlaceOf(%q) = %+v, %v, want %+v", host, got, ok, want)
		}
	}
	if p, _ := crm.PlaceOf("contoso.crm9.dynamics.com"); p.Base() != "crm9.dynamics.com" {
		t.Errorf("Base = %q, want the identity that CRM uses", p.Base())
	}
}

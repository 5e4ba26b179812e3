package crm_test

import (
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/crm"
)

// FuzzPlaceOf reads any text as an organisation's host: what is taken is a name of DNS
// below one of five domains, and says the same in any case.
func FuzzPlaceOf(f *testing.F) {
	for _, s := range []string{
		"contoso.crm4.dynamics.com", "contoso.api.crm9.dynamics.com", "contoso.crm.microsoftdynamics.us", "contoso.crm4.dynamics.com.", "crm4.dynamics.com", "a.b.crm4.dynamics.com", "contoso.crm4.dynamics.com\x00",
		"contoso.\u212Arm.dynamics.com", "contoso.crm\u0664.dynamics.com", "127.0.0.1", strings.Repeat("a", 64) + ".crm4.dynamics.com", "xn--x.crm4.dynamics.com", "contoso.crm.dynamics.cn:443", "u@contoso.crm.dynamics.cn",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		p, ok := crm.PlaceOf(host)
		if !ok {
			if p != (crm.Place{}) {
				t.Errorf("PlaceOf(%q) = %+v and false", host, p)
			}
			return
		}
		if strings.ContainsFunc(strings.ToLower(host), func(r rune) bool { return r != '.' && r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) || len(host) > 5*64 {
			t.Errorf("PlaceOf takes %q", host)
		}
		if !strings.HasSuffix(strings.ToLower(host), "."+p.Base()) || p.Cloud == "" {
			t.Errorf("PlaceOf(%q) = %+v", host, p)
		}
		if up, ok := crm.PlaceOf(strings.ToUpper(host)); !ok || up != p {
			t.Errorf("PlaceOf(%q) = %+v, in capitals %+v", host, p, up)
		}
	})
}

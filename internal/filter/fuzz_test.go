package filter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// FuzzParse reads any text as a filter over endpoints and judges endpoints by it: what
// is refused says so in one short sentence; what is taken gives the same verdict each
// time, and NOT gives the other one.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`tenant = "contoso" AND NOT federated`, `labels.tier = "gold" OR labels:"x"`, `host:"contoso-sb.accesscontrol.windows.net"`, `version >= "8.1"`,
		`expires < "2016-11-04T01:00:00Z"`, `expires < timestamp("2016-11-04T01:00:00Z")`, `keys > 1`, `thumbprint:"ab"`, `((((((((((`, `NOT NOT NOT NOT federated`,
		strings.Repeat("NOT ", 240) + "federated", strings.Repeat("(", 300) + "federated" + strings.Repeat(")", 300), `tenant = "` + "\x00\xff" + `"`, `-9223372036854775808 = keys`,
		`labels.a.b.c.d = "x"`, `tenant = tenant`, `keys = 1e309`, `a` + strings.Repeat(" a", 150), `key_hash:"zz"`, `path = "*"`, "tenant\u00a0=\u00a0\"x\"", `timestamp(tenant) < expires`,
	} {
		f.Add(s)
	}
	at := time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
	things := []filter.Endpoint{
		{Tenant: tenants.Tenant{ID: "contoso", Organization: "https://contoso.crm4.dynamics.com", Labels: map[string]string{"tier": "gold"}}},
		{
			Tenant: tenants.Tenant{ID: "fabrikam", Labels: map[string]string{}},
			Seen: &tenants.Seen{Endpoint: rollover.Endpoint{ID: "e1", Name: "orders", AuthType: "acs", Federated: true}, Version: "9.2", Targets: []tenants.SeenTarget{
				{Host: "fabrikam-sb.accesscontrol.windows.net", Observed: true, Carries: []tenants.Carried{{SHA256: strings.Repeat("a", 64), SHA1: strings.Repeat("B", 40), NotAfter: at}}},
				{Host: "fabrikam.accesscontrol.windows.net"},
			}},
		},
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, fields := range []filter.Fields{filter.SeenFields(), filter.PlannedFields()} {
			begun := time.Now()
			got, err := filter.Parse(s, fields)
			if d := time.Since(begun); d > 30*time.Second { // a busy machine takes its time; what grows without end takes more
				t.Fatalf("Parse(%q) took %s", s, d)
			}
			if err != nil {
				var wrong *filter.Error
				if !errors.As(err, &wrong) || len(wrong.Why) > 2000 || strings.ContainsAny(wrong.Why, "\n\r\x00") {
					t.Errorf("Parse(%q) = %q, want one short sentence", s, err)
				}
				continue
			}
			if len(s) > filter.MaxBytes {
				t.Errorf("Parse took a filter of %d bytes, at most %d are allowed", len(s), filter.MaxBytes)
			}
			not, notErr := filter.Parse("NOT ("+s+")", fields)
			for _, e := range things {
				v := got.Judge(e.Value)
				if again := got.Judge(e.Value); again != v {
					t.Errorf("%q judges %v, then %v", s, v, again)
				}
				if got.Match(e.Value) != (v == filter.Yes) {
					t.Errorf("%q matches and judges %v", s, v)
				}
				if strings.TrimSpace(s) == "" || notErr != nil {
					continue
				}
				opposite := map[filter.Verdict]filter.Verdict{filter.Yes: filter.No, filter.No: filter.Yes, filter.Unknown: filter.Unknown}
				if o := not.Judge(e.Value); o != opposite[v] {
					t.Errorf("%q judges %v, and NOT of it %v", s, v, o)
				}
			}
		}
	})
}

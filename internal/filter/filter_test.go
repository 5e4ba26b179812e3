package filter_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

const (
	sha256a = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	sha256b = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	sha1a   = "A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1"
	sha1b   = "B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1"
	keyA    = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
)

// a and b are the certificates that stand on the endpoint of the tests.
func a() tenants.Carried {
	return tenants.Carried{SHA256: sha256a, SHA1: sha1a, KeyHash: keyA, NotAfter: time.Date(2016, 11, 3, 0, 0, 0, 0, time.UTC)}
}

func b() tenants.Carried {
	return tenants.Carried{SHA256: sha256b, SHA1: sha1b, KeyHash: sha256b, NotAfter: time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// endpoint is federated: a stands on its first host, a and b on its second.
func endpoint() filter.Endpoint {
	return filter.Endpoint{
		Tenant: tenants.Tenant{ID: "contoso", Organization: "https://contoso.crm4.dynamics.com", Labels: map[string]string{"tier": "gold"}},
		New:    sha256b, Old: []rollover.Credential{{SHA256: sha256a, NotAfter: a().NotAfter}},
		Seen: &tenants.Seen{
			Version: "8.1.0.1234",
			Endpoint: rollover.Endpoint{
				Tenant: "contoso", ID: "0a", Name: "Orders", AuthType: "acs", Contract: "queue", Path: "orders/in",
				Namespace: "sb://contoso.servicebus.windows.net/", Federated: true,
			},
			Targets: []tenants.SeenTarget{
				{Host: "contoso-sb.accesscontrol.windows.net", Observed: true, Carries: []tenants.Carried{a()}},
				{Host: "contoso.accesscontrol.windows.net", Observed: true, Carries: []tenants.Carried{a(), b()}},
			},
		},
	}
}

func TestJudge_EveryFieldOfAnEndpoint(t *testing.T) {
	half := endpoint()
	half.Seen.Targets[1] = tenants.SeenTarget{Host: half.Seen.Targets[1].Host}
	bare := endpoint()
	bare.Seen.Targets[0].Carries, bare.Seen.Targets[1].Carries, bare.Old = nil, nil, nil
	both := endpoint()
	both.Seen.Targets[0].Carries = append(both.Seen.Targets[0].Carries, b())
	tenant := filter.Endpoint{Tenant: endpoint().Tenant}
	const y, n, u = filter.Yes, filter.No, filter.Unknown
	for _, tt := range []struct {
		text string
		of   filter.Endpoint
		want filter.Verdict
	}{
		{``, tenant, y},
		{`tenant = "contoso"`, tenant, y},
		{`tenant != "contoso"`, tenant, n},
		{`labels.tier = "gold" AND labels:tier`, tenant, y},
		{`labels.tier = "silver" AND federated`, tenant, n}, // Whatever the endpoint is like.
		{`labels.tier = "gold" OR federated`, tenant, y},
		{`region = "crm4" AND cloud = "commercial"`, tenant, y},
		{`organization:"CONTOSO"`, tenant, y},
		{`federated`, tenant, u},
		{`NOT federated`, tenant, u},
		{`version >= "8.1"`, tenant, u},
		{`thumbprint:"` + sha1a + `"`, tenant, u},

		{`federated`, endpoint(), y},
		{`id = "0a" AND name = "Orders" AND name:"ord"`, endpoint(), y},
		{`auth_type = "acs" AND contract = "queue" AND path = "orders/in"`, endpoint(), y},
		{`namespace:"contoso.servicebus"`, endpoint(), y},
		{`host:"CONTOSO-sb.accesscontrol.windows.net"`, endpoint(), y},
		{`host:"contoso"`, endpoint(), n}, // A host, not a part of one.
		{`version >= "8.1"`, endpoint(), y},
		{`version < "8.10"`, endpoint(), y}, // Numbers, not text.
		{`version < "10.0"`, endpoint(), y},
		{`version = "8.1"`, endpoint(), n},
		{`version >= "9.0"`, endpoint(), n},
		{`thumbprint:"` + sha1b + `"`, endpoint(), y},
		{`thumbprint:"` + strings.ToLower(sha1b) + `"`, endpoint(), y},
		{`thumbprint:"B1 B1:B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1B1"`, endpoint(), y},
		{`thumbprint:"` + strings.ToUpper(sha256a) + `"`, endpoint(), y},
		{`thumbprint:"` + keyA + `"`, endpoint(), n},
		{`key_hash:"` + keyA + `"`, endpoint(), y},
		{`key_hash:"` + sha256a + `"`, endpoint(), n},
		{`expires < "2016-11-05T00:00:00Z"`, endpoint(), y},
		{`expires < timestamp("2016-11-01T00:00:00Z")`, endpoint(), n},
		{`expires = "2016-11-03T02:00:00+02:00"`, endpoint(), y},
		{`old_expires <= "2016-11-03T00:00:00Z"`, endpoint(), y},
		{`has_new`, endpoint(), n}, // It stands on one of two hosts.
		{`has_new`, both, y},
		{`keys = 2`, endpoint(), y},
		{`keys > 2 OR keys < 1`, endpoint(), n},

		{`keys = 0 AND NOT has_new AND NOT thumbprint:"` + sha1a + `"`, bare, y},
		{`expires < "2999-01-01T00:00:00Z" OR old_expires < "2999-01-01T00:00:00Z"`, bare, n},

		{`thumbprint:"` + sha1a + `"`, half, y}, // The half that was read carries it.
		{`thumbprint:"` + sha1b + `"`, half, u},
		{`NOT thumbprint:"` + sha1b + `"`, half, u},
		{`keys = 1`, half, u},
		{`expires < "2016-11-05T00:00:00Z" AND NOT federated`, half, n},
		{`expires < "2016-11-05T00:00:00Z" OR federated`, half, y},
	} {
		f, err := filter.Parse(tt.text, filter.PlannedFields())
		if err != nil {
			t.Errorf("Parse(%s) = %v", tt.text, err)
			continue
		}
		if got := f.Judge(tt.of.Value); got != tt.want {
			t.Errorf("Judge(%s) = %d, want %d", tt.text, got, tt.want)
		}
		if got := f.Match(tt.of.Value); got != (tt.want == filter.Yes) {
			t.Errorf("Match(%s) = %v, want only what is known to match", tt.text, got)
		}
	}
}

func TestParse_RefusesWhatItCannotDecide(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":         `colour = "red"`,
		"a field of lists only": `observed`,
		"number for a text":     `name = 1`,
		"text for a number":     `keys = "1"`,
		"fraction":              `keys > 1.5`,
		"text for a truth":      `federated = "yes"`,
		"no instant":            `expires < "tomorrow"`,
		"no instant function":   `expires < timestamp("soon")`,
		"instant with colon":    `expires:"2016"`,
		"duration":              `expires < duration("1s")`,
		"no version":            `version > "eight"`,
		"version with colon":    `version:"8"`,
		"no thumbprint":         `thumbprint:"abc"`,
		"half a key hash":       `key_hash:"` + sha1a + `"`,
		"list with equals":      `thumbprint = "` + sha1a + `"`,
		"bare word":             `contoso`,
		"a cut thumbprint":      `thumbprint:"` + sha1a[:12] + `…" AND NOT has_new`,
		"too long":              `name = "` + strings.Repeat("x", filter.MaxBytes) + `"`,
		"too many":              `federated` + strings.Repeat(` OR federated`, filter.MaxNodes+1),
	} {
		_, err := filter.Parse(text, filter.PlannedFields())
		var wrong *filter.Error
		if !errors.As(err, &wrong) || wrong.Why == "" || len(wrong.Why) > 500 || strings.Contains(wrong.Why, "\n") {
			t.Errorf("%s: Parse(%.60s) = %v, want one short sentence", name, text, err)
		}
	}
}

func TestParse_SaysWhatIsWrongWithinManyOperators(t *testing.T) {
	for name, text := range map[string]string{
		"first": `colour = "red"` + strings.Repeat(` OR federated`, 9),
		"last":  strings.Repeat(`federated OR `, 9) + `colour = "red"`,
	} {
		_, err := filter.Parse(text, filter.PlannedFields())
		var wrong *filter.Error
		if !errors.As(err, &wrong) || !strings.HasPrefix(wrong.Why, "undeclared identifier 'colour'; the fields are ") {
			t.Errorf("%s: Parse(%s) = %v, want the field that there is not", name, text, err)
		}
	}
}

func TestParse_TwentyComparisonsAndOperators(t *testing.T) {
	for nodes, fine := range map[int]bool{19: true, 21: false} { // n comparisons have n-1 operators between them.
		parts := make([]string, (nodes+1)/2)
		for i := range parts {
			parts[i] = fmt.Sprintf("keys = %d", i)
		}
		if _, err := filter.Parse(strings.Join(parts, " OR "), filter.PlannedFields()); (err == nil) != fine {
			t.Errorf("Parse of %d nodes = %v, want fine: %v", nodes, err, fine)
		}
	}
}

func TestSeenFields_KnowNothingOfARotation(t *testing.T) {
	for text, fine := range map[string]bool{`has_new`: false, `old_expires > "2016-01-01T00:00:00Z"`: false, `NOT observed`: true} {
		if _, err := filter.Parse(text, filter.SeenFields()); (err == nil) != fine {
			t.Errorf("Parse(%s) = %v, want fine: %v", text, err, fine)
		}
	}
}

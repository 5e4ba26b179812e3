package emulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// judge says how a target should end, going by what the servers answer and by
// nothing that the world says of itself but the access that it gives.
func judge(t *testing.T, c *emulator.Cloud, tn emulator.Tenant, x emulator.Expected) string {
	t.Helper()
	i := slices.IndexFunc(tn.Namespaces, func(n emulator.Namespace) bool { return n.Host == x.Host })
	if i < 0 {
		return "handed_over:no_access"
	}
	n := tn.Namespaces[i]
	base := "https://" + n.Host
	res, err := c.Client().PostForm(base+"/v2/OAuth2-13", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {n.Account}, "client_secret": {string(n.Secret)}, "scope": {base + "/v2/mgmt/service/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		if !strings.Contains(n.Host, "-sb.") {
			return "handed_over:federated_half_missing"
		}
		return "handed_over:namespace_unknown"
	default:
		return "handed_over:no_access"
	}
	var token struct {
		Text string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &token); err != nil {
		t.Fatal(err)
	}
	status, feed := fetch(t, c.Client(), base+"/v2/mgmt/service/ServiceIdentities?$filter="+url.PathEscape("Name eq '"+x.Identity+"'"),
		"Authorization", "Bearer "+token.Text)
	if status != http.StatusOK {
		t.Fatalf("listing identities of %s = %d %s", n.Host, status, feed)
	}
	switch strings.Count(feed, "<entry") {
	case 0:
		return "handed_over:identity_missing"
	case 1:
	default:
		return "handed_over:identity_ambiguous"
	}
	if slices.ContainsFunc(c.ACS().Identity(x.Host, x.Identity), func(k acs.Key) bool { return slices.Equal(k.Value, c.World().New.DER) }) {
		return "already_present"
	}
	return "rotated"
}

// TestWorld_EndingsAreTrue compares what the world expects with what its servers
// answer. The old certificate is kept on half a federated endpoint whose other
// half cannot be rotated.
func TestWorld_EndingsAreTrue(t *testing.T) {
	c := start(t, emulator.Config{Seed: 11, Tenants: 120, Now: newClock().Now})
	for _, tn := range c.World().Tenants {
		judged := map[string]string{} // by host
		for _, x := range tn.Expected {
			if x.Host != "" {
				judged[x.Host] = judge(t, c, tn, x)
			}
		}
		for _, x := range tn.Expected {
			if x.Host == "" {
				continue
			}
			want := judged[x.Host]
			for _, y := range tn.Expected {
				if want == "rotated" && y.Host != "" && slices.Equal(x.Endpoints, y.Endpoints) && strings.Contains(judged[y.Host], ":") {
					want = "rotated_old_kept"
				}
			}
			if x.Ending != want {
				t.Errorf("%s (%s), %s: expected ending %s, but going by the servers it is %s", tn.ID, tn.Scenario, x.Host, x.Ending, want)
			}
		}
	}
}

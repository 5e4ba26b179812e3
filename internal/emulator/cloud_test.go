package emulator_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/crossfade-project/crossfade/internal/emulator"
)

// fetch asks for an address with headers in pairs.
func fetch(t *testing.T, client *http.Client, address string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("GET %s: %v", address, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", address, err)
	}
	return res.StatusCode, string(body)
}

func TestCloud_HostsLeadToTheirServers(t *testing.T) {
	c := start(t, emulator.Config{Tenants: 60, Now: newClock().Now})
	tn := c.World().Tenants[0]
	sb := c.World().SenderEndpoints()[0].Hosts[0]
	for _, tt := range []struct {
		address string
		status  int
	}{
		{"https://" + sb + "/v2/mgmt/service/", 200},
		{"https://nobody-sb.accesscontrol.windows.net/v2/mgmt/service/", 404},
		{"https://nobody-sb.accesscontrol.usgovcloudapi.net/v2/mgmt/service/", 404},
		{"https://login.microsoftonline.com/" + tn.EntraTenant + "/v2.0/.well-known/openid-configuration", 200},
		{"https://login.microsoftonline.us/" + tn.EntraTenant + "/v2.0/.well-known/openid-configuration", 200},
		{tn.Organization + "/api/data/v9.2/WhoAmI()", 401},
		{"https://nobody.crm.dynamics.com/api/data/v9.2/WhoAmI()", 404},
		{"https://www.example.com/", 404},
		{"https://accesscontrol.windows.net/", 404},
		{"https://" + c.Addr() + "/", 404},
	} {
		if status, body := fetch(t, c.Client(), tt.address); status != tt.status {
			t.Errorf("GET %s = %d %.80s, want %d", tt.address, status, body, tt.status)
		}
	}
}

func TestCloud_AConnectionIsForOneHost(t *testing.T) {
	c := start(t, emulator.Config{Tenants: 1})
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CAPEM()) {
		t.Fatal("CAPEM holds no certificate")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "a.crm.dynamics.com"}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+c.Addr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "b.crm.dynamics.com"
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("Host b over TLS for a = %d, want 421", res.StatusCode)
	}
	cert := res.TLS.PeerCertificates[0]
	if len(cert.DNSNames) != 1 || cert.DNSNames[0] != "a.crm.dynamics.com" || !cert.NotAfter.After(time.Now()) {
		t.Errorf("certificate for %v until %s, want one for a.crm.dynamics.com, valid now", cert.DNSNames, cert.NotAfter)
	}
}

func TestCloud_DialCoversEveryHostOfTheWorld(t *testing.T) {
	c := start(t, emulator.Config{Tenants: 60, Now: newClock().Now})
	dial := c.Dial()
	covered := func(host string) bool {
		if dial[host] == c.Addr() {
			return true
		}
		for _, rest, ok := strings.Cut(host, "."); ok; _, rest, ok = strings.Cut(rest, ".") {
			if dial["*."+rest] == c.Addr() {
				return true
			}
		}
		return false
	}
	for _, e := range c.World().SenderEndpoints() {
		for _, h := range e.Hosts {
			if !covered(h) {
				t.Errorf("Dial does not cover %s", h)
			}
		}
		if !covered(e.Organization) {
			t.Errorf("Dial does not cover %s", e.Organization)
		}
	}
	for _, h := range []string{"login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn"} {
		if !covered(h) {
			t.Errorf("Dial does not cover %s", h)
		}
	}
}

func TestStart_RefusesWhatIsNotSafeOrKnown(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config emulator.Config
	}{
		{"every interface", emulator.Config{Listen: ":0"}},
		{"another interface", emulator.Config{Listen: "192.0.2.1:0"}},
		{"no port", emulator.Config{Listen: "127.0.0.1"}},
		{"unknown faults", emulator.Config{Faults: "awful"}},
		{"negative tenants", emulator.Config{Tenants: -1}},
		{"too many tenants", emulator.Config{Tenants: emulator.MaxTenants + 1}},
	} {
		if c, err := emulator.Start(tt.config); err == nil {
			_ = c.Close(t.Context())
			t.Errorf("Start with %s = nil, want an error", tt.name)
		}
	}
}

func TestClose_AgainDoesNothing(t *testing.T) {
	c, err := emulator.Start(emulator.Config{Tenants: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("Close number %d = %v, want nil", i+1, err)
		}
	}
	if res, err := c.Client().Get("https://" + c.Addr()); err == nil {
		res.Body.Close()
		t.Error("a closed cloud answers")
	}
}

// TestCloud_EveryTenantCanBeListed signs in to every organisation as a service
// would, with azidentity, and reads all pages of its endpoints.
func TestCloud_EveryTenantCanBeListed(t *testing.T) {
	c := start(t, emulator.Config{Tenants: 60, Now: newClock().Now})
	pages := 0
	for _, tn := range c.World().Tenants {
		token := logIn(t, c, tn)
		path := "v9.2"
		if strings.HasPrefix(tn.Version, "8.") {
			path = "v" + tn.Version[:3]
		} else if !strings.HasPrefix(tn.Version, "9.2") {
			path = "v9.0"
		}
		ids := map[string]bool{}
		next := tn.Organization + "/api/data/" + path + "/serviceendpoints?$select=name,solutionnamespace"
		for next != "" {
			status, body := fetch(t, c.Client(), next, "Authorization", "Bearer "+token, "Prefer", "odata.maxpagesize=500")
			if status != 200 {
				t.Fatalf("tenant %s (%s): GET %s = %d %s", tn.ID, tn.Version, next, status, body)
			}
			var page struct {
				Value []struct {
					ID string `json:"serviceendpointid"`
				} `json:"value"`
				Next string `json:"@odata.nextLink"`
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				t.Fatal(err)
			}
			for _, row := range page.Value {
				ids[row.ID] = true
			}
			next = page.Next
			pages++
		}
		if len(ids) != len(tn.Endpoints) {
			t.Errorf("tenant %s: %d endpoints listed, want %d", tn.ID, len(ids), len(tn.Endpoints))
		}
	}
	if pages <= len(c.World().Tenants) {
		t.Errorf("%d pages of %d tenants, want one tenant at least with several", pages, len(c.World().Tenants))
	}
}

// logIn gets a token for a tenant's organisation. Instance discovery is on: the
// emulator answers it, too.
func logIn(t *testing.T, c *emulator.Cloud, tn emulator.Tenant) string {
	t.Helper()
	authority := "https://login.microsoftonline.com/"
	if strings.HasSuffix(tn.OrgHost(), ".us") {
		authority = "https://login.microsoftonline.us/"
	}
	options := azcore.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: authority}, Transport: c.Client(),
		Retry: policy.RetryOptions{MaxRetries: -1},
	}
	var cred azcore.TokenCredential
	var err error
	if tn.ClientSecret != "" {
		cred, err = azidentity.NewClientSecretCredential(tn.EntraTenant, tn.ClientID, string(tn.ClientSecret),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	} else {
		certs, key, parseErr := azidentity.ParseCertificates([]byte(c.World().LoginPEM()), nil)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		cred, err = azidentity.NewClientCertificateCredential(tn.EntraTenant, tn.ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options})
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{tn.Organization + "/.default"}})
	if err != nil {
		t.Fatalf("tenant %s: GetToken = %v", tn.ID, err)
	}
	return got.Token
}

func TestCloud_RoughDaysPass(t *testing.T) {
	c := start(t, emulator.Config{Tenants: 1, Faults: "rough", Seed: 3})
	org := c.World().Tenants[0].Organization
	seen := map[string]int{}
	for range 300 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, org+"/api/data/v9.2/WhoAmI()", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Client().Do(req)
		if err != nil {
			seen["cut"]++
			continue
		}
		res.Body.Close()
		seen[fmt.Sprint(res.StatusCode)]++
	}
	if seen["401"] < 250 || seen["503"] == 0 || seen["429"] == 0 {
		t.Errorf("300 calls came to %v, want mostly 401 with some faults between", seen)
	}
}

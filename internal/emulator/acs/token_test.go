package acs_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

func TestWRAP_AnswersInTheRecordedShape(t *testing.T) {
	b := newBench(t, acs.Config{})
	for _, path := range []string{"/WRAPv0.9", "/WRAPv0.9/", "/WRAPV0.9", "/wrapv0.9/"} {
		r := b.form(path, "wrap_name", "SBManagementClient", "wrap_password", password, "wrap_scope", "https://"+host+"/v2/mgmt/service")
		if r.status != 200 {
			t.Fatalf("POST %s = %d %s", path, r.status, r.body)
		}
		token, rest, _ := strings.Cut(strings.TrimPrefix(r.body, "wrap_access_token="), "&")
		if rest != "wrap_access_token_expires_in=28800" {
			t.Errorf("the answer ends in %q", rest)
		}
		swt, err := url.QueryUnescape(token)
		if err != nil {
			t.Fatal(err)
		}
		form := regexp.MustCompile(`^http%3a%2f%2f[^&]*nameidentifier=SBManagementClient&http%3a[^&]*identityprovider=https%3a%2f%2fcontoso-sb\.accesscontrol\.windows\.net%2f&Audience=[^&]*&ExpiresOn=1476561600&Issuer=https%3a%2f%2fcontoso-sb\.accesscontrol\.windows\.net%2f&HMACSHA256=[^&]+$`)
		if !form.MatchString(swt) {
			t.Errorf("the token is %s", swt)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/x-www-form-urlencoded; charset=us-ascii", "Cache-Control": "no-cache, no-store",
			"Pragma": "no-cache", "Expires": "-1", "X-Content-Type-Options": "nosniff",
			"Strict-Transport-Security": "max-age=31536000; includeSubDomains",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
	}
}

func TestTokens_Statuses(t *testing.T) {
	b := newBench(t, acs.Config{})
	mgmt := "https://" + host + "/v2/mgmt/service/"
	self := acs.SignSWT([]acs.Pair{{Name: "Issuer", Value: crm}}, bytes.Repeat([]byte{7}, 32))
	for _, tt := range []struct {
		name, path string
		form       []string
		want       int
		says       string
	}{
		{"WRAP with a wrong password", "/WRAPv0.9/", []string{"wrap_name", "SBManagementClient", "wrap_password", "x", "wrap_scope", mgmt}, 401, "Error:Code:401:SubCode:T0:Detail:ACS50012"},
		{"WRAP with an unknown name", "/WRAPv0.9/", []string{"wrap_name", "nobody", "wrap_password", "x", "wrap_scope", mgmt}, 401, "ACS50012"},
		{"WRAP without a scope", "/WRAPv0.9/", []string{"wrap_name", "a", "wrap_password", "x"}, 400, "ACS90014"},
		{"WRAP for a realm that is none", "/WRAPv0.9/", []string{"wrap_name", crm, "wrap_password", "pass & word", "wrap_scope", "http://other.servicebus.windows.net/"}, 400, "ACS50001"},
		{"an identity for management", "/WRAPv0.9/", []string{"wrap_name", crm, "wrap_password", "pass & word", "wrap_scope", mgmt}, 400, "ACS50001"},
		{"management for a realm", "/WRAPv0.9/", []string{"wrap_name", "SBManagementClient", "wrap_password", password, "wrap_scope", realm}, 401, "ACS50012"},
		{"an identity by password", "/WRAPv0.9/", []string{"wrap_name", crm, "wrap_password", "pass & word", "wrap_scope", realm + "queue/1"}, 200, "action%3dSend"},
		{"an identity by SWT", "/WRAPv0.9/", []string{"wrap_scope", realm, "wrap_assertion_format", "SWT", "wrap_assertion", self}, 200, "action%3dSend"},
		{"an SWT that was altered", "/WRAPv0.9/", []string{"wrap_scope", realm, "wrap_assertion_format", "SWT", "wrap_assertion", "x=y&" + self}, 401, "ACS50009"},
		{"OAuth with a wrong secret", "/v2/OAuth2-13", []string{"grant_type", "client_credentials", "client_id", "SBManagementClient", "client_secret", "x", "scope", mgmt}, 400, `"error":"invalid_client","error_description":"ACS50012: Authentication failed.\r\nTrace ID: `},
		{"OAuth with a grant that is none", "/v2/oauth2-13/", []string{"grant_type", "x", "scope", mgmt}, 400, "unsupported_grant_type"},
		{"OAuth without a scope", "/v2/OAuth2-13", []string{"grant_type", "client_credentials"}, 400, "ACS90014"},
		{"OAuth for an identity", "/v2/OAuth2-13", []string{"grant_type", "client_credentials", "client_id", crm, "client_secret", "pass & word", "scope", realm}, 200, `"expires_in":"10800"`},
	} {
		r := b.form(tt.path, tt.form...)
		if r.status != tt.want || !strings.Contains(r.body, tt.says) {
			t.Errorf("%s = %d %s, want %d with %s", tt.name, r.status, r.body, tt.want, tt.says)
		}
	}
}

func TestTokens_403Of2011(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{RefusedWith403: true}})
	if r := b.form("/WRAPv0.9/", "wrap_name", "SBManagementClient", "wrap_password", "x", "wrap_scope", realm); r.status != 403 {
		t.Errorf("a wrong password = %d, want 403", r.status)
	}
}

func TestManagement_JudgesTheToken(t *testing.T) {
	b := newBench(t, acs.Config{})
	token := b.login()
	for _, tt := range []struct {
		name, header, host string
		want               int
	}{
		{"Bearer", "Bearer " + token, host, 200},
		{"bearer in another case", "bearer " + token, host, 200},
		{"WRAP", `WRAP access_token="` + token + `"`, host, 200},
		{"at another host", "Bearer " + token, plain, 401},
		{"altered", "Bearer " + strings.Replace(token, "contoso", "kontoso", 1), host, 401},
		{"of another scheme", "Basic " + token, host, 401},
	} {
		r := b.call("GET", "https://"+tt.host+"/v2/mgmt/service/ServiceIdentities", "", "Authorization: "+tt.header)
		if r.status != tt.want {
			t.Errorf("a token %s = %d, want %d", tt.name, r.status, tt.want)
		}
	}
	b.clock.add(8*time.Hour - time.Second)
	if r := b.call("GET", "ServiceIdentities", ""); r.status != 200 {
		t.Errorf("a second before its end: %d, want 200", r.status)
	}
	b.clock.add(time.Second)
	if r := b.call("GET", "ServiceIdentities", ""); r.status != 401 || r.header.Get("WWW-Authenticate") != "" {
		t.Errorf("at its end: %d, want 401 without a challenge", r.status)
	}
}

// TestToken_IsSignedWithTheNamespacesKey reads the key over the management
// service, as Service Bus was given it, and verifies the token with it.
func TestToken_IsSignedWithTheNamespacesKey(t *testing.T) {
	b := newBench(t, acs.Config{})
	r := b.form("/WRAPv0.9/", "wrap_name", "owner", "wrap_password", ownerPassword(b), "wrap_scope", realm)
	form, err := url.ParseQuery(r.body)
	if err != nil || r.status != http.StatusOK {
		t.Fatalf("owner's sign-in = %d %s", r.status, r.body)
	}
	swt := form.Get("wrap_access_token")
	text, sig, _ := strings.Cut(swt, "&HMACSHA256=")
	if !strings.HasPrefix(swt, "net.windows.servicebus.action=Listen%2cManage%2cSend&") {
		t.Errorf("owner's token is %s", swt)
	}
	xml := b.call("GET", "ServiceKeys?$filter=Usage eq 'Signing' and IsPrimary", "").body
	value := regexp.MustCompile(`<d:Value m:type="Edm.Binary">([^<]*)<`).FindStringSubmatch(xml)
	if value == nil {
		t.Fatalf("no signing key in %s", xml)
	}
	key, err := base64.StdEncoding.DecodeString(value[1])
	if err != nil {
		t.Fatal(err)
	}
	var pairs []acs.Pair
	for _, p := range strings.Split(text, "&") {
		n, v, _ := strings.Cut(p, "=")
		n, _ = url.QueryUnescape(n)
		v, _ = url.QueryUnescape(v)
		pairs = append(pairs, acs.Pair{Name: n, Value: v})
	}
	if got := acs.SignSWT(pairs, key); got != text+"&HMACSHA256="+sig {
		t.Errorf("the token is %s, want %s", swt, got)
	}
}

func ownerPassword(b *bench) string {
	for _, k := range b.s.Identity(host, "owner") {
		if k.Type == "Password" {
			return string(k.Value)
		}
	}
	b.t.Fatal("owner has no password")
	return ""
}

func TestTokenRate_Is30ASecondOverAMinute(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{TokenRate: 0.1}})
	ask := func() int {
		return b.form("/WRAPv0.9/", "wrap_name", crm, "wrap_password", "pass & word", "wrap_scope", realm).status
	}
	for i := range 6 {
		if got := ask(); got != 200 {
			t.Fatalf("token %d of a peak = %d, want 200", i, got)
		}
	}
	if got := ask(); got != 429 {
		t.Errorf("the token after the peak = %d, want 429", got)
	}
	b.clock.add(10 * time.Second)
	if got := ask(); got != 200 {
		t.Errorf("a token later = %d, want 200", got)
	}
	if got := ask(); got != 429 {
		t.Errorf("the one after that = %d, want 429", got)
	}
	if c := b.s.Counters(); c.Refused429 != 2 || c.TokensIssued != 7 || c.Tokens != 9 {
		t.Errorf("Counters() = %+v", c)
	}
}

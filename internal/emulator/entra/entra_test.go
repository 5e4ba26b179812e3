package entra_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"

	"github.com/crossfade-project/crossfade/internal/emulator/entra"
	"github.com/crossfade-project/crossfade/internal/emulator/fault"
)

const (
	tenant   = "11111111-2222-4333-8444-555555555555"
	client   = "99999999-2222-4333-8444-555555555555"
	resource = "https://contoso.crm4.dynamics.com"
	secret   = "s3cret/with+signs=="
)

// directory is a server with one application, and the certificate that it may
// also log in with.
type directory struct {
	*entra.Server
	http *httptest.Server
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

func newDirectory(t *testing.T) *directory {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "login"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s, err := entra.New(entra.Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.AddApp(entra.App{
		Tenant: tenant, ClientID: client, Certificates: [][]byte{der},
		Secrets: []entra.Secret{{Value: secret}, {Value: "stale", Expires: time.Now().Add(-time.Minute)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.AddResource(tenant, resource)
	srv := httptest.NewTLSServer(s)
	t.Cleanup(srv.Close)
	return &directory{s, srv, cert, key}
}

func (d *directory) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: d.http.URL},
		Transport: d.http.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

func scope() policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}}
}

func TestToken_AzidentityLogsInWithASecret(t *testing.T) {
	d := newDirectory(t)
	cred, err := azidentity.NewClientSecretCredential(tenant, client, secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: d.options(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	d.checkToken(t, cred)
}

func TestToken_AzidentityLogsInWithACertificate(t *testing.T) {
	d := newDirectory(t)
	cred, err := azidentity.NewClientCertificateCredential(tenant, client, []*x509.Certificate{d.cert}, d.key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: d.options(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	d.checkToken(t, cred)
}

// checkToken gets a token and looks at all that must hold of it.
func (d *directory) checkToken(t *testing.T, cred azcore.TokenCredential) {
	t.Helper()
	got, err := cred.GetToken(t.Context(), scope())
	if err != nil {
		t.Fatalf("GetToken = %v", err)
	}
	b, err := d.Check(got.Token, resource+"/")
	if want := (entra.Bearer{Tenant: tenant, ClientID: client, Audience: resource}); err != nil || b != want {
		t.Errorf("Check = %+v, %v, want %+v", b, err, want)
	}
	if _, err := d.Check(got.Token, "https://fabrikam.crm4.dynamics.com"); err == nil {
		t.Error("Check for another audience = nil, want an error")
	}
	if _, err := d.Check(got.Token[:len(got.Token)-6]+"AAAAAA", resource); err == nil {
		t.Error("Check of a token with another signature = nil, want an error")
	}
	if n := d.Counters().Tokens; n != 1 {
		t.Errorf("Counters().Tokens = %d, want 1", n)
	}
}

func TestToken_AzidentityIsRefusedWithAnUnregisteredCertificate(t *testing.T) {
	d, other := newDirectory(t), newDirectory(t)
	cred, err := azidentity.NewClientCertificateCredential(tenant, client, []*x509.Certificate{other.cert}, other.key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: d.options(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cred.GetToken(t.Context(), scope()); err == nil || !strings.Contains(err.Error(), "AADSTS700027") {
		t.Errorf("GetToken = %v, want AADSTS700027", err)
	}
}

// post sends a token request and returns status and error codes.
func (d *directory) post(t *testing.T, tenantID string, form url.Values) (int, []int) {
	t.Helper()
	res, err := d.http.Client().PostForm(d.http.URL+"/"+tenantID+"/oauth2/v2.0/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct {
		Codes       []int  `json:"error_codes"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	for _, given := range []string{form.Get("client_secret"), form.Get("client_assertion")} {
		if given != "" && strings.Contains(body.Description, given) {
			t.Errorf("the error repeats the credential: %s", body.Description)
		}
	}
	return res.StatusCode, body.Codes
}

func TestToken_RefusalsHaveTheirCodes(t *testing.T) {
	d := newDirectory(t)
	form := func(change ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}, "scope": {resource + "/.default"}}
		for i := 0; i < len(change); i += 2 {
			v.Set(change[i], change[i+1])
		}
		return v
	}
	for _, tt := range []struct {
		name, tenant string
		form         url.Values
		status, code int
	}{
		{"right", tenant, form(), 200, 0},
		{"unknown tenant", "00000000-0000-4000-8000-000000000000", form(), 400, 90002},
		{"unknown application", tenant, form("client_id", tenant), 400, 700016},
		{"wrong secret", tenant, form("client_secret", "quite-another"), 401, 7000215},
		{"expired secret", tenant, form("client_secret", "stale"), 401, 7000222},
		{"no credential", tenant, form("client_secret", ""), 401, 7000218},
		{"unknown resource", tenant, form("scope", "https://other.crm.dynamics.com/.default"), 400, 500011},
		{"scope without default", tenant, form("scope", resource+"/user_impersonation"), 400, 1002012},
		{"other grant", tenant, form("grant_type", "password"), 400, 70003},
		{"no scope", tenant, form("scope", ""), 400, 900144},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, codes := d.post(t, tt.tenant, tt.form)
			if status != tt.status || tt.code != 0 && !slices.Equal(codes, []int{tt.code}) {
				t.Errorf("POST token = %d %v, want %d [%d]", status, codes, tt.status, tt.code)
			}
		})
	}
}

func TestToken_AssertionsAreChecked(t *testing.T) {
	d := newDirectory(t)
	endpoint := d.http.URL + "/" + tenant + "/oauth2/v2.0/token"
	s1 := sha1.Sum(d.cert.Raw)
	thumb := base64.RawURLEncoding.EncodeToString(s1[:])
	now := time.Now()
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"aud": endpoint, "iss": client, "sub": client, "jti": "1", "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Minute).Unix()}
	}
	with := func(name string, value any) jwt.MapClaims {
		c := good()
		c[name] = value
		return c
	}
	for _, tt := range []struct {
		name   string
		method jwt.SigningMethod
		header map[string]any
		claims jwt.MapClaims
		code   int
	}{
		{"RS256 with x5t", jwt.SigningMethodRS256, map[string]any{"x5t": thumb}, good(), 0},
		{"PS256 with x5t", jwt.SigningMethodPS256, map[string]any{"x5t": thumb}, good(), 0},
		{"no x5t", jwt.SigningMethodPS256, nil, good(), 700027},
		{"another x5t", jwt.SigningMethodPS256, map[string]any{"x5t": "AAAA"}, good(), 700027},
		{"RS512", jwt.SigningMethodRS512, map[string]any{"x5t": thumb}, good(), 700027},
		{"expired", jwt.SigningMethodPS256, map[string]any{"x5t": thumb}, with("exp", now.Add(-time.Minute).Unix()), 700024},
		{"not yet valid", jwt.SigningMethodPS256, map[string]any{"x5t": thumb}, with("nbf", now.Add(time.Hour).Unix()), 700024},
		{"another issuer", jwt.SigningMethodPS256, map[string]any{"x5t": thumb}, with("iss", tenant), 700023},
		{"another subject", jwt.SigningMethodPS256, map[string]any{"x5t": thumb}, with("sub", tenant), 700023},
		{"another audience", jwt.SigningMethodPS256, map[string]any{"x5t": thumb}, with("aud", "https://evil.example"), 700023},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := jwt.NewWithClaims(tt.method, tt.claims)
			for k, v := range tt.header {
				token.Header[k] = v
			}
			text, err := token.SignedString(d.key)
			if err != nil {
				t.Fatal(err)
			}
			status, codes := d.post(t, tenant, url.Values{
				"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {resource + "/.default"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {text},
			})
			if tt.code == 0 && status != 200 || tt.code != 0 && !slices.Equal(codes, []int{tt.code}) {
				t.Errorf("POST token = %d %v, want code %d", status, codes, tt.code)
			}
		})
	}
}

func TestCheck_ExpiredTokenIsRefused(t *testing.T) {
	now := time.Now()
	s, err := entra.New(entra.Config{Now: func() time.Time { return now }, Lifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddApp(entra.App{Tenant: tenant, ClientID: client, Secrets: []entra.Secret{{Value: secret}}}); err != nil {
		t.Fatal(err)
	}
	s.AddResource(tenant, resource)
	req := httptest.NewRequest("POST", "/"+tenant+"/oauth2/v2.0/token", strings.NewReader(url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}, "scope": {resource + "/.default"},
	}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	var body struct {
		Token   string `json:"access_token"`
		Seconds int    `json:"expires_in"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || body.Seconds != 59 {
		t.Fatalf("token answer = %s, %v, want expires_in 59", rec.Body, err)
	}
	if _, err := s.Check(body.Token, resource); err != nil {
		t.Errorf("Check of a fresh token = %v, want nil", err)
	}
	now = now.Add(61 * time.Second)
	if _, err := s.Check(body.Token, resource); err == nil {
		t.Error("Check after the token's life = nil, want an error")
	}
}

func TestServeHTTP_FaultsStrikeAndPass(t *testing.T) {
	d := newDirectory(t)
	d.SetFaults(fault.Rule{Kind: fault.Status, Status: http.StatusServiceUnavailable, Times: 1})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}, "scope": {resource + "/.default"}}
	if status, codes := d.post(t, tenant, form); status != 503 || !slices.Equal(codes, []int{90033}) {
		t.Errorf("first call = %d %v, want 503 [90033]", status, codes)
	}
	if status, _ := d.post(t, tenant, form); status != 200 {
		t.Errorf("second call = %d, want 200", status)
	}
}

package acs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

const (
	host     = "contoso-sb.accesscontrol.windows.net"
	plain    = "contoso.accesscontrol.windows.net"
	crm      = "crm9.dynamics.com"
	password = "AbC+/dEf0123456789AbC+/dEf0123456789AbC+/d0="
	realm    = "http://contoso.servicebus.windows.net/"
)

// clock is the test's time: it stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// day is when the tests play, unless they say otherwise.
func day() time.Time { return time.Date(2016, 10, 15, 12, 0, 0, 0, time.UTC) }

// signer is a key pair with its certificate, as CRM has it.
type signer struct {
	key  *rsa.PrivateKey
	der  []byte
	from time.Time
	to   time.Time
}

func newSigner(t testing.TB, from, to time.Time) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatalf("generating a key: %v", err)
	}
	return signer{key: key, der: certificate(t, key, from, to), from: from, to: to}
}

func certificate(t testing.TB, key *rsa.PrivateKey, from, to time.Time) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatalf("choosing a serial: %v", err)
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: crm}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatalf("making a certificate: %v", err)
	}
	return der
}

func (s signer) keyOf() acs.Key {
	return acs.Key{Usage: "Signing", Type: "X509Certificate", Value: s.der, Start: s.from, End: s.to, DisplayName: "Credentials"}
}

// bench is an emulator behind TLS, with a client that reaches every host name
// there.
type bench struct {
	t      testing.TB
	s      *acs.Server
	srv    *httptest.Server
	client *http.Client
	clock  *clock
	old    signer
	token  string
}

func newBench(t testing.TB, c acs.Config) *bench {
	t.Helper()
	b := &bench{t: t, clock: &clock{now: day()}}
	c.Now = b.clock.Now
	b.s = acs.New(c)
	b.srv = httptest.NewUnstartedServer(b.s)
	b.srv.StartTLS()
	t.Cleanup(b.srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(b.srv.Certificate())
	addr := b.srv.Listener.Addr().String()
	var d net.Dialer
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	b.client = &http.Client{Transport: tr, Timeout: 20 * time.Second}
	b.old = newSigner(t, time.Date(2014, 11, 4, 1, 0, 0, 0, time.UTC), time.Date(2016, 11, 5, 1, 0, 0, 0, time.UTC))
	for _, h := range []string{host, plain} {
		err := b.s.AddNamespace(acs.Namespace{
			Host:     h,
			Accounts: []acs.Account{{Name: "SBManagementClient", Password: password}, {Name: "ManagementClient", Password: password}},
			Identities: []acs.Identity{{Name: crm, Keys: []acs.Key{
				b.old.keyOf(),
				{Usage: "Signing", Type: "Symmetric", Value: bytes.Repeat([]byte{7}, 32), DisplayName: "foreign"},
				{Usage: "Password", Type: "Password", Value: []byte("pass & word"), DisplayName: "secret"},
			}}},
			Realm: realm,
		})
		if err != nil {
			t.Fatalf("AddNamespace(%s): %v", h, err)
		}
	}
	return b
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

func (b *bench) do(req *http.Request) (reply, error) {
	resp, err := b.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body)}, err
}

// form posts a form to a token endpoint.
func (b *bench) form(path string, pairs ...string) reply {
	b.t.Helper()
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, "https://"+host+path, strings.NewReader(v.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r, err := b.do(req)
	if err != nil {
		b.t.Fatalf("POST %s: %v", path, err)
	}
	return r
}

// login gets the management token once.
func (b *bench) login() string {
	b.t.Helper()
	if b.token != "" {
		return b.token
	}
	r := b.form("/v2/OAuth2-13", "grant_type", "client_credentials", "client_id", "SBManagementClient",
		"client_secret", password, "scope", "https://"+host+"/v2/mgmt/service/")
	var out struct {
		Token   string `json:"access_token"`
		Expires string `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != 200 || out.Expires != "28800" {
		b.t.Fatalf("token request = %d %s (%v)", r.status, r.body, err)
	}
	b.token = out.Token
	return b.token
}

// call makes a management call with the token; header lines are "Name: value".
func (b *bench) call(method, path, body string, header ...string) reply {
	b.t.Helper()
	r, err := b.try(method, path, body, header...)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (b *bench) try(method, path, body string, header ...string) (reply, error) {
	b.t.Helper()
	if !strings.HasPrefix(path, "https://") {
		path = "https://" + host + "/v2/mgmt/service/" + strings.ReplaceAll(path, " ", "%20")
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.login())
	if body != "" {
		req.Header.Set("Content-Type", "application/atom+xml")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			req.Header.Del(name)
			continue
		}
		req.Header.Set(name, value)
	}
	return b.do(req)
}

// identityID is the Id of the CRM identity.
func (b *bench) identityID() string {
	b.t.Helper()
	r := b.call("GET", "ServiceIdentities()?$filter=Name eq '"+crm+"'", "", "Accept: application/json")
	var out struct {
		D struct {
			Results []struct {
				ID string `json:"Id"`
			} `json:"results"`
		} `json:"d"`
	}
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || len(out.D.Results) != 1 {
		b.t.Fatalf("looking for %s = %d %s (%v)", crm, r.status, r.body, err)
	}
	return out.D.Results[0].ID
}

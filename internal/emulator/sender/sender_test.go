package sender_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/crossfade-project/crossfade/internal/emulator/sender"
)

func pair(t *testing.T, from time.Time) sender.Pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: "crm.dynamics.com"}, NotBefore: from, NotAfter: from.Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return sender.Pair{Cert: cert, DER: der, Key: key}
}

// service is an access control service that checks every assertion with another
// library's eyes and answers as told.
type service struct {
	t      *testing.T
	server *httptest.Server
	answer func(host string, cert *x509.Certificate, call int) (status int, body string)

	mu    sync.Mutex
	now   time.Time
	calls []string // host of each call
}

func newService(t *testing.T, now time.Time) *service {
	t.Helper()
	s := &service{t: t, now: now, answer: func(string, *x509.Certificate, int) (int, string) { return 200, granted() }}
	s.server = httptest.NewTLSServer(s)
	t.Cleanup(s.server.Close)
	return s
}

func granted() string {
	token := "net.windows.servicebus.action=Listen%2cSend&Audience=http%3a%2f%2fx&HMACSHA256=abc%3d"
	return "wrap_access_token=" + url.QueryEscape(token) + "&wrap_access_token_expires_in=1199"
}

func (s *service) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *service) set(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

func (s *service) client() *http.Client {
	tr := s.server.Client().Transport.(*http.Transport).Clone()
	tr.TLSClientConfig.ServerName = "example.com"
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.server.Listener.Addr().String())
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	if !strings.HasPrefix(string(raw), "wrap_scope=http%3A%2F%2Fcontoso.servicebus.windows.net%2Forders&wrap_assertion_format=SAML&wrap_assertion=") {
		s.t.Errorf("body = %.120s, want the fields in CRM's order", raw)
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		s.t.Errorf("body does not parse: %v", err)
	}
	cert := s.verify(r.Host, form.Get("wrap_assertion"))
	s.mu.Lock()
	s.calls = append(s.calls, r.Host)
	n := len(s.calls)
	s.mu.Unlock()
	status, body := s.answer(r.Host, cert, n)
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// verify checks the XML signature and the parts of the assertion, and returns
// the certificate that signed it.
func (s *service) verify(host, assertion string) *x509.Certificate {
	doc := etree.NewDocument()
	if err := doc.ReadFromString(assertion); err != nil {
		s.t.Errorf("assertion does not parse: %v", err)
		return nil
	}
	root := doc.Root()
	text := root.FindElement("./Signature/KeyInfo/X509Data/X509Certificate").Text()
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		s.t.Errorf("certificate in KeyInfo: %v", err)
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Errorf("certificate in KeyInfo: %v", err)
		return nil
	}
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
	ctx.Clock = dsig.NewFakeClockAt(cert.NotBefore.Add(time.Hour))
	if _, err := ctx.Validate(root); err != nil {
		s.t.Errorf("signature = %v, want a valid one", err)
	}
	for path, want := range map[string]string{
		"./Signature/SignedInfo/SignatureMethod@Algorithm":        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
		"./Signature/SignedInfo/CanonicalizationMethod@Algorithm": "http://www.w3.org/2001/10/xml-exc-c14n#",
		"./Signature/SignedInfo/Reference/DigestMethod@Algorithm": "http://www.w3.org/2001/04/xmlenc#sha256",
		"./Subject/SubjectConfirmation@Method":                    "urn:oasis:names:tc:SAML:2.0:cm:bearer",
		"./Issuer":                                                "crm.dynamics.com",
		"./Conditions/AudienceRestriction/Audience":               "https://" + host + "/WRAPv0.9/",
	} {
		at, attr, _ := strings.Cut(path, "@")
		el := root.FindElement(at)
		if el == nil {
			s.t.Errorf("assertion has no %s", at)
			continue
		}
		got := el.Text()
		if attr != "" {
			got = el.SelectAttrValue(attr, "")
		}
		if got != want {
			s.t.Errorf("assertion %s = %q, want %q", path, got, want)
		}
	}
	if root.FindElement("./Subject/NameID") != nil {
		s.t.Error("assertion has a NameID; CRM's has none")
	}
	return cert
}

const (
	sb    = "contoso-sb.accesscontrol.windows.net"
	plain = "contoso.accesscontrol.windows.net"
)

func endpoint(id string, hosts ...string) sender.Endpoint {
	return sender.Endpoint{Tenant: "contoso", ID: id, Hosts: hosts, Scope: "http://contoso.servicebus.windows.net/orders", Issuer: "crm.dynamics.com", Organization: "contoso.crm.dynamics.com"}
}

// crm is a sender whose certificates switch a day after the service's time.
func crm(t *testing.T, s *service, endpoints ...sender.Endpoint) *sender.Sender {
	t.Helper()
	now := s.Now()
	out, err := sender.New(sender.Config{
		HTTP: s.client(), Now: s.Now, Old: pair(t, now.Add(-24*time.Hour)), New: pair(t, now.Add(24*time.Hour)), Endpoints: endpoints,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func start() time.Time { return time.Date(2016, 11, 1, 0, 0, 0, 0, time.UTC) }

func one(t *testing.T, s *sender.Sender) sender.Result {
	t.Helper()
	r, err := s.Round(t.Context())
	if err != nil || len(r.Results) != 1 {
		t.Fatalf("Round = %+v, %v, want one result", r, err)
	}
	return r.Results[0]
}

func TestRound_SwitchesAtNotBefore(t *testing.T) {
	svc := newService(t, start())
	var signer *x509.Certificate
	svc.answer = func(_ string, cert *x509.Certificate, _ int) (int, string) { signer = cert; return 200, granted() }
	s := crm(t, svc, endpoint("e", sb))
	for _, tt := range []struct {
		at   time.Duration
		want string
	}{{0, "old"}, {24*time.Hour - time.Second, "old"}, {24 * time.Hour, "new"}, {48 * time.Hour, "new"}} {
		svc.set(start().Add(tt.at))
		r := one(t, s)
		if !r.OK || r.Cert != tt.want || r.Status != 200 {
			t.Errorf("at %s: %+v, want ok with the %s certificate", tt.at, r, tt.want)
		}
		if isNew := signer.NotBefore.After(start()); isNew != (tt.want == "new") {
			t.Errorf("at %s: signed with the certificate from %s, want the %s one", tt.at, signer.NotBefore, tt.want)
		}
	}
	if got, want := s.Stats(), (sender.Stats{SignIns: 4, OK: 4}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

func TestRound_FederatedAsksThePlainHostFirst(t *testing.T) {
	svc := newService(t, start())
	if r := one(t, crm(t, svc, endpoint("e", plain, sb))); !r.OK || !reflect.DeepEqual(svc.calls, []string{plain, sb}) {
		t.Errorf("%+v with calls %v, want ok and plain before -sb", r, svc.calls)
	}
	svc = newService(t, start())
	svc.answer = func(host string, _ *x509.Certificate, _ int) (int, string) {
		if host == plain {
			return 401, "Error:Code:401:SubCode:T0:Detail:ACS50008: x"
		}
		return 200, granted()
	}
	if r := one(t, crm(t, svc, endpoint("e", plain, sb))); r.OK || !r.Refused || !reflect.DeepEqual(svc.calls, []string{plain}) {
		t.Errorf("%+v with calls %v, want refused by the plain host alone", r, svc.calls)
	}
}

func TestRound_OnlyWhatJudgesTheCredentialIsRefused(t *testing.T) {
	bare := "wrap_access_token=" + url.QueryEscape("net.windows.servicebus.action=Listen&Audience=x") + "&wrap_access_token_expires_in=1"
	for _, tt := range []struct {
		name    string
		answers []int  // statuses in turn, the last one for ever; 0: cut
		body    string // of a 200
		want    sender.Result
		calls   int
	}{
		{"granted", []int{200}, granted(), sender.Result{OK: true, Status: 200}, 1},
		{"400", []int{400}, "", sender.Result{Refused: true, Status: 400, Detail: "The remote server returned an error: (400) Bad Request"}, 1},
		{"401", []int{401}, "", sender.Result{Refused: true, Status: 401, Detail: "The token provider was unable to provide a security token. The remote server returned an error: (401) Unauthorized"}, 1},
		{"403", []int{403}, "", sender.Result{Refused: true, Status: 403, Detail: "(403)"}, 1},
		{"404", []int{404}, "", sender.Result{Status: 404, Detail: "(404)"}, 1},
		{"503 then granted", []int{503, 429, 200}, granted(), sender.Result{OK: true, Status: 200}, 3},
		{"cut then refused", []int{0, 401}, "", sender.Result{Refused: true, Status: 401, Detail: "(401)"}, 2},
		{"503 for ever", []int{503}, "", sender.Result{Status: 503, Detail: "(503)"}, 7},
		{"no send claim", []int{200}, bare, sender.Result{Status: 200, Detail: "Did not find the send claim"}, 1},
		{"no token", []int{200}, "hello", sender.Result{Status: 200, Detail: "Invalid Token"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc := newService(t, start())
			svc.answer = func(_ string, _ *x509.Certificate, call int) (int, string) {
				return tt.answers[min(call, len(tt.answers))-1], tt.body
			}
			s := crm(t, svc, endpoint("e", sb))
			r := one(t, s)
			if r.OK != tt.want.OK || r.Refused != tt.want.Refused || r.Status != tt.want.Status || !strings.Contains(r.Detail, tt.want.Detail) {
				t.Errorf("result %+v, want %+v", r, tt.want)
			}
			if len(svc.calls) != tt.calls {
				t.Errorf("%d calls, want %d", len(svc.calls), tt.calls)
			}
			got := s.Stats()
			if want := map[bool]int{true: 1}; got.SignIns != 1 || got.OK != want[r.OK] || got.Refused != want[r.Refused] || got.Failed != want[!r.OK && !r.Refused] {
				t.Errorf("Stats = %+v of one sign-in that ended %+v", got, r)
			}
		})
	}
}

func TestRound_AClockThatJumpsIsNoRefusal(t *testing.T) {
	svc := newService(t, start())
	svc.answer = func(_ string, cert *x509.Certificate, call int) (int, string) {
		if call == 1 {
			svc.set(start().Add(25 * time.Hour)) // Past the switch while the first call is under way.
			return 401, ""
		}
		if cert.NotBefore.Before(start()) {
			return 401, ""
		}
		return 200, granted()
	}
	if r := one(t, crm(t, svc, endpoint("e", sb))); !r.OK || r.Cert != "new" {
		t.Errorf("result %+v, want ok with the new certificate on the second try", r)
	}
}

func TestStatsBy_SplitsByClass(t *testing.T) {
	svc := newService(t, start())
	svc.answer = func(host string, _ *x509.Certificate, _ int) (int, string) {
		if host == plain {
			return 401, ""
		}
		return 200, granted()
	}
	s := crm(t, svc, endpoint("good", sb), endpoint("bad", plain, sb), endpoint("fine", sb))
	for range 2 {
		if _, err := s.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := s.StatsBy(func(e sender.Endpoint) string { return fmt.Sprint(len(e.Hosts)) })
	want := map[string]sender.Stats{"1": {SignIns: 4, OK: 4}, "2": {SignIns: 2, Refused: 2}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("StatsBy = %+v, want %+v", got, want)
	}
}

func TestRound_EndsWithItsContext(t *testing.T) {
	svc := newService(t, start())
	s := crm(t, svc, endpoint("a", sb), endpoint("b", sb))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := s.Round(ctx)
	if err == nil || len(r.Results) != 0 || s.Stats().SignIns != 0 {
		t.Errorf("Round with an ended context = %+v, %v, counted %d, want an error and nothing counted", r, err, s.Stats().SignIns)
	}
}

func TestSaveAndLoad_GiveTheSameSender(t *testing.T) {
	svc := newService(t, start())
	older, newer := pair(t, start().Add(-time.Hour)), pair(t, start().Add(time.Hour))
	dir := filepath.Join(t.TempDir(), "sender")
	if err := sender.Save(dir, older, newer, []sender.Endpoint{endpoint("e", plain, sb)}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", f.Name(), info.Mode(), err)
		}
	}
	c, err := sender.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP, c.Now = svc.client(), svc.Now
	s, err := sender.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if r := one(t, s); !r.OK || r.Cert != "old" || len(r.Hosts) != 2 {
		t.Errorf("loaded sender signs in as %+v, want ok at two hosts", r)
	}
	if got := fmt.Sprintf("%v %+v %#v", older, older, older); strings.Contains(got, "0x") || !strings.Contains(got, "CN=crm.dynamics.com") {
		t.Errorf("a pair prints as %s, want its subject and no key", got)
	}
}

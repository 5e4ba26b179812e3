package acsx509_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// managementKey is the secret of all tests: base64, as ACS made them.
const managementKey = "bWFuYWdlbWVudC+rZXktb2YtY29udG9zby0+LTAxMjM="

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// lineTo returns an HTTP client that reaches h over TLS under every host name.
func lineTo(t testing.TB, h http.Handler) *http.Client {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}, // The test server's own name.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// script is a server that answers by path: the last part before the first "?" or
// "(", such as "OAuth2-13" or "ServiceIdentities". It notes what it was asked.
type script struct {
	t       *testing.T
	answers map[string]http.HandlerFunc

	mu    sync.Mutex
	asked []string // path parts
	last  *http.Request
	body  string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	part, _, _ := strings.Cut(strings.TrimSuffix(r.URL.Path, "/"), "(")
	part = part[strings.LastIndex(part, "/")+1:]
	s.mu.Lock()
	s.asked, s.last, s.body = append(s.asked, part), r, string(b)
	h := s.answers[part]
	s.mu.Unlock()
	if h == nil {
		s.t.Errorf("asked for %s %s", r.Method, r.URL)
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

func (s *script) paths() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.asked, " ")
}

// say answers with a status and a text.
func say(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// inTurn answers with one after the other, and with the last for ever.
func inTurn(all ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) { all[min(int(n.Add(1)), len(all))-1](w, r) }
}

// newScript returns a server that gives the recorded token and identity.
func newScript(t *testing.T, change map[string]http.HandlerFunc) *script {
	s := &script{t: t, answers: map[string]http.HandlerFunc{
		"OAuth2-13":         say(200, sample(t, "oauth-token.json")),
		"WRAPv0.9":          say(200, sample(t, "wrap-token.txt")),
		"ServiceIdentities": say(200, sample(t, "identity.xml")),
	}}
	for k, v := range change {
		s.answers[k] = v
	}
	return s
}

// open returns the driver on a server, by the clock of the tests.
func open(t *testing.T, h http.Handler, change ...func(*kit.Kit)) rollover.Driver {
	t.Helper()
	k := kit.Kit{
		HTTP: lineTo(t, h),
		Now:  func() time.Time { return begin().AddDate(0, 0, -3) },
		Access: func(context.Context, string, string) (kit.Access, error) {
			return kit.Access{Secret: secrets.NewSecret(managementKey)}, nil
		},
	}
	for _, c := range change {
		c(&k)
	}
	d, err := acsx509.Open(nil, k)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

package acsx509_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// The bounds of what one observation of a hostile host may cost.
const (
	hostileMemory = 256 << 20 // bytes allocated in all, by client and test server together, with the race detector too
	hostileTime   = 15 * time.Second
)

// hostile is a namespace that means us harm. It speaks TLS with a certificate of its
// own name, as the owner of a namespace's host could.
func hostile(t *testing.T, version int, h http.HandlerFunc) rollover.Driver {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = version == 2
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // Cut connections are meant.
	srv.StartTLS()
	t.Cleanup(srv.Close)
	line, err := outbound.New(outbound.Config{
		CAPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}),
		Dial:  map[string]string{"example.com": srv.Listener.Addr().String(), "*.example.com": srv.Listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.CloseIdleConnections)
	d, err := acsx509.Open([]byte("host_suffixes: [example.com]\nrequest_timeout: 500ms\n"), kit.Kit{
		HTTP: line, Now: func() time.Time { return begin().AddDate(0, 0, -3) },
		Access: func(context.Context, string, string) (kit.Access, error) {
			return kit.Access{Secret: secrets.NewSecret(managementKey)}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pour writes a block until the client has had enough.
func pour(w io.Writer, block []byte) {
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// drip writes a byte at a time, with what comes of it at once.
func drip(w http.ResponseWriter, r *http.Request) {
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-r.Context().Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		_, _ = io.WriteString(w, "<")
		w.(http.Flusher).Flush()
	}
}

// zipped compresses a text that is n times one.
func zipped(t *testing.T, one string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range n {
		if _, err := io.WriteString(z, one); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDriver_AHostileHostCostsBoundedTimeAndMemory(t *testing.T) {
	const ns = "contoso-sb.example.com"
	block := bytes.Repeat([]byte("x"), 64<<10)
	bomb := zipped(t, strings.Repeat("x", 1<<20), 300)
	entryBomb := zipped(t, "<feed>"+strings.Repeat("<entry/>", 1<<19-10)+"</feed>", 1) // Just below the bound on bytes.
	token := say(200, sample(t, "oauth-token.json"))
	gzipOf := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(b)
		}
	}
	headers := func(w http.ResponseWriter, _ *http.Request) {
		for i := range 1000 {
			w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
		}
	}
	var pages atomic.Int64
	endlessPages := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<feed><link rel="next" href="ServiceIdentities()?$skiptoken=%d"/></feed>`, pages.Add(1))
	}
	fatPages := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<feed><title>%s</title><link rel="next" href="ServiceIdentities()?$skiptoken=%d"/></feed>`, bytes.Repeat(block, 50), pages.Add(1))
	}
	pouring := func(start string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, start)
			pour(w, block)
		}
	}
	refusing := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		pour(w, block)
	}
	away := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
	}
	for name, c := range map[string]struct{ token, service http.HandlerFunc }{
		"a token without end":             {pouring(`{"access_token":"`), nil},
		"a token byte by byte":            {drip, nil},
		"a token that is a gzip bomb":     {gzipOf(bomb), nil},
		"a refusal of a token that pours": {refusing, nil},
		"a token beneath endless headers": {headers, nil},
		"a token elsewhere":               {away("https://other.example.com/v2/OAuth2-13"), nil},
		"a page without end":              {token, pouring(`<feed><entry><content><properties><Name>`)},
		"a page of blanks without end":    {token, func(w http.ResponseWriter, _ *http.Request) { pour(w, bytes.Repeat([]byte(" "), 64<<10)) }},
		"a page byte by byte":             {token, drip},
		"a gzip bomb":                     {token, gzipOf(bomb)},
		"nothing but entries, zipped":     {token, gzipOf(entryBomb)},
		"levels without end":              {token, func(w http.ResponseWriter, _ *http.Request) { pour(w, bytes.Repeat([]byte("<feed><entry>"), 4<<10)) }},
		"attributes without end":          {token, pouring(`<feed ` + strings.Repeat(`a="" `, 300_000))},
		"a refusal that pours":            {token, refusing},
		"endless headers":                 {token, headers},
		"pages without end":               {token, endlessPages},
		"fat pages without end":           {token, fatPages},
		"a page that leads to itself":     {token, say(200, `<feed><link rel="next" href="ServiceIdentities()?$skiptoken=1"/></feed>`)},
		"a page that leads inside":        {token, say(200, `<feed><link rel="next" href="https://169.254.169.254/v2/mgmt/service/"/></feed>`)},
		"a page elsewhere":                {token, away("https://other.example.com/v2/mgmt/service/")},
		"a page inside":                   {token, away("https://169.254.169.254/latest/meta-data/")},
		"a page that moves for ever":      {token, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }},
	} {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s by HTTP %d", name, version), func(t *testing.T) {
				var asked atomic.Int64
				d := hostile(t, version, func(w http.ResponseWriter, r *http.Request) {
					asked.Add(1)
					if r.Host != ns {
						t.Errorf("%s was asked for %s, with authorization %q", r.Host, r.URL, r.Header.Get("Authorization"))
					}
					if strings.HasSuffix(r.URL.Path, "/OAuth2-13") || strings.Contains(r.URL.Path, "/WRAP") {
						c.token(w, r)
						return
					}
					c.service(w, r)
				})
				w := newCertificates(t).work()
				w.Target.Host = ns
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				begun := time.Now()
				o, err := d.Observe(t.Context(), w)
				took := time.Since(begun)
				runtime.ReadMemStats(&after)
				if err == nil || len(o.Standing) != 0 {
					t.Errorf("Observe = %d certificates, %v; want none and an error", len(o.Standing), err)
				}
				if got := after.TotalAlloc - before.TotalAlloc; got > hostileMemory {
					t.Errorf("Observe allocated %d MiB, want at most %d", got>>20, hostileMemory>>20)
				}
				if took > hostileTime {
					t.Errorf("Observe took %s, want at most %s", took, hostileTime)
				}
				if n := asked.Load(); n > 60 {
					t.Errorf("the host was asked %d times, want a bounded number", n)
				}
				if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), managementKey)) {
					t.Errorf("Observe = an error of %d bytes: %.200s", len(err.Error()), err)
				}
			})
		}
	}
}

// A host that the public DNS leads inside of our network is never spoken to, whatever
// a tenant's file or a crafted address of an endpoint calls it.
func TestDriver_DialsNoInnerHost(t *testing.T) {
	line, err := outbound.New(outbound.Config{})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	d, err := acsx509.Open([]byte("host_suffixes: [localhost.localdomain, nip.test]\n"), kit.Kit{
		HTTP: line, Now: begin, Access: func(context.Context, string, string) (kit.Access, error) {
			asked++
			return kit.Access{Secret: secrets.NewSecret(managementKey)}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{
		"127.0.0.1", "localhost", "169.254.169.254", "[::ffff:169.254.169.254]", "::1", "contoso-sb.accesscontrol.windows.net@169.254.169.254", "contoso-sb.accesscontrol.windows.net:8080",
		"contoso-sb.accesscontrol.windows.net.", "contoso-sb.accesscontrol.windows.net.evil.example", "CONTOSO-sb.accesscontrol.windows.net", "a.b.accesscontrol.windows.net",
		"contoso\u2024sb.accesscontrol.windows.net", "-sb.accesscontrol.windows.net", "accounts.accesscontrol.windows.net", "contoso-sb.accesscontrol.windows.net/x", "contoso-sb.accesscontrol.windows.net#", "",
	} {
		w := newCertificates(t).work()
		w.Target.Host = at
		if o, err := d.Observe(t.Context(), w); err == nil || len(o.Standing) != 0 {
			t.Errorf("Observe on %q = %d certificates, %v; want a refusal", at, len(o.Standing), err)
		}
	}
	if asked != 0 {
		t.Errorf("the secret was asked for %d times for hosts that may not be called", asked)
	}
}

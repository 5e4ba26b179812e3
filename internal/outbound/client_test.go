package outbound_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/outbound"
)

// The test server's certificate is for this name and for names beneath it.
const host = "example.com"

// server is a TLS server on loopback that many names lead to.
type server struct {
	*httptest.Server
	addr  string
	ca    []byte
	dials atomic.Int64
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	return serveBy(t, 2, h)
}

// serveBy is serve by a major version of HTTP: 1 or 2.
func serveBy(t *testing.T, version int, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{Server: httptest.NewUnstartedServer(h)}
	s.EnableHTTP2 = version == 2
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			s.dials.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.addr = s.Listener.Addr().String()
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s
}

// client returns a client that reaches the server by its name.
func client(t *testing.T, s *server, change func(*outbound.Config)) *http.Client {
	t.Helper()
	cfg := outbound.Config{CAPEM: s.ca, Dial: map[string]string{host: s.addr, "*." + host: s.addr}, Timeout: 10 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := outbound.New(cfg)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// get asks for u and returns status and body.
func get(t *testing.T, c *http.Client, u string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(c, req)
}

func do(c *http.Client, req *http.Request) (int, string, error) {
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	b, err := outbound.ReadBody(res.Body, 1<<20)
	return res.StatusCode, string(b), errors.Join(err, res.Body.Close())
}

func TestNew_ReachesManyNamesBehindOneAddress(t *testing.T) {
	for version, proto := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
		s := serveBy(t, version, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s", r.Proto, r.Host)
		})
		const hosts = 300
		c := client(t, s, func(c *outbound.Config) { c.MaxIdleConns = hosts + 1 })
		for round := range 2 {
			for i := range hosts {
				name := fmt.Sprintf("ns%d.%s", i, host)
				if _, body, err := get(t, c, "https://"+name+"/"); err != nil || body != proto+" "+name {
					t.Fatalf("GET %s = %q, %v, want %s and its name", name, body, err, proto)
				}
			}
			if got := s.dials.Load(); got != hosts {
				t.Errorf("%s, round %d: %d connections so far, want %d: none is closed for want of room", proto, round+1, got, hosts)
			}
		}
		upper := strings.ToUpper(host) + ":8443"
		if _, body, err := get(t, c, "https://"+upper+"/"); err != nil || body != proto+" "+upper {
			t.Errorf("GET in upper case with another port = %q, %v, want it", body, err)
		}
	}
}

func TestNew_TakesManyRequestsForOneHost(t *testing.T) {
	for _, version := range []int{1, 2} {
		s := serveBy(t, version, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
		c := client(t, s, func(cfg *outbound.Config) { cfg.MaxConnsPerHost = 3 })
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 4 {
					if _, body, err := get(t, c, "https://"+host); err != nil || body != "ok" {
						t.Errorf("HTTP/%d: GET = %q, %v, want ok", version, body, err)
					}
				}
			})
		}
		wg.Wait()
		if got := s.dials.Load(); got > 3 {
			t.Errorf("HTTP/%d: %d connections, want at most 3", version, got)
		}
	}
}

func TestNew_PrefersTheNarrowestRoute(t *testing.T) {
	answer := func(text string) *server {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	wide, narrow, exact := answer("wide"), answer("narrow"), answer("exact")
	// The entries come from a map, in another order each time.
	for range 10 {
		c := client(t, wide, func(cfg *outbound.Config) {
			cfg.CAPEM = bytes.Join([][]byte{wide.ca, narrow.ca, exact.ca}, nil)
			cfg.Dial = map[string]string{"*.com": wide.addr, "*.example.com": narrow.addr, "a.example.com": exact.addr}
		})
		for name, want := range map[string]string{"example.com": "wide", "b.example.com": "narrow", "a.example.com": "exact"} {
			if _, got, err := get(t, c, "https://"+name); err != nil || got != want {
				t.Errorf("GET %s = %q, %v, want %q", name, got, err, want)
			}
		}
	}
}

func TestNew_DialsNoInnerAddress(t *testing.T) {
	var asked atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	c := client(t, s, func(cfg *outbound.Config) { cfg.Proxy = http.ProxyURL(nil) })
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"localhost", "127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0", "[::]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "[fe80::1]", "[fd00::1]",
		"100.64.0.1", "168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]",
		"[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]",
	} {
		if _, _, err := get(t, c, "https://"+name+":"+port+"/"); !errors.Is(err, outbound.ErrForbiddenAddress) {
			t.Errorf("GET %s = %v, want ErrForbiddenAddress", name, err)
		}
	}
	if n := asked.Load() + s.dials.Load(); n != 0 {
		t.Errorf("the server saw %d calls, want none", n)
	}
}

func TestNew_SpeaksModernTLSOnly(t *testing.T) {
	s := &server{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))}
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	s.addr = s.Listener.Addr().String()
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if _, _, err := get(t, client(t, s, nil), "https://"+host); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("GET from a server of TLS 1.1 = %v, want a refusal of its version", err)
	}
	if _, _, err := get(t, client(t, s, nil), "http://"+host); !errors.Is(err, outbound.ErrNotHTTPS) {
		t.Errorf("GET by http = %v, want ErrNotHTTPS", err)
	}
}

func TestNew_TrustsOnlyWhoItIsTold(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	s.Config.ErrorLog = quiet()
	if _, _, err := get(t, client(t, s, func(cfg *outbound.Config) { cfg.CAPEM = nil }), "https://"+host); err == nil {
		t.Errorf("GET without the authority = nil, want an error")
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, s.ca, 0o600); err != nil {
		t.Fatal(err)
	}
	c := client(t, s, func(cfg *outbound.Config) { cfg.CAPEM, cfg.CAFile = nil, path })
	if _, _, err := get(t, c, "https://"+host); err != nil {
		t.Errorf("GET with the authority from a file = %v", err)
	}
	// A route says where to go, not whom to believe.
	c = client(t, s, func(cfg *outbound.Config) { cfg.Dial["other.test"] = s.addr })
	if _, _, err := get(t, c, "https://other.test"); err == nil {
		t.Errorf("GET of a name that the certificate is not for = nil, want an error")
	}
}

func TestNew_RefusesWhatCannotBeMeant(t *testing.T) {
	for name, cfg := range map[string]outbound.Config{
		"an address without port":  {Dial: map[string]string{host: "127.0.0.1"}},
		"a name as address":        {Dial: map[string]string{host: "localhost:443"}},
		"a star in the middle":     {Dial: map[string]string{"a.*.com": "127.0.0.1:443"}},
		"a star without a dot":     {Dial: map[string]string{"*com": "127.0.0.1:443"}},
		"a star alone":             {Dial: map[string]string{"*": "127.0.0.1:443"}},
		"a dot without a star":     {Dial: map[string]string{".com": "127.0.0.1:443"}},
		"upper case":               {Dial: map[string]string{"Example.com": "127.0.0.1:443"}},
		"a port in the name":       {Dial: map[string]string{"example.com:443": "127.0.0.1:443"}},
		"an empty name":            {Dial: map[string]string{"": "127.0.0.1:443"}},
		"no certificate in PEM":    {CAPEM: []byte("x")},
		"no such file":             {CAFile: "testdata/none.pem"},
		"no certificate in a file": {CAFile: "client_test.go"},
		"a negative timeout":       {Timeout: -1},
		"negative connections":     {MaxConnsPerHost: -1},
		"negative idle ones":       {MaxIdleConns: -1},
	} {
		if _, err := outbound.New(cfg); err == nil {
			t.Errorf("%s: New = nil, want an error", name)
		}
	}
	if _, err := outbound.New(outbound.Config{}); err != nil {
		t.Errorf("New of the zero Config = %v", err)
	}
}

func TestNew_BoundsWhatItWaitsFor(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/endless":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/headers":
			w.Header().Set("X-Long", strings.Repeat("x", 128<<10))
		}
	})
	defer close(release)
	c := client(t, s, func(cfg *outbound.Config) { cfg.Timeout = 200 * time.Millisecond })
	for _, path := range []string{"/silent", "/endless"} {
		_, _, err := get(t, c, "https://"+host+path)
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("GET %s = %v, want a timeout", path, err)
		}
	}
	c = client(t, s, nil)
	if status, _, err := get(t, c, "https://"+host+"/headers"); err == nil {
		t.Errorf("GET with 128 KiB of headers = %d, want an error", status)
	}
}

func TestNew_UsesAProxyOnlyWhereThereIsNoRoute(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "direct") })
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(proxy.Close)
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, s, func(cfg *outbound.Config) { cfg.Proxy = http.ProxyURL(u) })
	if _, body, err := get(t, c, "https://"+host); err != nil || body != "direct" {
		t.Errorf("GET of a host with a route = %q, %v, want it directly", body, err)
	}
	if _, _, err := get(t, c, "https://elsewhere.test"); err == nil {
		t.Errorf("GET through a proxy that refuses = nil, want an error")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || asked[0] != "CONNECT elsewhere.test:443" {
		t.Errorf("the proxy was asked %q, want CONNECT elsewhere.test:443 alone", asked)
	}
}

// Package outbound makes HTTP clients for other people's servers, whose names
// come from files that tenants' owners write. A client speaks TLS only, dials no
// address inside our own network, follows no redirect to another host, and has a
// bound on everything that it waits for or reads.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

// The defaults of [Config].
const (
	DefaultTimeout         = 60 * time.Second
	DefaultMaxConnsPerHost = 8
	// DefaultMaxIdleConns is enough for connections to wait for the next call of
	// the same task. More would wait for nothing: of a large fleet each host is met
	// once while planning and once when its turn comes, long after.
	DefaultMaxIdleConns = 256
)

// The bounds that are not configurable.
const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	pingAfter        = 15 * time.Second // a silent HTTP/2 connection is asked whether it lives
	pingTimeout      = 10 * time.Second
	maxHeaderBytes   = 64 << 10
	sessionCache     = 1024 // TLS sessions kept for resumption, one a host, with its certificates
)

// ErrNotHTTPS says that a request was for another scheme than https.
var ErrNotHTTPS = errors.New("only https is spoken to other servers")

// Config says how other people's servers are reached. The zero Config reaches
// the public internet with the machine's own certificate authorities.
type Config struct {
	// CAFile is a PEM file of certificate authorities that are trusted besides
	// the machine's own; an emulator's, for instance. It is read once.
	CAFile string
	// CAPEM is the same as bytes. Both may be given.
	CAPEM []byte
	// Dial says where a host is really reached: a host name in lower case, or
	// "*.suffix" for every name beneath it, to an ip:port. The port of the
	// request is then ignored; TLS still asks for the certificate of the name.
	// An exact name wins over a suffix, a longer suffix over a shorter one.
	// Hosts named here may lie at any address, and no proxy is used for them.
	Dial map[string]string
	// Timeout bounds a whole exchange, from dialling to the last byte of the
	// answer, besides the deadline of its context. 0 means [DefaultTimeout].
	Timeout time.Duration
	// MaxConnsPerHost bounds the connections to one host name, in use and idle;
	// 0 means [DefaultMaxConnsPerHost]. More requests wait for a free one.
	MaxConnsPerHost int
	// MaxIdleConns bounds the idle connections to all hosts together; 0 means
	// [DefaultMaxIdleConns]. Each one costs a file descriptor and about 50 KiB; fewer
	// than requests are made at once, and a task pays for a handshake before each
	// of its calls. Those of HTTP/2 are not counted: there is one a host, and it is
	// closed when it was idle for 90 s.
	MaxIdleConns int
	// Proxy chooses the proxy for hosts without an entry in Dial; nil means
	// [http.ProxyFromEnvironment]. What is sent through a proxy is resolved
	// there: keeping it from inner addresses is then the proxy's work.
	Proxy func(*http.Request) (*url.URL, error)
}

// New returns a client. It fails where a Dial entry has no ip:port, a bound is
// negative, or a file of authorities cannot be read or holds none.
//
// Of a redirect the client follows one, for GET and HEAD only, to the same host
// and port, and without the headers that hold credentials. Any other answer with
// a redirect is given to the caller as it is, with its status 3xx.
func New(cfg Config) (*http.Client, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	routes, err := newRoutes(cfg.Dial)
	if err != nil {
		return nil, err
	}
	roots, err := authorities(cfg)
	if err != nil {
		return nil, err
	}
	d := newDialer(routes, cfg.Proxy)
	t := &http.Transport{
		Proxy:                  d.proxyFor,
		DialContext:            d.dial,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxIdleConns:           cfg.MaxIdleConns,
		MaxIdleConnsPerHost:    cfg.MaxConnsPerHost,
		MaxConnsPerHost:        cfg.MaxConnsPerHost,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  cfg.Timeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ForceAttemptHTTP2:      true, // A DialContext of our own would switch it off.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            roots,
			ClientSessionCache: tls.NewLRUClientSessionCache(sessionCache),
		},
	}
	return &http.Client{Transport: &httpsOnly{t}, CheckRedirect: checkRedirect, Timeout: cfg.Timeout}, nil
}

// setDefaults puts the default where nothing is said, and refuses what cannot be
// meant.
func (c *Config) setDefaults() error {
	if c.Timeout < 0 || c.MaxConnsPerHost < 0 || c.MaxIdleConns < 0 {
		return errors.New("outbound: timeout and connection bounds must not be negative")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxConnsPerHost == 0 {
		c.MaxConnsPerHost = DefaultMaxConnsPerHost
	}
	if c.MaxIdleConns == 0 {
		c.MaxIdleConns = DefaultMaxIdleConns
	}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	return nil
}

// authorities returns the machine's certificate authorities with those of cfg,
// or nil, which means the machine's own, where cfg names none.
func authorities(cfg Config) (*x509.CertPool, error) {
	if cfg.CAFile == "" && len(cfg.CAPEM) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the machine's certificate authorities: %w", err)
	}
	if len(cfg.CAPEM) > 0 && !pool.AppendCertsFromPEM(cfg.CAPEM) {
		return nil, errors.New("outbound: no certificate in the authorities given as PEM")
	}
	if cfg.CAFile != "" {
		b, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading certificate authorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("outbound: no certificate in %s", cfg.CAFile)
		}
	}
	return pool, nil
}

// httpsOnly refuses requests that would travel in the clear, credentials and all.
type httpsOnly struct{ *http.Transport }

// RoundTrip passes on what is https and refuses the rest with [ErrNotHTTPS].
func (t *httpsOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		if req.Body != nil {
			_ = req.Body.Close() // A RoundTripper owes it; there is nothing to lose.
		}
		return nil, fmt.Errorf("requesting %s by %q: %w", req.URL.Host, req.URL.Scheme, ErrNotHTTPS)
	}
	return t.Transport.RoundTrip(req)
}

// checkRedirect allows one redirect of a read within one host, and takes from it
// what proves who we are. net/http calls it with the headers already copied.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1]
	switch {
	case len(via) > 1,
		from.Method != http.MethodGet && from.Method != http.MethodHead,
		req.URL.Scheme != "https",
		req.URL.Host != from.URL.Host:
		return http.ErrUseLastResponse
	}
	for _, h := range []string{"Authorization", "Proxy-Authorization", "Www-Authenticate", "Cookie", "Cookie2", "Referer"} {
		req.Header.Del(h)
	}
	req.URL.User = nil
	return nil
}

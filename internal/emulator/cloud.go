package emulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/emulator/dataverse"
	"github.com/crossfade-project/crossfade/internal/emulator/entra"
	"github.com/crossfade-project/crossfade/internal/emulator/fault"
	"github.com/crossfade-project/crossfade/internal/emulator/issuer"
)

// Config of a [Cloud]. The zero value works.
type Config struct {
	// Now is the clock of the namespaces and of the certificates that are
	// rotated; a test clock may run faster or be pushed on. TLS and Entra go by
	// the machine's clock, as their clients do. Default time.Now.
	Now func() time.Time
	// Listen is the address of the listener, which must be a loopback one:
	// whoever can reach it can read every emulated secret. Default 127.0.0.1:0.
	Listen string
	// Seed decides names, ids and the mix of tenants, and which calls go wrong.
	// The same seed and number of tenants give the same world; keys and secrets
	// are made anew each time.
	Seed int64
	// Tenants is how many there are, 1 to [MaxTenants]. Default 200. All
	// scenarios of [Scenarios] occur from as many tenants on.
	Tenants int
	// Uniform makes every tenant alike instead of drawing scenarios: so many
	// endpoints each, 1 to [MaxUniform], every one on a namespace of its own that
	// can be rotated. It is for measuring. Default 0: the mix.
	Uniform int
	// Large gives one tenant of a uniform world so many endpoints instead, up to
	// [MaxLarge], so that fairness towards the others can be measured. Default 0:
	// none.
	Large int
	// Faults is "none", the default, or "rough": throttling, errors, cut
	// connections, work done and answered as an error. Nothing is ever stored
	// wrong.
	Faults string
	// Latency is added to every answer, by the machine's clock. Default none.
	Latency time.Duration
	// SwitchAt is from when the new certificate is valid and CRM signs with it.
	// Default three days after Now, as in KB 3200643.
	SwitchAt time.Time
	// PageSize caps the pages of endpoint lists. Default 50, so that paging
	// happens; Dataverse's own cap is [dataverse.MaxPage].
	PageSize int
	// Log takes what the listener complains of. Default nowhere.
	Log *slog.Logger
}

// MaxTenants bounds a world.
const MaxTenants = 50_000

// MaxUniform bounds the endpoints of a tenant of a uniform world.
const MaxUniform = 100

// MaxLarge bounds the endpoints of the one large tenant.
const MaxLarge = 10_000

func (c Config) withDefaults() (Config, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Tenants == 0 {
		c.Tenants = 200
	}
	if c.Faults == "" {
		c.Faults = acs.ProfileNone
	}
	if c.PageSize == 0 {
		c.PageSize = 50
	}
	if c.SwitchAt.IsZero() {
		c.SwitchAt = c.Now().Add(72 * time.Hour)
	}
	// Certificates tell whole seconds.
	c.SwitchAt = c.SwitchAt.UTC().Truncate(time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	ip := net.ParseIP(host)
	switch {
	case err != nil:
		return c, fmt.Errorf("listen address %q: %w", c.Listen, err)
	case host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return c, fmt.Errorf("listen address %q is not a loopback one", c.Listen)
	case c.Tenants < 1 || c.Tenants > MaxTenants:
		return c, fmt.Errorf("number of tenants %d is not between 1 and %d", c.Tenants, MaxTenants)
	case c.Uniform < 0 || c.Uniform > MaxUniform:
		return c, fmt.Errorf("number of endpoints of a tenant %d is not between 0 and %d", c.Uniform, MaxUniform)
	case c.Large < 0 || c.Large > MaxLarge || c.Large > 0 && c.Uniform == 0:
		return c, fmt.Errorf("number of endpoints of the large tenant %d is not between 0 and %d, or the world is not uniform", c.Large, MaxLarge)
	case c.Faults != acs.ProfileNone && c.Faults != acs.ProfileRough:
		return c, fmt.Errorf("unknown fault profile %q: want %s or %s", c.Faults, acs.ProfileNone, acs.ProfileRough)
	}
	return c, nil
}

// Cloud is a running emulator. It is safe for concurrent use.
type Cloud struct {
	world     *World
	ca        *authority
	acs       *acs.Server
	dataverse *dataverse.Server
	entra     *entra.Server
	issuer    *issuer.Server
	latency   time.Duration

	listener net.Listener
	server   *http.Server
	served   chan error // holds what Serve returned, once
	client   *http.Client
}

// Start makes a world, loads it into the servers and begins to answer. The
// caller closes the cloud.
func Start(c Config) (*Cloud, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("starting the emulator: %w", err)
	}
	cloud, err := build(c)
	if err != nil {
		return nil, fmt.Errorf("starting the emulator: %w", err)
	}
	if err := cloud.listen(c); err != nil {
		return nil, fmt.Errorf("starting the emulator: %w", err)
	}
	return cloud, nil
}

// build makes all servers and fills them.
func build(c Config) (*Cloud, error) {
	world, err := newWorld(c)
	if err != nil {
		return nil, err
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	login, err := entra.New(entra.Config{Faults: fault.New(c.Seed, roughEntra(c.Faults)...)})
	if err != nil {
		return nil, err
	}
	portals, err := issuer.New(time.Now)
	if err != nil {
		return nil, err
	}
	orgs, err := dataverse.New(dataverse.Config{
		Check: func(token, audience string) (dataverse.Caller, error) {
			b, err := login.Check(token, audience)
			return dataverse.Caller{Tenant: b.Tenant, ClientID: b.ClientID}, err
		},
		MaxPage: c.PageSize, Faults: fault.New(c.Seed+1, roughDataverse(c.Faults)...),
	})
	if err != nil {
		return nil, err
	}
	namespaces := acs.New(acs.Config{
		Now: c.Now, Seed: c.Seed, Latency: c.Latency,
		Faults:   acs.Faults{Profile: c.Faults, Seed: c.Seed},
		Switches: acs.Switches{AllowDuplicateNames: true}, // one tenant has two identities of one name
	})
	cloud := &Cloud{world: world, ca: ca, acs: namespaces, dataverse: orgs, entra: login, issuer: portals, latency: c.Latency}
	return cloud, cloud.load()
}

// listen opens the listener and begins to serve.
func (c *Cloud) listen(cfg Config) error {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return err
	}
	c.listener, c.served = l, make(chan error, 1)
	c.server = &http.Server{
		Handler:           c,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.ca.certificate, NextProtos: []string{"http/1.1"}, CurvePreferences: curves()},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // The services of that age spoke HTTP/1.1.
		ReadHeaderTimeout: 15 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	c.client = c.newClient()
	go func() { c.served <- c.server.ServeTLS(l, "", "") }()
	return nil
}

// curves leaves out the post-quantum exchanges. With thousands of hosts there are
// thousands of handshakes, and nobody records what never leaves the machine.
func curves() []tls.CurveID { return []tls.CurveID{tls.X25519, tls.CurveP256} }

// newClient makes a client that trusts the authority and dials the listener
// whatever the host.
func (c *Cloud) newClient() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(c.ca.cert)
	addr := c.Addr()
	return &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
			},
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(leafCache), CurvePreferences: curves()},
			TLSHandshakeTimeout: 15 * time.Second,
			MaxIdleConns:        1024,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     30 * time.Second,
		},
	}
}

// Addr is the listener's address, such as 127.0.0.1:40123.
func (c *Cloud) Addr() string { return c.listener.Addr().String() }

// CAPEM is the certificate of the authority that all hosts' certificates chain
// to. It is valid by the machine's clock.
func (c *Cloud) CAPEM() []byte { return c.ca.pem() }

// Client trusts the authority and reaches every host. All callers share it and
// its connections.
func (c *Cloud) Client() *http.Client { return c.client }

// ACS is the server of all namespaces.
func (c *Cloud) ACS() *acs.Server { return c.acs }

// Dataverse is the server of all organisations.
func (c *Cloud) Dataverse() *dataverse.Server { return c.dataverse }

// Entra is the server of all logins.
func (c *Cloud) Entra() *entra.Server { return c.entra }

// Issuer is the provider of the tokens by which portals call Crossfade.
func (c *Cloud) Issuer() *issuer.Server { return c.issuer }

// World is what there is, and what a rotation should make of it.
func (c *Cloud) World() *World { return c.world }

// Close lets calls in hand finish until ctx ends, then cuts them, and returns
// when nothing of the cloud runs any more. Closing again does nothing.
func (c *Cloud) Close(ctx context.Context) error {
	c.client.CloseIdleConnections()
	err := c.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, c.server.Close())
	}
	served := <-c.served
	c.served <- served // for who closes again
	if !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("closing the emulator: %w", err)
	}
	return nil
}

package dataverse

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Config is what a [Client] is made of. Only Now is required.
type Config struct {
	// HTTP makes every call, to Entra too; its transport decides which
	// certificates are trusted. Redirects are never followed, whatever it says:
	// they would carry a token or a client secret to another host. Default: a
	// client of its own.
	HTTP *http.Client
	// Now tells until when an organisation that asked for a pause is left alone.
	// Pass the machine's clock: with a test clock that stands still, the pause
	// never ends.
	Now func() time.Time
	// Authority is the address of the Entra authority, such as
	// "https://login.microsoftonline.us/". Default: by the cloud of the
	// organisation's host.
	Authority string
	// DisableInstanceDiscovery stops the question to Microsoft whether Authority
	// is one of theirs. Set it where Authority is an own one.
	DisableInstanceDiscovery bool
	// CallTimeout bounds one request with its answer. Default 30 s.
	CallTimeout time.Duration
	// PageSize is how many rows are asked for at once, 1 to 5000. Default 500.
	PageSize int
	// MaxPages and MaxPageBytes bound what is read of one organisation; more is
	// an error, never a shorter list. Defaults 200 and 4 MiB.
	MaxPages     int
	MaxPageBytes int64
	// Logins is for how many tenants a login with its tokens is kept. Default
	// 256; one more costs a tenant two requests to Entra.
	Logins int
	// Log is told of pauses and repeated logins. Default: nothing is logged.
	Log *slog.Logger
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	own := http.Client{}
	if c.HTTP != nil {
		own = *c.HTTP
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	c.HTTP = &own
	for _, d := range []struct {
		field *int
		value int
	}{{&c.PageSize, defaultPageSize}, {&c.MaxPages, defaultPages}, {&c.Logins, 256}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.MaxPageBytes <= 0 {
		c.MaxPageBytes = defaultPageBytes
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = defaultCallTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Client reads organisations. It is safe for concurrent use.
type Client struct {
	c Config

	mu     sync.Mutex                        // guards logins, not the asking for tokens
	logins *lru.Cache[loginKey, *credential] // one a tenant, the most recently used ones

	parked *lru.Cache[string, parking] // host → when it may be asked again; has its own lock
}

// New returns a client.
func New(c Config) (*Client, error) {
	if c.Now == nil {
		return nil, fmt.Errorf("making a dataverse client: Now is missing")
	}
	if c.Authority != "" {
		if u, err := url.Parse(c.Authority); err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("making a dataverse client: authority %q is not an https address", c.Authority)
		}
	}
	c = c.withDefaults()
	logins, err := lru.New[loginKey, *credential](c.Logins)
	if err != nil {
		return nil, fmt.Errorf("making a dataverse client: %w", err)
	}
	const parkingPlaces = 4096
	parked, err := lru.New[string, parking](parkingPlaces)
	if err != nil {
		return nil, fmt.Errorf("making a dataverse client: %w", err)
	}
	return &Client{c: c, logins: logins, parked: parked}, nil
}

// Login says how to get into one organisation.
type Login struct {
	Organization string         // its address, such as https://contoso.crm.dynamics.com
	EntraTenant  string         // GUID or domain of the directory
	ClientID     string         // of our application
	Secret       secrets.Secret // of the application
	Certificate  secrets.Secret // PEM or PKCS#12 with an RSA key; used instead of Secret if set
}

// Org is what an organisation says of itself and its service endpoints.
type Org struct {
	Version   string // as it says itself, such as "9.2.24011.00165"
	At        Version
	ID        string // GUID, lower case
	Cloud     Cloud  // by its host
	Endpoints []Row  // all of them, by ID
}

// Organisation reads the version and all service endpoints of an organisation.
//
// An answer that is not whole is an error: there is never a part of the list.
// Errors are marked in the way of [rollover.Driver]: nobody let us in is a hand
// over; an organisation that asks for a pause is [rollover.RetryAfter] and is
// not asked before; what no repetition mends is permanent. No error holds a
// secret.
func (c *Client) Organisation(ctx context.Context, l Login) (Org, error) {
	base, cloud, err := organisation(l.Organization)
	if err != nil {
		return Org{}, rollover.Permanent(rollover.InventoryUnreadable, err)
	}
	if err := c.mayAsk(base.Host); err != nil {
		return Org{}, err
	}
	s := &session{c: c, base: base, cloud: cloud, login: l, left: maxAnswers}
	org := Org{Cloud: cloud}
	if err := s.version(ctx, &org); err != nil {
		return Org{}, fmt.Errorf("reading the version of %s: %w", base.Host, err)
	}
	if err := s.whoAmI(ctx, &org); err != nil {
		return Org{}, fmt.Errorf("reading who we are in %s: %w", base.Host, err)
	}
	if err := s.endpoints(ctx, &org); err != nil {
		return Org{}, fmt.Errorf("listing service endpoints of %s: %w", base.Host, err)
	}
	return org, nil
}

// parking is a pause that a host asked for.
type parking struct{ from, until time.Time }

// mayAsk returns an error while a host that asked for a pause is left alone:
// asking during it makes it longer.
func (c *Client) mayAsk(host string) error {
	p, ok := c.parked.Get(host)
	if !ok {
		return nil
	}
	now := c.c.Now()
	// A clock that was fast when the pause began and is right now would hold the
	// host for as long as it was wrong.
	if wait := p.until.Sub(now); wait > 0 && p.from.Sub(now) <= rollover.ClockDoubt {
		return rollover.RetryAfter(wait, fmt.Errorf("%s until %s: %w", host, p.until.UTC().Format(time.RFC3339), ErrPaused))
	}
	c.parked.Remove(host)
	return nil
}

// park leaves a host alone for a while.
func (c *Client) park(host string, d time.Duration) {
	now := c.c.Now()
	c.parked.Add(host, parking{from: now, until: now.Add(d)})
	c.c.Log.Warn("organisation asked for a pause", "host", host, "seconds", int(d.Seconds()))
}

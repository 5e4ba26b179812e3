// Package sender plays the part of Dynamics CRM that signs in: for each service
// endpoint it asks the access control service for a token with an assertion
// signed by CRM's private key. It is how a demo or test sees whether a rotation
// ever left CRM outside.
package sender

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"
)

// Pair is a certificate with its private key, as only CRM has it.
type Pair struct {
	Cert *x509.Certificate
	DER  []byte
	Key  crypto.Signer // RSA
}

// String names the certificate and hides the key.
func (p Pair) String() string {
	if p.Cert == nil {
		return "no certificate"
	}
	return p.Cert.Subject.String() + " from " + p.Cert.NotBefore.UTC().Format(time.RFC3339)
}

// GoString hides the key from %#v.
func (p Pair) GoString() string { return p.String() }

// Endpoint is a service endpoint as CRM signs in to it.
type Endpoint struct {
	Tenant       string   `json:"tenant"`
	ID           string   `json:"id"`
	Hosts        []string `json:"hosts"`        // in the order of use: federated endpoints ask the plain host first, then -sb
	Scope        string   `json:"scope"`        // http://<ns>.servicebus.windows.net/<path>
	Issuer       string   `json:"issuer"`       // name of the service identity
	Organization string   `json:"organization"` // a claim of the assertion, such as contoso.crm.dynamics.com
}

// Config of a [Sender].
type Config struct {
	HTTP      *http.Client     // reaches the hosts of the endpoints. Required
	Now       func() time.Time // which certificate is used, and the times in assertions. Default time.Now
	Old, New  Pair             // Old is used before New's NotBefore, New from then on
	Endpoints []Endpoint
	Parallel  int           // sign-ins at once. Default 16
	Retries   int           // of one call after a transport error, a 429 or a 5xx. Default 6; negative: none
	Timeout   time.Duration // of one call. Default 15 s
}

// The names of the two certificates in a [Result].
const (
	CertOld = "old"
	CertNew = "new"
)

// Result is how one sign-in ended.
type Result struct {
	Tenant   string    `json:"tenant"`
	Endpoint string    `json:"endpoint"`
	Hosts    []string  `json:"hosts"`            // that were asked, in this order
	OK       bool      `json:"ok"`               // a token with the right to send was given
	Refused  bool      `json:"refused"`          // the credential was refused: 400, 401 or 403
	Status   int       `json:"status"`           // of the last answer; 0: none came
	Detail   string    `json:"detail,omitempty"` // CRM's words for a failure
	Cert     string    `json:"cert"`             // "old" or "new"
	At       time.Time `json:"at"`
}

// Round is one sign-in to every endpoint.
type Round struct {
	At      time.Time `json:"at"`
	Results []Result  `json:"results"` // in the order of Config.Endpoints
}

// Stats are counts of sign-ins. SignIns is the sum of the others.
type Stats struct {
	SignIns int `json:"sign_ins"`
	OK      int `json:"ok"`
	Refused int `json:"refused"` // the credential was refused
	Failed  int `json:"failed"`  // no answer, or one that says nothing about the credential
}

func (s *Stats) add(o Stats) {
	s.SignIns, s.OK, s.Refused, s.Failed = s.SignIns+o.SignIns, s.OK+o.OK, s.Refused+o.Refused, s.Failed+o.Failed
}

// Sender signs in. It is safe for concurrent use.
type Sender struct {
	c     Config
	cache *lru.Cache[string, signed] // of assertions that are still good

	// mu guards stats.
	mu    sync.Mutex
	stats []Stats // of the endpoint at the same position
}

// New returns a sender. It fails without an HTTP client or a key.
func New(c Config) (*Sender, error) {
	switch {
	case c.HTTP == nil:
		return nil, errors.New("making a sender: HTTP is required")
	case c.Old.Key == nil || c.New.Key == nil || c.Old.Cert == nil || c.New.Cert == nil:
		return nil, errors.New("making a sender: both certificates and their keys are required")
	}
	for _, e := range c.Endpoints {
		if len(e.Hosts) == 0 {
			return nil, fmt.Errorf("making a sender: endpoint %s of %s has no host", e.ID, e.Tenant)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Parallel <= 0 {
		c.Parallel = 16
	}
	if c.Retries == 0 {
		c.Retries = 6
	}
	if c.Timeout <= 0 {
		c.Timeout = 15 * time.Second
	}
	cache, err := lru.New[string, signed](cacheSize)
	if err != nil {
		return nil, fmt.Errorf("making a sender: %w", err)
	}
	return &Sender{c: c, cache: cache, stats: make([]Stats, len(c.Endpoints))}, nil
}

// Round signs in to every endpoint once and waits for all. Its error is that of
// ctx; how sign-ins ended is in the results. What ctx cut short is not in them
// and not counted.
func (s *Sender) Round(ctx context.Context) (Round, error) {
	round := Round{At: s.c.Now(), Results: make([]Result, len(s.c.Endpoints))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.c.Parallel)
	for i, e := range s.c.Endpoints {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			r := s.signIn(ctx, e)
			if err := ctx.Err(); err != nil {
				return err
			}
			round.Results[i] = r
			s.record(i, r)
			return nil
		})
	}
	err := g.Wait()
	if err != nil {
		round.Results = done(round.Results)
	}
	return round, err
}

// done drops what was not reached.
func done(results []Result) []Result {
	out := results[:0]
	for _, r := range results {
		if r.Tenant != "" {
			out = append(out, r)
		}
	}
	return out
}

// record counts a result.
func (s *Sender) record(i int, r Result) {
	one := Stats{SignIns: 1}
	switch {
	case r.OK:
		one.OK = 1
	case r.Refused:
		one.Refused = 1
	default:
		one.Failed = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats[i].add(one)
}

// Stats sums all sign-ins so far.
func (s *Sender) Stats() Stats {
	return s.StatsBy(func(Endpoint) string { return "" })[""]
}

// StatsBy sums all sign-ins so far by the class of their endpoint, which may be
// decided after the fact.
func (s *Sender) StatsBy(class func(Endpoint) string) map[string]Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Stats{}
	for i, e := range s.c.Endpoints {
		name := class(e)
		sum := out[name]
		sum.add(s.stats[i])
		out[name] = sum
	}
	return out
}

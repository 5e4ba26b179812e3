// Package entra plays Microsoft Entra ID as far as unattended services need it:
// OpenID discovery and tokens by client credentials, with a secret or with an
// assertion signed by a registered certificate. azidentity works against it.
package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/emulator/fault"
)

// Config of a [Server].
type Config struct {
	// Now is the clock. Clients of Entra, azidentity among them, go by the
	// machine's clock and cannot be put on another; so should this. Default
	// time.Now.
	Now func() time.Time
	// Lifetime of issued tokens. Default one hour, as Entra has it.
	Lifetime time.Duration
	// Faults strike calls by rule. Default none.
	Faults *fault.Injector
}

// App is one application that may log in to one tenant: what a consented
// service principal and its application object are together.
type App struct {
	Tenant       string   // GUID
	ClientID     string   // GUID
	Secrets      []Secret // any of them logs in
	Certificates [][]byte // DER; an assertion signed by any of them logs in
}

// Secret is a client secret. It is never printed.
type Secret struct {
	Value   string
	Expires time.Time // zero: never
}

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "[redacted]" }

// Bearer is who holds a token, and what for.
type Bearer struct {
	Tenant   string // GUID
	ClientID string // GUID
	Audience string // the resource, such as https://contoso.crm.dynamics.com
}

// Counters say what was asked of a server since it was made.
type Counters struct {
	Discoveries int // discovery documents served
	Tokens      int // tokens issued
	Refusals    int // token requests refused for a reason of the client
}

// Server is an http.Handler that answers for every login host. It is safe for
// concurrent use.
type Server struct {
	now      func() time.Time
	lifetime time.Duration
	faults   *fault.Injector
	mux      *http.ServeMux
	signer   *rsa.PrivateKey
	keyID    string

	// mu guards what follows. It is not held while signatures are made or checked.
	mu        sync.Mutex
	tenants   map[string]map[string]*app // tenant → client id
	resources map[string]map[string]bool // tenant → resource, without trailing slash
	counters  Counters
}

// app is App with its certificates parsed.
type app struct {
	App
	certs []*x509.Certificate
}

// New returns a server that knows no tenant. It makes a signing key, which
// takes a moment.
func New(c Config) (*Server, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the signing key of entra: %w", err)
	}
	s := &Server{
		now: c.Now, lifetime: c.Lifetime, faults: c.Faults, signer: key, keyID: uuid.NewString(),
		tenants: map[string]map[string]*app{}, resources: map[string]map[string]bool{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.lifetime <= 0 {
		s.lifetime = time.Hour
	}
	if s.faults == nil {
		s.faults = fault.New(0)
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /common/discovery/instance", s.instance)
	s.mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.openID)
	s.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.keys)
	s.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.token)
	return s, nil
}

// AddApp registers an application, and its tenant if that is new. The same
// application again replaces what was registered.
func (s *Server) AddApp(a App) error {
	if a.Tenant == "" || a.ClientID == "" {
		return errors.New("registering an application: tenant and client id are required")
	}
	parsed := &app{App: a}
	for _, der := range a.Certificates {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("registering application %s: parsing its certificate: %w", a.ClientID, err)
		}
		parsed.certs = append(parsed.certs, cert)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tenant := strings.ToLower(a.Tenant)
	if s.tenants[tenant] == nil {
		s.tenants[tenant] = map[string]*app{}
	}
	s.tenants[tenant][strings.ToLower(a.ClientID)] = parsed
	return nil
}

// AddResource makes tokens for resource, such as https://contoso.crm.dynamics.com,
// available in a tenant.
func (s *Server) AddResource(tenant, resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tenant = strings.ToLower(tenant)
	if s.resources[tenant] == nil {
		s.resources[tenant] = map[string]bool{}
	}
	s.resources[tenant][normal(resource)] = true
}

// Counters returns what was asked so far.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// SetFaults replaces the fault rules.
func (s *Server) SetFaults(rules ...fault.Rule) { s.faults.Set(rules...) }

// ServeHTTP answers a call to any login host.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, done := s.faults.Strike(w, r, func(status int) { refuse(w, busy(status), s.now()) }); done {
		return
	}
	s.mux.ServeHTTP(w, r)
}

// normal is the form in which resources are compared.
func normal(resource string) string { return strings.TrimRight(strings.ToLower(resource), "/") }

// lookUp finds an application and says, in Entra's words, why it cannot.
func (s *Server) lookUp(tenant, client string) (*app, *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	apps, ok := s.tenants[strings.ToLower(tenant)]
	if !ok {
		return nil, tenantUnknown(tenant)
	}
	a, ok := apps[strings.ToLower(client)]
	if !ok {
		return nil, appUnknown(client, tenant)
	}
	return a, nil
}

// hasResource reports whether the tenant has tokens for resource.
func (s *Server) hasResource(tenant, resource string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resources[strings.ToLower(tenant)][normal(resource)]
}

// Package dataverse plays the Web API of Dynamics CRM organisations, versions
// 8.0 to 9.2, as far as service endpoints go: version probe, WhoAmI, listing
// with $select, $filter, $orderby and pages, and the errors of each.
package dataverse

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/crossfade-project/crossfade/internal/emulator/fault"
)

// MaxPage is how many rows Dataverse gives at once whatever is asked for.
const MaxPage = 5000

// Caller is who holds a token.
type Caller struct {
	Tenant   string // Entra tenant, GUID
	ClientID string // application, GUID
}

// Config of a [Server].
type Config struct {
	// Check returns who holds a bearer token for audience, which is an
	// organisation's address, or an error if nobody does. Required.
	Check func(token, audience string) (Caller, error)
	// MaxPage caps pages further, so that few rows make many pages. Default
	// and highest value [MaxPage].
	MaxPage int
	// Faults strike calls by rule. Default none.
	Faults *fault.Injector
}

// Org is one organisation.
type Org struct {
	Host      string     // lower case, such as contoso.crm4.dynamics.com
	ID        string     // GUID
	Tenant    string     // Entra tenant, GUID
	Login     string     // host that its 401 answers name; default login.microsoftonline.com
	Version   string     // such as 9.2.24011.165
	Users     []string   // client ids of its application users
	Powerless []string   // client ids among Users whose role cannot read endpoints
	Endpoints []Endpoint // in any order
}

// Counters say what was asked of a server since it was made.
type Counters struct {
	Calls    int // all calls to a known organisation
	Lists    int // pages of service endpoints given
	Refusals int // calls answered 401 or 403
}

// Server is an http.Handler that plays every organisation added to it, told
// apart by the Host header. It is safe for concurrent use.
type Server struct {
	check   func(token, audience string) (Caller, error)
	maxPage int
	faults  *fault.Injector
	mux     *http.ServeMux

	// mu guards what follows. An org is never changed once it is in the map.
	mu       sync.Mutex
	orgs     map[string]*org
	counters Counters
}

// org is Org made ready: rows sorted by id, version parsed.
type org struct {
	Org
	version version
	rows    []Endpoint
}

// New returns a server without organisations.
func New(c Config) (*Server, error) {
	if c.Check == nil {
		return nil, errors.New("making the Dataverse emulator: Check is required")
	}
	s := &Server{check: c.Check, maxPage: c.MaxPage, faults: c.Faults, orgs: map[string]*org{}}
	if s.maxPage <= 0 || s.maxPage > MaxPage {
		s.maxPage = MaxPage
	}
	if s.faults == nil {
		s.faults = fault.New(0)
	}
	s.mux = http.NewServeMux()
	s.handle("GET /api/data/{path}/RetrieveVersion()", s.retrieveVersion)
	s.handle("GET /api/data/{path}/WhoAmI()", s.whoAmI)
	s.handle("GET /api/data/{path}/WhoAmI", s.whoAmI)
	s.handle("GET /api/data/{path}/RetrieveVersion", s.retrieveVersion)
	s.handle("GET /api/data/{path}/serviceendpoints", s.list)
	s.handle("GET /api/data/{path}/{segment}", s.segment)
	s.handle("GET /api/data/{path}/{segment}/Attributes", s.attributes)
	return s, nil
}

// AddOrg adds an organisation, or replaces the one of that host.
func (s *Server) AddOrg(o Org) error {
	v, ok := parseVersion(o.Version)
	switch {
	case o.Host == "" || o.Host != strings.ToLower(o.Host):
		return fmt.Errorf("adding organisation %q: its host must be a lower-case name", o.Host)
	case !ok:
		return fmt.Errorf("adding organisation %s: version %q is not of the form 9.2.x", o.Host, o.Version)
	}
	if o.Login == "" {
		o.Login = "login.microsoftonline.com"
	}
	rows := slices.Clone(o.Endpoints)
	for i := range rows {
		rows[i].rev = i + 1
	}
	slices.SortFunc(rows, func(a, b Endpoint) int { return strings.Compare(a.ID, b.ID) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orgs[o.Host] = &org{Org: o, version: v, rows: rows}
	return nil
}

// Counters returns what was asked so far.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// SetFaults replaces the fault rules.
func (s *Server) SetFaults(rules ...fault.Rule) { s.faults.Set(rules...) }

// count changes a counter.
func (s *Server) count(change func(*Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counters)
}

// ServeHTTP answers for the organisation that the Host header names.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

// call is one call after its checks: by whom, to whom, in which version.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	org    *org
	caller Caller
	path   version    // of the path, which rules which columns there are
	rule   fault.Rule // that strikes the call, if it leaves the answer standing
}

// handle adds a route behind the checks that all have in common, in the order
// in which Dataverse makes them.
func (s *Server) handle(pattern string, answer func(*call)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		o := s.orgs[fault.HostOf(r)]
		s.mu.Unlock()
		if o == nil {
			http.NotFound(w, r)
			return
		}
		s.count(func(c *Counters) { c.Calls++ })
		rule, done := s.faults.Strike(w, r, func(status int) { fail(w, status, codeOf(status), http.StatusText(status)) })
		if done {
			return
		}
		c := &call{w: w, r: r, org: o, rule: rule}
		if !s.admit(c) {
			s.count(func(c *Counters) { c.Refusals++ })
			return
		}
		path, ok := parsePath(r.PathValue("path"))
		if !ok || o.version.less(path) {
			fail(w, http.StatusNotFound, "0x80060888", "Resource not found for the segment '"+r.PathValue("path")+"'.")
			return
		}
		c.path = path
		answer(c)
	})
}

// admit checks the token and that its holder is a user of the organisation.
func (s *Server) admit(c *call) bool {
	token, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		c.challenge("")
		return false
	}
	audience := "https://" + c.org.Host
	caller, err := s.check(token, audience)
	if err != nil || !strings.EqualFold(caller.Tenant, c.org.Tenant) {
		c.challenge(`error="invalid_token", `)
		return false
	}
	if !slices.ContainsFunc(c.org.Users, func(u string) bool { return strings.EqualFold(u, caller.ClientID) }) {
		fail(c.w, http.StatusForbidden, "0x80072560", "The user is not a member of the organization.")
		return false
	}
	c.caller = caller
	return true
}

// challenge answers 401 and says where a token is to be had, as clients that
// discover their authority expect it.
func (c *call) challenge(why string) {
	c.w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer %sauthorization_uri=https://%s/%s/oauth2/authorize, resource_id=https://%s/",
		why, c.org.Login, c.org.Tenant, c.org.Host))
	c.w.WriteHeader(http.StatusUnauthorized)
}

package acs

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Namespace describes an ACS namespace to AddNamespace.
type Namespace struct {
	// Host is the host name, such as contoso-sb.accesscontrol.windows.net. Case
	// and a port do not matter.
	Host string
	// Accounts are the management accounts. Where the built-in one of the host
	// is not among them, it is made with a secret of its own.
	Accounts []Account
	// Identities are the service identities. Each is given an Issuer of the
	// same name and rules that let it Send. An identity owner is made where
	// none is listed.
	Identities []Identity
	// Realm is the root of the relying party, such as
	// http://contoso.servicebus.windows.net/. Empty means the one that belongs
	// to Host.
	Realm string
}

// Account is a management service account, which signs in with its password.
type Account struct {
	Name     string
	Password string
}

// Identity is a service identity with its keys.
type Identity struct {
	Name        string
	Description string
	Keys        []Key
}

// Key is a ServiceIdentityKey.
type Key struct {
	// ID is its Id; zero has one assigned.
	ID int64
	// Usage is Signing or Password.
	Usage string
	// Type is X509Certificate, Symmetric or Password.
	Type string
	// Value is the DER certificate, the 32 key bytes, or the password in UTF-8.
	Value []byte
	// Start and End bound its use: Start <= now < End. Zero ones are filled in
	// as the service does (D6).
	Start, End  time.Time
	DisplayName string
	// SystemReserved keys cannot be edited or deleted by clients.
	SystemReserved bool
	// Version is the concurrency token that stands; it is not read on input.
	Version uint64
}

const (
	nameManagement   = "ManagementClient"
	nameManagementSB = "SBManagementClient"
	nameOwner        = "owner"
	nameLocal        = "LOCAL AUTHORITY"
)

func distantFuture() time.Time { return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }

// namespace is one host. Its built-in entities are made at the first touch,
// so that thousands of namespaces cost little until they are used.
type namespace struct {
	host    string
	builtin string // the built-in management account, whose keys are ServiceKeys
	secret  []byte // the root of what is generated for this host
	realm   string

	first sync.Once
	seed  *Namespace // until first
	mode  atomic.Pointer[Mode]

	accounts []Account // those besides builtin

	cur    atomic.Pointer[state]
	before atomic.Pointer[state] // the state before the last write

	changed atomic.Pointer[time.Time] // when that was; nil: there was none

	mu      sync.Mutex // guards what follows, and publishing
	nextID  int64
	version uint64
	random  *rand.Rand
	history []moment // oldest first; kept only when a delay switch is on
	bucket  bucket
}

// moment is a state with the time from which it stood.
type moment struct {
	at time.Time
	st *state
}

func (s *Server) newNamespace(n Namespace) *namespace {
	ns := &namespace{host: n.Host, builtin: nameManagement, realm: n.Realm, seed: &n}
	label, _, _ := strings.Cut(n.Host, ".")
	if strings.HasSuffix(label, "-sb") {
		ns.builtin = nameManagementSB
	}
	if ns.realm == "" {
		_, suffix, _ := strings.Cut(n.Host, ".accesscontrol.")
		if suffix == "" {
			suffix = "windows.net"
		}
		ns.realm = "http://" + strings.TrimSuffix(label, "-sb") + ".servicebus." + suffix + "/"
	}
	mac := hmac.New(sha256.New, binary.BigEndian.AppendUint64(nil, uint64(s.cfg.Seed)))
	mac.Write([]byte("namespace " + n.Host))
	ns.secret = mac.Sum(nil)
	h := fnv.New64a()
	h.Write(ns.secret)
	ns.random = rand.New(rand.NewPCG(h.Sum64(), uint64(s.cfg.Seed)))
	ns.nextID = firstID + ns.random.Int64N(1_000_000)
	ns.version = firstVersion
	return ns
}

// derive returns 32 secret bytes for a purpose.
func (ns *namespace) derive(purpose string) []byte {
	mac := hmac.New(sha256.New, ns.secret)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// takeID gives the next Id: ascending with gaps, never used twice.
func (ns *namespace) takeID() int64 {
	ns.nextID += 1 + ns.random.Int64N(97)
	return ns.nextID
}

func (ns *namespace) takeVersion() []byte {
	ns.version++
	return versionBytes(ns.version)
}

// AddNamespace adds a namespace. It is quick and keeps n only in a compact
// form until the namespace is first used. It fails where the host is empty or
// already there, and where a key is not one that the service would store.
func (s *Server) AddNamespace(n Namespace) error {
	n.Host = hostName(n.Host)
	if n.Host == "" {
		return errors.New("adding a namespace: no host")
	}
	n.Accounts = append([]Account(nil), n.Accounts...)
	identities := make([]Identity, 0, len(n.Identities)+1)
	names := make(map[string]bool)
	for _, id := range n.Identities {
		if names[id.Name] && !s.cfg.Switches.AllowDuplicateNames {
			return fmt.Errorf("adding namespace %s: two identities are named %q", n.Host, id.Name)
		}
		names[id.Name] = true
		keys := make([]Key, len(id.Keys))
		for i, k := range id.Keys {
			if err := s.checkSeedKey(k); err != nil {
				return fmt.Errorf("adding namespace %s: identity %q: key %d: %w", n.Host, id.Name, i, err)
			}
			k.Value = bytes.Clone(k.Value)
			keys[i] = k
		}
		id.Keys = keys
		identities = append(identities, id)
	}
	n.Identities = identities
	ns := s.newNamespace(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.namespaces[n.Host]; there {
		return fmt.Errorf("adding namespace %s: it is already there", n.Host)
	}
	s.namespaces[n.Host] = ns
	return nil
}

// RemoveNamespace forgets a namespace; its host then answers like any unknown
// one. Removing what is not there does nothing.
func (s *Server) RemoveNamespace(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.namespaces, hostName(host))
}

// HasNamespace says whether host is a namespace.
func (s *Server) HasNamespace(host string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.namespaces[hostName(host)]
	return ok
}

// SetMode makes a namespace answer as a whole in some way. An unknown host is
// left alone.
func (s *Server) SetMode(host string, m Mode) {
	if ns := s.namespace(host); ns != nil {
		ns.mode.Store(&m)
	}
}

// namespace returns the namespace of a host, made up if this is its first
// use, or nil.
func (s *Server) namespace(host string) *namespace {
	s.mu.RLock()
	ns := s.namespaces[hostName(host)]
	s.mu.RUnlock()
	if ns != nil {
		ns.first.Do(func() { s.furnish(ns) })
	}
	return ns
}

// furnish makes the entities of a new namespace.
func (s *Server) furnish(ns *namespace) {
	b := builder{s: s, ns: ns, st: new(state), now: s.cfg.Now().UTC()}
	n := ns.seed
	ns.seed = nil
	b.start = time.Date(2011, 4, 7, 0, 0, 0, 0, time.UTC)
	password := base64.StdEncoding.EncodeToString(ns.derive("management"))
	for _, a := range n.Accounts {
		if a.Name == ns.builtin {
			password = a.Password
			continue
		}
		ns.accounts = append(ns.accounts, a)
	}
	b.serviceKey("Management", "Password", ns.builtin, []byte(password))
	b.serviceKey("Signing", "Symmetric", "Token signing key", ns.derive("signing"))
	local := b.add("Issuer", map[string]any{"Name": nameLocal, "SystemReserved": true})
	rp := b.add("RelyingParty", map[string]any{"Name": "ServiceBus", "DisplayName": "ServiceBus", "TokenType": "SWT",
		"TokenLifetime": int32(s.cfg.TokenLifetime / time.Second), "SystemReserved": true})
	b.add("RelyingPartyAddress", map[string]any{"RelyingPartyId": rp.id, "EndpointType": "Realm", "Address": ns.realm, "SystemReserved": true})
	group := b.add("RuleGroup", map[string]any{"Name": "Default Rule Group for ServiceBus"})
	b.add("RelyingPartyRuleGroup", map[string]any{"RelyingPartyId": rp.id, "RuleGroupId": group.id})
	hasOwner := false
	for _, id := range n.Identities {
		hasOwner = hasOwner || id.Name == nameOwner
		b.identity(id, group.id, local.id)
	}
	if !hasOwner {
		b.owner(group.id, local.id)
	}
	ns.cur.Store(b.st)
	ns.before.Store(b.st)
	if s.keepsHistory() {
		ns.history = []moment{{st: b.st}}
	}
}

// builder fills the first state of a namespace.
type builder struct {
	s     *Server
	ns    *namespace
	st    *state
	now   time.Time
	start time.Time
}

func (b *builder) add(typeName string, vals map[string]any) *row {
	t := b.s.model.byName[typeName]
	r := blank(t)
	r.id = b.ns.takeID()
	for name, v := range vals {
		r.vals[t.at(name)] = v
	}
	r.vals[0] = r.id
	r.vals[t.version] = b.ns.takeVersion()
	// Ids ascend, so the set stays in order.
	b.st.sets[t.index] = append(b.st.sets[t.index], r)
	return r
}

func (b *builder) serviceKey(usage, typ, name string, value []byte) {
	b.add("ServiceKey", map[string]any{"Usage": usage, "Type": typ, "DisplayName": name, "Value": value,
		"IsPrimary": true, "StartDate": b.start, "EndDate": distantFuture()})
}

func (b *builder) rule(group, issuer int64, what, inType, inValue, action string) {
	vals := map[string]any{"RuleGroupId": group, "IssuerId": issuer, "Description": what, "InputClaimType": inType,
		"OutputClaimType": claimAction, "OutputClaimValue": action}
	if inValue != "" {
		vals["InputClaimValue"] = inValue
	}
	b.add("Rule", vals)
}

// identity makes a service identity, the Issuer of the same name and the rules
// that let it Send: by its organisation claim as CRM's, and by its own name.
func (b *builder) identity(id Identity, group, local int64) {
	vals := map[string]any{"Name": id.Name}
	if id.Description != "" {
		vals["Description"] = id.Description
	}
	parent := b.add("ServiceIdentity", vals)
	for _, k := range id.Keys {
		b.key(parent.id, k)
	}
	issuer := b.add("Issuer", map[string]any{"Name": id.Name})
	b.rule(group, issuer.id, "organization sends", claimOrganization, "", "Send")
	b.rule(group, local, id.Name+" sends", claimNameIdentifier, id.Name, "Send")
}

func (b *builder) owner(group, local int64) {
	secret := b.ns.derive("owner")
	parent := b.add("ServiceIdentity", map[string]any{"Name": nameOwner})
	b.key(parent.id, Key{Usage: "Signing", Type: "Symmetric", Value: secret, Start: b.start, End: distantFuture(), DisplayName: "SymmetricKey"})
	b.key(parent.id, Key{Usage: "Password", Type: "Password", Value: []byte(base64.StdEncoding.EncodeToString(secret)),
		Start: b.start, End: distantFuture(), DisplayName: "Password"})
	for _, action := range []string{"Send", "Listen", "Manage"} {
		b.rule(group, local, "owner may "+action, claimNameIdentifier, nameOwner, action)
	}
}

func (b *builder) key(parent int64, k Key) {
	t := b.s.model.byName["ServiceIdentityKey"]
	r := b.s.keyRow(parent, k, b.now)
	if r.id == 0 {
		r.id = b.ns.takeID()
	} else if r.id > b.ns.nextID {
		b.ns.nextID = r.id
	}
	r.vals[0] = r.id
	r.vals[t.version] = b.ns.takeVersion()
	b.st.put(t, r)
}

// keyRow is a key as a row without Version; dates left out are filled in.
func (s *Server) keyRow(parent int64, k Key, now time.Time) *row {
	t := s.model.byName["ServiceIdentityKey"]
	r := blank(t)
	r.id = k.ID
	set := func(name string, v any) { r.vals[t.at(name)] = v }
	set("Id", k.ID)
	set("ServiceIdentityId", parent)
	set("Usage", k.Usage)
	set("Type", k.Type)
	set("Value", bytes.Clone(k.Value))
	set("SystemReserved", k.SystemReserved)
	set("StartDate", k.Start.UTC())
	set("EndDate", k.End.UTC())
	if k.DisplayName != "" {
		set("DisplayName", k.DisplayName)
	}
	s.fillDates(t, r, now)
	return r
}

// Identity returns copies of the keys of the identities of that name as they
// stand now, ascending by ID; nil where there is no such namespace or identity.
func (s *Server) Identity(host, name string) []Key {
	ns := s.namespace(host)
	if ns == nil {
		return nil
	}
	st := ns.cur.Load()
	ti := s.model.byName["ServiceIdentity"]
	nav := ti.nav("ServiceIdentityKeys")
	var out []Key
	for _, id := range st.sets[ti.index] {
		if id.str(ti.at("Name")) != name {
			continue
		}
		if out == nil {
			out = []Key{}
		}
		for _, r := range st.children(nav, id.id) {
			out = append(out, keyOf(nav.target, r))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

func keyOf(t *entityType, r *row) Key {
	return Key{
		ID: r.id, Usage: r.str(t.at("Usage")), Type: r.str(t.at("Type")), Value: bytes.Clone(r.bytes(t.at("Value"))),
		Start: r.when(t.at("StartDate")), End: r.when(t.at("EndDate")), DisplayName: r.str(t.at("DisplayName")),
		SystemReserved: r.yes(t.reserved), Version: r.version(),
	}
}

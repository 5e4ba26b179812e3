package emulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/emulator/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// newWorld makes the world of a seed: every scenario once, as far as there are
// tenants for them, the rest by weight, all shuffled.
func newWorld(c Config) (*World, error) {
	p, err := newPairs(c)
	if err != nil {
		return nil, err
	}
	login, err := p.login.PEM()
	if err != nil {
		return nil, err
	}
	w := &World{Seed: c.Seed, SwitchAt: c.SwitchAt, Old: p.old, New: p.new, clouds: map[string]string{}, loginPEM: Secret(login), loginDER: p.login.DER}
	r := rand.New(rand.NewPCG(uint64(c.Seed), uint64(c.Tenants))) //nolint:gosec // Names and mix, no secret.
	names := newNames(r)
	mix := draw(r, c.Tenants)
	if c.Uniform > 0 {
		mix = slices.Repeat([]scenario{uniform(c.Uniform)}, c.Tenants)
	}
	if c.Large > 0 {
		mix[0] = uniform(c.Large)
	}
	for _, s := range mix {
		b := &builder{w: w, r: r, p: p, now: c.Now().UTC().Truncate(time.Second), plan: s}
		b.begin(names.next())
		s.build(b)
		b.finish()
		w.Tenants = append(w.Tenants, b.t)
	}
	slices.SortFunc(w.Tenants, func(a, b Tenant) int { return strings.Compare(a.ID, b.ID) })
	return w, nil
}

// draw picks the scenarios of n tenants.
func draw(r *rand.Rand, n int) []scenario {
	all := scenarios()
	out := slices.Clone(all[:min(n, len(all))])
	total := 0
	for _, s := range all {
		total += s.weight
	}
	for len(out) < n {
		at := r.IntN(total)
		for _, s := range all {
			if at -= s.weight; at < 0 {
				out = append(out, s)
				break
			}
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// builder makes one tenant. Scenarios call its methods; those that choose
// follow the seed.
type builder struct {
	w    *World
	r    *rand.Rand
	p    pairs
	now  time.Time
	plan scenario
	t    Tenant

	hosts map[string]*Expected // by host, in the tenant
	order []string             // hosts as they came up
}

// begin fills in what every tenant has.
func (b *builder) begin(id, display string) {
	v := pick(b.r, versionsFrom(b.plan.atLeast))
	region := b.plan.region
	if region == "" {
		region = pick(b.r, []string{"crm.", "crm.", "crm2.", "crm4.", "crm4.", "crm5.", "crm6.", "crm7.", "crm8.", "crm11."}) + "dynamics.com"
	}
	b.hosts = map[string]*Expected{}
	b.t = Tenant{
		ID: id, DisplayName: display, Scenario: b.plan.name,
		Organization:   "https://" + id + "." + region,
		OrganizationID: b.guid(), EntraTenant: b.guid(), ClientID: b.guid(),
		Version: v, Identity: region,
		Labels: map[string]string{"tier": pick(b.r, []string{"gold", "silver", "bronze"}), "region": areaOf(region)},
	}
	if b.r.IntN(4) > 0 {
		b.t.ClientSecret = newSecret()
	}
}

// finish turns what was noted of the hosts into expected endings.
func (b *builder) finish() {
	if b.t.Disabled {
		b.t.Expected = []Expected{{Tenant: b.t.ID, Ending: Ending(rollover.Skipped, rollover.Disabled)}}
		return
	}
	targets := make([]Expected, 0, len(b.order))
	for _, host := range b.order {
		x := *b.hosts[host]
		x.Advised = b.advised()
		targets = append(targets, x)
	}
	b.t.Expected = append(targets, b.t.Expected...)
}

// advised reports whether the organisation could use SAS: from 8.1 on.
func (b *builder) advised() bool { return !strings.HasPrefix(b.t.Version, "8.0.") }

// guid makes a random GUID that follows the seed.
func (b *builder) guid() string {
	var u uuid.UUID
	for i := range u {
		u[i] = byte(b.r.UintN(256))
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u.String()
}

// name is the Service Bus namespace of the tenant with that suffix.
func (b *builder) name(suffix string) string { return b.t.ID + "-" + suffix }

// endpoint adds a service endpoint that signs in through ACS, on a namespace
// given by its address. change may alter the row before it is added.
func (b *builder) endpoint(ns, cloud string, change ...func(*dataverse.Endpoint)) string {
	path := pick(b.r, []string{"orders", "cases", "accounts", "invoices", "contacts", "leads", "quotes"})
	e := dataverse.Endpoint{
		ID: b.guid(), Name: fmt.Sprintf("%s feed %d", path, len(b.t.Endpoints)+1), AuthType: dataverse.AuthACS,
		AuthTypeNull:    b.r.IntN(20) == 0,
		ConnectionMode:  dataverse.ModeNormal,
		Contract:        pick(b.r, []int{dataverse.ContractOneWay, dataverse.ContractQueue, dataverse.ContractTwoWay, dataverse.ContractPersistent}),
		NamespaceFormat: dataverse.FormatAddress, NamespaceAddress: "sb://" + ns + ".servicebus." + cloud + "/",
		SolutionNamespace: ns, Path: fmt.Sprintf("%s%d", path, len(b.t.Endpoints)+1),
		ModifiedOn: b.now.Add(-time.Duration(b.r.IntN(700*24)) * time.Hour),
	}
	for _, f := range change {
		f(&e)
	}
	b.t.Endpoints = append(b.t.Endpoints, e)
	b.w.clouds[e.ID] = cloud
	return e.ID
}

// expect notes that an endpoint stands behind a host, and how that should end.
func (b *builder) expect(endpoint, host, ending string) {
	x := b.hosts[host]
	if x == nil {
		x = &Expected{Tenant: b.t.ID, Host: host, Identity: b.t.Identity, Ending: ending}
		b.hosts[host] = x
		b.order = append(b.order, host)
	}
	x.Endpoints = append(x.Endpoints, endpoint)
}

// skip notes an endpoint without a target.
func (b *builder) skip(endpoint string) {
	b.t.Expected = append(b.t.Expected, Expected{
		Tenant: b.t.ID, Endpoints: []string{endpoint}, Ending: Ending(rollover.Skipped, rollover.NotACS),
	})
}

// namespace adds an ACS namespace that exists, with CRM's identity holding keys,
// and access to it unless secret is noSecret.
func (b *builder) namespace(host string, access access, identities ...acs.Identity) {
	actual := newSecret()
	account := accountOf(host)
	b.w.namespaces = append(b.w.namespaces, acs.Namespace{
		Host: host, Accounts: []acs.Account{{Name: account, Password: string(actual)}}, Identities: identities,
	})
	switch access {
	case rightSecret:
		b.t.Namespaces = append(b.t.Namespaces, Namespace{host, account, actual})
	case wrongSecret:
		b.t.Namespaces = append(b.t.Namespaces, Namespace{host, account, newSecret()})
	}
}

// access is what Crossfade is given for a namespace.
type access int

const (
	rightSecret access = iota
	wrongSecret
	noSecret // the tenant does not list the namespace
)

// accountOf is the built-in management account of an ACS host.
func accountOf(host string) string {
	label, _, _ := strings.Cut(host, ".")
	if strings.HasSuffix(label, "-sb") {
		return "SBManagementClient"
	}
	return "ManagementClient"
}

// crm is CRM's service identity with the old certificate and further keys.
func (b *builder) crm(more ...acs.Key) acs.Identity {
	return acs.Identity{
		Name: b.t.Identity, Description: "Dynamics CRM",
		Keys: append([]acs.Key{certificateKey(b.t.Identity, b.p.old.DER, b.p.old.Cert.NotBefore, b.p.old.Cert.NotAfter)}, more...),
	}
}

// certificateKey is how the Plug-in Registration Tool registers a certificate.
func certificateKey(identity string, der []byte, from, to time.Time) acs.Key {
	return acs.Key{
		Usage: "Signing", Type: "X509Certificate", Value: der, Start: from, End: to,
		DisplayName: "X509Certificate key for " + identity,
	}
}

// pick chooses one of several.
func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

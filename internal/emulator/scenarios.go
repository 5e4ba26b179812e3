package emulator

import (
	"crypto/rand"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/emulator/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// scenario is a state in which a rotation finds a tenant.
type scenario struct {
	name    string
	weight  int    // share among the tenants beyond the first of each scenario
	atLeast string // lowest version of the organisation; empty: any
	region  string // of the organisation; empty: any commercial one
	build   func(b *builder)
}

const (
	usGovRegion   = "crm9.dynamics.com"
	gccHighRegion = "crm.microsoftdynamics.us"
)

// Scenarios names every state that a tenant can be made in.
func Scenarios() []string {
	var out []string
	for _, s := range scenarios() {
		out = append(out, s.name)
	}
	return out
}

func scenarios() []scenario {
	return []scenario{
		{name: "plain", weight: 40, build: plain},
		{name: "plain-8.0", weight: 5, build: func(b *builder) { b.t.Version = "8.0.1.89"; plain(b) }},
		{name: "federated", weight: 14, build: federated(rightSecret, true)},
		{name: "federated-half-missing", weight: 2, build: federated(rightSecret, false)},
		{name: "federated-half-no-access", weight: 1, build: federated(noSecret, true)},
		{name: "us-gov", weight: 6, region: usGovRegion, build: plain},
		{name: "us-gov-address", weight: 4, atLeast: "8.1", region: usGovRegion, build: onCloud(usGovCloud)},
		{name: "us-gov-high", weight: 1, atLeast: "8.1", region: gccHighRegion, build: onCloud(usGovCloud)},
		{name: "already-done", weight: 6, build: alreadyDone},
		{name: "no-secret", weight: 4, build: withAccess(noSecret)},
		{name: "wrong-secret", weight: 3, build: withAccess(wrongSecret)},
		{name: "foreign-credentials", weight: 6, build: foreignCredentials},
		{name: "two-endpoints", weight: 6, build: twoEndpoints},
		{name: "name-only", weight: 4, build: nameOnly(publicCloud)},
		{name: "us-gov-name-only", weight: 1, region: usGovRegion, build: nameOnly(usGovCloud)},
		{name: "sas-key", weight: 3, atLeast: "8.1", build: other(dataverse.AuthSASKey)},
		{name: "sas-token", weight: 1, atLeast: "8.1", build: other(dataverse.AuthSASToken)},
		{name: "webhook", weight: 2, atLeast: "9.0", build: webhook},
		{name: "managed-identity", weight: 1, atLeast: "9.2.24", build: other(dataverse.AuthManagedIdentity)},
		{name: "mixed", weight: 3, atLeast: "8.1", build: mixed},
		{name: "identity-missing", weight: 2, build: identityMissing},
		{name: "identity-ambiguous", weight: 1, build: identityAmbiguous},
		{name: "own-identity", weight: 2, build: ownIdentity},
		{name: "namespace-unknown", weight: 1, build: namespaceUnknown},
		{name: "disabled", weight: 2, build: func(b *builder) { plain(b); b.t.Disabled = true }},
		{name: "no-endpoints", weight: 1, build: noEndpoints},
		{name: "crowded", weight: 1, build: crowded},
		{name: "many-endpoints", weight: 0, build: manyEndpoints},
	}
}

// usual is one endpoint on one namespace to which everything is right.
func (b *builder) usual(suffix, cloud string, access access, ending string, ids ...acs.Identity) {
	ns := b.name(suffix)
	b.namespace(buddyHost(ns, cloud), access, ids...)
	b.expect(b.endpoint(ns, cloud), buddyHost(ns, cloud), ending)
}

func plain(b *builder) { onCloud(publicCloud)(b) }

func onCloud(cloud string) func(*builder) {
	return func(b *builder) { b.usual("bus", cloud, rightSecret, string(rollover.Rotated), b.crm()) }
}

func withAccess(a access) func(*builder) {
	return func(b *builder) {
		b.usual("bus", publicCloud, a, Ending(rollover.HandedOver, rollover.NoAccess), b.crm())
	}
}

// federated is an endpoint that needs its plain namespace too, which may be
// missing or closed to us. Then the old certificate must stay on the half that
// was rotated.
func federated(plainAccess access, exists bool) func(*builder) {
	return func(b *builder) {
		ns := b.name("bus")
		sb, host := buddyHost(ns, publicCloud), plainHost(ns, publicCloud)
		id := b.endpoint(ns, publicCloud, func(e *dataverse.Endpoint) { e.ConnectionMode = dataverse.ModeFederated })
		b.namespace(sb, rightSecret, b.crm())
		first, second := string(rollover.Rotated), string(rollover.Rotated)
		switch {
		case !exists:
			b.t.Namespaces = append(b.t.Namespaces, Namespace{host, accountOf(host), newSecret()})
			first, second = string(rollover.RotatedOldKept), Ending(rollover.HandedOver, rollover.FederatedHalfMissing)
		case plainAccess == noSecret:
			b.namespace(host, noSecret, b.crm())
			first, second = string(rollover.RotatedOldKept), Ending(rollover.HandedOver, rollover.NoAccess)
		default:
			b.namespace(host, plainAccess, b.crm())
		}
		b.expect(id, sb, first)
		b.expect(id, host, second)
	}
}

func alreadyDone(b *builder) {
	n := b.p.new
	b.usual("bus", publicCloud, rightSecret, string(rollover.AlreadyPresent),
		b.crm(certificateKey(b.t.Identity, n.DER, n.Cert.NotBefore, n.Cert.NotAfter)))
}

// foreignKeys are credentials that are none of our business: another
// certificate, a symmetric key and a password.
func (b *builder) foreignKeys() []acs.Key {
	symmetric := make([]byte, 32)
	_, _ = rand.Read(symmetric) // It does not fail: crypto/rand ends the process first.
	f := b.p.foreign
	from, to := b.now.Add(-twoYears), b.now.Add(twoYears)
	return []acs.Key{
		certificateKey("the partner gateway", f.DER, f.Cert.NotBefore, f.Cert.NotAfter),
		{Usage: "Signing", Type: "Symmetric", Value: symmetric, Start: from, End: to, DisplayName: "Symmetric key"},
		{Usage: "Password", Type: "Password", Value: []byte(newSecret()), Start: from, End: to, DisplayName: "Password"},
	}
}

func foreignCredentials(b *builder) {
	gateway := acs.Identity{Name: "partner-gateway", Keys: b.foreignKeys()}
	b.usual("bus", publicCloud, rightSecret, string(rollover.Rotated), gateway, b.crm(b.foreignKeys()...))
}

func twoEndpoints(b *builder) {
	b.usual("bus", publicCloud, rightSecret, string(rollover.Rotated), b.crm())
	ns := b.name("bus")
	b.expect(b.endpoint(ns, publicCloud), buddyHost(ns, publicCloud), string(rollover.Rotated))
}

// nameOnly is a namespace that the row knows by its bare name. In which cloud it
// is follows from the hosts that the tenant lists.
func nameOnly(cloud string) func(*builder) {
	return func(b *builder) {
		ns := b.name("bus")
		b.namespace(buddyHost(ns, cloud), rightSecret, b.crm())
		id := b.endpoint(ns, cloud, func(e *dataverse.Endpoint) {
			e.NamespaceFormat, e.NamespaceAddress = dataverse.FormatName, ""
		})
		b.expect(id, buddyHost(ns, cloud), string(rollover.Rotated))
	}
}

// other is an endpoint on the Service Bus that does not sign in through ACS.
func other(auth int) func(*builder) {
	return func(b *builder) {
		b.skip(b.endpoint(b.name("bus"), publicCloud, func(e *dataverse.Endpoint) {
			e.AuthType, e.AuthTypeNull, e.Contract = auth, false, dataverse.ContractQueue
			if auth == dataverse.AuthSASKey {
				e.SASKeyName = "crm-send"
			}
		}))
	}
}

func webhook(b *builder) {
	b.skip(b.endpoint(b.name("bus"), publicCloud, func(e *dataverse.Endpoint) {
		e.AuthType, e.AuthTypeNull, e.Contract = dataverse.AuthWebhookKey, false, dataverse.ContractWebhook
		e.NamespaceFormat, e.NamespaceAddress, e.SolutionNamespace, e.Path = 0, "", "", ""
		e.URL = "https://hooks." + b.t.ID + ".example/crm"
	}))
}

func mixed(b *builder) {
	plain(b)
	other(dataverse.AuthSASKey)(b)
	other(dataverse.AuthSASToken)(b)
}

func identityMissing(b *builder) {
	b.usual("bus", publicCloud, rightSecret, Ending(rollover.HandedOver, rollover.IdentityMissing),
		acs.Identity{Name: "legacy-connector", Keys: b.foreignKeys()})
}

func identityAmbiguous(b *builder) {
	b.usual("bus", publicCloud, rightSecret, Ending(rollover.HandedOver, rollover.IdentityAmbiguous), b.crm(), b.crm())
}

// ownIdentity is an identity whose name the tenant must tell, as on premises.
func ownIdentity(b *builder) {
	b.t.Identity, b.t.OwnIdentity = b.t.ID+"-crm", true
	plain(b)
}

// namespaceUnknown is an endpoint whose namespace never had an ACS half, though
// the tenant lists one.
func namespaceUnknown(b *builder) {
	ns := b.name("bus")
	host := buddyHost(ns, publicCloud)
	b.t.Namespaces = append(b.t.Namespaces, Namespace{host, accountOf(host), newSecret()})
	b.expect(b.endpoint(ns, publicCloud), host, Ending(rollover.HandedOver, rollover.NamespaceUnknown))
}

func noEndpoints(b *builder) {
	b.t.Expected = []Expected{{Tenant: b.t.ID, Ending: Ending(rollover.Skipped, rollover.NoTarget)}}
}

// crowded has more identities, and more keys on CRM's, than ACS gives on a page.
func crowded(b *builder) {
	var ids []acs.Identity
	for i := range 60 {
		ids = append(ids, acs.Identity{Name: fmt.Sprintf("device-%02d", i), Keys: b.foreignKeys()[1:2]})
	}
	var keys []acs.Key
	for range 55 {
		keys = append(keys, b.foreignKeys()[1])
	}
	b.usual("bus", publicCloud, rightSecret, string(rollover.Rotated), append(ids, b.crm(keys...))...)
}

// The size of the tenant with many endpoints, which is listed in several pages.
const (
	manyEndpointsCount      = 120
	manyEndpointsNamespaces = 4
)

func manyEndpoints(b *builder) {
	for i := range manyEndpointsNamespaces {
		b.namespace(buddyHost(b.name(fmt.Sprintf("bus%d", i+1)), publicCloud), rightSecret, b.crm())
	}
	for i := range manyEndpointsCount {
		ns := b.name(fmt.Sprintf("bus%d", i%manyEndpointsNamespaces+1))
		b.expect(b.endpoint(ns, publicCloud), buddyHost(ns, publicCloud), string(rollover.Rotated))
	}
}

// uniform is a tenant with so many endpoints, each on a namespace of its own.
func uniform(endpoints int) scenario {
	return scenario{name: "uniform", build: func(b *builder) {
		for i := range endpoints {
			b.usual(fmt.Sprintf("bus%d", i+1), publicCloud, rightSecret, string(rollover.Rotated), b.crm())
		}
	}}
}

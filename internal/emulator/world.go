package emulator

import (
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/emulator/dataverse"
	"github.com/crossfade-project/crossfade/internal/emulator/sender"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Secret is a secret of the emulated world. It prints as [redacted]; convert it
// to string to use it.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "[redacted]" }

// MarshalJSON hides the secret.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"[redacted]"`), nil }

// World is what there is in a cloud and what a rotation should make of it. It
// does not change; what stands on an identity now is the ACS server's to say.
type World struct {
	Seed     int64
	SwitchAt time.Time   // NotBefore of the new certificate
	Old, New sender.Pair // CRM's certificates; all tenants trust the old one
	Tenants  []Tenant    // in the order of their ids

	namespaces []acs.Namespace   // what is loaded into the ACS server
	clouds     map[string]string // DNS suffix of each endpoint's namespace, by the endpoint's id
	loginPEM   Secret            // certificate and key with which some tenants are signed in to
	loginDER   []byte
}

// Tenant is a customer with its CRM organisation.
type Tenant struct {
	ID             string
	DisplayName    string
	Scenario       string // see [Scenarios]
	Organization   string // https URL
	OrganizationID string // GUID
	EntraTenant    string // GUID
	ClientID       string // GUID of the application that Crossfade signs in with
	ClientSecret   Secret // empty: it signs in with the certificate
	Version        string // of the organisation
	Identity       string // name of CRM's service identity
	OwnIdentity    bool   // the name does not follow from the organisation's region
	Labels         map[string]string
	Disabled       bool
	Namespaces     []Namespace // to which Crossfade is given access
	Endpoints      []dataverse.Endpoint
	Expected       []Expected
}

// Namespace is access to an access control namespace as the tenant gives it to
// Crossfade, which is not always right.
type Namespace struct {
	Host    string
	Account string
	Secret  Secret
}

// Expected is how one line of a plan should end, in a rotation of all tenants
// that names the old certificate, or its subject, as what to retire.
type Expected struct {
	Tenant    string   `json:"tenant"`
	Host      string   `json:"host,omitempty"`      // empty: the endpoint, or the tenant, has no target
	Identity  string   `json:"identity,omitempty"`  //
	Endpoints []string `json:"endpoints,omitempty"` // ids of all that stand behind it; none for a disabled tenant
	Ending    string   `json:"ending"`              // "rotated", "already_present", "rotated_old_kept", or "<outcome>:<reason>"
	Advised   bool     `json:"advised,omitempty"`   // to move to SAS: the organisation is 8.1 or later
}

// Ending writes an outcome and its reason as [Expected] does: the reason alone
// for a success, both joined by a colon otherwise.
func Ending(o rollover.Outcome, r rollover.Reason) string {
	if o == rollover.Succeeded {
		return string(r)
	}
	return string(o) + ":" + string(r)
}

// succeeded reports whether the new certificate should stand on the target.
func (e Expected) succeeded() bool { return !strings.Contains(e.Ending, ":") }

// LoginPEM is the certificate, with its private key, that logs in for tenants
// without a client secret.
func (w *World) LoginPEM() Secret { return w.loginPEM }

// OrgHost is the host of the organisation.
func (t Tenant) OrgHost() string { return strings.TrimPrefix(t.Organization, "https://") }

// Tenant finds a tenant by its id.
func (w *World) Tenant(id string) (Tenant, bool) {
	for _, t := range w.Tenants {
		if t.ID == id {
			return t, true
		}
	}
	return Tenant{}, false
}

// Expected lists the expected endings of all tenants.
func (w *World) Expected() []Expected {
	var out []Expected
	for _, t := range w.Tenants {
		out = append(out, t.Expected...)
	}
	return out
}

// Endpoints counts the service endpoints of all organisations.
func (w *World) Endpoints() int {
	n := 0
	for _, t := range w.Tenants {
		n += len(t.Endpoints)
	}
	return n
}

// SenderEndpoints lists every endpoint at which CRM signs in through ACS, those
// of disabled tenants among them.
func (w *World) SenderEndpoints() []sender.Endpoint {
	var out []sender.Endpoint
	for _, t := range w.Tenants {
		for _, e := range t.Endpoints {
			if e.AuthType != dataverse.AuthACS || e.Contract > dataverse.ContractEventHub {
				continue
			}
			cloud := w.clouds[e.ID]
			s := sender.Endpoint{
				Tenant: t.ID, ID: e.ID, Issuer: t.Identity, Organization: t.OrgHost(),
				Scope: "http://" + e.SolutionNamespace + ".servicebus." + cloud + "/" + e.Path,
			}
			if e.ConnectionMode == dataverse.ModeFederated {
				s.Hosts = append(s.Hosts, plainHost(e.SolutionNamespace, cloud))
			}
			s.Hosts = append(s.Hosts, buddyHost(e.SolutionNamespace, cloud))
			out = append(out, s)
		}
	}
	return out
}

// The classes of [World.Class].
const (
	ClassRotated    = "rotated"
	ClassNotRotated = "not_rotated"
)

// Class returns a function that says of an endpoint whether a rotation should
// bring the new certificate to every host that CRM signs in to for it. Of those
// where it should, none may ever be refused.
func (w *World) Class() func(sender.Endpoint) string {
	targets := map[[2]string]int{}
	for _, x := range w.Expected() {
		for _, id := range x.Endpoints {
			if x.succeeded() {
				targets[[2]string{x.Tenant, id}]++
			}
		}
	}
	return func(e sender.Endpoint) string {
		if targets[[2]string{e.Tenant, e.ID}] == len(e.Hosts) {
			return ClassRotated
		}
		return ClassNotRotated
	}
}

// buddyHost is the ACS host that belongs to a Service Bus namespace.
func buddyHost(ns, cloud string) string { return ns + "-sb.accesscontrol." + cloud }

// plainHost is the ACS host that federated endpoints use as well.
func plainHost(ns, cloud string) string { return ns + ".accesscontrol." + cloud }

// The DNS suffixes of the clouds' Service Bus and ACS.
const (
	publicCloud = "windows.net"
	usGovCloud  = "usgovcloudapi.net"
)

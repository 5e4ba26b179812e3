// Package tenants knows the customers: who they are, where their CRM
// organisation is, which Access Control namespaces they have, and where the
// secrets for these are. It reads tenants files and keeps the inventory.
package tenants

import (
	"net/url"
	"slices"
	"strings"

	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Tenant is a customer: one CRM organisation and the namespaces it posts to.
type Tenant struct {
	// ID is the tenant's name everywhere in Crossfade: 1 to 63 lower-case
	// letters, digits and hyphens.
	ID string `json:"id" yaml:"id"`
	// DisplayName is for people; at most 200 characters. May be empty.
	DisplayName string `json:"display_name,omitempty" yaml:"display_name,omitempty"`
	// Organization is the https URL of the CRM organisation.
	Organization string `json:"organization" yaml:"organization"`
	// EntraTenant is the GUID of the directory, or one of its domain names,
	// that the log-in to the organisation goes to.
	EntraTenant string `json:"entra_tenant" yaml:"entra_tenant"`
	// Login is how we sign in to the organisation.
	Login Login `json:"login" yaml:"login"`
	// Identity is the name of the service identity that CRM uses in the
	// tenant's namespaces. Empty: the name of the organisation's region; see
	// [Tenant.IdentityName].
	Identity string `json:"identity,omitempty" yaml:"identity,omitempty"`
	// Labels are for choosing tenants.
	Labels map[string]string `json:"labels,omitempty" yaml:"labels,omitempty"`
	// Disabled tenants are kept and left alone.
	Disabled bool `json:"disabled,omitempty" yaml:"disabled,omitempty"`
	// Namespaces are those that we have management access to.
	Namespaces []Namespace `json:"namespaces,omitempty" yaml:"namespaces,omitempty"`
}

// Login is how we sign in to a CRM organisation: as an application, with either
// a secret or a certificate.
type Login struct {
	ClientID    string      `json:"client_id" yaml:"client_id"`                         // application id, a GUID
	Secret      secrets.Ref `json:"secret,omitempty" yaml:"secret,omitempty"`           // of the client secret
	Certificate secrets.Ref `json:"certificate,omitempty" yaml:"certificate,omitempty"` // of a PEM or PFX with its private key
}

// Namespace is management access to one Access Control namespace.
type Namespace struct {
	Host    string      `json:"host" yaml:"host"`       // such as contoso-sb.accesscontrol.windows.net
	Account string      `json:"account" yaml:"account"` // management service account, such as SBManagementClient
	Secret  secrets.Ref `json:"secret" yaml:"secret"`   // of the account's key
}

// OrganizationHost returns the host name of the organisation in lower case, or
// "" where Organization is no URL.
func (t Tenant) OrganizationHost() string {
	u, err := url.Parse(t.Organization)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// IdentityName returns the name of the service identity that CRM uses: Identity
// where it is set, and otherwise the name of the organisation's region, which is
// its host without the organisation's own part: contoso.crm9.dynamics.com gives
// crm9.dynamics.com (KB 3200643). It returns "" for a host that is not CRM's.
func (t Tenant) IdentityName() string {
	if t.Identity != "" {
		return t.Identity
	}
	p, ok := crm.PlaceOf(t.OrganizationHost())
	if !ok {
		return ""
	}
	return p.Base()
}

// Namespace returns the tenant's access to host, which is compared without
// regard to case.
func (t Tenant) Namespace(host string) (Namespace, bool) {
	i := slices.IndexFunc(t.Namespaces, func(n Namespace) bool { return strings.EqualFold(n.Host, host) })
	if i < 0 {
		return Namespace{}, false
	}
	return t.Namespaces[i], true
}

package tenants

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// The bounds of a tenant.
const (
	MaxNamespaces  = 10_000 // of one tenant
	MaxLabels      = 32     // of one tenant
	maxLabelKey    = 63     // bytes
	maxLabelValue  = 128    // bytes
	maxDisplayName = 200    // characters
	maxName        = 128    // bytes of an identity's or account's name
)

// The forms of names; they do not change.
var (
	tenantID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelKey = regexp.MustCompile(fmt.Sprintf(`^[a-z][a-z0-9_-]{0,%d}$`, maxLabelKey-1))
	guid     = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	domain   = regexp.MustCompile(`^([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)

	// The host of an Access Control namespace in any cloud, KB 3200643 and
	// reference/acs.md, section 1.1.
	namespaceHost = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.accesscontrol\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)$`)
)

// isOrganization reports whether host is that of a CRM organisation, in lower case.
func isOrganization(host string) bool {
	_, ok := crm.PlaceOf(host)
	return ok && host == strings.ToLower(host)
}

// FieldError says what is wrong with one field of a tenant and what to do about
// it. It never repeats a value, since a secret may stand where a reference
// belongs.
type FieldError struct {
	Field   string // such as namespaces[3].host
	Problem string // what is wrong
	Fix     string // what to write instead
}

// Error returns all three as one line.
func (e FieldError) Error() string { return fmt.Sprintf("%s: %s; %s", e.Field, e.Problem, e.Fix) }

// InvalidError says that a tenant cannot be taken as it is, and why: every
// reason, not just the first.
type InvalidError struct {
	Tenant string // id, or "" where that is what is wrong
	Fields []FieldError
}

// Error returns one line with all fields.
func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Error()
	}
	return fmt.Sprintf("tenant %q: %s", e.Tenant, strings.Join(parts, "; "))
}

// problems gathers what is wrong with a tenant.
type problems []FieldError

func (p *problems) add(field, problem, fix string) {
	*p = append(*p, FieldError{Field: field, Problem: problem, Fix: fix})
}

// Validate returns everything that is wrong with a tenant, or nothing.
func (t Tenant) Validate() []FieldError {
	var p problems
	if !ValidID(t.ID) {
		p.add("id", "is not a tenant id", "use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends")
	}
	if utf8.RuneCountInString(t.DisplayName) > maxDisplayName || !printable(t.DisplayName) {
		p.add("display_name", "is too long or has control characters", fmt.Sprintf("use at most %d printable characters", maxDisplayName))
	}
	p.organization(t.Organization)
	if !guid.MatchString(t.EntraTenant) && !domain.MatchString(t.EntraTenant) {
		p.add("entra_tenant", "is not a directory", "use the directory's GUID or one of its domain names, in lower case")
	}
	p.login(t.Login)
	if len(t.Identity) > maxName || !printable(t.Identity) {
		p.add("identity", "is too long or has control characters", fmt.Sprintf("use at most %d bytes of printable text, or leave it out", maxName))
	}
	p.labels(t.Labels)
	p.namespaces(t.Namespaces)
	return p
}

// ValidID reports whether s has the form of a tenant id.
func ValidID(s string) bool { return tenantID.MatchString(s) }

func (p *problems) organization(s string) {
	u, err := url.Parse(s)
	const fix = "use https://<organisation>.crm<N>.dynamics.com, or the host of another cloud"
	switch {
	case s == "":
		p.add("organization", "is missing", fix)
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		p.add("organization", "is not an https URL", fix)
	case u.User != nil:
		p.add("organization", "holds a user name", fix)
	case u.Port() != "" || strings.HasSuffix(u.Host, ":"):
		p.add("organization", "holds a port", fix)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#") || (u.Path != "" && u.Path != "/"):
		p.add("organization", "holds more than a host", fix)
	case !isOrganization(u.Host):
		// Our token goes to this host, so it must be one of CRM's.
		p.add("organization", "is not a host of Dynamics CRM, in lower case", fix)
	}
}

func (p *problems) login(l Login) {
	if !guid.MatchString(l.ClientID) {
		p.add("login.client_id", "is not an application id", "use the GUID of the application, in lower case")
	}
	switch {
	case l.Secret == "" && l.Certificate == "":
		p.add("login", "has neither a secret nor a certificate", "give a reference as login.secret or login.certificate")
	case l.Secret != "" && l.Certificate != "":
		p.add("login", "has a secret and a certificate", "give one of them")
	}
	if l.Secret != "" {
		p.ref("login.secret", l.Secret)
	}
	if l.Certificate != "" {
		p.ref("login.certificate", l.Certificate)
	}
}

// ref checks a reference. It says what ParseRef says, which never repeats the
// value.
func (p *problems) ref(field string, r secrets.Ref) {
	if _, err := secrets.ParseRef(string(r)); err != nil {
		p.add(field, err.Error(), "put the value into a file or variable and refer to it; if this was the value itself, change it, since it has been shown to us")
	}
}

func (p *problems) labels(labels map[string]string) {
	if len(labels) > MaxLabels {
		p.add("labels", "are too many", fmt.Sprintf("use at most %d", MaxLabels))
		return
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if !labelKey.MatchString(k) {
			p.add("labels", "have a key that is not allowed", fmt.Sprintf("use keys of 1 to %d lower-case letters, digits, hyphens and underscores, beginning with a letter", maxLabelKey))
			continue
		}
		if v := labels[k]; len(v) > maxLabelValue || !printable(v) {
			p.add("labels."+k, "is too long or has control characters", fmt.Sprintf("use at most %d bytes of printable text", maxLabelValue))
		}
	}
}

func (p *problems) namespaces(all []Namespace) {
	if len(all) > MaxNamespaces {
		p.add("namespaces", "are too many", fmt.Sprintf("use at most %d", MaxNamespaces))
		return
	}
	seen := map[string]bool{}
	for i, n := range all {
		field := fmt.Sprintf("namespaces[%d].", i)
		switch {
		case !namespaceHost.MatchString(n.Host):
			// Our management key's signature goes to this host.
			p.add(field+"host", "is not a host of Access Control, in lower case",
				"use <namespace>-sb.accesscontrol.windows.net, or .accesscontrol.usgovcloudapi.net, .accesscontrol.chinacloudapi.cn")
		case reserved(n.Host):
			p.add(field+"host", "is a host of Microsoft's own", "use the host of the customer's namespace")
		case seen[n.Host]:
			p.add(field+"host", "is there twice", "give each namespace once")
		}
		seen[n.Host] = true
		if n.Account == "" || len(n.Account) > maxName || !printable(n.Account) {
			p.add(field+"account", "is missing, too long or has control characters", fmt.Sprintf("use the name of the management service account, at most %d bytes", maxName))
		}
		p.ref(field+"secret", n.Secret)
	}
}

// ValidHost reports whether host is that of a customer's Access Control
// namespace, in lower case.
func ValidHost(host string) bool { return namespaceHost.MatchString(host) && !reserved(host) }

// reserved reports whether host belongs to a service of Microsoft's that shares
// the suffix: accounts.accesscontrol.windows.net signs in SharePoint add-ins.
func reserved(host string) bool { return strings.HasPrefix(host, "accounts.") }

// printable reports whether s is UTF-8 without control characters or invisible
// ones that could make one name look like another.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

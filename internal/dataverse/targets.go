package dataverse

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Row is one service endpoint as the Web API returns it. Numbers that are null
// or not asked for are 0.
type Row struct {
	ID              string // GUID, lower case
	Name            string
	AuthType        int // 0: not specified, or the organisation does not know the column
	Connection      int // 1 normal, 2 federated
	Contract        int
	Format          int    // of the namespace: 1 bare name, 2 address
	Address         string // such as sb://contoso.servicebus.windows.net/
	Namespace       string // bare name
	Path            string
	KeyVault        bool   // its secret comes from a key vault
	ManagedIdentity string // GUID of a managed identity that it signs in with
}

// Place is what is known about all rows of an organisation.
type Place struct {
	Tenant string  // id in our inventory
	At     Version // of the organisation
	// Suffix of the Service Bus namespaces that are known by a bare name and not
	// among Hosts, such as [USGovNamespaces]. Empty: [PublicNamespaces].
	Suffix string
	// Hosts are the access control hosts that the tenant gave us access to. They
	// tell in which cloud a bare name is.
	Hosts []string
}

// suffix returns the Service Bus suffix of a namespace known by its bare name:
// that of the host of this name that we have access to; else the only one among
// all such hosts; else the default.
func (p Place) suffix(name string) string {
	all := map[string]bool{}
	for _, s := range []string{PublicNamespaces, USGovNamespaces, ChinaNamespaces} {
		acs := accessControl(s)
		for _, h := range p.Hosts {
			if h == name+"-sb."+acs {
				return s
			}
			if strings.HasSuffix(h, "."+acs) {
				all[s] = true
			}
		}
	}
	if len(all) == 1 {
		for s := range all {
			return s
		}
	}
	if p.Suffix == "" {
		return PublicNamespaces
	}
	return p.Suffix
}

// accessControl returns the suffix of the access control service that belongs
// to a suffix of the Service Bus.
func accessControl(suffix string) string {
	return "accesscontrol" + strings.TrimPrefix(suffix, "servicebus")
}

// Host is one access control host on which an endpoint's credential hangs.
type Host struct {
	Name string // lower-case DNS name
	// Plain marks the host without "-sb", which only federated endpoints use.
	// It is a namespace of its own that may be missing.
	Plain bool
}

// Mapped is one endpoint with its targets. Without hosts, Outcome, Reason and
// Detail say why; with hosts they are empty.
type Mapped struct {
	Endpoint rollover.Endpoint
	Hosts    []Host // none, one, or two for a federated endpoint
	Outcome  rollover.Outcome
	Reason   rollover.Reason
	Detail   string
	Advice   []rollover.Advice
}

const (
	federated = 2
	bareName  = 1
)

// Map says on which hosts the credential of an endpoint hangs. A host is always
// a single label below the access control service of one of three clouds.
func Map(r Row, p Place) Mapped {
	m := Mapped{Endpoint: rollover.Endpoint{
		Tenant: p.Tenant, ID: r.ID, Name: clip(r.Name, 256), Path: clip(r.Path, 160),
		AuthType: authWord(r), Contract: contractWord(r.Contract),
		Namespace: clip(r.locator(), 255), Federated: r.Connection == federated,
	}}
	if why := r.notACS(); why != "" {
		m.Outcome, m.Reason, m.Detail = rollover.Skipped, rollover.NotACS, why
		return m
	}
	if p.At.AtLeast(8, 1) {
		m.Advice = []rollover.Advice{rollover.MoveToSAS}
	}
	name, suffix, err := r.namespace(p)
	if err != nil {
		m.Outcome, m.Reason, m.Detail = rollover.HandedOver, rollover.NamespaceUnknown, err.Error()
		return m
	}
	acs := accessControl(suffix)
	m.Hosts = []Host{{Name: name + "-sb." + acs}}
	if r.Connection == federated {
		m.Hosts = append(m.Hosts, Host{Name: name + "." + acs, Plain: true})
	}
	return m
}

// notACS says what an endpoint is that does not sign in through ACS, and returns
// nothing for one that does. An authtype of 0, and its absence in version 8.0,
// stand for ACS on a contract of the Service Bus.
func (r Row) notACS() string {
	const firstOther = 8 // contracts 1 to 7 are the Service Bus's
	switch {
	case r.Contract < 1 || r.Contract >= firstOther:
		return fmt.Sprintf("its contract is %s", contractWord(r.Contract))
	case r.AuthType > 1 || r.AuthType < 0:
		return fmt.Sprintf("it signs in by %s", authWord(r))
	case r.ManagedIdentity != "" && r.AuthType == 0:
		return "it signs in by managed_identity"
	default:
		return ""
	}
}

// locator returns where the row says that its namespace is.
func (r Row) locator() string {
	if r.byName() && r.Namespace != "" {
		return r.Namespace
	}
	return r.Address
}

func (r Row) byName() bool { return r.Format == bareName || r.Address == "" }

// namespace returns the name of the namespace and its Service Bus suffix.
func (r Row) namespace(p Place) (name, suffix string, err error) {
	at := strings.Trim(r.locator(), " ")
	// Letters of other scripts may become ASCII ones when they are lowered; such
	// a name is not what it looks like.
	if !isASCII(at) {
		return "", "", fmt.Errorf("%q has letters that no host name has", clip(at, 100))
	}
	if r.byName() {
		name = strings.ToLower(at)
		suffix = p.suffix(name)
	} else if name, suffix, err = parseAddress(at); err != nil {
		return "", "", err
	}
	if !isNamespace(name) || !isSuffix(suffix) {
		return "", "", fmt.Errorf("%q does not name a Service Bus namespace", clip(at, 100))
	}
	return name, suffix, nil
}

// parseAddress takes an address such as sb://contoso.servicebus.windows.net/
// apart. The result is still to be checked.
func parseAddress(at string) (name, suffix string, err error) {
	u, err := url.Parse(at)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("%q is not an address", clip(at, 100))
	case !strings.EqualFold(u.Scheme, "sb"), u.Opaque != "", u.User != nil, u.Host != u.Hostname(),
		u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return "", "", fmt.Errorf("%q is not of the form sb://<namespace>.servicebus.windows.net/", clip(at, 100))
	}
	name, suffix, _ = strings.Cut(strings.ToLower(u.Host), ".")
	return name, suffix, nil
}

// isSuffix reports whether s is one of the suffixes that we know. No other host
// is ever called with a management key.
func isSuffix(s string) bool {
	return s == PublicNamespaces || s == USGovNamespaces || s == ChinaNamespaces
}

// isNamespace reports whether s may be the name of a Service Bus namespace.
// Azure forbids names that end in -sb or -mgmt; were they let through, the plain
// host of one customer would be the -sb host of another.
// accounts.accesscontrol.windows.net is another service.
func isNamespace(s string) bool {
	const longest = 50
	return isLabel(s) && len(s) <= longest && s != "accounts" && !strings.HasPrefix(s, "xn--") &&
		!strings.HasSuffix(s, "-sb") && !strings.HasSuffix(s, "-mgmt")
}

// isLabel reports whether s is a label of a DNS name in lower case.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// authWord names how a row signs in.
func authWord(r Row) string {
	word := optionWord(r.AuthType, "auth_type", []string{
		"unspecified", "acs", "sas_key", "sas_token", "webhook_key", "http_header",
		"http_query_string", "connection_string", "access_key", "managed_identity",
	})
	if r.KeyVault && r.AuthType > 1 {
		word += "_in_key_vault"
	}
	return word
}

// contractWord names a contract.
func contractWord(n int) string {
	return optionWord(n, "contract", []string{
		"unspecified", "one_way", "queue", "rest", "two_way", "topic", "persistent_queue", "event_hub",
		"webhook", "event_grid", "managed_data_lake", "container_storage",
	})
}

// optionWord names value n of an option set, also one that came after us.
func optionWord(n int, set string, words []string) string {
	if n >= 0 && n < len(words) {
		return words[n]
	}
	return fmt.Sprintf("%s_%d", set, n)
}

package dataverse

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/crossfade-project/crossfade/internal/crm"
)

// Cloud is which of Microsoft's clouds an organisation lives in. It is not
// always the cloud of its Service Bus namespaces: an organisation in GCC may use
// either (KB 3200643).
type Cloud string

// The clouds, as the host of the organisation tells them apart.
const (
	Commercial Cloud = crm.Commercial
	GCC        Cloud = crm.GCC     // US government, on the commercial directory
	GCCHigh    Cloud = crm.GCCHigh // US government, on its own directory
	DoD        Cloud = crm.DoD
	China      Cloud = crm.China // operated by 21Vianet
)

// The Service Bus suffixes for which an access control service existed.
const (
	PublicNamespaces = "servicebus.windows.net"
	USGovNamespaces  = "servicebus.usgovcloudapi.net"
	ChinaNamespaces  = "servicebus.chinacloudapi.cn"
)

// CloudOf returns the cloud of an organisation's host, such as
// "contoso.crm4.dynamics.com" or "contoso.api.crm9.dynamics.com". It reports
// false for any host that is not below a domain of Dynamics.
func CloudOf(host string) (Cloud, bool) {
	p, ok := crm.PlaceOf(host)
	return Cloud(p.Cloud), ok
}

// authority returns where applications of the cloud's tenants sign in.
func (c Cloud) authority() string {
	switch c {
	case GCCHigh, DoD:
		return "https://login.microsoftonline.us/"
	case China:
		return "https://login.chinacloudapi.cn/"
	default:
		return "https://login.microsoftonline.com/"
	}
}

// Namespaces returns the Service Bus suffix that a namespace known by its bare
// name is taken to have. For GCC, where both are possible, it is the public one;
// set the suffix on the tenant where that is wrong.
func (c Cloud) Namespaces() string {
	switch c {
	case GCCHigh, DoD:
		return USGovNamespaces
	case China:
		return ChinaNamespaces
	default:
		return PublicNamespaces
	}
}

// organisation checks the address of an organisation and returns it as scheme
// and host alone. The host decides where a token is sent, so anything unusual is
// refused.
func organisation(address string) (base *url.URL, cloud Cloud, err error) {
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("organisation address %q cannot be read", clip(address, 100))
	case u.Scheme != "https":
		return nil, "", fmt.Errorf("organisation address %q does not begin with https://", clip(address, 100))
	case u.User != nil, u.RawQuery != "", u.Fragment != "", strings.Trim(u.Path, "/") != "":
		return nil, "", fmt.Errorf("organisation address of host %q has more than a host", clip(u.Host, 100))
	case u.Port() != "" && u.Port() != "443":
		return nil, "", fmt.Errorf("organisation address of host %q names a port", clip(u.Host, 100))
	}
	host := strings.ToLower(u.Hostname())
	cloud, ok := CloudOf(host)
	if !ok || !isASCII(u.Hostname()) {
		return nil, "", fmt.Errorf("host %q is not below a domain of Dynamics", clip(host, 100))
	}
	return &url.URL{Scheme: "https", Host: host}, cloud, nil
}

// clip bounds text that the other side chose before it goes into an error or a
// record.
func clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

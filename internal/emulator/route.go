package emulator

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/emulator/fault"
	"github.com/crossfade-project/crossfade/internal/emulator/issuer"
)

// acsSuffixes, crmSuffixes and loginHosts are the names behind which each
// server stands, in every cloud that had it.
func acsSuffixes() []string {
	return []string{".accesscontrol.windows.net", ".accesscontrol.usgovcloudapi.net", ".accesscontrol.chinacloudapi.cn"}
}

func crmSuffixes() []string {
	return []string{".dynamics.com", ".microsoftdynamics.us", ".appsplatform.us", ".dynamics.cn"}
}

func loginHosts() []string {
	return []string{"login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn", "login.partner.microsoftonline.cn"}
}

// Dial says where the emulated hosts are really reached: host names, and
// "*.suffix" for every name beneath one, to the listener's address.
func (c *Cloud) Dial() map[string]string {
	dial := map[string]string{}
	for _, suffix := range append(acsSuffixes(), crmSuffixes()...) {
		dial["*"+suffix] = c.Addr()
	}
	for _, host := range loginHosts() {
		dial[host] = c.Addr()
	}
	dial[issuer.Host] = c.Addr()
	return dial
}

// ServeHTTP sends a call to the server that the Host header names. A host that
// is none of theirs is answered 404, and one other than the name that TLS
// was for 421: it would hide a client that mixes up its hosts.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := fault.HostOf(r)
	if r.TLS != nil && r.TLS.ServerName != "" && !strings.EqualFold(r.TLS.ServerName, host) {
		http.Error(w, "421 misdirected request", http.StatusMisdirectedRequest)
		return
	}
	var to http.Handler
	switch {
	case hasSuffix(host, acsSuffixes()):
		c.acs.ServeHTTP(w, r) // It has a latency of its own.
		return
	case hasSuffix(host, crmSuffixes()):
		to = c.dataverse
	case slices.Contains(loginHosts(), host):
		to = c.entra
	case host == issuer.Host:
		to = c.issuer
	default:
		http.NotFound(w, r)
		return
	}
	fault.Wait(r.Context(), c.latency)
	to.ServeHTTP(w, r)
}

func hasSuffix(host string, suffixes []string) bool {
	return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(host, s) })
}

// roughDataverse is a bad day of Dataverse: every fault goes away when the call
// is made again.
func roughDataverse(profile string) []fault.Rule {
	if profile != acs.ProfileRough {
		return nil
	}
	return []fault.Rule{
		{Kind: fault.Status, Status: http.StatusTooManyRequests, RetryAfter: time.Second, Rate: 0.01},
		{Kind: fault.Status, Status: http.StatusServiceUnavailable, Rate: 0.015},
		{Kind: fault.Status, Status: http.StatusInternalServerError, Rate: 0.005},
		{Kind: fault.Reset, Rate: 0.01},
		{Kind: fault.Slow, Delay: 50 * time.Millisecond, Rate: 0.03},
	}
}

// roughEntra is a bad day of Entra.
func roughEntra(profile string) []fault.Rule {
	if profile != acs.ProfileRough {
		return nil
	}
	return []fault.Rule{
		{Kind: fault.Status, Status: http.StatusServiceUnavailable, Rate: 0.01},
		{Kind: fault.Slow, Delay: 50 * time.Millisecond, Rate: 0.03},
	}
}

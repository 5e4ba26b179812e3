// Package crm knows the addresses of CRM organisations: which hosts are
// organisations, and what they say of region and cloud. The rule is that of
// reference/dataverse-sas-entra.md, section 1.9, and KB 3200643.
package crm

import "strings"

// The clouds, as the host of an organisation tells them apart.
const (
	Commercial = "commercial"
	GCC        = "gcc"      // US government, on the commercial directory
	GCCHigh    = "gcc_high" // US government, on its own directory
	DoD        = "dod"
	China      = "china" // operated by 21Vianet
)

// Clouds returns all clouds.
func Clouds() []string { return []string{Commercial, GCC, GCCHigh, DoD, China} }

// Place is what the host of an organisation says of where it is.
type Place struct {
	Region string // the label before the domain: "crm", "crm4", …
	Domain string // of the cloud, such as "dynamics.com"
	Cloud  string // one of the constants
}

// Base returns the host without the organisation's own part, such as
// "crm9.dynamics.com": what KB 3200643 calls the CRM service identity by.
func (p Place) Base() string { return p.Region + "." + p.Domain }

// PlaceOf returns what an organisation's host says, such as
// "contoso.crm4.dynamics.com" or "contoso.api.crm9.dynamics.com", in any case. It
// reports false for any host that is not an organisation's.
func PlaceOf(host string) (Place, bool) {
	labels := strings.Split(strings.ToLower(host), ".")
	for _, l := range labels {
		if !isLabel(l) {
			return Place{}, false
		}
	}
	n := len(labels)
	if n < 4 || n > 5 || n == 5 && labels[1] != "api" {
		return Place{}, false
	}
	p := Place{Region: labels[n-3], Domain: labels[n-2] + "." + labels[n-1]}
	switch {
	case p.Domain == "dynamics.com" && p.Region == "crm9":
		p.Cloud = GCC
	case p.Domain == "dynamics.com" && isRegion(p.Region):
		p.Cloud = Commercial
	case p.Region != "crm":
		return Place{}, false
	case p.Domain == "microsoftdynamics.us":
		p.Cloud = GCCHigh
	case p.Domain == "appsplatform.us":
		p.Cloud = DoD
	case p.Domain == "dynamics.cn":
		p.Cloud = China
	default:
		return Place{}, false
	}
	return p, true
}

// isRegion reports whether a label is "crm" with a number or without.
func isRegion(label string) bool {
	num, ok := strings.CutPrefix(label, "crm")
	return ok && len(num) <= 2 && strings.Trim(num, "0123456789") == ""
}

// isLabel reports whether s is a label of a DNS name in lower case.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

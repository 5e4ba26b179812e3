package acsx509

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config is this driver's part of the configuration file, under the name of its
// kind. Every field may be left out.
type Config struct {
	// HostSuffixes are the ACS domains whose hosts may be called. The namespaces
	// come from tenants' own records, and a management secret is posted to them,
	// so a name beneath any other domain is handed over and never dialled.
	// Default: the public, the US government and the China cloud.
	HostSuffixes []string `yaml:"host_suffixes"`
	// RequestTimeout bounds one HTTP exchange, from 100 ms to 1 minute. Default
	// 10 s. A step of up to five calls has to fit into the engine's step timeout.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// MaxPages bounds how many pages of one listing are followed, 1 to 1000, so
	// that a server which never ends its list is noticed. ACS sends 50 entries a
	// page. Default 40.
	MaxPages int `yaml:"max_pages"`
	// MaxTokens bounds how many management tokens are kept in memory, one a
	// tenant and host, about 1 KiB each. Default 20000. With fewer than there are
	// hosts, a token is asked for more often than every 8 hours.
	MaxTokens int `yaml:"max_tokens"`
	// BuddyAccount signs in to "<ns>-sb" namespaces where a tenant names no
	// account. Default SBManagementClient, which ACS makes there itself.
	BuddyAccount string `yaml:"buddy_account"`
	// Account does the same for all other namespaces. Default ManagementClient.
	Account string `yaml:"account"`
}

// Defaults returns the configuration that holds when nothing is configured.
func Defaults() Config {
	return Config{
		HostSuffixes: []string{
			"accesscontrol.windows.net", "accesscontrol.usgovcloudapi.net", "accesscontrol.chinacloudapi.cn",
		},
		RequestTimeout: 10 * time.Second,
		MaxPages:       40,
		MaxTokens:      20000,
		BuddyAccount:   "SBManagementClient",
		Account:        "ManagementClient",
	}
}

// check reports all that is wrong with c together.
func (c Config) check() error {
	var bad []error
	if len(c.HostSuffixes) == 0 {
		bad = append(bad, errors.New("host_suffixes is empty: no host could be called"))
	}
	for _, s := range c.HostSuffixes {
		if s != strings.ToLower(s) || strings.Trim(s, ".") != s || !strings.Contains(s, ".") {
			bad = append(bad, fmt.Errorf("host_suffixes: %q is no domain in lower case without a dot at its ends", s))
		}
	}
	if c.RequestTimeout < 100*time.Millisecond || c.RequestTimeout > time.Minute {
		bad = append(bad, fmt.Errorf("request_timeout is %s, want 100ms to 1m", c.RequestTimeout))
	}
	if c.MaxPages < 1 || c.MaxPages > 1000 {
		bad = append(bad, fmt.Errorf("max_pages is %d, want 1 to 1000", c.MaxPages))
	}
	if c.MaxTokens < 1 {
		bad = append(bad, fmt.Errorf("max_tokens is %d, want at least 1", c.MaxTokens))
	}
	if c.BuddyAccount == "" || c.Account == "" {
		bad = append(bad, errors.New("buddy_account and account must not be empty"))
	}
	return errors.Join(bad...)
}

// isLabel reports whether s may be a namespace's name: one DNS label of lower-case
// letters, digits and inner hyphens.
func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// allows reports whether host is a customer's namespace that may be called.
// "accounts" beneath the public suffix is another service, which outlived ACS.
func (c Config) allows(host string) bool {
	for _, s := range c.HostSuffixes {
		label, ok := strings.CutSuffix(host, "."+s)
		if ok && label != "accounts" && isLabel(label) {
			return true
		}
	}
	return false
}

// account returns the account that ACS makes by default on host.
func (c Config) account(host string) string {
	label, _, _ := strings.Cut(host, ".")
	if strings.HasSuffix(label, "-sb") {
		return c.BuddyAccount
	}
	return c.Account
}

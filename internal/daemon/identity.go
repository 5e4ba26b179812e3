package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// Identity says how callers of the API prove who they are, and where it stands what
// they may do.
type Identity struct {
	// Rights is the file of grants and people; see docs/security.md. It is read again
	// when it changes, without a restart. Needed with tls.client_ca or
	// identity.issuers, and of no use without. Default none: nobody is asked who they
	// are, which is allowed on loopback only.
	Rights string `yaml:"rights"`
	// Issuers holds those whose bearer tokens are believed, each by our name for it (1
	// to 32 lower-case letters, digits and hyphens) with url (https, as it stands in
	// the tokens' iss), audience, algorithms (such as "RS256 ES256", which is the
	// default), keys (https; default: as the issuer says by OpenID Connect Discovery),
	// subject (the claim; default sub) and groups (the claim; default groups). Default
	// none. An issuer inside the own network needs an entry in network.dial.
	Issuers map[string][]byte `yaml:"issuers"`
}

// Identified reports whether callers are asked to prove who they are.
func (c Config) Identified() bool { return c.TLS.ClientCA != "" || len(c.Identity.Issuers) > 0 }

// issuerPart is one issuer as it is written.
type issuerPart struct {
	URL        string `yaml:"url"`
	Audience   string `yaml:"audience"`
	Algorithms string `yaml:"algorithms"`
	Keys       string `yaml:"keys"`
	Subject    string `yaml:"subject"`
	Groups     string `yaml:"groups"`
}

// issuers reads the issuers, and says all that is wrong with them by field.
func (i Identity) issuers() (out []identity.Issuer, problems []Problem) {
	name := regexp.MustCompile("^[a-z][a-z0-9-]{0,31}$")
	for _, n := range slices.Sorted(maps.Keys(i.Issuers)) {
		at := "identity.issuers." + n
		fail := func(field, text string) {
			problems = append(problems, Problem{Field: strings.TrimSuffix(at+"."+field, "."), Text: text})
		}
		if !name.MatchString(n) || n == "cert" || n == "person" {
			fail("", "want a name of 1 to 32 lower-case letters, digits and hyphens, beginning with a letter, other than cert and person")
		}
		var p issuerPart
		if err := yaml.UnmarshalWithOptions(i.Issuers[n], &p, yaml.Strict()); err != nil {
			fail("", "want url, audience, algorithms, keys, subject and groups, and nothing else") // The parser's text quotes the file.
			continue
		}
		for field, text := range map[string]string{"url": p.URL, "keys": p.Keys} {
			if u, err := url.Parse(text); (text != "" || field == "url") && (err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil) {
				fail(field, "want https://host/path, without a name or password")
			}
		}
		if p.Audience == "" {
			fail("audience", "want what the tokens' aud has in it: this service's name at the issuer")
		}
		algorithms := strings.Fields(strings.ReplaceAll(p.Algorithms, ",", " "))
		for _, a := range algorithms {
			if !slices.Contains(identity.Algorithms(), a) {
				fail("algorithms", "want some of "+strings.Join(identity.Algorithms(), ", "))
			}
		}
		out = append(out, identity.Issuer{
			Name: n, URL: p.URL, Audience: p.Audience, Algorithms: algorithms, Keys: p.Keys, Subject: p.Subject, Groups: p.Groups,
		})
	}
	return out, problems
}

func (k *checker) identity(c Config) {
	_, problems := c.Identity.issuers()
	k.problems = append(k.problems, problems...)
	if len(c.Identity.Issuers) > 16 {
		k.fail("identity.issuers", "want at most 16")
	}
	if c.TLS.ClientCA != "" && c.TLS.Cert == "" {
		k.fail("tls.client_ca", "needs tls.cert and tls.key")
	}
	if c.TLS.ClientCRL != "" && c.TLS.ClientCA == "" {
		k.fail("tls.client_crl", "needs tls.client_ca")
	}
	switch {
	case c.Identified() && c.Identity.Rights == "":
		k.fail("identity.rights", "is missing: callers prove who they are, and nothing says what they may do")
	case !c.Identified() && c.Identity.Rights != "":
		k.fail("identity.rights", "needs tls.client_ca or identity.issuers: nobody can prove who they are")
	}
}

// Verifier judges bearer tokens by the issuers of c; nil where there are none.
func (c Config) Verifier(client *http.Client) (*identity.Verifier, error) {
	issuers, problems := c.Identity.issuers()
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: %w", problems[0].Field, errors.New(problems[0].Text))
	}
	if len(issuers) == 0 {
		return nil, nil
	}
	return identity.NewVerifier(identity.Config{Issuers: issuers, HTTP: client, Now: time.Now})
}

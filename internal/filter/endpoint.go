package filter

import (
	"errors"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// never is later than the end of every certificate: where none stands, none ends.
func never() time.Time { return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }

// SeenFields are the fields of endpoints as the inventory knows them.
func SeenFields() Fields {
	return Fields{
		Strings:  []string{"tenant", "organization", "region", "cloud", "id", "name", "auth_type", "contract", "path", "namespace"},
		Bools:    []string{"federated", "observed"},
		Maps:     []string{"labels"},
		Ints:     []string{"keys"},
		Times:    []string{"expires"},
		Versions: []string{"version"},
		Lists: map[string]func(string) (string, error){
			"host": lower, "thumbprint": certs.ParseThumbprint, "key_hash": keyHash,
		},
	}
}

// PlannedFields are the fields of endpoints while a rotation over them is planned:
// everything that was read then, and what the rotation makes of it.
func PlannedFields() Fields {
	f := SeenFields()
	f.Bools = []string{"federated", "has_new"}
	f.Times = append(f.Times, "old_expires")
	return f
}

func lower(s string) (string, error) { return strings.ToLower(s), nil }

// keyHash makes one spelling of the hash of a public key.
func keyHash(s string) (string, error) {
	h, err := certs.ParseThumbprint(s)
	if err != nil || len(h) != 64 {
		return "", errors.New("not a key hash: want 64 hexadecimal digits")
	}
	return h, nil
}

// Endpoint is what is known of an endpoint, for a filter over [SeenFields] or
// [PlannedFields].
type Endpoint struct {
	Tenant tenants.Tenant
	// Seen is the endpoint; nil: not known, as for a tenant that was not listed yet.
	Seen *tenants.Seen
	// New is the SHA-256 of the new certificate. Only planning knows one.
	New string
	// Old are the credentials that are to be removed from the targets that were read.
	Old []rollover.Credential
}

// Value returns the value of a field, [Missing] where it is not known.
func (e Endpoint) Value(field string) any {
	switch place, _ := crm.PlaceOf(e.Tenant.OrganizationHost()); field {
	case "tenant":
		return e.Tenant.ID
	case "organization":
		return e.Tenant.OrganizationHost()
	case "region":
		return place.Region
	case "cloud":
		return place.Cloud
	case "labels":
		return e.Tenant.Labels
	}
	if e.Seen == nil {
		return Missing{}
	}
	switch s := e.Seen; field {
	case "version":
		if s.Version == "" {
			return Missing{}
		}
		return s.Version
	case "id":
		return s.ID
	case "name":
		return s.Name
	case "auth_type":
		return s.AuthType
	case "contract":
		return s.Contract
	case "path":
		return s.Path
	case "namespace":
		return s.Namespace
	case "federated":
		return s.Federated
	case "host":
		return e.hosts()
	case "observed":
		return e.observed()
	default:
		return e.certificates(field)
	}
}

func (e Endpoint) hosts() []string {
	out := make([]string, len(e.Seen.Targets))
	for i, t := range e.Seen.Targets {
		out[i] = t.Host
	}
	return out
}

// observed reports whether every target was read.
func (e Endpoint) observed() bool {
	for _, t := range e.Seen.Targets {
		if !t.Observed {
			return false
		}
	}
	return true
}

// certificates returns the value of a field that is about what stands on the
// endpoint's targets. An endpoint without targets carries nothing.
func (e Endpoint) certificates(field string) any {
	switch field {
	case "thumbprint":
		return e.list(func(c tenants.Carried) []string { return []string{c.SHA256, strings.ToLower(c.SHA1)} })
	case "key_hash":
		return e.list(func(c tenants.Carried) []string {
			if c.KeyHash == "" {
				return nil
			}
			return []string{c.KeyHash}
		})
	}
	if !e.observed() {
		return Missing{}
	}
	switch field {
	case "keys":
		most := 0
		for _, t := range e.Seen.Targets {
			most = max(most, len(t.Carries))
		}
		return most
	case "expires":
		return e.expires()
	case "has_new":
		return e.New != "" && e.hasNew()
	case "old_expires":
		first := never()
		for _, c := range e.Old {
			if c.NotAfter.IsZero() {
				return Missing{}
			}
			first = earlier(first, c.NotAfter)
		}
		return first
	default:
		return Missing{}
	}
}

// list returns what all certificates say, as a [Part] where some are not known.
func (e Endpoint) list(say func(tenants.Carried) []string) any {
	out := []string{}
	known := true
	for _, t := range e.Seen.Targets {
		known = known && t.Observed
		for _, c := range t.Carries {
			said := say(c)
			known = known && len(said) > 0
			out = append(out, said...)
		}
	}
	if !known {
		return Part(out)
	}
	return out
}

// expires returns when the first certificate ends.
func (e Endpoint) expires() any {
	first := never()
	for _, t := range e.Seen.Targets {
		for _, c := range t.Carries {
			if c.NotAfter.IsZero() {
				return Missing{}
			}
			first = earlier(first, c.NotAfter)
		}
	}
	return first
}

// hasNew reports whether the new certificate stands on every target.
func (e Endpoint) hasNew() bool {
	for _, t := range e.Seen.Targets {
		there := false
		for _, c := range t.Carries {
			there = there || c.SHA256 == e.New
		}
		if !there {
			return false
		}
	}
	return len(e.Seen.Targets) > 0
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

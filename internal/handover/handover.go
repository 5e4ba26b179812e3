// Package handover writes the text that asks a tenant's solution developer to
// do by hand what Crossfade could not: it names exactly their namespaces. It is
// pure: it reads tasks and returns Markdown.
package handover

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

//go:embed letter.md.tmpl
var letter string

// ErrNothing says that no task of the tenant needs a person.
var ErrNothing = errors.New("no task of this tenant needs a person")

// Letter is what a text is made of.
type Letter struct {
	Tenant          string              // whose solution developer is addressed; required
	Rotation        string              // id of the rotation; required
	New             rollover.Credential // the new certificate; its thumbprints and validity are required
	RetireNotBefore time.Time           // zero: the rotation removes nothing
	Incident        *rollover.Incident  // what is compromised and is to be removed at once; nil: nothing
	Tasks           []rollover.Task     // of the rotation; those of others or in no need are left out
}

// Needs reports whether a task with this outcome waits for a person.
func Needs(o rollover.Outcome) bool {
	return o == rollover.Failed || o == rollover.Conflict || o == rollover.HandedOver
}

// page is what the template sees; every string is safe in Markdown.
type page struct {
	Tenant, Rotation, SHA1, SHA256, Subject, From, Until, Keep string
	Compromised                                                []string
	Cases                                                      []block
	MoveToSAS                                                  bool
}

type block struct {
	Host, URL, Identity, Why, Do, Detail string
	Endpoints                            []string
	Federated, Steps                     bool
}

// Markdown returns the text. It fails where a fact that the reader must rely on
// is not known, and with ErrNothing where there is nothing to ask for.
func (l Letter) Markdown() (string, error) {
	switch {
	case l.Tenant == "" || l.Rotation == "":
		return "", errors.New("writing a hand-over: tenant and rotation must be named")
	case l.New.SHA1 == "" || l.New.SHA256 == "" || l.New.NotBefore.IsZero() || l.New.NotAfter.IsZero():
		return "", errors.New("writing a hand-over: the new certificate's thumbprints and validity must be known")
	}
	keep := l.New.NotBefore // Before it is valid, only the old one works.
	if l.RetireNotBefore.After(keep) {
		keep = l.RetireNotBefore
	}
	p := page{
		Tenant: code(l.Tenant), Rotation: code(l.Rotation), SHA1: code(l.New.SHA1), SHA256: code(l.New.SHA256),
		Subject: code(l.New.Subject), From: utc(l.New.NotBefore), Until: utc(l.New.NotAfter), Keep: utc(keep),
	}
	p.Compromised = compromised(l.Incident)
	for _, t := range l.Tasks {
		if b, ok := l.block(t); ok {
			p.Cases = append(p.Cases, b)
			p.MoveToSAS = p.MoveToSAS || slices.Contains(t.Item.Advice, rollover.MoveToSAS)
		}
	}
	if len(p.Cases) == 0 {
		return "", fmt.Errorf("writing a hand-over for %q: %w", l.Tenant, ErrNothing)
	}
	tmpl, err := template.New("letter").Parse(letter)
	if err != nil {
		return "", fmt.Errorf("reading the hand-over's template: %w", err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, p); err != nil {
		return "", fmt.Errorf("writing a hand-over: %w", err)
	}
	return b.String(), nil
}

// compromised names what is compromised as its reader finds it.
func compromised(i *rollover.Incident) []string {
	if i == nil {
		return nil
	}
	var out []string
	for _, x := range i.Compromised {
		switch x.Sort {
		case rollover.CompromisedKeyHash:
			out = append(out, "every certificate whose public key has the SHA-256 "+code(x.Hash))
		case rollover.CompromisedSHA1:
			out = append(out, "the certificate with the SHA-1 thumbprint "+code(strings.ToUpper(x.Hash)))
		default:
			out = append(out, "the certificate with the SHA-256 "+code(x.Hash))
		}
	}
	return out
}

// block tells one task to the tenant: only its own endpoints are named.
func (l Letter) block(t rollover.Task) (block, bool) {
	if !Needs(t.Outcome) {
		return block{}, false
	}
	mine := t.Item.Tenant == l.Tenant
	var b block
	for _, e := range t.Item.Endpoints {
		if e.Tenant != l.Tenant {
			continue
		}
		mine = true
		b.Federated = b.Federated || e.Federated
		name := code(e.ID)
		if e.Name != "" {
			name = code(e.Name) + " (" + name + ")"
		}
		b.Endpoints = append(b.Endpoints, name)
	}
	if !mine {
		return block{}, false
	}
	b.Host, b.URL, b.Identity = code(t.Item.Target.Host), address(t.Item.Target.Host), code(t.Item.Target.Identity)
	if t.Item.Tenant == l.Tenant {
		b.Detail = code(t.Detail) // A shared target's detail may tell of another tenant.
	}
	b.Why, b.Do, b.Steps = explain(t.Reason)
	b.Steps = b.Steps && b.URL != "" && b.Identity != ""
	return b, true
}

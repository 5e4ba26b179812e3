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

// ErrBlocked says that the new certificate is on the block list: nobody may be
// asked to add it.
var ErrBlocked = errors.New("the new certificate or its key is on the block list; cancel this rotation and rotate to another certificate")

// Letter is what a text is made of.
type Letter struct {
	Tenant          string              // whose solution developer is addressed; required
	Rotation        string              // id of the rotation; required
	New             rollover.Credential // the new certificate; its thumbprints and validity are required
	Now             time.Time           // when it is written, for what is due at once; required
	StageDeadline   time.Time           // by when the rotation wants New everywhere; zero: when New becomes valid
	Retires         bool                // whether the rotation removes old credentials at all
	RetireNotBefore time.Time           // the earliest instant of a removal; read only where Retires
	Incident        *rollover.Incident  // what is compromised and is to be removed at once; nil: nothing
	Tasks           []rollover.Task     // of the rotation; those of others or in no need are left out
}

// Needs reports whether a task with this outcome waits for a person.
func Needs(o rollover.Outcome) bool {
	return o == rollover.Failed || o == rollover.Conflict || o == rollover.HandedOver
}

// page is what the template sees; every string is safe in Markdown.
type page struct {
	Tenant, Rotation, SHA1, SHA256, Subject, From, Until, Add, Keep string
	Compromised                                                     []string
	Cases                                                           []block
	MoveToSAS, AtOnce, ByStage, Retires                             bool
}

type block struct {
	Host, URL, Identity, Why, Do, Detail string
	Endpoints                            []string
	Steps, Unnamed                       bool
	Other                                *half
}

// half is the other namespace of a federated endpoint.
type half struct {
	Host, URL          string
	Done, Listed, Step bool // we put the certificate there; it has a section of its own; steps follow
}

// Markdown returns the text. It fails where a fact that the reader must rely on
// is not known, with ErrNothing where there is nothing to ask for, and with
// ErrBlocked where the new certificate may not be used.
func (l Letter) Markdown() (string, error) {
	switch {
	case l.Tenant == "" || l.Rotation == "":
		return "", errors.New("writing a hand-over: tenant and rotation must be named")
	case l.Now.IsZero():
		return "", errors.New("writing a hand-over: the time of writing must be known")
	case l.New.SHA1 == "" || l.New.SHA256 == "" || l.New.NotBefore.IsZero() || l.New.NotAfter.IsZero():
		return "", errors.New("writing a hand-over: the new certificate's thumbprints and validity must be known")
	}
	p := page{
		Tenant: code(l.Tenant), Rotation: code(l.Rotation), SHA1: code(l.New.SHA1), SHA256: code(l.New.SHA256),
		Subject: code(l.New.Subject), From: utc(l.New.NotBefore), Until: utc(l.New.NotAfter), Add: utc(l.add()), Keep: utc(l.keep()),
		AtOnce: !l.add().After(l.Now), ByStage: l.byStage(), Retires: l.Retires,
	}
	p.Compromised = compromised(l.Incident)
	for _, t := range l.Tasks {
		if t.Reason == rollover.Blocked {
			return "", fmt.Errorf("writing a hand-over for %q: %w", l.Tenant, ErrBlocked)
		}
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

// add returns until when the new certificate must stand: senders switch to it
// when it becomes valid, unless the rotation wants it sooner.
func (l Letter) add() time.Time {
	if l.byStage() {
		return l.StageDeadline
	}
	return l.New.NotBefore
}

// byStage reports whether the rotation's deadline comes before senders switch.
func (l Letter) byStage() bool {
	return !l.StageDeadline.IsZero() && l.StageDeadline.Before(l.New.NotBefore)
}

// keep returns until when the old certificate must stand: before the new one is
// valid only the old one works, and a sender's clock may be behind.
func (l Letter) keep() time.Time {
	keep := l.New.NotBefore
	if l.Retires && l.RetireNotBefore.After(keep) {
		keep = l.RetireNotBefore
	}
	return keep.Add(rollover.Margin)
}

// block tells one task to the tenant: only its own endpoints are named.
func (l Letter) block(t rollover.Task) (block, bool) {
	if !Needs(t.Outcome) {
		return block{}, false
	}
	mine := t.Item.Tenant == l.Tenant
	federated := t.Reason == rollover.FederatedHalfMissing
	var b block
	for _, e := range t.Item.Endpoints {
		if e.Tenant != l.Tenant {
			continue
		}
		mine = true
		federated = federated || e.Federated
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
	b.Why, b.Do, b.Steps = explain(t.Reason, b.Identity)
	b.Steps = b.Steps && b.URL != "" && b.Identity != ""
	b.Unnamed = t.Reason == rollover.IdentityMissing || t.Reason == rollover.IdentityAmbiguous
	if federated {
		b.Other = l.other(t, b.Steps)
	}
	return b, true
}

// other returns the other half of a federated endpoint's namespace, nil where
// the host does not tell it. What became of it is read from the tenant's tasks.
func (l Letter) other(t rollover.Task, steps bool) *half {
	host := sibling(t.Item.Target.Host)
	if host == "" {
		return nil
	}
	h := &half{Host: code(host), URL: address(host), Step: steps}
	for _, o := range l.Tasks {
		if o.Item.Target.Host != host || o.Item.Target.Identity != t.Item.Target.Identity {
			continue
		}
		own := o.Item.Tenant == l.Tenant || slices.ContainsFunc(o.Item.Endpoints, func(e rollover.EndpointRef) bool { return e.Tenant == l.Tenant })
		h.Listed = h.Listed || own && Needs(o.Outcome)
		h.Done = h.Done || o.Outcome == rollover.Succeeded || o.Reason == rollover.AlreadyPresent
	}
	h.Done = h.Done && !h.Listed
	h.Step = h.Step && !h.Listed && !h.Done
	return h
}

// sibling returns the ACS host that belongs to another by the rule that
// "<ns>-sb" is the Service Bus buddy of "<ns>", or nothing for no host name.
func sibling(host string) string {
	label, rest, ok := strings.Cut(host, ".")
	if !ok || address(host) == "" || label == "" || label == "-sb" {
		return ""
	}
	if plain, ok := strings.CutSuffix(label, "-sb"); ok {
		return plain + "." + rest
	}
	return label + "-sb." + rest
}

package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// find makes the finding for one tenant. An error means that there is none yet.
func (p *Planner) find(ctx context.Context, r rollover.Rotation, id string, a *attempt) (rollover.Finding, error) {
	f := rollover.Finding{V: rollover.RecordVersion, Tenant: id}
	t, err := p.c.Tenants.Tenant(ctx, id)
	switch {
	case errors.Is(err, rollover.ErrNotFound):
		f.Items = whole(r, id, rollover.HandedOver, rollover.NoAccess, "the tenant is no longer in the inventory")
		return f, nil
	case err != nil:
		return f, fmt.Errorf("reading tenant %s: %w", id, err)
	}
	f.Order = t.OrderValues(r.Spec.Strategy.Order)
	if t.Disabled {
		f.Items = whole(r, id, rollover.Skipped, rollover.Disabled, "the tenant is disabled in the inventory")
		return f, nil
	}
	c, err := p.choice(ctx, r, t)
	if err != nil {
		return f, fmt.Errorf("reading the selection of tenant %s: %w", id, err)
	}
	if c.none != nil {
		f.Items = whole(r, id, c.none.Outcome, c.none.Reason, c.none.Err.Error())
		return f, nil
	}
	_, f.Cloud = t.Place()
	org, err := p.list(ctx, t)
	if err != nil {
		s, err := p.notListed(ctx, a, err)
		if err != nil {
			return f, fmt.Errorf("listing tenant %s: %w", id, err)
		}
		f.Items = whole(r, id, s.Outcome, s.Reason, detail(s))
		return f, nil
	}
	a.lists = 0
	f.Version = org.Version
	targets := p.sort(&f, r, t, org)
	if err := p.leaveOut(ctx, r, targets); err != nil {
		return f, err
	}
	c.before(f, targets)
	if err := p.notOthers(ctx, r, targets); err != nil {
		return f, err
	}
	if err := p.observe(ctx, r, targets, a); err != nil {
		return f, fmt.Errorf("reading the targets of tenant %s: %w", id, err)
	}
	seen, err := p.remember(ctx, f, targets)
	if err != nil {
		return f, fmt.Errorf("saving the endpoints of tenant %s: %w", id, err)
	}
	c.after(f, seen, targets)
	for _, g := range targets {
		f.Items = append(f.Items, g.item)
	}
	f.Items = append(f.Items, c.absent(r, f)...)
	if len(f.Items) == 0 {
		f.Items = whole(r, id, rollover.Skipped, rollover.NoTarget, "the organisation has no service endpoints")
	}
	return f, nil
}

// whole returns the one item of a tenant that has no targets to show.
func whole(r rollover.Rotation, tenant string, o rollover.Outcome, why rollover.Reason, text string) []rollover.Item {
	return []rollover.Item{{
		Tenant: tenant, Target: rollover.Target{Kind: r.Spec.Kind}, Outcome: o, Reason: why, Detail: text,
	}}
}

// list reads the tenant's organisation.
func (p *Planner) list(ctx context.Context, t tenants.Tenant) (dataverse.Org, error) {
	ctx, cancel := context.WithTimeout(ctx, p.c.ListTimeout)
	defer cancel()
	l := dataverse.Login{Organization: t.Organization, EntraTenant: t.EntraTenant, ClientID: t.Login.ClientID}
	parts := []struct {
		ref  secrets.Ref
		into *secrets.Secret
	}{{t.Login.Secret, &l.Secret}, {t.Login.Certificate, &l.Certificate}}
	for _, s := range parts {
		if s.ref == "" {
			continue
		}
		var err error
		if *s.into, err = p.c.Secrets.Secret(ctx, s.ref); err != nil {
			return dataverse.Org{}, missing(fmt.Errorf("finding the login of the organisation: %w", err))
		}
	}
	org, err := p.c.Organisations.Organisation(ctx, l)
	if s := ended(err); s == nil || s.Reason != rollover.NoAccess {
		return org, err
	}
	// The login was refused. It may have been changed where it is kept: once with what
	// stands there now.
	changed := false
	for _, s := range parts {
		if s.ref == "" {
			continue
		}
		v, other, aerr := p.c.Secrets.Anew(ctx, s.ref, *s.into)
		switch {
		case errors.Is(aerr, secrets.ErrAway): // Nobody knows yet whether there is another.
			return org, rollover.StoreAway(fmt.Errorf("finding the login of the organisation anew: %w", aerr))
		case aerr == nil && other:
			*s.into, changed = v, true
		}
	}
	if !changed {
		return org, err
	}
	return p.c.Organisations.Organisation(ctx, l)
}

// missing marks the error of a secret: no repetition makes it appear, or its store is
// away, which is not the tenant's failure.
func missing(err error) error {
	if errors.Is(err, secrets.ErrAway) {
		return rollover.StoreAway(err)
	}
	for _, e := range []error{secrets.ErrMissing, secrets.ErrForbidden, secrets.ErrRef} {
		if errors.Is(err, e) {
			return rollover.HandOver(rollover.NoAccess, err)
		}
	}
	return err
}

// notListed says how a failed list ends the planning of the tenant, or returns
// the error that brings the nudge back.
func (p *Planner) notListed(ctx context.Context, a *attempt, err error) (*rollover.StepError, error) {
	if s := ended(err); s != nil {
		return &rollover.StepError{Outcome: s.Outcome, Reason: s.Reason, Err: err}, nil
	}
	if uncounted(ctx, err) {
		return nil, err
	}
	a.lists++
	if a.lists < p.c.Attempts {
		return nil, p.again(a.lists, err)
	}
	return &rollover.StepError{
		Outcome: rollover.Failed, Reason: rollover.InventoryUnreadable,
		Err: fmt.Errorf("after %d tries: %w", a.lists, err),
	}, nil
}

// target is one line of the finding in the making. Lines whose outcome is set
// are decided.
type target struct {
	item  rollover.Item
	plain bool              // the host without -sb of federated endpoints
	seen  []tenants.Carried // what stood there; nil: it was not read
}

// sort fills in the endpoints and returns a line for each host, with all
// endpoints behind it, and one for each endpoint that has none, in the order of
// the endpoints' ids.
func (p *Planner) sort(f *rollover.Finding, r rollover.Rotation, t tenants.Tenant, org dataverse.Org) []*target {
	place := dataverse.Place{Tenant: t.ID, At: org.At, Suffix: org.Cloud.Namespaces()}
	for _, n := range t.Namespaces {
		place.Hosts = append(place.Hosts, n.Host)
	}
	identity := r.Spec.Identity
	if identity == "" {
		identity = t.IdentityName()
	}
	var out []*target
	at := map[string]*target{}
	for _, row := range org.Endpoints {
		m := dataverse.Map(row, place)
		f.Endpoints = append(f.Endpoints, m.Endpoint)
		ref := rollover.EndpointRef{Tenant: t.ID, ID: m.Endpoint.ID, Name: m.Endpoint.Name, Federated: m.Endpoint.Federated}
		it := rollover.Item{
			Tenant: t.ID, Target: rollover.Target{Kind: r.Spec.Kind},
			Outcome: m.Outcome, Reason: m.Reason, Detail: m.Detail, Advice: m.Advice,
		}
		if len(m.Hosts) == 0 {
			it.Endpoints = []rollover.EndpointRef{ref}
			out = append(out, &target{item: it})
		}
		for _, h := range m.Hosts {
			g := at[h.Name]
			if g == nil {
				it.Target.Host, it.Target.Identity = h.Name, identity
				g = &target{item: it, plain: h.Plain}
				g.item.Advice = slices.Clone(m.Advice)
				at[h.Name] = g
				out = append(out, g)
			}
			g.item.Endpoints = append(g.item.Endpoints, ref)
		}
	}
	return out
}

// detail returns the text of an error for people, bounded, without the reason
// that stands beside it.
func detail(err error) string {
	const longest = 500
	var s *rollover.StepError
	text := err.Error()
	if errors.As(err, &s) && s.Reason != rollover.NoReason && error(s) == err { //nolint:errorlint // Only the outermost: what wraps it has more to say.
		text = s.Err.Error()
	}
	if r := []rune(text); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return text
}

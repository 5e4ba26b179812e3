package planner

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// census is where everybody's endpoints are looked up, as planning last saw them.
type census interface {
	List(ctx context.Context) ([]tenants.Tenant, error)
	AllEndpoints(ctx context.Context) (map[string][]tenants.Seen, error)
}

// identity is a service identity on a host, whoever uses it.
type identity struct{ host, name string }

func identityOf(host, name string) identity {
	return identity{strings.ToLower(host), strings.ToLower(name)}
}

// notOthers hands over, in a rotation whose creator has rights to some tenants only, all
// targets behind which another tenant's endpoints hang too: whoever changes an identity
// changes it for all who sign in with it. What is said of it does not name the others.
func (p *Planner) notOthers(ctx context.Context, r rollover.Rotation, targets []*target) error {
	if len(r.Within) == 0 {
		return nil
	}
	others, err := p.others(ctx, r)
	if err != nil {
		return fmt.Errorf("looking who else uses the targets: %w", err)
	}
	for _, k := range targets {
		if k.item.Outcome == rollover.Open && others[identityOf(k.item.Target.Host, k.item.Target.Identity)] {
			k.item.Outcome, k.item.Reason = rollover.HandedOver, rollover.OutOfReach
			k.item.Detail = "endpoints that are not within the rights of who asked for the rotation use the identity too"
		}
	}
	return nil
}

// others returns the identities that tenants use of whom the creator of r may not rotate:
// those on which their endpoints were seen, and those to which they gave us access, where
// nobody may have looked yet. They are read once for each rotation and process.
func (p *Planner) others(ctx context.Context, r rollover.Rotation) (map[identity]bool, error) {
	if out, ok := p.foreign.Get(r.ID); ok {
		return out, nil
	}
	if p.c.Census == nil {
		return nil, fmt.Errorf("nobody says who else uses a target: %w", rollover.ErrUnavailable)
	}
	var within []*filter.Filter
	for _, text := range r.Within {
		f, err := filter.Parse(text, filter.TenantFields())
		if err != nil {
			return nil, fmt.Errorf("reading the rights of who created rotation %s: %w", r.ID, err)
		}
		within = append(within, f)
	}
	list, err := p.c.Census.List(ctx)
	if err != nil {
		return nil, err
	}
	seen, err := p.c.Census.AllEndpoints(ctx)
	if err != nil && !errors.Is(err, rollover.ErrNotFound) {
		return nil, err
	}
	out, theirs := map[identity]bool{}, map[string]bool{}
	for _, t := range list {
		value := filter.TenantValue(t)
		for _, f := range within {
			theirs[t.ID] = theirs[t.ID] || f.Match(value)
		}
		if theirs[t.ID] {
			continue
		}
		for _, n := range t.Namespaces {
			out[identityOf(n.Host, t.IdentityName())] = true
		}
	}
	for id, endpoints := range seen {
		if theirs[id] { // Of one that is not in the inventory nobody knows whose it is.
			continue
		}
		for _, e := range endpoints {
			for _, at := range e.Targets {
				out[identityOf(at.Host, at.Identity)] = true
			}
		}
	}
	p.foreign.Add(r.ID, out)
	return out, nil
}

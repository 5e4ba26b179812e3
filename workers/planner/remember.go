package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// unread returns the endpoints of a finding with their targets, of which nothing is
// known.
func unread(f rollover.Finding, targets []*target) []tenants.Seen {
	on := map[string][]tenants.SeenTarget{}
	for _, k := range targets {
		if k.item.Target.Host == "" {
			continue
		}
		for _, e := range k.item.Endpoints {
			on[e.ID] = append(on[e.ID], tenants.SeenTarget{Host: k.item.Target.Host, Identity: k.item.Target.Identity})
		}
	}
	out := make([]tenants.Seen, len(f.Endpoints))
	for i, e := range f.Endpoints {
		out[i] = tenants.Seen{Endpoint: e, Version: f.Version, Targets: on[e.ID]}
	}
	return out
}

// fresh returns seen as far as it was read in this planning.
func fresh(seen []tenants.Seen, targets []*target) []tenants.Seen {
	read := map[string]bool{}
	for _, k := range targets {
		read[k.item.Target.Host] = read[k.item.Target.Host] || k.seen != nil
	}
	out := slices.Clone(seen)
	for i := range out {
		out[i].Targets = slices.Clone(out[i].Targets)
		for j, t := range out[i].Targets {
			if !read[t.Host] {
				out[i].Targets[j] = tenants.SeenTarget{Host: t.Host, Identity: t.Identity}
			}
		}
	}
	return out
}

// remember saves the endpoints of a finding in the inventory, with what stands on
// their targets, and returns them. Of a target that was not read now, what was last
// read stays.
func (p *Planner) remember(ctx context.Context, f rollover.Finding, targets []*target) ([]tenants.Seen, error) {
	out := unread(f, targets)
	now := map[string][]tenants.Carried{}
	for _, k := range targets {
		if k.seen != nil {
			now[k.item.Target.Host] = k.seen
		}
	}
	var missing []*tenants.SeenTarget
	var of []string // endpoint ids of missing
	for i := range out {
		for j := range out[i].Targets {
			t := &out[i].Targets[j]
			if t.Carries, t.Observed = now[t.Host]; !t.Observed {
				missing, of = append(missing, t), append(of, out[i].ID)
			}
		}
	}
	if len(missing) > 0 {
		old, err := p.c.Tenants.Endpoints(ctx, f.Tenant)
		if err != nil && !errors.Is(err, rollover.ErrNotFound) {
			return nil, fmt.Errorf("reading what was last seen: %w", err)
		}
		last := lastRead(old)
		for i, t := range missing {
			if was, ok := last[[3]string{of[i], t.Host, t.Identity}]; ok {
				*t = was
			}
		}
	}
	return out, p.c.Tenants.SaveEndpoints(ctx, f.Tenant, out)
}

// lastRead returns the targets that were read before by endpoint, host and identity.
func lastRead(old []tenants.Seen) map[[3]string]tenants.SeenTarget {
	out := map[[3]string]tenants.SeenTarget{}
	for _, s := range old {
		for _, t := range s.Targets {
			if t.Observed {
				out[[3]string{s.ID, t.Host, t.Identity}] = t
			}
		}
	}
	return out
}

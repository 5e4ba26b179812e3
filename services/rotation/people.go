package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/services/edge"
)

// people judges for one call, by the rights of now, who is whom and who may still
// approve a rotation. It is used by one goroutine.
type people struct {
	rollover.People

	actor rollover.Someone
	s     *Service
	ctx   context.Context //nolint:containedctx // It lives as long as the call.
	id    string          // of the rotation
	of    []tenants.Tenant
	read  bool
	lost  bool // one of the rotation's tenants is not in the inventory any more

	err error // why it could not be judged whose word counts; then nobody's does
}

// people returns who is whom in the call, for one rotation.
func (s *Service) people(ctx context.Context, id string) *people {
	p := &people{s: s, ctx: ctx, id: id, actor: rollover.Someone{Name: edge.Caller(ctx), Subject: edge.Subject(ctx).Name}}
	if s.c.Rights != nil {
		table := s.c.Rights()
		p.Person = table.Person
		p.Counts = func(a rollover.Approval) bool { return p.mayStill(table, a) }
	}
	return p
}

// approved says whether enough others have approved what the caller does.
func (p *people) approved(r rollover.Rotation, act rollover.Act, subject string, need int, now time.Time) error {
	who := p.People
	who.Actor = p.actor
	err := r.Approved(act, subject, need, now, who)
	if p.err != nil {
		return p.err
	}
	return err
}

// mayStill reports whether who approved has the right to, for every tenant of the
// rotation as that is now. A word that was given without a proof does not count where
// proofs are asked for.
func (p *people) mayStill(table *rights.Table, a rollover.Approval) bool {
	if a.Proven == "" {
		return false
	}
	var groups []string
	if a.Groups != "" {
		groups = strings.Split(a.Groups, "\n")
	}
	reach := table.Held(a.Proven, groups).Reach(rights.Approve)
	if reach.All() || reach.None() {
		return reach.All()
	}
	if err := p.load(); err != nil {
		p.err = err
		return false
	}
	for _, t := range p.of {
		if !reach.Has(t) {
			return false
		}
	}
	return !p.lost
}

// load reads the rotation's tenants, once.
func (p *people) load() error {
	if p.read {
		return nil
	}
	ids, err := p.s.c.Store.SelectedTenants(p.ctx, p.id)
	if err != nil {
		return fmt.Errorf("reading the selection of rotation %s: %w", p.id, err)
	}
	find := func(id string) (tenants.Tenant, error) { return p.s.c.Tenants.Tenant(p.ctx, id) }
	if len(ids) > fewTenants {
		list, err := p.s.c.Tenants.List(p.ctx)
		if err != nil {
			return fmt.Errorf("listing tenants: %w", err)
		}
		all := make(map[string]tenants.Tenant, len(list))
		for _, t := range list {
			all[t.ID] = t
		}
		find = func(id string) (tenants.Tenant, error) {
			if t, ok := all[id]; ok {
				return t, nil
			}
			return tenants.Tenant{}, rollover.ErrNotFound
		}
	}
	for _, id := range ids {
		t, err := find(id)
		switch {
		case errors.Is(err, rollover.ErrNotFound):
			p.lost = true
		case err != nil:
			return fmt.Errorf("reading tenant %s: %w", id, err)
		default:
			p.of = append(p.of, t)
		}
	}
	p.read = true
	return nil
}

// signed returns an approval in the caller's name, with what it was proven by.
func (s *Service) signed(ctx context.Context, a rollover.Approval) rollover.Approval {
	who := edge.Subject(ctx)
	a.By, a.Proven = edge.Caller(ctx), who.Name
	if s.c.Rights != nil {
		a.Groups = strings.Join(s.c.Rights().Granting(who.Groups, rights.Approve), "\n")
	}
	return a
}

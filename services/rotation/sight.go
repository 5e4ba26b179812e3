package rotation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// extent is how much of a rotation a caller may see.
type extent int

const (
	unseen extent = iota // none of its tenants: there is no such rotation
	partly               // some: its outline, and the tasks of those
	wholly               // all: everything, and it may be changed
)

// extents remembers how much of which rotation is seen by whom. A selection never
// changes, so what is remembered holds.
type extents struct{ seen *lru.Cache[extentKey, extent] }

type extentKey struct{ rotation, sight string }

// cachedExtents bounds what is remembered, at some 200 bytes each.
const cachedExtents = 50_000

func newExtents() *extents {
	c, err := lru.New[extentKey, extent](cachedExtents)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &extents{c}
}

// extent returns how much of a rotation is in sight.
func (s *Service) extent(ctx context.Context, in edge.Sight, id string) (extent, error) {
	if in.All() {
		return wholly, nil
	}
	key := extentKey{id, in.Key()}
	if e, ok := s.extents.seen.Get(key); ok {
		return e, nil
	}
	of, err := s.c.Store.SelectedTenants(ctx, id)
	if err != nil {
		return unseen, fmt.Errorf("reading the selection of rotation %s: %w", id, err)
	}
	e := unseen
	switch {
	case len(of) > 0 && in.HasAll(of):
		e = wholly
	case in.HasAny(of):
		e = partly
	}
	s.extents.seen.Add(key, e)
	return e, nil
}

// may refuses a change of a rotation that is not wholly the caller's. Of one of which
// nothing is in sight nobody learns that it is there.
func (s *Service) may(ctx context.Context, name string) error {
	in, err := s.sights.Now(ctx)
	if err != nil {
		return err
	}
	id, _ := edge.ParseRotation(name)
	switch e, err := s.extent(ctx, in, id); {
	case err != nil:
		return edge.About(name, err)
	case e == unseen:
		return edge.About(name, rollover.ErrNotFound) // Word for word as if there were none.
	case e == partly:
		return edge.Denied(edge.Scope(ctx))
	}
	return nil
}

// lens shows what is in sight of one rotation.
type lens struct {
	in     edge.Sight
	extent extent
}

// lens returns what the caller of a reading call sees of a rotation, or that there is
// none.
func (s *Service) lens(ctx context.Context, name, id string) (lens, error) {
	in, err := s.sights.Of(ctx)
	if err != nil {
		return lens{}, err
	}
	e, err := s.extent(ctx, in, id)
	if err != nil {
		return lens{}, edge.About(name, err)
	}
	if e == unseen {
		return lens{}, edge.About(name, rollover.ErrNotFound)
	}
	return lens{in, e}, nil
}

// whole reports whether nothing is left out.
func (l lens) whole() bool { return l.extent == wholly }

// mark is "" where all is in sight, and else stands for the tenants that are.
func (l lens) mark() string {
	if l.whole() {
		return ""
	}
	h := sha256.Sum256([]byte(l.in.Key()))
	return hex.EncodeToString(h[:8])
}

// rotation shows a rotation: all of it, or its outline.
func (l lens) rotation(p *pb.Rotation) *pb.Rotation {
	if l.whole() {
		return p
	}
	return outline(p)
}

// outline leaves of a rotation what says nothing of who else is in it: no counts, no
// filter, no words that people wrote. What is to be shown is named; what is added to
// the contract later is not.
func outline(p *pb.Rotation) *pb.Rotation {
	spec := p.GetSpec()
	return &pb.Rotation{
		Name: p.GetName(), State: p.GetState(), Phase: p.GetPhase(), Partial: true,
		Spec: &pb.RotationSpec{
			Kind: spec.GetKind(), Certificate: spec.GetCertificate(), Replaces: spec.GetReplaces(), ReplacesSameSubject: spec.GetReplacesSameSubject(),
			RetireNotBefore: spec.GetRetireNotBefore(),
		},
		CreateTime: p.GetCreateTime(), PlanTime: p.GetPlanTime(), StartTime: p.GetStartTime(), EndTime: p.GetEndTime(),
		RetireNotBefore: p.GetRetireNotBefore(),
	}
}

// tasks returns those tasks that are in sight, as they are to be shown.
func (l lens) tasks(ks []rollover.Task) []rollover.Task {
	if l.whole() {
		return ks
	}
	var out []rollover.Task
	for _, k := range ks {
		if k, ok := l.task(k); ok {
			out = append(out, k)
		}
	}
	return out
}

// task returns a task as it is to be shown, and false where it is not in sight. A
// target that several tenants share is shown to each of them as theirs.
func (l lens) task(k rollover.Task) (rollover.Task, bool) {
	if l.whole() {
		return k, true
	}
	var theirs []rollover.EndpointRef
	for _, e := range k.Item.Endpoints {
		if l.in.Has(e.Tenant) {
			theirs = append(theirs, e)
		}
	}
	switch {
	case l.in.Has(k.Item.Tenant):
	case len(theirs) > 0:
		k.Item.Tenant = theirs[0].Tenant
	default:
		return rollover.Task{}, false
	}
	k.Item.Endpoints = theirs
	return k, true
}

// drift reports whether what a check found of a target is in sight.
func (l lens) drift(t mirror.Seen) bool { return l.extent != unseen && l.in.Has(t.Tenant) }

// within returns those of ids that are in sight.
func within(in edge.Sight, ids []string) []string {
	if in.All() {
		return ids
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !in.Has(id) })
}

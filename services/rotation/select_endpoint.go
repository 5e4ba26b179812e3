package rotation

import (
	"context"
	"errors"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// endpointFilter returns a problem if a filter over endpoints cannot be read. It is
// evaluated by planning.
func endpointFilter(text string) error {
	_, err := edge.ParseFilterAt("rotation.spec.target.endpoint_filter", text, filter.PlannedFields())
	return err
}

// selection resolves a selector to the ids of tenants, in a fixed order, and notes in
// the spec which target set they are from.
func (s *Service) selection(ctx context.Context, spec *rollover.Spec, t *pb.TargetSelector) ([]string, error) {
	in, err := s.sights.Now(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := t.GetSelection().(*pb.TargetSelector_Tenants); ok && !in.All() {
		// Before it is looked which of them are there: nobody learns it by being refused.
		for _, n := range t.GetTenants().GetNames() {
			if id, _ := edge.ParseTenant(n); !in.Has(id) {
				return nil, edge.Denied(edge.Scope(ctx))
			}
		}
	}
	ids, err := s.selected(ctx, in, spec, t)
	if err != nil {
		return nil, err
	}
	// Whatever the way to them, each one must be the caller's.
	if !in.HasAll(ids) {
		return nil, edge.Denied(edge.Scope(ctx))
	}
	return ids, nil
}

// selected is selection before the rights of the caller are checked on each tenant.
func (s *Service) selected(ctx context.Context, in edge.Sight, spec *rollover.Spec, t *pb.TargetSelector) ([]string, error) {
	name := t.GetTargetSet()
	if name == "" {
		return s.tenants(ctx, in, t)
	}
	id, _ := edge.ParseTargetSet(name)
	set, err := s.c.TargetSets.Set(ctx, id)
	if err == nil && !in.All() && set.By != edge.Caller(ctx) {
		err = rollover.ErrNotFound // As TargetSetService tells it.
	}
	if err != nil {
		return nil, edge.About(name, err)
	}
	if !set.Ready() {
		why := fmt.Sprintf("the target set has %d of its %d rows; add the others first", set.Rows, set.Expected)
		return nil, edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, why, &edge.Unmet{Type: "STATE", Subject: name, Description: why})
	}
	rows, err := s.c.TargetSets.Rows(ctx, id, set.Digest)
	if errors.Is(err, rollover.ErrNotFound) { // Removed, or another one since.
		return nil, edge.About(name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading target set %s: %w", id, err)
	}
	spec.TargetSet, spec.TargetSetDigest = id, set.Digest
	return rows.Tenants(), nil
}

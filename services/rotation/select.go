package rotation

import (
	"context"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/services/edge"
)

// matching returns the ids of the tenants that a filter selects now, sorted.
func (s *Service) matching(ctx context.Context, in edge.Sight, text string) ([]string, error) {
	wanted, err := edge.ParseFilter(text, filter.TenantFields())
	if err != nil {
		return nil, err
	}
	list, err := s.c.Tenants.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	var ids []string
	seen := 0
	for _, t := range list {
		if !in.Has(t.ID) {
			continue
		}
		if seen++; wanted.Match(filter.TenantValue(t)) {
			ids = append(ids, t.ID)
		}
	}
	if len(ids) == 0 {
		return nil, edge.Invalid(edge.Violated("rotation.spec.target.filter", "RANGE",
			fmt.Sprintf("selects none of the %d tenants of the inventory", seen)))
	}
	slices.Sort(ids)
	return ids, nil
}

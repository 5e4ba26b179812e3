package conductor

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// discoveries returns the discoveries of which it is not summed up yet what came of
// them: those under way, and those that were cancelled since.
func (t *turn) discoveries() []mirror.View {
	var out []mirror.View
	for _, v := range t.Mirror.Discoveries() {
		if r := v.Rotation; r.Discovered == nil && (r.State == rollover.StatePlanning || r.State == rollover.StateCancelled) {
			out = append(out, v)
		}
	}
	return out
}

// conclude ends a discovery with what was found for its tenants. The endpoints were
// stored tenant by tenant, as they were found.
func (t *turn) conclude(ctx context.Context, r rollover.Rotation) error {
	found, err := t.Store.Findings(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("reading findings: %w", err)
	}
	d := rollover.Tallied(found)
	if r.State == rollover.StatePlanning && d.Tenants != r.Tenants { // The mirror was told, so they will be there.
		return fmt.Errorf("findings of %d tenants, %d are to come: %w", d.Tenants, r.Tenants, rollover.ErrNotFound)
	}
	if r, err = r.Conclude(d, t.Now()); err != nil {
		return err
	}
	if _, err = t.Store.SaveRotation(ctx, r); err != nil {
		return fmt.Errorf("saving discovery %s: %w", r.ID, err)
	}
	t.Log.InfoContext(ctx, "endpoints discovered", "rotation", r.ID, "state", r.State, "tenants", d.Tenants, "unreachable", d.Unreached,
		"endpoints", d.Endpoints, "targets", d.Targets, "read", d.Read)
	return nil
}

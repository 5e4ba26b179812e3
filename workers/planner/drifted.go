package planner

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// drifts is where the parts of checks are read: what a repair is for.
type drifts interface {
	CheckParts(ctx context.Context, rotation string) (map[int]rollover.CheckPart, error)
}

// leaveOut marks, in a rotation over the drifted targets of another, all targets
// that did not drift as not selected. A target is selected with every target of
// the same endpoints: the old credential of an endpoint goes when all of them hold
// the new one.
func (p *Planner) leaveOut(ctx context.Context, r rollover.Rotation, targets []*target) error {
	if r.Spec.DriftedOf == "" {
		return nil
	}
	want, err := p.drifted(ctx, r)
	if err != nil {
		return fmt.Errorf("reading which targets of rotation %s drifted: %w", r.Spec.DriftedOf, err)
	}
	behind := map[string]bool{} // endpoints of drifted targets
	for _, k := range targets {
		if want[k.item.Target] {
			for _, e := range k.item.Endpoints {
				behind[e.ID] = true
			}
		}
	}
	for _, k := range targets {
		selected := false
		for _, e := range k.item.Endpoints {
			selected = selected || behind[e.ID]
		}
		if selected {
			continue
		}
		k.item.Outcome, k.item.Reason = rollover.Skipped, rollover.NotSelected
		k.item.Detail = "it was not found to be drifted"
	}
	return nil
}

// drifted returns the targets of the rotation that r repairs on which a check
// found something that a rotation mends. They are read once for each rotation and
// process: a check that ends meanwhile changes nothing in a plan.
func (p *Planner) drifted(ctx context.Context, r rollover.Rotation) (map[rollover.Target]bool, error) {
	if want, ok := p.repairs.Get(r.ID); ok {
		return want, nil
	}
	if p.c.Drifts == nil {
		return nil, fmt.Errorf("nobody says what drifted: %w", rollover.ErrUnavailable)
	}
	parts, err := p.c.Drifts.CheckParts(ctx, r.Spec.DriftedOf)
	if err != nil {
		return nil, err
	}
	want := map[rollover.Target]bool{}
	for _, part := range parts {
		for _, d := range part.Targets {
			if d.Repairable() {
				want[d.Target] = true
			}
		}
	}
	p.repairs.Add(r.ID, want)
	return want, nil
}

package planner_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/workers/planner"
)

const repaired = "0192f0c1-0000-7000-8000-000000000000"

// repair makes the rotation one over what drifted of another.
func (h *house) repair(drifts map[string]rollover.DriftKind) {
	h.t.Helper()
	r, err := h.Memory.Rotation(h.t.Context(), rotation)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Spec.DriftedOf = repaired
	if _, err := h.SaveRotation(h.t.Context(), r); err != nil {
		h.t.Fatal(err)
	}
	n := 0
	for host, kind := range drifts {
		target := rollover.Target{Kind: rollovertest.Kind, Host: host, Identity: "crm4.dynamics.com"}
		p := rollover.CheckPart{Check: 1, Looked: 64, Targets: []rollover.Drifted{{Target: target, Drifts: []rollover.Drift{{Kind: kind}}}}}
		if _, err := h.SaveCheckPart(h.t.Context(), repaired, n, p, 0); err != nil {
			h.t.Fatal(err)
		}
		n++
	}
}

func withDrifts(h *house) func(*planner.Config) {
	return func(c *planner.Config) { c.Drifts = h.Memory }
}

// Only what a rotation mends is planned, with the other half of a federated
// endpoint; nothing else is even looked at.
func TestPlan_OnlyWhatDrifted(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha"), row(2, "beta", federated), row(3, "gamma"), row(4, "delta", sas), row(5, "epsilon"))
	h.repair(map[string]rollover.DriftKind{
		"beta.accesscontrol.windows.net":       rollover.DriftNewMissing,
		"gamma-sb.accesscontrol.windows.net":   rollover.DriftForeignAdded,
		"epsilon-sb.accesscontrol.windows.net": rollover.DriftUnreadable,
	})
	f := h.plan(h.planner(withDrifts(h)))
	h.wantItems(f,
		"alpha-sb.accesscontrol.windows.net skipped/not_selected 1",
		"beta-sb.accesscontrol.windows.net / 2",
		"beta.accesscontrol.windows.net / 2",
		"gamma-sb.accesscontrol.windows.net skipped/not_selected 3",
		"skipped/not_selected 4",
		"epsilon-sb.accesscontrol.windows.net skipped/not_selected 5",
	)
	if len(h.looked) != 2 {
		t.Errorf("looked at %v, want the two halves of beta only", h.looked)
	}
}

// failing is a store of checks that does not answer.
type failing struct{}

func (failing) CheckParts(context.Context, string) (map[int]rollover.CheckPart, error) {
	return nil, fmt.Errorf("no answer: %w", rollover.ErrUnavailable)
}

// Where nobody can say what drifted, nothing is planned: all would be too much,
// and none would look as if all were well.
func TestPlan_WithoutWordOfWhatDriftedThereIsNoFinding(t *testing.T) {
	for name, change := range map[string]func(*planner.Config){
		"nobody":    func(*planner.Config) {},
		"no answer": func(c *planner.Config) { c.Drifts = failing{} },
	} {
		h := newHouse(t)
		h.repair(nil)
		if err := h.planner(change).Plan(t.Context(), nudge(0)); !errors.Is(err, rollover.ErrUnavailable) {
			t.Errorf("%s: Plan = %v, want unavailable", name, err)
		}
		if f, ok := h.finding(0); ok {
			t.Errorf("%s: finding %+v, want none", name, f)
		}
	}
}

package planner_test

import (
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Planning notes the tenant's values for the order of the plan, also of a tenant
// of which there is nothing to be done.
func TestPlan_NotesTheValuesOfTheOrder(t *testing.T) {
	for _, disabled := range []bool{false, true} {
		h := newHouse(t)
		tenant := h.tenants["contoso"]
		tenant.Organization, tenant.Labels, tenant.Disabled = "https://contoso.crm9.dynamics.com", map[string]string{"tier": "gold"}, disabled
		h.tenants["contoso"] = tenant
		r, err := h.Memory.Rotation(t.Context(), rotation)
		if err != nil {
			t.Fatal(err)
		}
		r.Spec.Strategy.Order = []rollover.OrderKey{{By: rollover.ByLabel, Label: "tier"}, {By: rollover.ByCloud}, {By: rollover.ByLabel, Label: "ring"}}
		if _, err := h.SaveRotation(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if f := h.plan(h.planner()); !slices.Equal(f.Order, []string{"gold", "gcc", ""}) {
			t.Errorf("disabled %v: finding.Order = %q, want gold, gcc and nothing", disabled, f.Order)
		}
	}
}

package planner_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// A discovery leaves in the inventory what planning leaves there, and of its own only
// counts and what could not be read.
func TestPlan_ADiscoveryIsAPlanningThatKeepsLittle(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha"), row(2, "beta", federated), row(3, "gamma"), row(4, "delta", sas))
	h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		if strings.HasPrefix(w.Target.Host, "gamma") {
			return rollover.Observation{}, rollover.HandOver(rollover.NoAccess, errors.New("answer 401"))
		}
		return h.standing(h.old), nil
	}
	r, err := h.Memory.Rotation(t.Context(), rotation)
	if err != nil {
		t.Fatal(err)
	}
	h.new = rollover.Credential{} // There is none.
	r.Spec = rollover.Spec{Purpose: rollover.ToDiscover, Kind: r.Spec.Kind, MaxInFlight: 1, MaxTries: 1}
	if _, err := h.SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	f := h.plan(h.planner())
	h.wantItems(f, "gamma-sb.accesscontrol.windows.net handed_over/no_access")
	if want := (rollover.Tally{Tenants: 1, Endpoints: 4, Targets: 4, Read: 3}); f.Discovered == nil || *f.Discovered != want {
		t.Errorf("counted %+v, want %+v", f.Discovered, want)
	}
	found := h.endpoints["contoso"]
	own := newHouse(t)
	own.list, own.look, own.old = h.list, h.look, h.old
	own.plan(own.planner())
	if planned := own.endpoints["contoso"]; !reflect.DeepEqual(found, planned) || len(found) != 4 {
		t.Errorf("the inventory has %+v\nplanning leaves %+v", found, planned)
	}
}

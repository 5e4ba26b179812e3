package mirror_test

import (
	"errors"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// A discovery is no rotation for whoever lists, reads or watches those.
func TestMirror_ADiscoveryIsNoRotation(t *testing.T) {
	s, _, r := open(t, 1)
	d, err := s.CreateRotation(t.Context(), rollover.Rotation{
		V: 1, ID: "d1", State: rollover.StatePlanning, Tenants: 2, Spec: rollover.Spec{Purpose: rollover.ToDiscover},
	}, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SaveFinding(t.Context(), d.ID, 1, rollover.Finding{Tenant: "b"}.Discovery()); err != nil {
		t.Fatal(err)
	}
	m := follow(t, s)
	if all := m.Rotations(); len(all) != 1 || all[0].Rotation.ID != r.ID {
		t.Errorf("rotations are %+v", all)
	}
	if _, err := m.Rotation(t.Context(), d.ID); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Rotation of a discovery = %v, want ErrNotFound", err)
	}
	if _, err := m.Watch(d.ID, nil); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Watch of a discovery = %v, want ErrNotFound", err)
	}
	if all := m.Discoveries(); len(all) != 1 || all[0].Rotation.ID != d.ID || m.Found(d.ID) != 1 || !m.Planning(d.ID) {
		t.Errorf("discoveries are %+v, %d findings", all, m.Found(d.ID))
	}
	if d, err = d.Conclude(rollover.Discovered{}, rollovertest.Epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SaveRotation(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if m = follow(t, s); m.Planning(d.ID) {
		t.Error("a discovery that has ended is still being planned")
	}
}

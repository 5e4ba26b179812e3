package mirror

import (
	"slices"
	"strings"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Discoveries returns all discoveries, in the order of their ids.
func (m *Mirror) Discoveries() []View {
	m.mu.Lock()
	var out []View
	for _, e := range m.rotations {
		if e.rotation.Discovers() {
			out = append(out, View{Rotation: e.rotation})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b View) int { return strings.Compare(a.Rotation.ID, b.Rotation.ID) })
	return out
}

// Planning reports whether tenants of a rotation, or of a discovery, are still to be
// looked at.
func (m *Mirror) Planning(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.rotations[id]
	return e != nil && e.rotation.State == rollover.StatePlanning
}

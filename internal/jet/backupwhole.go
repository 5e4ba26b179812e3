package jet

import (
	"fmt"
	"maps"
	"slices"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// belongings notes, of a copy of rotations, what each one has. A server whose files were
// damaged can lack single messages, and says nothing of it: a back-up of such a store
// would take the place of a good one.
type belongings struct {
	records   map[string]rollover.Rotation
	selection map[string]bool
	plan      map[string]map[int]bool // chunks
}

// note takes in a message of the stream of rotations.
func (o *belongings) note(e event) {
	a, err := parseAddress(e.subject)
	if err != nil {
		return // A newer build may keep more under a rotation than we know.
	}
	if o.records == nil {
		o.records, o.selection, o.plan = map[string]rollover.Rotation{}, map[string]bool{}, map[string]map[int]bool{}
	}
	switch a.prefix {
	case recordPrefix:
		if a.n >= 0 { // A part of a large one.
			return
		}
		delete(o.records, a.rotation)
		if r, err := decode[rollover.Rotation](e.data); err == nil { // Else it is a newer build's, or in parts.
			o.records[a.rotation] = r
		}
	case selectionPrefix:
		o.selection[a.rotation] = true
	case planPrefix:
		if o.plan[a.rotation] == nil {
			o.plan[a.rotation] = map[int]bool{}
		}
		o.plan[a.rotation][a.n] = true
	}
}

// missing says what a rotation lacks, or nothing. One that was deleted has nothing any more.
func (o *belongings) missing() error {
	for _, id := range slices.Sorted(maps.Keys(o.records)) {
		r := o.records[id]
		chunks := 0
		if r.Digest != "" {
			chunks = (r.Tasks + planChunk - 1) / planChunk
		}
		switch {
		case !r.Gone.IsZero():
		case !o.selection[id]:
			return fmt.Errorf("the store has lost records: rotation %s has no selection", id)
		case len(o.plan[id]) < chunks:
			return fmt.Errorf("the store has lost records: rotation %s has %d of %d parts of its plan", id, len(o.plan[id]), chunks)
		}
	}
	return nil
}

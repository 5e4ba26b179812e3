package mirror

import (
	"slices"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// checks is what is stored of one rotation's checks for drift.
type checks struct {
	parts  map[int]rollover.CheckPart
	seqs   map[int]uint64
	counts rollover.DriftCounts // the fold of parts
}

// Seen is a target that drifted or could not be read, and when a check saw that.
type Seen struct {
	rollover.Drifted
	At time.Time
}

// foldCheck takes in a part of a check.
func (m *Mirror) foldCheck(c rollover.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.checks[c.Check.Rotation]
	if k == nil {
		k = &checks{parts: map[int]rollover.CheckPart{}, seqs: map[int]uint64{}}
		m.checks[c.Check.Rotation] = k
	}
	n := c.Check.Part
	if c.Seq <= k.seqs[n] {
		return
	}
	if old, ok := k.parts[n]; ok {
		k.counts.Add(old, -1)
	}
	k.parts[n], k.seqs[n] = c.Check.Result, c.Seq
	k.counts.Add(c.Check.Result, 1)
	e := m.entry(c.Check.Rotation)
	e.seq, m.taskSeq = max(e.seq, c.Seq), max(m.taskSeq, c.Seq)
	for w := range m.watches {
		w.checkChanged(c.Check.Rotation, c.Seq)
	}
}

// checkChanged is called with mu held.
func (w *Watch) checkChanged(id string, seq uint64) {
	if w.id == id && seq > w.told.Tasks {
		w.view = true
		w.poke()
	}
}

// CheckedPart reports whether a part of the check of that number is stored.
func (m *Mirror) CheckedPart(id rollover.TaskID, check int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.checks[id.Rotation]
	return k != nil && k.parts[id.Ord].Check >= check
}

// Unchecked returns up to limit of a rotation's parts that the check which runs
// has not been at, lowest first.
func (m *Mirror) Unchecked(r rollover.Rotation, limit int) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.checks[r.ID]
	var out []int
	for n := 0; n < r.CheckParts() && len(out) < limit; n++ {
		if k == nil || k.parts[n].Check < r.Check.Number {
			out = append(out, n)
		}
	}
	return out
}

// Drifts returns the targets of a rotation that drifted or could not be read, as
// last seen, in the order of the plan, and when each was seen so. Callers must not
// write to them.
func (m *Mirror) Drifts(id string) []Seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.checks[id]
	if k == nil {
		return nil
	}
	var out []Seen
	for _, p := range k.parts {
		for _, d := range p.Targets {
			out = append(out, Seen{Drifted: d, At: p.At})
		}
	}
	slices.SortFunc(out, func(a, b Seen) int { return a.Ord - b.Ord })
	return out
}

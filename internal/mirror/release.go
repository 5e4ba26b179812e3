package mirror

import (
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Due is a task that may be sent to a worker, as it was when that was decided.
type Due struct {
	Ord    int
	Seq    uint64 // version of its state
	Opened int    // see [rollover.Progress.Opened]
}

// Releasable returns up to limit tasks of r that may be sent to a worker now. See
// [rollover.Board.Releasable].
func (m *Mirror) Releasable(r rollover.Rotation, limit int, now time.Time) []Due {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.rotations[r.ID]
	if e == nil || e.board == nil {
		return nil
	}
	ords := e.board.Releasable(r, limit, now)
	out := make([]Due, 0, len(ords))
	for _, ord := range ords {
		row := e.board.Row(ord)
		out = append(out, Due{ord, row.Seq, row.Opened()})
	}
	return out
}

// Troubled returns the tasks of a rotation that were held up. See
// [rollover.Board.Troubled].
func (m *Mirror) Troubled(id string) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.rotations[id]; e != nil && e.board != nil {
		return e.board.Troubled()
	}
	return nil
}

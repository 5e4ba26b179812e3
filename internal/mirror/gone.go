package mirror

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// sweepGone is after how many deletions it is looked for old ones to forget.
const sweepGone = 256

// errGone returns what a reader of a deleted rotation is told.
func errGone(id string) error { return fmt.Errorf("rotation %s: %w", id, rollover.ErrGone) }

// foldGone takes in that a rotation was deleted: nothing is kept of it but that.
// Those who watch it are told. It holds for what is told late of it, too.
func (m *Mirror) foldGone(r rollover.Rotation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(r.ID)
	m.gone[r.ID] = r.Gone
	if len(m.gone)%sweepGone != 0 {
		return
	}
	// Followers are not told when the record itself goes. It has gone by then.
	for id, at := range m.gone {
		if r.Gone.Sub(at) > 2*rollover.GoneFor {
			delete(m.gone, id)
		}
	}
}

// forget drops all that is kept of a rotation. The caller holds mu.
func (m *Mirror) forget(id string) {
	for w := range m.watches {
		if w.id == id {
			w.end()
			delete(m.watches, w)
		}
	}
	if e := m.rotations[id]; e != nil && e.crowd != nil {
		for w := range e.crowd.members {
			w.crowd = nil
			w.end()
		}
		e.crowd = nil
	}
	delete(m.rotations, id)
	delete(m.findings, id)
	delete(m.checks, id)
	delete(m.indexes, id)
	delete(m.unread, id)
}

// end tells the reader that there is nothing more to come. The caller holds mu.
func (w *Watch) end() {
	w.gone = true
	w.dirty = nil
	w.poke()
}

// ended returns an error if the rotation was deleted.
func (w *Watch) ended() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.gone {
		return errGone(w.id)
	}
	return nil
}

// isGone reports whether what is told belongs to a rotation that was deleted.
func (m *Mirror) isGone(c rollover.Change) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := ""
	switch {
	case c.Task != nil:
		id = c.Task.ID.Rotation
	case c.Check != nil:
		id = c.Check.Rotation
	case c.Finding != nil:
		id = c.Finding.Rotation
	}
	_, ok := m.gone[id]
	return ok
}

// lost reports whether a plan cannot be read because its rotation was deleted
// since its record was told. That it is gone is told next.
func lost(err error) bool { return errors.Is(err, rollover.ErrGone) }

// Gone is a rotation that was deleted.
type Gone struct {
	ID string
	At time.Time // when
}

// Gone returns the rotations that were deleted and are still remembered, the
// first first.
func (m *Mirror) Gone() []Gone {
	m.mu.Lock()
	out := make([]Gone, 0, len(m.gone))
	for id, at := range m.gone {
		out = append(out, Gone{id, at})
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b Gone) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Forgotten takes in that nothing is stored any more of a rotation that was
// deleted.
func (m *Mirror) Forgotten(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.gone, id)
}

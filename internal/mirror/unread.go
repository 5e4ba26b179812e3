package mirror

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// readAgainEvery is how long a plan that could not be read is left alone. A store that
// was damaged is mended by hand, and nobody has to restart what reads it.
const readAgainEvery = 20 * time.Second

// unread is a rotation whose record was told and whose plan could not be read. It is not
// listed, and nothing is done for it.
type unread struct {
	rotation rollover.Rotation // the newest record
	err      error
}

// error returns what a reader is told. It is none of the store's errors: that the
// rotation is there is known.
func (u unread) error() error {
	return fmt.Errorf("the plan of rotation %s cannot be read: %v", u.rotation.ID, u.err) //nolint:errorlint // See above.
}

// cannotRead takes in that the plan of r could not be read, and says so once.
func (m *Mirror) cannotRead(ctx context.Context, r rollover.Rotation, err error) {
	if ctx.Err() != nil { // We stop, and nobody knows.
		return
	}
	m.mu.Lock()
	_, known := m.unread[r.ID]
	m.unread[r.ID] = unread{r, err}
	m.mu.Unlock()
	if !known {
		m.log.Error("a plan cannot be read: its rotation is not listed and stands still", "rotation", r.ID, "error", err)
	}
}

// canRead takes in that the plan of a rotation was read. The caller holds mu.
func (m *Mirror) canRead(id string) {
	if _, ok := m.unread[id]; ok {
		delete(m.unread, id)
		m.log.Info("a plan can be read again", "rotation", id)
	}
}

// Unread returns how many rotations are not listed because their plans cannot be read.
func (m *Mirror) Unread() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unread)
}

// readAgain tries the plans that could not be read until ctx ends.
func (m *Mirror) readAgain(ctx context.Context) {
	t := time.NewTicker(readAgainEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		m.mu.Lock()
		left := slices.Collect(maps.Values(m.unread))
		m.mu.Unlock()
		for _, u := range left {
			m.readOneAgain(ctx, u.rotation)
		}
	}
}

// readOneAgain tries the plan of r, of which the feed may tell meanwhile.
func (m *Mirror) readOneAgain(ctx context.Context, r rollover.Rotation) {
	board, err := m.readBoard(ctx, r)
	if lost(err) {
		m.mu.Lock()
		m.forget(r.ID)
		m.mu.Unlock()
	}
	if err != nil {
		return
	}
	m.take(r, board)
}

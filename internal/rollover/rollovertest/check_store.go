package rollovertest

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// CheckPart reads what the last check found on one part of a rotation, with its
// version; the zero part and 0 where none was stored.
func (m *Memory) CheckPart(_ context.Context, rotation string, n int) (rollover.CheckPart, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, ok := m.checks[rotation][n]
	if !ok {
		return rollover.CheckPart{}, 0, nil
	}
	return decode[rollover.CheckPart](rec.json), rec.rev, nil
}

// SaveCheckPart stores a part if rev is still the stored version, and tells the
// followers; else it returns [rollover.ErrConflict].
func (m *Memory) SaveCheckPart(_ context.Context, rotation string, n int, p rollover.CheckPart, rev uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.checks[rotation][n].rev != rev {
		return 0, fmt.Errorf("part %d of the check of %s: %w", n, rotation, rollover.ErrConflict)
	}
	if m.checks[rotation] == nil {
		m.checks[rotation] = map[int]record{}
	}
	p.V = rollover.RecordVersion
	rec := m.put(p)
	m.checks[rotation][n] = rec
	m.tell(rollover.Change{Seq: rec.rev, Time: p.At, Check: &rollover.CheckChange{Rotation: rotation, Part: n, Result: p}})
	return rec.rev, nil
}

// CheckParts returns all stored parts of a rotation by position.
func (m *Memory) CheckParts(_ context.Context, rotation string) (map[int]rollover.CheckPart, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[int]rollover.CheckPart{}
	for n, rec := range m.checks[rotation] {
		out[n] = decode[rollover.CheckPart](rec.json)
	}
	return out, nil
}

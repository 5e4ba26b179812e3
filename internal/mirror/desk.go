package mirror

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// NeedPerson returns up to limit tasks of a rotation from position from on that need
// a person. See [rollover.Board.NeedPerson].
func (m *Mirror) NeedPerson(id string, from, limit int) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.rotations[id]; e != nil && e.board != nil {
		return e.board.NeedPerson(from, limit)
	}
	return nil
}

// targetIndex finds the tasks of one plan by target, in 12 bytes or so for each: a
// plan never changes, so neither does its index.
type targetIndex map[uint64]int32

// Succeeded reports whether the rotation has succeeded on a target. The first
// question about a rotation reads its plan; later ones are answered from an index,
// of which the last few are kept.
func (m *Mirror) Succeeded(ctx context.Context, id string, t rollover.Target) (bool, error) {
	m.mu.Lock()
	e, err := m.known(id)
	if err != nil || e.board == nil {
		m.mu.Unlock()
		return false, err
	}
	tasks, done := e.board.Len(), e.board.Counts().Outcome(rollover.Succeeded)
	index := m.indexes[id]
	m.mu.Unlock()
	if done == 0 {
		return false, nil
	}
	if index == nil {
		if index, err = m.index(ctx, id, tasks); err != nil {
			return false, err
		}
	}
	ord, ok := index[m.targetHash(t)]
	if !ok {
		return false, nil
	}
	// Two targets may have one hash: the plan says which it is.
	items, err := m.store.Plan(ctx, id, int(ord), int(ord)+1)
	if err != nil {
		return false, fmt.Errorf("reading the plan of %s: %w", id, err)
	}
	return len(items) == 1 && items[0].Target == t && m.Row(rollover.TaskID{Rotation: id, Ord: int(ord)}).Outcome == rollover.Succeeded, nil
}

func (m *Mirror) targetHash(t rollover.Target) uint64 { return maphash.Comparable(m.seed, t) }

// mostIndexes bounds how many indexes are kept.
const mostIndexes = 8

// indexStep is how many items are read at once.
const indexStep = 1000

// index reads a plan and keeps where each target stands in it.
func (m *Mirror) index(ctx context.Context, id string, tasks int) (targetIndex, error) {
	index := make(targetIndex, tasks)
	for from := 0; from < tasks; from += indexStep {
		items, err := m.store.Plan(ctx, id, from, min(from+indexStep, tasks))
		if err != nil {
			return nil, fmt.Errorf("reading the plan of %s: %w", id, err)
		}
		for _, it := range items {
			if it.Target.Host != "" {
				index[m.targetHash(it.Target)] = int32(it.Ord) //nolint:gosec // A plan has fewer than 2^31 items.
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.indexes) >= mostIndexes {
		clear(m.indexes)
	}
	m.indexes[id] = index
	return index, nil
}

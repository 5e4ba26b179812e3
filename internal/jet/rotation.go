package jet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// CreateRotation implements [rollover.Store]: record and selection are one
// atomic batch.
func (b *Broker) CreateRotation(ctx context.Context, r rollover.Rotation, tenants []string) (rollover.Rotation, error) {
	if err := checkKey(r.ID); err != nil {
		return r, fmt.Errorf("rotation id: %w", err)
	}
	var ws []write
	n := 0
	for chunk := range slices.Chunk(tenants, selectionChunk) {
		data, err := encode(selectionRecord{V: rollover.RecordVersion, Tenants: chunk})
		if err != nil {
			return r, err
		}
		ws = append(ws, cut(streamRotations, b.names.selection(r.ID, n), data)...)
		n++
	}
	if err := b.admit(ctx, sizeOf(ws)); err != nil {
		return r, fmt.Errorf("rotation %s: %w", r.ID, err)
	}
	r.Rev = 0
	saved, err := b.saveWith(ctx, r, ws)
	if errors.Is(err, rollover.ErrConflict) {
		return r, fmt.Errorf("rotation %s: %w", r.ID, rollover.ErrExists)
	}
	return saved, err
}

// Rotation implements [rollover.Store].
func (b *Broker) Rotation(ctx context.Context, id string) (rollover.Rotation, error) {
	m, err := b.last(ctx, streamRotations, b.names.record(id))
	if err != nil {
		return rollover.Rotation{}, fmt.Errorf("reading rotation %s: %w", id, err)
	}
	if m == nil {
		return rollover.Rotation{}, fmt.Errorf("rotation %s: %w", id, rollover.ErrNotFound)
	}
	r, err := decode[rollover.Rotation](m.Data)
	if err != nil {
		return rollover.Rotation{}, fmt.Errorf("rotation %s: %w", id, err)
	}
	r.Rev = m.Sequence
	if !r.Gone.IsZero() {
		return rollover.Rotation{}, fmt.Errorf("rotation %s: %w", id, rollover.ErrGone)
	}
	return r, nil
}

// SaveRotation implements [rollover.Store].
func (b *Broker) SaveRotation(ctx context.Context, r rollover.Rotation) (rollover.Rotation, error) {
	if r.Rev == 0 {
		return r, fmt.Errorf("rotation %s was never stored: %w", r.ID, rollover.ErrConflict)
	}
	return b.saveWith(ctx, r, nil)
}

// saveWith writes the record under a compare-and-swap on its Rev, and what
// belongs to it in the same batch. The record is last: who sees it can read the
// rest.
func (b *Broker) saveWith(ctx context.Context, r rollover.Rotation, ws []write) (rollover.Rotation, error) {
	stored, w, err := b.recordWrite(r)
	if err != nil {
		return r, err
	}
	if len(ws) == 0 {
		stored.Rev, err = b.swap(ctx, w)
	} else {
		stored.Rev, err = b.swapAll(ctx, append(ws, w))
	}
	if err != nil {
		return r, fmt.Errorf("saving rotation %s: %w", r.ID, err)
	}
	return stored, nil
}

// recordWrite returns r as it will be stored, and the write that stores it.
func (b *Broker) recordWrite(r rollover.Rotation) (rollover.Rotation, write, error) {
	r.V = r.Version()
	data, err := encode(r)
	if err != nil {
		return r, write{}, err
	}
	if len(data) > maxPart {
		return r, write{}, fmt.Errorf("rotation %s: record of %d bytes, at most %d fit: %w", r.ID, len(data), maxPart, rollover.ErrFull)
	}
	return r, write{stream: streamRotations, subject: b.names.record(r.ID), data: data, expect: r.Rev}, nil
}

// SelectedTenants implements [rollover.Store]. A selection never changes, and
// every nudge to plan a tenant asks for it. Callers must not write to it.
func (b *Broker) SelectedTenants(ctx context.Context, id string) ([]string, error) {
	if tenants, ok := b.selections.Get(id); ok {
		return tenants, nil
	}
	tenants, err := b.selected(ctx, id)
	if err == nil {
		b.selections.Add(id, tenants)
	}
	return tenants, err
}

// selected reads a selection.
func (b *Broker) selected(ctx context.Context, id string) ([]string, error) {
	r, err := b.Rotation(ctx, id)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, r.Tenants)
	for n := 0; ; n++ {
		data, err := b.whole(ctx, streamRotations, b.names.selection(id, n))
		if err != nil {
			return nil, fmt.Errorf("selection of rotation %s: %w", id, err)
		}
		if data == nil {
			return out, nil
		}
		rec, err := decode[selectionRecord](data)
		if err != nil {
			return nil, fmt.Errorf("selection of rotation %s: %w", id, err)
		}
		out = append(out, rec.Tenants...)
		if len(rec.Tenants) < selectionChunk {
			return out, nil
		}
	}
}

// FreezePlan implements [rollover.Store]: record and plan are one atomic batch.
// The parts of a plan that is there already are not written over, so a plan is
// frozen once whatever the caller does.
func (b *Broker) FreezePlan(ctx context.Context, r rollover.Rotation, plan []rollover.Item) (rollover.Rotation, error) {
	if r.Rev == 0 {
		return r, fmt.Errorf("rotation %s was never stored: %w", r.ID, rollover.ErrConflict)
	}
	if err := b.room(ctx, r.ID, len(plan)); err != nil {
		return r, fmt.Errorf("freezing the plan of rotation %s: %w", r.ID, err)
	}
	stored, w, err := b.recordWrite(r)
	if err != nil {
		return r, err
	}
	stored.Rev, err = b.swapParts(ctx, b.planParts(r.ID, plan), (len(plan)+planChunk-1)/planChunk, w)
	if err != nil {
		return r, fmt.Errorf("freezing the plan of rotation %s: %w", r.ID, err)
	}
	return stored, nil
}

// Plan implements [rollover.Store].
func (b *Broker) Plan(ctx context.Context, id string, from, to int) ([]rollover.Item, error) {
	tasks, err := b.planned(ctx, id)
	if err != nil {
		return nil, err
	}
	from, to = max(0, from), min(to, tasks)
	out := make([]rollover.Item, 0, max(0, to-from))
	for from < to {
		items, err := b.chunk(ctx, id, from/planChunk)
		if err != nil {
			return nil, err
		}
		at := from % planChunk
		end := min(at+to-from, len(items))
		if at >= end {
			return nil, fmt.Errorf("plan of rotation %s ends at item %d of %d", id, from, tasks)
		}
		out = append(out, items[at:end]...)
		from += end - at
	}
	return out, nil
}

// planned returns how many tasks the plan of a rotation has. A plan is frozen
// once, so what was read once stays true.
func (b *Broker) planned(ctx context.Context, id string) (int, error) {
	if tasks, ok := b.plans.Get(id); ok {
		return tasks, nil
	}
	r, err := b.Rotation(ctx, id)
	if err != nil {
		return 0, err
	}
	if r.Digest == "" {
		return 0, fmt.Errorf("plan of rotation %s is not made yet: %w", id, rollover.ErrNotFound)
	}
	b.plans.Add(id, r.Tasks)
	return r.Tasks, nil
}

// chunk reads a part of a plan, which never changes once it is there. Callers
// must not write to the items.
func (b *Broker) chunk(ctx context.Context, id string, n int) ([]rollover.Item, error) {
	subject := b.names.plan(id, n)
	if items, ok := b.chunks.Get(subject); ok {
		return items, nil
	}
	data, err := b.whole(ctx, streamRotations, subject)
	if err != nil {
		return nil, fmt.Errorf("plan of rotation %s: %w", id, err)
	}
	if data == nil {
		if _, err := b.Rotation(ctx, id); errors.Is(err, rollover.ErrNotFound) {
			return nil, fmt.Errorf("plan of rotation %s: %w", id, rollover.ErrGone)
		}
		return nil, fmt.Errorf("part %d of the plan of rotation %s: %w", n, id, rollover.ErrNotFound)
	}
	rec, err := decode[planRecord](data)
	if err != nil {
		return nil, fmt.Errorf("plan of rotation %s: %w", id, err)
	}
	b.chunks.Add(subject, rec.Items)
	return rec.Items, nil
}

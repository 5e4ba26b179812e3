package mirror

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Position is a place in the stream of changes: a watcher that gives it back is
// told all that came after it, and nothing twice.
type Position struct {
	Epoch    string `json:"e,omitempty"` // which store it counts in; empty while a snapshot is being told
	Rotation uint64 `json:"r,omitempty"` // version of the rotation's record
	Tasks    uint64 `json:"t,omitempty"` // version of the newest task state
	Planned  bool   `json:"p,omitempty"` // the tasks of the plan were told
}

// String returns the position as an opaque cursor.
func (p Position) String() string {
	b, _ := json.Marshal(p) // Three plain fields cannot fail.
	return base64.RawURLEncoding.EncodeToString(b)
}

// maxCursor bounds what ParsePosition reads; a real cursor has under 200 bytes.
const maxCursor = 1024

// ParsePosition reads a cursor.
func ParsePosition(s string) (Position, error) {
	var p Position
	if len(s) > maxCursor {
		return p, errors.New("cursor is too long")
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return p, fmt.Errorf("decoding cursor: %w", err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return Position{}, fmt.Errorf("decoding cursor: %w", err)
	}
	return p, nil
}

// MaxBatch is the most tasks that one batch holds: 500 of at most 650 bytes stay
// far below the 4 MiB that gRPC clients take by default.
const MaxBatch = 500

// pace is the least time between two batches of one watch. It coalesces: at
// 300 changes a second a watcher gets ten messages, not three hundred.
const pace = 100 * time.Millisecond

// Watch follows one rotation. It holds no queue but the set of what changed, so
// that a slow reader gets the latest state of each task and slows nobody.
// It is for one reader.
type Watch struct {
	m    *Mirror
	id   string
	wake chan struct{}
	last time.Time // when the last batch was given, for pace; owned by the reader

	// The fields below are guarded by m.mu.
	reset bool // the next batch begins a snapshot
	fresh bool // a snapshot is being told; its positions cannot be resumed from
	view  bool // the rotation or its counts are to be told
	dirty map[int]struct{}
	at    int // where the snapshot that is being told goes on
	told  Position
	gone  bool // the rotation was deleted

	crowd  *crowd // nil: told apart from others
	number int    // of the crowd's batch that comes next
}

// Batch is what happened since the last one.
type Batch struct {
	Reset bool  // forget what you knew: a snapshot begins
	View  *View // the rotation as it is now; never nil
	Tasks []rollover.Task
	Pos   Position
	Ended bool // the rotation has ended and everything was told
	// Shared is set if other watchers are told the same batch. They all have it
	// in their hands at once: nobody writes to it.
	Shared *Shared
}

// Watch begins to follow a rotation: from since on if it is a position of this
// store, else with a snapshot. It returns [rollover.ErrNotFound] for an unknown
// rotation.
func (m *Mirror) Watch(id string, since *Position) (*Watch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.known(id)
	if err != nil {
		return nil, err
	}
	w := &Watch{m: m, id: id, wake: make(chan struct{}, 1), dirty: map[int]struct{}{}}
	if since != nil && since.Epoch != "" && since.Epoch == m.epoch {
		w.told = *since
		// An ended rotation has no news; its reader is told once more that it ended.
		w.view = e.rotation.Rev > since.Rotation || e.seq > since.Tasks || e.rotation.State.Ended()
		w.fresh = e.board != nil && !since.Planned
	} else {
		w.reset, w.fresh, w.view = true, true, true
	}
	w.markAll(e)
	w.poke()
	m.watches[w] = struct{}{}
	return w, nil
}

// Lost reports whether a position is of a life of the store that is lost: it is
// ahead of all that the store has, as after files were put back that are older.
// Nobody can go on from there, since versions are given anew. v is the rotation as
// the store has it.
func (m *Mirror) Lost(ctx context.Context, v View, p Position) (bool, error) {
	m.mu.Lock()
	here, told := p.Epoch != "" && p.Epoch == m.epoch, m.taskSeq
	m.mu.Unlock()
	switch {
	case !here: // A watch begins anew there anyway.
		return false, nil
	case p.Rotation > v.Rotation.Rev:
		return true, nil
	case p.Tasks <= told:
		return false, nil
	}
	// Or only this copy is behind.
	_, states, err := m.store.Newest(ctx)
	if err != nil {
		return false, fmt.Errorf("asking the store how far it is: %w", err)
	}
	return p.Tasks > states, nil
}

// Close ends the watch.
func (w *Watch) Close() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	delete(w.m.watches, w)
	if w.crowd != nil {
		w.leave(w.m.rotations[w.id])
	}
}

// markAll marks every task that is newer than what was told. The caller holds
// mu.
func (w *Watch) markAll(e *entry) {
	if e.board == nil {
		return
	}
	w.at = 0
	for ord := range e.board.Len() {
		if w.fresh || e.board.Row(ord).Seq > w.told.Tasks {
			w.dirty[ord] = struct{}{}
		}
	}
}

// rotationChanged is called with mu held.
func (w *Watch) rotationChanged(id string, planned bool, e *entry) {
	if w.id != id || e.rotation.Rev <= w.told.Rotation {
		return
	}
	if planned { // Every task is news to one who watched the planning.
		w.fresh = true
		w.markAll(e)
	}
	w.view = true
	w.poke()
}

// taskChanged is called with mu held.
func (w *Watch) taskChanged(id rollover.TaskID, seq uint64) {
	if w.id != id.Rotation || seq <= w.told.Tasks {
		return
	}
	w.dirty[id.Ord] = struct{}{}
	w.view = true
	w.poke()
}

func (w *Watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Next waits for news and returns it. Its error is that of ctx, or of reading
// the plan, or [rollover.ErrGone] when the rotation is deleted.
func (w *Watch) Next(ctx context.Context) (Batch, error) {
	for {
		if err := w.ended(); err != nil {
			return Batch{}, err
		}
		if wait := w.rest(); wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				return Batch{}, context.Cause(ctx)
			case <-t.C:
			}
		}
		b, s, ok := w.take()
		switch {
		case s != nil:
			return s.batch(ctx, w)
		case ok:
			w.last = time.Now()
			return w.withItems(ctx, b)
		}
		select {
		case <-ctx.Done():
			return Batch{}, context.Cause(ctx)
		case <-w.wake:
		}
	}
}

// rest returns how long a watch that is told apart still has to wait for its
// next batch. A crowd waits together.
func (w *Watch) rest() time.Duration {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.crowd != nil || w.last.IsZero() {
		return 0
	}
	return pace - time.Since(w.last)
}

// take removes up to MaxBatch changes, or takes the next batch of the crowd.
func (w *Watch) take() (Batch, *Shared, bool) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	e := w.m.rotations[w.id]
	if w.gone {
		return Batch{}, nil, false
	}
	if w.crowd != nil {
		if s := w.takeShared(e); s != nil {
			if b := w.own(s); b != nil {
				return *b, nil, true
			}
			return Batch{}, s, true
		}
		if w.crowd != nil {
			return Batch{}, nil, false
		}
	}
	b, ok := w.news(e)
	if ok && len(w.dirty) == 0 {
		w.join(e)
	}
	return b, nil, ok
}

// news removes up to MaxBatch changes. The caller holds mu.
func (w *Watch) news(e *entry) (Batch, bool) {
	if !w.view && !w.reset && len(w.dirty) == 0 {
		return Batch{}, false
	}
	b := Batch{Reset: w.reset}
	for _, ord := range w.next(e) {
		row := e.board.Row(ord)
		b.Tasks = append(b.Tasks, rollover.Task{ID: rollover.TaskID{Rotation: w.id, Ord: ord}, Progress: row.Progress, Rev: row.Seq})
		delete(w.dirty, ord)
		w.told.Tasks = max(w.told.Tasks, row.Seq)
	}
	whole := len(w.dirty) == 0
	v := w.m.view(e)
	b.View = &v
	w.told.Epoch, w.told.Rotation, w.told.Planned = w.m.epoch, e.rotation.Rev, e.board != nil
	if whole {
		w.fresh, w.told.Tasks = false, max(w.told.Tasks, w.m.taskSeq)
	}
	w.reset, w.view = false, !whole
	b.Pos = w.told
	if w.fresh {
		b.Pos.Epoch = ""
	}
	b.Ended = whole && e.rotation.State.Ended() && v.Counts.OpenTasks == 0 && e.rotation.CheckSettled(v.Counts)
	if !whole {
		w.poke()
	}
	return b, true
}

// next returns which tasks the next batch tells. The caller holds mu.
//
// In a snapshot it is the plan's order, since nobody goes on from the middle of
// one: sorting what is left for each batch would take the square of the plan.
// Else it is the oldest first, so that the position after them is behind all that
// remain.
func (w *Watch) next(e *entry) []int {
	var ords []int
	if w.fresh {
		for range e.len() { // Once around at most.
			if len(ords) == min(MaxBatch, len(w.dirty)) {
				break
			}
			if _, ok := w.dirty[w.at]; ok {
				ords = append(ords, w.at)
			}
			w.at = (w.at + 1) % e.len()
		}
		return ords
	}
	type mark struct {
		seq uint64
		ord int
	}
	marks := make([]mark, 0, len(w.dirty))
	for ord := range w.dirty {
		marks = append(marks, mark{e.board.Row(ord).Seq, ord})
	}
	slices.SortFunc(marks, func(x, y mark) int { return cmp.Or(cmp.Compare(x.seq, y.seq), cmp.Compare(x.ord, y.ord)) })
	for _, m := range marks[:min(len(marks), MaxBatch)] {
		ords = append(ords, m.ord)
	}
	return ords
}

// withItems joins what the plan says of the batch's tasks.
func (w *Watch) withItems(ctx context.Context, b Batch) (Batch, error) {
	ords := make([]int, len(b.Tasks))
	for i, k := range b.Tasks {
		ords[i] = k.ID.Ord
	}
	slices.Sort(ords)
	items := map[int]rollover.Item{}
	for len(ords) > 0 { // One read for each run of neighbours.
		n := 1
		for n < len(ords) && ords[n]-ords[0] < MaxBatch {
			n++
		}
		part, err := w.m.store.Plan(ctx, w.id, ords[0], ords[n-1]+1)
		if err != nil {
			return b, fmt.Errorf("reading the plan of %s: %w", w.id, err)
		}
		for _, it := range part {
			items[it.Ord] = it
		}
		ords = ords[n:]
	}
	for i := range b.Tasks {
		b.Tasks[i].Item = items[b.Tasks[i].ID.Ord]
	}
	return b, nil
}

// Folded returns the version of the state of a task, finding or check that was taken in
// last.
func (m *Mirror) Folded() uint64 { return m.folded.Load() }

// Version returns a number that changes whenever anything was taken in.
func (m *Mirror) Version() uint64 { return m.version.Load() }

// tookIn notes that a change was folded, and says so to the reader of Changed.
func (m *Mirror) tookIn(c rollover.Change) {
	m.version.Add(1)
	if c.Rotation == nil && !c.CaughtUp {
		m.folded.Store(c.Seq)
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Package mirror keeps a live copy of every rotation and of its tasks' states,
// folded from what the store tells. Listing, counting and watching read it, so
// that a thousand watchers cost the store one follower.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Store is what a mirror reads besides the feed.
type Store interface {
	Plan(ctx context.Context, rotation string, from, to int) ([]rollover.Item, error)
	Epoch(ctx context.Context) (string, error)
	// Newest returns the greatest version that a record has, and that of anything
	// told with task states.
	Newest(ctx context.Context) (rotations, states uint64, err error)
	Tail(ctx context.Context, fn func(rollover.Change)) error
}

// View is a rotation as it is now, with the counts of its tasks.
type View struct {
	Rotation rollover.Rotation
	Counts   rollover.Counts
	Seq      uint64 // version of the newest task state in Counts
	Trail    rollover.Trail
}

// Mirror folds the feed. Make it with [New], and call Run.
type Mirror struct {
	store Store
	log   *slog.Logger
	ready chan struct{} // closed when the mirror has caught up for the first time

	stirred chan struct{} // receives when a crowd may have news

	mu        sync.Mutex // guards all below; never held while the store is asked
	epoch     string
	rotations map[string]*entry
	findings  map[string]*findings
	watches   map[*Watch]struct{} // those that are told apart, and the lead of each crowd
	taskSeq   uint64              // the newest task state folded, of any rotation
	pace      rollover.Pace       // of everything, by the answers in the task states
	checks    map[string]*checks
	indexes   map[string]targetIndex // of plans that were asked about by target
	seed      maphash.Seed           // of their hashes
	gone      map[string]time.Time   // rotations that were deleted, and when
	changed   chan struct{}
	folded    atomic.Uint64
	version   atomic.Uint64
	unread    map[string]unread // rotations whose plan could not be read
}

// entry is one rotation. board is nil until the plan is frozen and read.
type entry struct {
	rotation rollover.Rotation
	board    *rollover.Board
	seq      uint64
	early    map[int]rollover.Row // states told before the plan was known
	crowd    *crowd               // nil: nobody watches who was told everything
}

// New returns an empty mirror. It logs which rotations cannot be read, and when they can
// be again.
func New(s Store, log *slog.Logger) *Mirror {
	return &Mirror{
		store: s, log: log, ready: make(chan struct{}), rotations: map[string]*entry{},
		findings: map[string]*findings{}, checks: map[string]*checks{}, indexes: map[string]targetIndex{}, seed: maphash.MakeSeed(), watches: map[*Watch]struct{}{}, changed: make(chan struct{}, 1),
		stirred: make(chan struct{}, 1), gone: map[string]time.Time{}, unread: map[string]unread{},
	}
}

// Run follows the store until ctx ends or the feed breaks for good. A store that
// cannot be reached is waited for.
func (m *Mirror) Run(ctx context.Context) error {
	epoch, err := m.readEpoch(ctx)
	if err != nil {
		return fmt.Errorf("reading the store's epoch: %w", err)
	}
	m.mu.Lock()
	m.epoch = epoch
	m.mu.Unlock()
	bctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { m.beat(bctx) })
	beside.Go(func() { m.readAgain(bctx) })
	defer beside.Wait()
	defer cancel()
	return m.store.Tail(ctx, func(c rollover.Change) { m.fold(ctx, c) })
}

// readEpoch asks until the store answers.
func (m *Mirror) readEpoch(ctx context.Context) (string, error) {
	for tries := 1; ; tries++ {
		epoch, err := m.store.Epoch(ctx)
		if !errors.Is(err, rollover.ErrUnavailable) {
			return epoch, err
		}
		t := time.NewTimer(rollover.Backoff(min(tries, maxBackoff), 0.5))
		select {
		case <-ctx.Done():
			t.Stop()
			return "", ctx.Err()
		case <-t.C:
		}
	}
}

// maxBackoff is the try from which on the pause between two questions grows no
// more: 8 s, so that a broker that comes back is noticed soon.
const maxBackoff = 4

// Ready is closed once all that was stored when Run began has been folded.
func (m *Mirror) Ready() <-chan struct{} { return m.ready }

// Changed receives after changes, coalesced. It is for one reader.
func (m *Mirror) Changed() <-chan struct{} { return m.changed }

// fold takes in one change. It is called by one goroutine.
func (m *Mirror) fold(ctx context.Context, c rollover.Change) {
	switch {
	case m.isGone(c):
	case c.Rotation != nil && !c.Rotation.Gone.IsZero():
		m.foldGone(*c.Rotation)
	case c.CaughtUp:
		select {
		case <-m.ready:
		default:
			close(m.ready)
		}
	case c.Rotation != nil:
		m.foldRotation(ctx, *c.Rotation)
	case c.Task != nil:
		m.foldTask(c)
	case c.Check != nil:
		m.foldCheck(c)
	case c.Finding != nil:
		m.mu.Lock()
		if m.findings[c.Finding.Rotation] == nil {
			m.findings[c.Finding.Rotation] = &findings{known: map[int]bool{}}
		}
		m.findings[c.Finding.Rotation].known[c.Finding.Tenant] = true
		m.mu.Unlock()
	}
	m.tookIn(c)
}

// foldRotation takes in a record, and reads the plan the first time that the
// record says there is one. The plan is immutable and was stored with it.
func (m *Mirror) foldRotation(ctx context.Context, r rollover.Rotation) {
	m.mu.Lock()
	e := m.entry(r.ID)
	needsPlan, tries := r.Digest != "" && e.board == nil, planTries
	if len(m.unread) > 0 {
		tries = 1 // It is tried again beside, so that one damaged store holds nothing up.
	}
	m.mu.Unlock()
	var board *rollover.Board
	if needsPlan {
		var err error
		if board, err = m.patientBoard(ctx, r, tries); lost(err) {
			m.mu.Lock()
			m.forget(r.ID)
			m.mu.Unlock()
			return
		}
		if err != nil {
			m.cannotRead(ctx, r, err)
			return
		}
	}
	m.take(r, board)
}

// take takes in a record and, unless it is nil, its plan.
func (m *Mirror) take(r rollover.Rotation, board *rollover.Board) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, gone := m.gone[r.ID]; gone {
		return
	}
	if u, ok := m.unread[r.ID]; ok && board != nil && u.rotation.Rev > r.Rev {
		r = u.rotation // It was told while the plan was read.
	}
	if board != nil {
		m.canRead(r.ID)
	}
	e := m.entry(r.ID)
	if r.Rev <= e.rotation.Rev {
		return
	}
	e.rotation = r
	first := board != nil && e.board == nil
	if first {
		e.board = board
		for ord, row := range e.early {
			e.apply(ord, row.Progress, row.Seq)
		}
		e.early = nil
	}
	if r.State != rollover.StatePlanning {
		delete(m.findings, r.ID)
	}
	for w := range m.watches {
		w.rotationChanged(r.ID, first, e)
	}
	m.stir()
}

// planTries is how often a plan is tried to be read before the mirror goes on without
// it: a minute or so in all.
const planTries = 12

// patientBoard reads the plan of r, whose record was told. A store that has just
// changed its leader may be away, or answer for a moment from before the plan was
// made; what comes after it in the feed has to wait.
func (m *Mirror) patientBoard(ctx context.Context, r rollover.Rotation, tries int) (*rollover.Board, error) {
	for n := 1; ; n++ {
		board, err := m.readBoard(ctx, r)
		if err == nil || lost(err) || ctx.Err() != nil || n == tries {
			return board, err
		}
		t := time.NewTimer(rollover.Backoff(min(n, maxBackoff), 0.5))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// planPiece is how many items of a plan are in hand at once while it is read.
const planPiece = 2048

// readBoard reads the plan of r piece by piece: the board keeps little of it.
func (m *Mirror) readBoard(ctx context.Context, r rollover.Rotation) (*rollover.Board, error) {
	board := rollover.NewBoard(nil)
	for from := 0; from < r.Tasks; from += planPiece {
		items, err := m.store.Plan(ctx, r.ID, from, min(from+planPiece, r.Tasks))
		if err != nil {
			return nil, err
		}
		board.Extend(items)
	}
	return board, nil
}

// foldTask takes in a task state.
func (m *Mirror) foldTask(c rollover.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := c.Task.ID
	e := m.entry(id.Rotation)
	m.taskSeq = max(m.taskSeq, c.Seq)
	if c.Task.Progress.Throttle != rollover.BreakerOpen { // Nobody answered.
		m.pace.Answer(c.Task.Progress.UpdatedAt, id.String(), c.Task.Progress.Throttle == rollover.ByService)
	}
	if e.board == nil {
		e.early[id.Ord] = rollover.Row{Progress: c.Task.Progress, Seq: c.Seq}
		return
	}
	if e.apply(id.Ord, c.Task.Progress, c.Seq) {
		for w := range m.watches {
			w.taskChanged(id, c.Seq)
		}
		m.stir()
	}
}

// apply folds a state into the board. The caller holds mu.
func (e *entry) apply(ord int, p rollover.Progress, seq uint64) bool {
	e.seq = max(e.seq, seq)
	return e.board.Apply(ord, p, seq)
}

// len returns how many tasks are known. The caller holds mu.
func (e *entry) len() int {
	if e.board == nil {
		return 0
	}
	return e.board.Len()
}

// entry returns the entry of a rotation, new if need be. The caller holds mu.
func (m *Mirror) entry(id string) *entry {
	e := m.rotations[id]
	if e == nil {
		e = &entry{early: map[int]rollover.Row{}}
		m.rotations[id] = e
	}
	return e
}

// view returns what is known of e. The caller holds mu.
func (m *Mirror) view(e *entry) View {
	v := View{Rotation: e.rotation, Seq: e.seq}
	if e.board != nil {
		v.Counts, v.Trail = e.board.CountsOf(e.rotation), e.board.Trail()
		v.Counts.Slowed = 100 - m.pace.Percent()
	}
	if k := m.checks[e.rotation.ID]; k != nil {
		v.Counts.Drift = k.counts.Clone()
	}
	return v
}

// Pace returns the share of full speed at which everything goes now. See
// [rollover.Pace].
func (m *Mirror) Pace() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pace.Now()
}

// known returns the entry of a rotation whose record was told, or ErrNotFound: a
// discovery is none. The caller holds mu.
func (m *Mirror) known(id string) (*entry, error) {
	e := m.rotations[id]
	if u, ok := m.unread[id]; ok && (e == nil || e.rotation.ID == "") {
		return nil, u.error()
	}
	if e == nil || e.rotation.ID == "" || e.rotation.Discovers() {
		return nil, fmt.Errorf("rotation %s: %w", id, rollover.ErrNotFound)
	}
	return e, nil
}

// Rotation returns a rotation with its counts, or [rollover.ErrNotFound].
func (m *Mirror) Rotation(_ context.Context, id string) (View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.known(id)
	if err != nil {
		return View{}, err
	}
	return m.view(e), nil
}

// Rotations returns all rotations, newest first, without the discoveries.
func (m *Mirror) Rotations() []View {
	m.mu.Lock()
	out := make([]View, 0, len(m.rotations))
	for _, e := range m.rotations {
		if e.rotation.ID != "" && !e.rotation.Discovers() {
			out = append(out, m.view(e))
		}
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b View) int { return strings.Compare(b.Rotation.ID, a.Rotation.ID) })
	return out
}

// Tasks returns the tasks from position from up to, not including, to, with the
// latest known progress. Orders are not joined.
func (m *Mirror) Tasks(ctx context.Context, id string, from, to int) ([]rollover.Task, error) {
	m.mu.Lock()
	e, err := m.known(id)
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if e.board == nil {
		return nil, nil
	}
	items, err := m.store.Plan(ctx, id, from, to)
	if err != nil {
		return nil, fmt.Errorf("reading the plan of %s: %w", id, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]rollover.Task, len(items))
	for i, it := range items {
		row := e.board.Row(it.Ord)
		out[i] = rollover.Task{ID: rollover.TaskID{Rotation: id, Ord: it.Ord}, Item: it, Progress: row.Progress, Rev: row.Seq}
	}
	return out, nil
}

// Row returns the latest known state of a task.
func (m *Mirror) Row(id rollover.TaskID) rollover.Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.rotations[id.Rotation]; e != nil && e.board != nil {
		return e.board.Row(id.Ord)
	}
	return rollover.Row{}
}

// findings are the positions of a selection for which a finding is stored.
type findings struct {
	known map[int]bool
	first int // all before it are known
}

// Found returns for how many positions of the selection a finding is stored.
func (m *Mirror) Found(id string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.findings[id]; f != nil {
		return len(f.known)
	}
	return 0
}

// HasFinding reports whether a finding is stored for a position of the
// selection.
func (m *Mirror) HasFinding(id rollover.TaskID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.findings[id.Rotation]
	return f != nil && f.known[id.Ord]
}

// Missing returns up to limit positions of a selection of so many tenants for
// which no finding is stored, lowest first.
func (m *Mirror) Missing(id string, tenants, limit int) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.findings[id]
	if f == nil {
		f = &findings{} // Nothing is known; a map that is nil says so.
	}
	for f.known[f.first] {
		f.first++
	}
	var out []int
	for ord := f.first; ord < tenants && len(out) < limit; ord++ {
		if !f.known[ord] {
			out = append(out, ord)
		}
	}
	return out
}

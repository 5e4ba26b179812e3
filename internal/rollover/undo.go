package rollover

import (
	"fmt"
	"slices"
	"time"
)

// DefaultUndoWindow is how long after its retirement a task can be undone where
// the request says nothing.
const DefaultUndoWindow = 7 * 24 * time.Hour

// UndoFor returns how long after its retirement a task can be undone; 0: not at
// all.
func (s Spec) UndoFor() time.Duration {
	if s.UndoWindow == 0 {
		return DefaultUndoWindow
	}
	return max(0, s.UndoWindow)
}

// UndoScope says which tasks an undo is for. Exactly one field is set.
type UndoScope struct {
	All     bool     `json:"all,omitempty"`
	Tenants []string `json:"tenants,omitempty"` // ids
	Wave    int      `json:"wave,omitempty"`    // from 1, as the plan is cut into waves
	Tasks   []int    `json:"tasks,omitempty"`   // positions in the plan
}

// Undo is an order to take a rotation back, or a part of it.
type Undo struct {
	N         int           `json:"n"` // 1 for the first undo of the rotation; see Progress.Undo
	Scope     UndoScope     `json:"scope"`
	Reason    string        `json:"reason,omitempty"`
	RequestID string        `json:"request_id,omitempty"`
	From      RotationState `json:"from"`               // the state in which it was asked for
	Detail    string        `json:"detail,omitempty"`   // the rotation's in that state
	Exceeded  bool          `json:"exceeded,omitempty"` // and whether its tolerance had stopped it
	Accepted  int           `json:"accepted,omitempty"` // failures of the undo that a person took note of
	At        time.Time     `json:"at"`                 // when it was asked for
	EndedAt   time.Time     `json:"ended_at,omitzero"`  // zero: it is under way
	Left      bool          `json:"left,omitempty"`     // the rotation failed by what it could not take back
}

// UndoCounts are the tasks of one undo.
type UndoCounts struct {
	Covered int // marked as its own
	Open    int // of those: not ended
	Undone  int // taken back
	Failed  int // failed, or found in conflict
}

// addUndo counts r n times for the undo that it goes back by.
func (c *Counts) addUndo(r Row, n int) {
	if r.Undo == 0 {
		return
	}
	u := c.Undos[r.Undo]
	u.Covered += n
	switch r.Outcome {
	case Open:
		u.Open += n
	case Undone:
		u.Undone += n
	case Failed, Conflict:
		u.Failed += n
	}
	if c.Undos[r.Undo] = u; u == (UndoCounts{}) {
		delete(c.Undos, r.Undo)
	}
}

// UndoUnderWay reports whether an undo of r was begun and has not ended. It may be
// paused.
func (r Rotation) UndoUnderWay() bool { return r.Undo != nil && r.Undo.EndedAt.IsZero() }

// BeginUndo returns r as UNDOING. Until that ends nothing else of r is worked on.
func (r Rotation) BeginUndo(scope UndoScope, reason, request string, now time.Time) (Rotation, error) {
	const verb = "undo"
	switch {
	case r.UndoUnderWay():
		return r, &StateError{verb, r.State, "an undo is under way; wait for its end, or cancel it first"}
	case r.State == StatePlanning, r.State == StatePlanned:
		return r, &StateError{verb, r.State, "it has not been started, so there is nothing to take back"}
	case r.State == StateCancelling:
		return r, &StateError{verb, r.State, "wait until it is cancelled"}
	case r.State == StateUndone:
		return r, &StateError{verb, r.State, "it has been taken back"}
	}
	n := 1
	if r.Undo != nil {
		n = r.Undo.N + 1
	}
	next := &Undo{
		N: n, Scope: scope, Reason: reason, RequestID: request, At: now,
		From: r.State, Detail: r.Detail, Exceeded: r.Exceeded,
	}
	if u := r.Undo; u != nil && u.Left && r.State == StateFailed && r.EndedAt.Equal(u.EndedAt) {
		next.From, next.Detail, next.Exceeded = u.From, u.Detail, u.Exceeded // It failed by nothing else.
	}
	r.Undo = next
	r.State, r.Detail, r.Exceeded, r.EndedAt, r.UpdatedAt = StateUndoing, reason, false, time.Time{}, now
	return r, nil
}

// resumeUndo returns a paused r as UNDOING again. With accept, what failed of the
// undo so far is counted no more.
func (r Rotation) resumeUndo(accept bool, c Counts, now time.Time) Rotation {
	u := *r.Undo
	if accept {
		u.Accepted = c.Undos[u.N].Failed
	}
	r.Undo = &u
	r.State, r.Detail, r.Exceeded, r.UpdatedAt = StateUndoing, u.Reason, false, now
	return r
}

// stopUndo returns r with no undo under way.
func (r Rotation) stopUndo(now time.Time) Rotation {
	if r.UndoUnderWay() {
		u := *r.Undo
		u.EndedAt = now
		r.Undo = &u
	}
	return r
}

// EndUndo returns r after the last task of its undo has ended. An undo of all
// makes it UNDONE. After an undo of a part it is what it was: RUNNING or PAUSED
// with the other tasks, or ended as before. Where a task was not taken back, by this
// undo or one before it, be it that it failed, is in conflict or was left to its owner,
// one that had ended, or was undone as a whole, is FAILED: UNDONE would be for good, and
// it can be undone again.
func (r Rotation) EndUndo(c Counts, now time.Time) Rotation {
	u := *r.Undo
	r = r.stopUndo(now)
	r.State, r.Detail, r.Exceeded, r.UpdatedAt = u.From, u.Detail, u.Exceeded, now
	if u.Scope.All {
		r.State, r.Detail, r.Exceeded = StateUndone, u.Reason, false
	}
	if !r.State.Ended() {
		return r
	}
	covered, undone := 0, 0
	for _, n := range c.Undos {
		covered, undone = covered+n.Covered, undone+n.Undone
	}
	if left := covered - undone; left > 0 {
		r.State, r.Detail = StateFailed, fmt.Sprintf("%d of %d tasks could not be undone", left, covered)
		r.Undo.Left = true
	}
	r.EndedAt = now
	return r
}

// undoBudget is the rotation's tolerance for the undo that is under way. A task
// in conflict counts here too: it was not taken back.
func (r Rotation) undoBudget(c Counts) Budget {
	u := c.Undos[r.Undo.N]
	return Budget{
		What: "undo: ", Tolerance: r.Spec.Tolerance, Total: u.Covered, Failed: max(0, u.Failed-r.Undo.Accepted),
	}
}

// undoable returns up to limit tasks of the undo that may be sent to a worker now,
// no more than room of them being at risk. The first task is alone. What was
// removed is put back everywhere before anything is taken away.
func (b *Board) undoable(r Rotation, room, limit int, now time.Time) []int {
	if u := b.c.Undos[r.Undo.N]; u.Open == u.Covered {
		room = min(room, 1)
	}
	restoring := slices.ContainsFunc(b.rows, func(row Row) bool { return row.goesBack(r.Undo.N) && row.Archive != nil })
	var out []int
	k := Task{Orders: r.Orders(r.Spec.New)}
	for i, row := range b.rows {
		if !row.goesBack(r.Undo.N) || (restoring && row.Archive == nil) {
			continue
		}
		if room == 0 || len(out) == limit {
			break
		}
		room--
		k.Progress = row.Progress
		if Next(k, now) != StepWait {
			out = append(out, i)
		}
	}
	return out
}

// goesBack reports whether the task is open and belongs to the n-th undo.
func (r Row) goesBack(n int) bool { return r.Outcome == Open && r.Undo == n }

// GoBack returns k marked as one of the n-th undo and open, where it stands.
func (k Task) GoBack(n int, now time.Time) Task {
	k.reopen(now)
	k.Undo = n
	return k
}

// NotUndoable says why k, whose old credentials are gone, cannot be taken back at
// now, as a part of a sentence; empty: nothing stands against it.
func (k Task) NotUndoable(window time.Duration, now time.Time) string {
	switch {
	case k.Phase != Retired || len(k.Removed) == 0:
		return ""
	case k.Archive == nil || len(k.Archive.Keys) == 0:
		return "its old certificates were removed and not kept"
	case now.After(k.Archive.At.Add(window)):
		return fmt.Sprintf("its old certificates were removed at %s, more than %s ago", k.Archive.At.UTC().Format(time.RFC3339), window)
	default:
		return ""
	}
}

// Covers returns the tasks of r that an undo of that scope is for, in the order
// of the plan, given a reader of parts of its tasks. They are those that the plan
// left to be worked on and that are not undone, begun or not: a worker that died may
// have added what no record tells of, and what is taken back is not begun
// afterwards. An endpoint's targets are taken back together, so that the others of an
// endpoint behind a task of the scope belong to it as well.
func (s UndoScope) Covers(r Rotation, c Counts, read func(from, to int) ([]Task, error)) ([]Task, error) {
	first, end := s.wave(r, c)
	in := s.picker()
	began := map[int]Task{} // all that could be covered
	linked := map[int][]int{}
	var todo []int
	workable := 0
	for from := 0; from < r.Tasks; from += coverStep {
		ks, err := read(from, min(from+coverStep, r.Tasks))
		if err != nil {
			return nil, err
		}
		for _, k := range ks {
			if k.Item.Outcome != Open {
				continue
			}
			at := workable
			workable++
			if k.Outcome == Undone {
				continue
			}
			began[k.ID.Ord] = k
			if len(k.Item.Siblings) > 0 {
				linked[k.ID.Ord] = k.Item.Siblings
			}
			if in(k) || (at >= first && at < end) {
				todo = append(todo, k.ID.Ord)
			}
		}
	}
	covered := map[int]bool{}
	for len(todo) > 0 {
		ord := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, ok := began[ord]; ok && !covered[ord] {
			covered[ord] = true
			todo = append(todo, linked[ord]...)
		}
	}
	out := make([]Task, 0, len(covered))
	for ord := range r.Tasks {
		if covered[ord] {
			out = append(out, began[ord])
		}
	}
	return out, nil
}

// coverStep is how many tasks are read at once.
const coverStep = 1000

// wave returns which of the tasks to be worked on the scope's wave has.
func (s UndoScope) wave(r Rotation, c Counts) (first, end int) {
	sizes := r.Spec.Strategy.Sizes(c.Workable)
	if s.Wave < 1 || s.Wave > len(sizes) {
		return 0, 0
	}
	for _, n := range sizes[:s.Wave-1] {
		first += n
	}
	return first, first + sizes[s.Wave-1]
}

// picker returns whether a task is named by the scope itself.
func (s UndoScope) picker() func(Task) bool {
	tenants, ords := map[string]bool{}, map[int]bool{}
	for _, t := range s.Tenants {
		tenants[t] = true
	}
	for _, ord := range s.Tasks {
		ords[ord] = true
	}
	return func(k Task) bool {
		return s.All || ords[k.ID.Ord] || tenants[k.Item.Tenant] ||
			slices.ContainsFunc(k.Item.Endpoints, func(e EndpointRef) bool { return tenants[e.Tenant] })
	}
}

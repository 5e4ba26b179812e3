package rollover

import (
	"fmt"
	"time"
)

// ToleranceMode says how sharply a tolerance is kept.
type ToleranceMode string

// The modes of a tolerance.
const (
	// Strict never has more tasks at risk than may still fail, so that failures
	// never exceed the tolerance by more than the one that stops it.
	Strict ToleranceMode = "strict"
	// Soft works at full speed and stops when the failures are known. Those that
	// were in hand by then may fail as well.
	Soft ToleranceMode = "soft"
)

// Tolerance says how many tasks may fail. The one rule: with a tolerance of N,
// failure N+1 stops new starts. The zero Tolerance sets no limit; rotations from
// before there were tolerances have it.
type Tolerance struct {
	Mode    ToleranceMode `json:"mode,omitempty"`
	Limit   int           `json:"limit"`             // a number of tasks, or a percentage from 0 to 100
	Percent bool          `json:"percent,omitempty"` // Limit is a percentage of the tasks to be worked on, rounded down
}

// Allowed returns how many of total tasks may fail: N of the rule.
func (t Tolerance) Allowed(total int) int {
	if t.Percent {
		return total * t.Limit / 100
	}
	return t.Limit
}

// String returns the tolerance as people write it: "5" or "10 %".
func (t Tolerance) String() string {
	if t.Percent {
		return fmt.Sprintf("%d %%", t.Limit)
	}
	return fmt.Sprint(t.Limit)
}

// Budget is a tolerance and what is used up of it.
type Budget struct {
	What string // what it is of: empty for the rotation, "wave 2 of 7: " for a wave
	Tolerance
	Total  int // tasks that the plan left to be worked on
	Failed int // those of them that failed and were not accepted by a person
}

// Exceeded reports whether more failed than may.
func (b Budget) Exceeded() bool { return b.Mode != "" && b.Failed > b.Allowed(b.Total) }

// Room returns how many tasks may be at risk at once: none once the budget is
// exceeded, as many as there are where failures do not limit it.
func (b Budget) Room() int {
	switch {
	case b.Exceeded():
		return 0
	case b.Mode != Strict:
		return b.Total
	default:
		return b.Allowed(b.Total) + 1 - b.Failed
	}
}

// Budget returns how the rotation's tolerance stands, going by the counts. What
// planning found to have failed is not counted, nor what was skipped, handed
// over or found in conflict.
func (r Rotation) Budget(c Counts) Budget {
	if r.UndoUnderWay() {
		return r.undoBudget(c)
	}
	return Budget{Tolerance: r.Spec.Tolerance, Total: c.Workable, Failed: max(0, c.Broken-still(r.Accepted, c.Retried-r.Retried))}
}

// Exceed returns r as PAUSED because its tolerance is exceeded. Only a person lets
// it go on; see Resume.
func (r Rotation) Exceed(b Budget, now time.Time) (Rotation, error) {
	next, err := r.Pause(fmt.Sprintf("failure tolerance exceeded: %s%d of %d tasks failed, %d are tolerated (%s)",
		b.What, b.Failed, b.Total, b.Allowed(b.Total), b.Tolerance), now)
	if err != nil {
		return r, err
	}
	next.Exceeded = true
	return next, nil
}

// Releasable returns up to limit tasks that may be sent to a worker now, in the
// order of the plan: those that are due and lie before the horizon.
//
// The horizon is the end of the wave in progress, or before it the position before
// which as many tasks are at risk as the budgets of rotation and wave have room. It
// follows from the plan and the states alone. A task that moves past its risk moves
// the horizon on; one that fails takes its room with it and leaves the horizon where
// it is. So whatever is released by a conductor that crashes, lags behind or is not
// alone, lies before the horizon of the true states, and there no more can fail than
// the budget and one.
//
// A failed task that is opened again has the room that its failure gives back. One
// that was in conflict, or handed over, took none: others may have its room by now.
// Its turn is after theirs, when room is left besides all that are at risk.
func (b *Board) Releasable(r Rotation, limit int, now time.Time) []int {
	if r.State == StateCancelling || r.State == StateCancelled {
		return b.dueBefore(r.Orders(r.Spec.New), len(b.rows), len(b.rows), limit, now) // Looks write nothing.
	}
	budget := r.Budget(b.c)
	if budget.Exceeded() {
		return nil
	}
	if r.State == StateUndoing {
		return b.undoable(r, budget.Room(), limit, now)
	}
	room, end := budget.Room(), b.c.Workable
	if w, ok := r.Wave(b.c); ok {
		room, end = min(room, w.Room()), w.end
	}
	if r.Spec.TenantTolerance.Mode != "" {
		return b.releasableByTenant(r, bounds{room, end}, limit, now)
	}
	to, spare := b.horizon(room, end, r.Phase == PhaseRetire)
	return b.dueBefore(r.Orders(r.Spec.New), to, spare, limit, now)
}

// horizon returns the position before which room tasks are at risk, at most that
// behind end tasks that are to be worked on, and for how many there is room besides
// those. Tasks whose turn is after theirs are not among them.
func (b *Board) horizon(room, end int, retiring bool) (to, spare int) {
	for i, row := range b.rows {
		if row.Seq == 0 && row.Outcome != Open {
			continue // Planning decided.
		}
		if end == 0 {
			return i, room
		}
		end--
		if !row.atRisk(retiring) || row.last(retiring) {
			continue
		}
		if room == 0 {
			return i, 0
		}
		room--
	}
	return len(b.rows), room
}

// atRisk reports whether the task can still fail in the part of the rotation that
// is under way: before it waits in the overlap, or before its old credentials are
// gone.
func (r Row) atRisk(retiring bool) bool {
	return r.Outcome == Open && (retiring || r.Phase.Rank() < Activated.Rank())
}

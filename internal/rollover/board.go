package rollover

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Counts are folded from task states; they are kept nowhere.
type Counts struct {
	Total     int
	Phases    map[Phase]int   // open tasks by phase
	Outcomes  map[Outcome]int // ended tasks by outcome
	Present   int             // succeeded without a write: the credential was there
	Retired   int             // tasks whose old credentials are gone
	Retrying  int             // open tasks with a failed try behind them
	Throttled int             // open tasks that their host or the service last asked to wait
	Down      int             // open tasks whose host last gave no usable answer, or was not asked because of that
	Slowed    int             // percent of full speed that is taken away from everything now; see [Pace]
	Advised   int             // tasks that carry advice, whatever their outcome
	OpenTasks int
	Workable  int                // tasks that the plan left to be worked on
	Broken    int                // of those: failed, and not while they were undone
	Retried   int                // failures that were opened again, by a retry or an undo
	Undos     map[int]UndoCounts // by the number of the undo

	Carriers Carriers    // of what is to be removed
	Drift    DriftCounts // folded from checks by the mirror; a board leaves it empty

	// Set by CountsOf: the version of the newest state, and the tasks at risk whose
	// tenant has more failures than it may.
	Seq             uint64
	Held            int
	HeldInWave      int      // of those: in the wave in progress or before it
	HeldTenants     []string // what became of their tenants, the first few
	HeldTenantCount int
}

// Outcome returns how many ended so.
func (c Counts) Outcome(o Outcome) int { return c.Outcomes[o] }

// Row is what the board knows of one task.
type Row struct {
	Progress
	Seq uint64 // version in the store; 0: as planned
}

// Board folds the states of one rotation's tasks. Applying a state twice, or
// skipping one, changes nothing in the end: the latest by version wins. It is
// not safe for concurrent use; its owner guards it.
type Board struct {
	rows    []Row
	tenant  []int32 // whose each row is: a position in parties
	parties []party
	partyOf map[string]int32 // by name
	seq     uint64           // the newest version that was applied
	c       Counts           // the fold of rows, moved on by each Apply
	low     int              // all rows before it have ended; due begins there
	trail   Trail
	old     []int32 // credentials that are to be removed, by row
}

// NewBoard returns the board of a plan of which nothing has run.
func NewBoard(plan []Item) *Board {
	b := &Board{
		rows: make([]Row, 0, len(plan)),
		c:    Counts{Phases: map[Phase]int{}, Outcomes: map[Outcome]int{}, Undos: map[int]UndoCounts{}},
	}
	b.Extend(plan)
	return b
}

// Extend adds the next items of the plan, so that a long plan can be read piece
// by piece.
func (b *Board) Extend(items []Item) {
	b.c.Total += len(items)
	b.join(items)
	for _, it := range items {
		r := Row{Progress: it.Start()}
		b.rows = append(b.rows, r)
		b.old = append(b.old, int32(len(it.Retire))) //nolint:gosec // A target has a handful.
		b.c.Carriers.meet(it)
		if it.Outcome == Open {
			b.c.Workable++
		}
		b.c.add(r, 1)
		if len(it.Advice) > 0 {
			b.c.Advised++
		}
	}
}

// Len returns how many tasks the plan has.
func (b *Board) Len() int { return len(b.rows) }

// Row returns the latest known state of a task; the zero Row if there is none.
func (b *Board) Row(ord int) Row {
	if ord < 0 || ord >= len(b.rows) {
		return Row{}
	}
	return b.rows[ord]
}

// Apply takes in a state with its version and reports whether it was news.
func (b *Board) Apply(ord int, p Progress, seq uint64) bool {
	if ord < 0 || ord >= len(b.rows) || seq <= b.rows[ord].Seq {
		return false
	}
	b.seq = max(b.seq, seq)
	before := b.c.Past()
	b.count(ord, -1)
	b.rows[ord] = Row{Progress: p.interned(), Seq: seq}
	b.count(ord, 1)
	if n := b.c.Past(); n != before {
		b.trail.Note(n, p.UpdatedAt)
	}
	if p.Outcome == Open { // An end may be taken back.
		b.low = min(b.low, ord)
	}
	return true
}

// count counts a row n times, n being 1 or -1, also for its tenant.
func (b *Board) count(ord, n int) {
	b.c.add(b.rows[ord], n)
	b.c.Carriers.carry(int(b.old[ord]), b.rows[ord], n)
	if b.rows[ord].broken() {
		b.parties[b.tenant[ord]].failed += n
	}
}

// broken reports whether the task failed, and not while it was undone. Version 0
// is what planning decided.
func (r Row) broken() bool { return r.Outcome == Failed && r.Seq > 0 && r.Undo == 0 }

// Troubled returns the open tasks whose last try was held up or found the host
// down, in plan order.
func (b *Board) Troubled() []int {
	if b.c.Throttled+b.c.Down == 0 {
		return nil
	}
	var out []int
	for i, row := range b.rows {
		if row.Outcome == Open && row.Throttle != NotThrottled {
			out = append(out, i)
		}
	}
	return out
}

// Counts returns the fold of the rows. The maps are the caller's own.
func (b *Board) Counts() Counts {
	c := b.c
	c.Phases, c.Outcomes, c.Undos = maps.Clone(c.Phases), maps.Clone(c.Outcomes), maps.Clone(c.Undos)
	return c
}

// Trail returns when tasks got past their risk.
func (b *Board) Trail() Trail { return b.trail }

// Past returns how many of the tasks to be worked on are past their risk in the
// stage phase: they wait in the overlap, or have ended.
func (c Counts) Past() int {
	return c.Workable - c.Phases[Planned] - c.Phases[Staged] - c.Phases[Verified]
}

// add counts r n times, n being 1 or -1.
func (c *Counts) add(r Row, n int) {
	if len(r.Removed) > 0 {
		c.Retired += n
	}
	c.Retried += n * r.Retried
	c.addUndo(r, n)
	if r.Outcome != Open {
		c.Outcomes[r.Outcome] += n
		if r.broken() {
			c.Broken += n
		}
		if r.Reason == AlreadyPresent {
			c.Present += n
		}
		return
	}
	c.OpenTasks += n
	c.Phases[r.Phase] += n
	if r.Tries > 0 {
		c.Retrying += n
	}
	switch r.Throttle {
	case ByHost, ByService:
		c.Throttled += n
	case HostDown, BreakerOpen:
		c.Down += n
	}
}

// dueBefore returns up to limit open tasks before position to, in plan order, that
// want a step now under the orders; of those whose turn is last, as many as there is
// spare room for.
func (b *Board) dueBefore(o Orders, to, spare, limit int, now time.Time) []int {
	for b.low < len(b.rows) && b.rows[b.low].Outcome != Open {
		b.low++
	}
	var out, last []int
	for i := b.low; i < to && len(out) < limit; i++ {
		switch row := b.rows[i]; {
		case row.Outcome != Open:
		case row.last(o.Retire):
			last = append(last, i)
		case row.due(o, now):
			out = append(out, i)
		}
	}
	for _, i := range b.inTurn(last) {
		if spare == 0 || len(out) == limit {
			break
		}
		spare--
		if b.rows[i].due(o, now) {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// due reports whether the task wants a step now.
func (r Row) due(o Orders, now time.Time) bool {
	s := Next(Task{Progress: r.Progress, Orders: o}, now)
	return s != StepWait && s != StepNothing
}

// last reports whether the turn of the task is after that of all others, in the order
// in which such tasks were opened. To retire it has the turn that it has in the plan:
// what is at risk then was so all the time.
func (r Row) last(retiring bool) bool { return r.Named > 0 && !retiring && r.atRisk(false) }

// inTurn sorts rows whose turn is last.
func (b *Board) inTurn(last []int) []int {
	slices.SortStableFunc(last, func(i, j int) int { return cmp.Compare(b.rows[i].NamedAt, b.rows[j].NamedAt) })
	return last
}

// Phase returns what a running rotation is busy with, going by its open tasks.
// It never says PhaseRetire: that is a decision, not a fold.
func (c Counts) Phase() RotationPhase {
	switch {
	case c.Phases[Planned] > 0:
		return PhaseStage
	case c.Phases[Staged]+c.Phases[Verified] > 0:
		return PhaseVerify
	default:
		return PhaseOverlap
	}
}

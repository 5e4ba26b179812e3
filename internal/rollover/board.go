package rollover

import (
	"maps"
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
	Advised   int             // tasks that carry advice, whatever their outcome
	OpenTasks int
	Workable  int // tasks that the plan left to be worked on
	Broken    int // of those: failed

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
	seq     uint64 // the newest version that was applied
	c       Counts // the fold of rows, moved on by each Apply
	low     int    // all rows before it have ended; due begins there
}

// NewBoard returns the board of a plan of which nothing has run.
func NewBoard(plan []Item) *Board {
	b := &Board{
		rows: make([]Row, len(plan)),
		c:    Counts{Total: len(plan), Phases: map[Phase]int{}, Outcomes: map[Outcome]int{}},
	}
	b.parties, b.tenant = parties(plan)
	for i, it := range plan {
		b.rows[i] = Row{Progress: it.Start()}
		if it.Outcome == Open {
			b.c.Workable++
		}
		b.c.add(b.rows[i], 1)
		if len(it.Advice) > 0 {
			b.c.Advised++
		}
	}
	return b
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
	b.c.add(b.rows[ord], -1)
	b.rows[ord] = Row{Progress: p, Seq: seq}
	b.c.add(b.rows[ord], 1)
	if p.Outcome == Open { // An end may be taken back.
		b.low = min(b.low, ord)
	}
	return true
}

// Counts returns the fold of the rows. The maps are the caller's own.
func (b *Board) Counts() Counts {
	c := b.c
	c.Phases, c.Outcomes = maps.Clone(c.Phases), maps.Clone(c.Outcomes)
	return c
}

// add counts r n times, n being 1 or -1.
func (c *Counts) add(r Row, n int) {
	if len(r.Removed) > 0 {
		c.Retired += n
	}
	if r.Outcome != Open {
		c.Outcomes[r.Outcome] += n
		if r.Outcome == Failed && r.Seq > 0 { // Version 0 is what planning decided.
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
}

// due returns up to limit open tasks before position to, in plan order, that
// want a step now under the orders.
func (b *Board) due(o Orders, to, limit int, now time.Time) []int {
	for b.low < len(b.rows) && b.rows[b.low].Outcome != Open {
		b.low++
	}
	var out []int
	k := Task{Orders: o}
	for i := b.low; i < to && len(out) < limit; i++ {
		if b.rows[i].Outcome != Open {
			continue
		}
		k.Progress = b.rows[i].Progress
		if s := Next(k, now); s != StepWait && s != StepNothing {
			out = append(out, i)
		}
	}
	return out
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

package rollover

import (
	"cmp"
	"slices"
	"time"
)

// The bounds of a Retention.
const (
	// MinKept is how long an ended rotation is kept at least, whatever the number:
	// those who wait for its end can still read it, and the ids of the requests that
	// were made for it are remembered no longer.
	MinKept = 24 * time.Hour
	// GoneFor is how long it is remembered that a rotation was deleted. It is longer
	// than a request id is remembered, so that no repeat makes it again.
	GoneFor = 48 * time.Hour
)

// Retention says how long ended rotations are kept. The zero Retention keeps all
// for ever.
type Retention struct {
	For time.Duration // since the end; 0: whatever the age
	Max int           // ended ones at most, the latest; 0: whatever the number
}

// Kept is a rotation of which a Retention decides, with the counts of its tasks.
type Kept struct {
	Rotation Rotation
	Counts   Counts
}

// Expired returns the ids of the rotations that may be deleted now, those that
// ended first before the others. Of all it is to be given every rotation there is.
//
// None is among them that is not over: one with open tasks, within its undo window,
// with a check for drift under way or to come, or that another one is made of
// which has not ended. Nor is one that an older rotation may still be compared
// with: its certificates would look like strangers there.
func (p Retention) Expired(all []Kept, now time.Time) []string {
	if p.For <= 0 && p.Max <= 0 {
		return nil
	}
	named, oldest := map[string]bool{}, ""
	var ended []Rotation
	for _, k := range all {
		r := k.Rotation
		if !r.State.Ended() {
			named[r.Spec.DriftedOf], named[r.Spec.FailedOf] = true, true
		}
		if r.comparable(now) && (oldest == "" || r.ID < oldest) {
			oldest = r.ID
		}
		if r.State.Ended() {
			ended = append(ended, r)
		}
	}
	slices.SortFunc(ended, func(a, b Rotation) int {
		return cmp.Or(a.EndedAt.Compare(b.EndedAt), cmp.Compare(a.ID, b.ID))
	})
	over := map[string]bool{}
	for _, k := range all {
		over[k.Rotation.ID] = k.Rotation.over(k.Counts, now)
	}
	var out []string
	for i, r := range ended {
		old := p.For > 0 && now.Sub(r.EndedAt) >= p.For
		many := p.Max > 0 && len(ended)-i > p.Max
		if (old || many) && over[r.ID] && !named[r.ID] && (oldest == "" || r.ID <= oldest) {
			out = append(out, r.ID)
		}
	}
	return out
}

// comparable reports whether a check of r for drift runs or may begin by itself.
func (r Rotation) comparable(now time.Time) bool {
	if !r.State.Ended() {
		return !r.StartedAt.IsZero()
	}
	return r.Check.State == CheckRunning || r.checksUntil().After(now)
}

// checksUntil returns until when the schedule of r may begin checks by itself.
func (r Rotation) checksUntil() time.Time {
	if r.Spec.Drift.Every <= 0 {
		return time.Time{}
	}
	return r.EndedAt.Add(r.Spec.Drift.For)
}

// over reports whether nothing of r can be asked for any more but what it was.
func (r Rotation) over(c Counts, now time.Time) bool {
	if !r.State.Ended() || r.EndedAt.IsZero() || c.OpenTasks > 0 || c.Total != r.Tasks {
		return false
	}
	until := r.EndedAt
	for _, at := range []time.Time{r.UpdatedAt, r.Check.EndedAt} {
		if at.After(until) {
			until = at
		}
	}
	until = until.Add(MinKept)
	if r.Spec.Retires() {
		last := r.EndedAt
		if r.Undo != nil && r.Undo.EndedAt.After(last) {
			last = r.Undo.EndedAt
		}
		if at := last.Add(r.Spec.UndoFor()); at.After(until) {
			until = at
		}
	}
	return now.After(until) && r.Check.State != CheckRunning && !r.checksUntil().After(now) && !r.UndoUnderWay()
}

// Forget returns what is kept of r when it is deleted: that there was one. What it
// was for is not in it. It is refused with [ErrState] while r has not ended.
func (r Rotation) Forget(now time.Time) (Rotation, error) {
	if !r.State.Ended() {
		return r, &StateError{"delete", r.State, "it has not ended"}
	}
	return Rotation{
		V: r.V, ID: r.ID, Spec: Spec{Purpose: r.Spec.Purpose}, State: r.State, CreatedAt: r.CreatedAt, EndedAt: r.EndedAt, UpdatedAt: now, Gone: now, Rev: r.Rev,
	}, nil
}

package rollover

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// What is assumed before anything was measured. A task is three or four calls to ACS,
// one after the other. LeastTaskTime is so little, 25 ms for each, that a plan which
// does not fit even with it is impossible; TaskTime is what they take on a day like
// any other.
const (
	LeastTaskTime = 100 * time.Millisecond
	TaskTime      = time.Second
)

// atOnce returns how many of size tasks of a wave are worked on at once at most,
// in a rotation of total: what was asked for, and where the tolerance is strict,
// one more than may fail.
func (s Spec) atOnce(size, total int) int {
	n := min(size, max(1, s.MaxInFlight))
	if s.Tolerance.Mode == Strict {
		n = min(n, s.Tolerance.Allowed(total)+1)
		if s.Strategy.Start != "" {
			n = min(n, s.Tolerance.Allowed(size)+1)
		}
	}
	return max(1, n)
}

// Estimate is the arithmetic of a plan before it runs: the least that it takes.
type Estimate struct {
	Tasks    int
	Waves    int
	Work     time.Duration // open time that the tasks take, wave by wave
	Bake     time.Duration // of all bake times
	Rate     float64       // tasks a second, on the average of the waves
	From     time.Time
	Deadline time.Time
	Open     time.Duration // open time from From to Deadline
	Finish   time.Time     // zero: out of sight
}

// EstimateFrom returns the least that total tasks take, begun at from. No more
// than cap tasks are begun a second; 0: as many as there are.
func (s Spec) EstimateFrom(from time.Time, total int, most float64, t Timetable) Estimate {
	h := t.Regular
	if s.Schedule.Policy == DeadlineWins && !s.StageDeadline.IsZero() {
		h = t.OffHours
	}
	sizes := s.Strategy.Sizes(total)
	e := Estimate{Tasks: total, Waves: len(sizes), From: from, Deadline: s.StageDeadline, Open: h.OpenTime(from, s.StageDeadline)}
	at, seen := from, true
	for i, n := range sizes {
		took := LeastTaskTime * time.Duration((n+s.atOnce(n, total)-1)/s.atOnce(n, total))
		if most > 0 {
			took = max(took, time.Duration(math.Min(float64(n)/most, outOfSight.Seconds())*float64(time.Second)))
		}
		e.Work += took
		if i > 0 {
			e.Bake += s.Strategy.Bake
			at = at.Add(s.Strategy.Bake)
		}
		if seen {
			at, seen = h.Advance(at, took)
		}
	}
	if seen {
		e.Finish = at
	}
	if e.Work > 0 {
		e.Rate = float64(total) / e.Work.Seconds()
	}
	return e
}

// Possible reports whether the plan can be carried out until its deadline.
func (e Estimate) Possible() bool {
	return e.Deadline.IsZero() || e.Tasks == 0 || (!e.Finish.IsZero() && !e.Finish.After(e.Deadline))
}

// String is the arithmetic in a sentence.
func (e Estimate) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d tasks take at least %s of work (%.1f tasks/s)", e.Tasks, short(e.Work), e.Rate)
	if e.Waves > 1 {
		fmt.Fprintf(&b, " in %d waves", e.Waves)
		if e.Bake > 0 {
			fmt.Fprintf(&b, " with %s between them", short(e.Bake))
		}
	}
	fmt.Fprintf(&b, "; from %s to the deadline %s there are %s, of which the schedule leaves %s; ", stamp(e.From), stamp(e.Deadline),
		short(max(0, e.Deadline.Sub(e.From))), short(e.Open))
	if e.Finish.IsZero() {
		b.WriteString("there is no end in sight")
	} else {
		fmt.Fprintf(&b, "the end is not before %s", stamp(e.Finish))
	}
	return b.String()
}

// Err returns an [ErrDeadline] with the arithmetic, or nil if the plan is possible.
func (e Estimate) Err() error {
	if e.Possible() {
		return nil
	}
	return fmt.Errorf("%s; give it more time, larger or fewer waves, less bake time, more in flight, or more windows: %w", e, ErrDeadline)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Risk returns r with its stage deadline marked as at risk, or no more, going by
// the forecast, and false where nothing changes. At risk is a deadline behind which
// the likely end lies; it is so no more when even the latest lies before it. What is
// only assumed makes no risk unless even the earliest end is too late. A deadline
// that was missed stays marked.
func (r Rotation) Risk(f Forecast, left bool, now time.Time) (Rotation, bool) {
	d := r.Spec.StageDeadline
	if d.IsZero() || r.State.Ended() || r.Phase == PhaseRetire { // By then it is decided.
		return r, false
	}
	late := func(t time.Time) bool { return t.IsZero() || t.After(d) }
	at := !r.AtRiskSince.IsZero()
	switch {
	case !left && f.Done.IsZero():
		at = at && now.After(d)
	case !left:
		at = f.Done.After(d)
	case now.After(d):
		at = true
	case f.Assumed:
		at = late(f.Earliest)
	case late(f.Likely):
		at = true
	case !late(f.Latest):
		at = false
	}
	if at != r.AtRiskSince.IsZero() {
		return r, false
	}
	r.AtRiskSince, r.UpdatedAt = time.Time{}, now
	if at {
		r.AtRiskSince = now
	}
	return r, true
}

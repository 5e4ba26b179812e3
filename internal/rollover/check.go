package rollover

import (
	"maps"
	"time"
)

// CheckState is where the last check of a rotation for drift is.
type CheckState string

// The states of a check. The empty one means that there was none.
const (
	CheckRunning CheckState = "running"
	CheckDone    CheckState = "done"
	CheckStopped CheckState = "stopped" // the rotation went to work again
)

// Check is the last check of a rotation for drift, as its record says. How far it
// is follows from the parts that are stored; see [CheckPart].
type Check struct {
	Number    int        `json:"n"` // from 1
	State     CheckState `json:"state"`
	Scheduled bool       `json:"scheduled,omitempty"`  // begun by the schedule, not by a person
	RequestID string     `json:"request_id,omitempty"` // of the request that began it
	StartedAt time.Time  `json:"started_at"`
	EndedAt   time.Time  `json:"ended_at,omitzero"`
	Detail    string     `json:"detail,omitempty"` // why it was stopped
}

// DriftPolicy says how often a rotation that has ended is checked. The zero
// DriftPolicy never does.
type DriftPolicy struct {
	Every time.Duration `json:"every,omitempty"`
	For   time.Duration `json:"for,omitempty"` // after the end of the rotation no check is begun later than this
}

// The bounds of a DriftPolicy.
const (
	MinCheckEvery = time.Hour
	MaxCheckFor   = 365 * 24 * time.Hour
)

// Checkable reports whether the task's target holds what this rotation put there,
// so that a check can say what is other.
func (p Progress) Checkable() bool {
	return p.Outcome == Succeeded || (p.Outcome == Open && p.Phase == Activated)
}

// Checkable returns how many tasks a check looks at.
func (c Counts) Checkable() int { return c.Outcomes[Succeeded] + c.Phases[Activated] }

// checkable returns why the rotation cannot be checked, or nil. While targets are
// being staged what stands there is not known yet; from the overlap on it is.
func (r Rotation) checkable(c Counts) error {
	working := r.State == StateRunning || r.State == StatePaused
	switch {
	case working && (r.Phase == PhaseOverlap || r.Phase == PhaseRetire):
	case working:
		return &StateError{"check", r.State, "wait until every target is verified"}
	case !r.State.Ended():
		return &StateError{"check", r.State, "wait until it has ended, or is in its overlap"}
	}
	if r.Digest == "" || r.StartedAt.IsZero() || c.Checkable() == 0 {
		return &StateError{"check", r.State, "no target was rotated, so there is nothing to check"}
	}
	return nil
}

// BeginCheck returns r with a check running. One that runs already is left as it
// is. A check changes no target.
func (r Rotation) BeginCheck(c Counts, by Check, now time.Time) (Rotation, error) {
	if err := r.checkable(c); err != nil {
		return r, err
	}
	if r.Check.State == CheckRunning {
		return r, nil
	}
	r.Check = Check{
		Number: r.Check.Number + 1, State: CheckRunning, Scheduled: by.Scheduled, RequestID: by.RequestID, StartedAt: now,
	}
	r.UpdatedAt = now
	return r, nil
}

// MoveCheck returns r with its running check ended if every part is stored, or
// stopped if the rotation cannot be checked any more; or with one begun that is
// due by schedule. It reports false where there is nothing to write.
func (r Rotation) MoveCheck(c Counts, now time.Time) (Rotation, bool) {
	if r.Check.State != CheckRunning {
		due := r.NextCheck()
		if due.IsZero() || now.Before(due) {
			return r, false
		}
		next, err := r.BeginCheck(c, Check{Scheduled: true}, now)
		return next, err == nil
	}
	if err := r.checkable(c); err != nil {
		r.Check.State, r.Check.Detail = CheckStopped, "the rotation went to work again; check it when it has ended"
	} else if c.Drift.Parts(r.Check.Number) == r.CheckParts() {
		r.Check.State = CheckDone
	} else {
		return r, false
	}
	r.Check.EndedAt, r.UpdatedAt = now, now
	return r, true
}

// CheckSettled reports whether whoever watches the ended rotation has no news of a
// check to wait for: none that was begun after the end is running, and, going by the
// counts, all that the last one stored was told. One that was begun before the end
// holds nobody up who waits for the rotation.
func (r Rotation) CheckSettled(c Counts) bool {
	switch r.Check.State {
	case CheckRunning:
		return r.Check.StartedAt.Before(r.EndedAt)
	case CheckDone:
		return c.Drift.Parts(r.Check.Number) == r.CheckParts()
	default:
		return true
	}
}

// NextCheck returns the instant at which the next check begins by itself; zero
// where none will. It follows from the record alone, so that whoever leads begins
// the same check and no second one.
func (r Rotation) NextCheck() time.Time {
	p := r.Spec.Drift
	if p.Every <= 0 || !r.State.Ended() || r.StartedAt.IsZero() || r.Check.State == CheckRunning {
		return time.Time{}
	}
	last := r.EndedAt
	if r.Check.StartedAt.After(last) {
		last = r.Check.StartedAt
	}
	if due := last.Add(p.Every); !due.After(r.EndedAt.Add(p.For)) {
		return due
	}
	return time.Time{}
}

// CheckChunk is how many tasks one part of a check has. It is part of the stored
// format.
const CheckChunk = 64

// CheckParts returns of how many parts a check of the rotation is.
func (r Rotation) CheckParts() int { return (r.Tasks + CheckChunk - 1) / CheckChunk }

// CheckPart is what the last check found on the targets of CheckChunk tasks side
// by side. That it is stored with the number of a check is the proof that the
// check has been there; one that found nothing is a few bytes.
type CheckPart struct {
	V       int       `json:"v"`
	Check   int       `json:"check"`  // number of the check
	Looked  int       `json:"looked"` // targets that it read, or tried to
	At      time.Time `json:"at"`
	Targets []Drifted `json:"targets,omitempty"` // in the order of the plan
}

// Drifted is a target on which something is other than the rotation left it, or
// that could not be read.
type Drifted struct {
	Ord    int     `json:"ord"`    // position in the plan
	Tenant string  `json:"tenant"` // whose management access is used
	Target Target  `json:"target"` //
	Drifts []Drift `json:"drifts"` // at least one
}

// Repairable reports whether a new rotation mends anything of it.
func (d Drifted) Repairable() bool {
	for _, x := range d.Drifts {
		if x.Kind.Repairable() {
			return true
		}
	}
	return false
}

// readable reports whether the target could be read.
func (d Drifted) readable() bool { return len(d.Drifts) == 0 || d.Drifts[0].Kind != DriftUnreadable }

// DriftCounts are folded from the parts of a rotation's checks.
type DriftCounts struct {
	Drifted    int               // targets with a drift, as last seen
	Unreadable int               // targets that could not be read
	Repairable int               // drifted targets that a rotation mends
	Kinds      map[DriftKind]int // drifts by kind
	parts      map[int]int       // stored parts by the number of their check
	looked     map[int]int       // targets looked at by the number of the check
}

// Parts returns how many parts of the check of that number are stored.
func (c DriftCounts) Parts(check int) int { return c.parts[check] }

// Looked returns how many targets the check of that number has looked at.
func (c DriftCounts) Looked(check int) int { return c.looked[check] }

// Add counts a part n times, n being 1 or -1.
func (c *DriftCounts) Add(p CheckPart, n int) {
	if c.Kinds == nil {
		c.Kinds, c.parts, c.looked = map[DriftKind]int{}, map[int]int{}, map[int]int{}
	}
	count(c.parts, p.Check, n)
	count(c.looked, p.Check, n*p.Looked)
	for _, t := range p.Targets {
		if t.readable() {
			c.Drifted += n
		} else {
			c.Unreadable += n
		}
		if t.Repairable() {
			c.Repairable += n
		}
		for _, d := range t.Drifts {
			count(c.Kinds, d.Kind, n)
		}
	}
}

// count adds n to what m has under k, and forgets k at zero.
func count[K comparable](m map[K]int, k K, n int) {
	if m[k] += n; m[k] == 0 {
		delete(m, k)
	}
}

// Clone returns a copy that shares nothing.
func (c DriftCounts) Clone() DriftCounts {
	c.Kinds, c.parts, c.looked = maps.Clone(c.Kinds), maps.Clone(c.parts), maps.Clone(c.looked)
	return c
}

// CheckChange says that a part of a rotation's check was stored.
type CheckChange struct {
	Rotation string
	Part     int
	Result   CheckPart
}

package conductor

import (
	"context"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/calendar"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// times is what a turn remembers of one rotation's schedule. It is read once, and
// looked at again when it changes next.
type times struct {
	calendar *calendar.Calendar // nil: it cannot be read
	table    rollover.Timetable
	broken   error
	gate     rollover.Opening // as it was last found
	until    time.Time        // the gate holds before it, by the clock of the service
	since    time.Time        // and from then on: a clock that was set back is asked anew
	judged   time.Time        // when the deadline was last looked at, in real time
}

// judgeEvery is how often a deadline is looked at: a forecast changes slowly.
const judgeEvery = time.Second

// maxTimes bounds how many rotations' schedules are remembered. Those that have
// ended are forgotten first by forgetting all.
const maxTimes = 1024

// timesOf returns what is remembered of a rotation's schedule.
func (t *turn) timesOf(r rollover.Rotation) *times {
	if s := t.times[r.ID]; s != nil {
		return s
	}
	if t.times == nil || len(t.times) >= maxTimes {
		t.times = map[string]*times{}
	}
	s := &times{table: rollover.AnyTime()}
	t.times[r.ID] = s
	if r.Spec.Schedule.Empty() {
		return s
	}
	if s.calendar, s.broken = calendar.Read(r.Spec.Schedule); s.broken == nil {
		s.table = s.calendar.Timetable()
	} else {
		s.table = rollover.Timetable{Regular: rollover.Never{}, OffHours: rollover.Never{}}
	}
	return s
}

// schedule brings the gate and the mark of a deadline at risk up to date. It
// reports true where the record was written, and the turn is over.
func (t *turn) schedule(ctx context.Context, v mirror.View) (bool, error) {
	r, now := v.Rotation, t.Now()
	if r.Spec.Schedule.Empty() && r.Spec.StageDeadline.IsZero() {
		return false, nil
	}
	s := t.timesOf(r)
	if !r.Spec.Schedule.Empty() && r.State == rollover.StateRunning {
		next, changed := r.Reopen(t.gate(s, v, now), now)
		if changed {
			t.Log.InfoContext(ctx, "schedule", "rotation", r.ID, "open", !next.Closed(now), "until", next.Opening.OpenUntil,
				"next", next.Opening.NextOpen, "off_hours", next.Opening.OffHours, "why", next.Opening.Why)
			return true, t.save(ctx, next)
		}
		if s.broken != nil {
			return false, fmt.Errorf("it is held, since its schedule cannot be read: %w", s.broken)
		}
	}
	if r.Spec.StageDeadline.IsZero() || time.Since(s.judged) < judgeEvery {
		return false, nil
	}
	s.judged = time.Now()
	next := t.judged(v, now)
	if next.AtRiskSince.Equal(r.AtRiskSince) {
		return false, nil
	}
	t.Log.WarnContext(ctx, "stage deadline", "rotation", r.ID, "deadline", r.Spec.StageDeadline, "at_risk", !next.AtRiskSince.IsZero())
	return true, t.save(ctx, next)
}

// judged returns a rotation with the mark of its deadline as the forecast has it.
func (t *turn) judged(v mirror.View, now time.Time) rollover.Rotation {
	f, left := rollover.Predict(v.Rotation, v.Counts, v.Trail, t.timesOf(v.Rotation).table, now)
	next, _ := v.Rotation.Risk(f, left, now)
	return next
}

// gate returns what the schedule allows now. What cannot be read allows nothing.
func (t *turn) gate(s *times, v mirror.View, now time.Time) rollover.Opening {
	if s.broken != nil {
		return rollover.Opening{Why: "the schedule cannot be read: " + s.broken.Error()}
	}
	if s.fresh(v.Rotation, now) {
		return s.gate
	}
	st := s.calendar.At(now)
	if st.Err != nil {
		s.broken = st.Err
		return t.gate(s, v, now)
	}
	until := st.Until
	if until.IsZero() { // Nothing changes in sight. It is looked at again all the same.
		until = now.AddDate(1, 0, 0)
	}
	s.since, s.until = now, until
	switch {
	case st.Open:
		s.gate = rollover.Opening{OpenUntil: until}
	case !st.Frozen && t.deadlineWins(s, v, now):
		s.gate = rollover.Opening{OpenUntil: until, OffHours: true}
	default:
		s.gate = rollover.Opening{Why: st.Why}
		s.gate.NextOpen, _ = s.calendar.NextOpen(now)
	}
	if s.gate.Why != "" && !st.Frozen && s.asks(v.Rotation) { // The deadline may win in a moment.
		s.until = earlier(s.until, now.Add(judgeEvery))
	}
	return s.gate
}

// fresh reports whether the gate that was found holds at now. One outside the
// windows holds only while there is something to stage.
func (s *times) fresh(r rollover.Rotation, now time.Time) bool {
	staging := r.Phase == rollover.PhaseStage || r.Phase == rollover.PhaseVerify
	return !s.until.IsZero() && now.Before(s.until) && !now.Before(s.since) && (staging || !s.gate.OffHours)
}

// asks reports whether the deadline may win at all.
func (s *times) asks(r rollover.Rotation) bool {
	return r.Spec.Schedule.Policy == rollover.DeadlineWins && !r.Spec.StageDeadline.IsZero()
}

// deadlineWins reports whether staging goes on outside the windows: the policy says
// so, and by the forecast the windows that are left do not suffice. Removing what is
// old waits for a window.
func (t *turn) deadlineWins(s *times, v mirror.View, now time.Time) bool {
	r := v.Rotation
	if !s.asks(r) {
		return false
	}
	f, left := rollover.Predict(r, v.Counts, v.Trail, rollover.Timetable{Regular: s.table.Regular, OffHours: s.table.Regular}, now)
	return left && (f.Likely.IsZero() || f.Likely.After(r.Spec.StageDeadline))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

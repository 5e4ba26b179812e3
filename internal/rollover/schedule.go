package rollover

import (
	"fmt"
	"time"
)

// SchedulePolicy says what wins where the windows are too few for the deadline.
type SchedulePolicy string

// The policies. A freeze wins under both.
const (
	WindowWins   SchedulePolicy = "window_wins"
	DeadlineWins SchedulePolicy = "deadline_wins" // staging goes on outside the windows once they do not suffice
)

// Schedule says when tasks may be begun, as texts. What they mean is told by
// internal/calendar. The zero Schedule is always open; rotations from before
// there were schedules have it.
type Schedule struct {
	Windows []Window       `json:"windows,omitempty"` // none: at any time
	Freezes []Freeze       `json:"freezes,omitempty"` // win over the windows
	Policy  SchedulePolicy `json:"policy,omitempty"`
}

// Empty reports whether tasks may be begun at any time.
func (s Schedule) Empty() bool { return len(s.Windows) == 0 && len(s.Freezes) == 0 }

// Window is a time that comes again.
type Window struct {
	Rule   string        `json:"rule"`   // RRULE of RFC 5545
	Start  string        `json:"start"`  // local: 2026-11-24T01:00:00
	Zone   string        `json:"zone"`   // IANA name
	Length time.Duration `json:"length"` // elapsed time
}

// Freeze is a calendar whose events forbid work.
type Freeze struct {
	Name     string `json:"name,omitempty"`
	Calendar string `json:"calendar"`       // VCALENDAR of RFC 5545
	Zone     string `json:"zone,omitempty"` // IANA name, of what names no zone
}

// Opening is what the conductor made of the schedule: until when steps may be begun.
// It is in the record so that workers hold by themselves when the time is over, and
// so that opening and closing are told to watchers. The zero Opening is closed.
type Opening struct {
	OpenUntil time.Time `json:"open_until,omitzero"` // steps may be begun before it
	OffHours  bool      `json:"off_hours,omitempty"` // open outside the windows, since the deadline wins
	NextOpen  time.Time `json:"next_open,omitzero"`  // of a closed one; zero: not in sight
	Why       string    `json:"why,omitempty"`       // it is closed
}

// Closed reports whether the schedule forbids that a step is begun at now.
func (r Rotation) Closed(now time.Time) bool {
	return !r.Spec.Schedule.Empty() && !now.Before(r.Opening.OpenUntil)
}

// Reopen returns r with another opening, and false where it has that one.
func (r Rotation) Reopen(g Opening, now time.Time) (Rotation, bool) {
	same := g.OpenUntil.Equal(r.Opening.OpenUntil) && g.NextOpen.Equal(r.Opening.NextOpen) && g.OffHours == r.Opening.OffHours && g.Why == r.Opening.Why
	if same {
		return r, false
	}
	r.Opening, r.UpdatedAt = g, now
	return r, true
}

// Hours say when tasks may be begun.
type Hours interface {
	// OpenTime returns how much of the time between two instants is open.
	OpenTime(from, to time.Time) time.Duration
	// Advance returns the instant at which d of open time has passed since t, and
	// false if that is out of sight. With d of 0 it is the first open instant.
	Advance(t time.Time, d time.Duration) (time.Time, bool)
}

// Always is open at any time.
type Always struct{}

// OpenTime returns all of the time.
func (Always) OpenTime(from, to time.Time) time.Duration { return max(0, to.Sub(from)) }

// Advance returns t plus d.
func (Always) Advance(t time.Time, d time.Duration) (time.Time, bool) { return t.Add(d), true }

// Never is never open: the hours of a schedule that cannot be read.
type Never struct{}

// OpenTime returns no time.
func (Never) OpenTime(_, _ time.Time) time.Duration { return 0 }

// Advance finds no open instant.
func (Never) Advance(time.Time, time.Duration) (time.Time, bool) { return time.Time{}, false }

// Timetable is the schedule of a rotation as it is counted with.
type Timetable struct {
	Regular  Hours // within the windows and outside the freezes
	OffHours Hours // outside the freezes
}

// AnyTime is the timetable of a rotation without windows and freezes.
func AnyTime() Timetable { return Timetable{Always{}, Always{}} }

// hours returns those that hold for a spec: the regular ones, or where the deadline
// wins and late says of the regular ones that they do not suffice, all but the
// freezes.
func (t Timetable) hours(s Spec, late func(Hours) bool) Hours {
	if s.Schedule.Policy == DeadlineWins && !s.StageDeadline.IsZero() && late(t.Regular) {
		return t.OffHours
	}
	return t.Regular
}

// short is a duration as people read it.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	default:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
}

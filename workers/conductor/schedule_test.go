package conductor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// nightly opens at an hour of UTC for so long.
func nightly(hour int, length time.Duration) rollover.Window {
	return rollover.Window{Rule: "FREQ=DAILY", Start: fmt.Sprintf("2016-01-01T%02d:00", hour), Zone: "UTC", Length: length}
}

// frozen is a calendar with one event.
func frozen(from, to time.Time) rollover.Freeze {
	const layout = "20060102T150405Z"
	return rollover.Freeze{Calendar: strings.Join([]string{
		"BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", "UID:1", "SUMMARY:Election", "DTSTART:" + from.UTC().Format(layout),
		"DTEND:" + to.UTC().Format(layout), "END:VEVENT", "END:VCALENDAR", "",
	}, "\r\n")}
}

func scheduled(s rollover.Schedule, deadline time.Time) func(*rollover.Spec) {
	return func(spec *rollover.Spec) { spec.Schedule, spec.StageDeadline = s, deadline }
}

// turns lets some turns of the conductor go by.
func (h *house) turns() {
	h.t.Helper()
	begun := h.clock.Now()
	h.waits(10*time.Second, "some turns of the conductor", func() bool { return h.clock.Now().Sub(begun) > 300*time.Millisecond })
}

// drained waits until nothing is in the queue.
func (h *house) drained() {
	h.t.Helper()
	h.waits(10*time.Second, "an empty queue", func() bool {
		out, err := h.broker.InFlight(h.t.Context(), jet.Tasks)
		return err == nil && len(out) == 0
	})
}

func gate(open bool) func(mirror.View) bool {
	return func(v mirror.View) bool {
		return !v.Rotation.Opening.OpenUntil.IsZero() == open && v.Rotation.State == rollover.StateRunning
	}
}

// The epoch of the tests is at one in the morning. A window that opens at two lets
// nothing through before, closes mid-way, and goes on the next night; by the
// cloud's own journal nothing is written outside. Removing waits for it as well.
func TestConductor_WorksInItsWindowsOnly(t *testing.T) {
	const targets = 400
	h := newHouse(t, targets)
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.create("r1", scheduled(rollover.Schedule{Windows: []rollover.Window{nightly(2, time.Hour)}}, time.Time{}))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	v := h.until("r1", "told to wait", func(v mirror.View) bool { return v.Rotation.Opening.Why != "" })
	opens := time.Date(2016, 11, 1, 2, 0, 0, 0, time.UTC)
	if g := v.Rotation.Opening; g.Why != "outside its windows" || !g.NextOpen.Equal(opens) {
		t.Errorf("gate = %+v, want closed until %s", g, opens)
	}
	h.turns()
	if n := len(h.cloud.Journal()); n != 0 {
		t.Fatalf("%d writes before the window", n)
	}

	h.advance(opens.Sub(h.clock.Now()))
	h.written(40)
	h.advance(opens.Add(time.Hour).Sub(h.clock.Now()))
	h.until("r1", "closed", gate(false))
	h.drained()
	early := len(h.cloud.Journal())
	h.turns()
	if n := len(h.cloud.Journal()); n != early || n == targets {
		t.Errorf("%d writes when it had closed and drained, %d a little later; want no more and not all", early, n)
	}
	for _, w := range h.cloud.Journal() {
		// What a worker had in hand at the close is written a moment after it.
		if w.At.Before(opens) || w.At.After(opens.Add(time.Hour+time.Second)) {
			t.Errorf("written at %s, outside the window", w.At)
		}
	}

	h.advance(opens.AddDate(0, 0, 1).Sub(h.clock.Now()))
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.advance(switchAt.Add(2 * rollover.Margin).Sub(h.clock.Now()))
	h.until("r1", "in the retire phase", phase(rollover.PhaseRetire))
	h.turns()
	if v, err := h.mirror.Rotation(t.Context(), "r1"); err != nil || v.Counts.Retired != 0 || len(h.cloud.Journal()) != targets {
		t.Errorf("outside the window %d are retired, %d writes, %v; want none", v.Counts.Retired, len(h.cloud.Journal()), err)
	}
	h.advance(time.Date(2016, 11, 4, 2, 0, 0, 0, time.UTC).Add(time.Minute).Sub(h.clock.Now()))
	h.until("r1", "succeeded", state(rollover.StateSucceeded))
	h.ledger.Check(t, "r1")
}

// A worker that is alone, since its conductor has died, begins nothing when the time
// is over.
func TestConductor_WorkersHoldByThemselves(t *testing.T) {
	h := newHouse(t, 50)
	stop := h.conduct("c1")
	h.plan()
	h.create("r1", scheduled(rollover.Schedule{Windows: []rollover.Window{nightly(1, 2*time.Hour)}}, time.Time{}))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.until("r1", "open", gate(true))
	h.waits(10*time.Second, "nudges", func() bool {
		out, err := h.broker.InFlight(t.Context(), jet.Tasks)
		return err == nil && len(out) > 5
	})
	stop()
	h.advance(3 * time.Hour)
	h.rotate()
	h.drained()
	if n := len(h.cloud.Journal()); n != 0 {
		t.Errorf("%d writes after the window, without a conductor; want none", n)
	}
}

// Where the windows do not suffice, the deadline wins over them if that is the
// policy, but never over a freeze, and never for removing.
func TestConductor_TheDeadlineWins(t *testing.T) {
	h := newHouse(t, 60)
	now := h.clock.Now()
	h.conduct("c1")
	h.plan()
	h.rotate()
	s := rollover.Schedule{
		Policy:  rollover.DeadlineWins,
		Windows: []rollover.Window{nightly(12, time.Hour)},
		Freezes: []rollover.Freeze{frozen(now.Add(-time.Hour), now.Add(2*time.Hour))},
	}
	h.create("r1", scheduled(s, now.Add(8*time.Hour)))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	v := h.until("r1", "told to wait", func(v mirror.View) bool { return v.Rotation.Opening.Why != "" })
	if g := v.Rotation.Opening; g.Why != "frozen: Election" {
		t.Errorf("gate = %+v, want it frozen", g)
	}
	h.turns()
	if n := len(h.cloud.Journal()); n != 0 {
		t.Fatalf("%d writes in the freeze", n)
	}
	h.advance(now.Add(2 * time.Hour).Sub(h.clock.Now()))
	v = h.until("r1", "open outside its windows", gate(true))
	if !v.Rotation.Opening.OffHours {
		t.Errorf("gate = %+v, want it open outside the windows", v.Rotation.Opening)
	}
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.until("r1", "closed again", gate(false))
	h.advance(switchAt.Add(2 * rollover.Margin).Sub(h.clock.Now()))
	h.until("r1", "in the retire phase", phase(rollover.PhaseRetire))
	h.turns()
	if n := len(h.cloud.Journal()); n != 60 {
		t.Errorf("%d writes outside the windows with everything staged, want 60", n)
	}
	h.advance(time.Date(2016, 11, 4, 12, 1, 0, 0, time.UTC).Sub(h.clock.Now()))
	h.until("r1", "succeeded", state(rollover.StateSucceeded))
	h.ledger.Check(t, "r1")
}

// With time enough in the windows the same policy waits for them.
func TestConductor_TheDeadlineWinsOnlyWhereItMust(t *testing.T) {
	h := newHouse(t, 20)
	h.conduct("c1")
	h.plan()
	h.rotate()
	s := rollover.Schedule{Policy: rollover.DeadlineWins, Windows: []rollover.Window{nightly(12, time.Hour)}}
	h.create("r1", scheduled(s, h.clock.Now().Add(24*time.Hour)))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.until("r1", "told to wait", func(v mirror.View) bool { return v.Rotation.Opening.Why != "" })
	h.turns()
	if n := len(h.cloud.Journal()); n != 0 {
		t.Errorf("%d writes outside the windows, which suffice", n)
	}
}

// A schedule that cannot be read holds the rotation and says so.
func TestConductor_ABrokenScheduleIsClosed(t *testing.T) {
	h := newHouse(t, 10)
	h.conduct("c1")
	h.plan()
	h.rotate()
	w := nightly(0, 24*time.Hour)
	w.Zone = "Europe/Bonn"
	h.create("r1", scheduled(rollover.Schedule{Windows: []rollover.Window{w}}, time.Time{}))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	v := h.until("r1", "told why", func(v mirror.View) bool { return v.Rotation.Opening.Why != "" })
	h.turns()
	if n := len(h.cloud.Journal()); n != 0 || !strings.Contains(v.Rotation.Opening.Why, "Europe/Bonn") {
		t.Errorf("%d writes, %q; want none and what is wrong", n, v.Rotation.Opening.Why)
	}
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("mend it", h.clock.Now()) })
	h.until("r1", "cancelled", state(rollover.StateCancelled))
}

// A deadline behind which the end lies is at risk in the record, paused or not, and
// no more when all is done in time.
func TestConductor_MarksADeadlineAtRisk(t *testing.T) {
	h := newHouse(t, 30)
	h.conduct("c1")
	h.plan()
	h.create("r1", scheduled(rollover.Schedule{}, h.clock.Now().Add(time.Hour)), func(s *rollover.Spec) {
		s.Strategy = rollover.Strategy{Start: rollover.FullStart, Bake: 2 * time.Hour}
	})
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	at := func(v mirror.View) bool { return !v.Rotation.AtRiskSince.IsZero() }
	h.until("r1", "at risk", at) // One task, two hours, and the others: not within an hour.
	h.rotate()
	h.until("r1", "baking", func(v mirror.View) bool { return !v.Rotation.BakeUntil.IsZero() })
	h.pause("r1")
	h.advance(2 * time.Hour)
	h.resume("r1")
	v := h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	if !at(v) {
		t.Error("the deadline was missed and is not marked")
	}
}

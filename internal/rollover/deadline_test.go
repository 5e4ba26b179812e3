package rollover_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestSpec_EstimateFrom(t *testing.T) {
	now := rollovertest.Epoch
	strict := rollover.Tolerance{Mode: rollover.Strict, Limit: 10, Percent: true}
	for _, c := range []struct {
		name     string
		spec     rollover.Spec
		tasks    int
		most     float64
		work     time.Duration
		finish   time.Duration
		possible bool
	}{
		{"nothing to do", rollover.Spec{MaxInFlight: 10}, 0, 0, 0, 0, true},
		{"one task", rollover.Spec{MaxInFlight: 10}, 1, 0, 100 * time.Millisecond, 100 * time.Millisecond, true},
		{"ten at once", rollover.Spec{MaxInFlight: 10}, 1000, 0, 10 * time.Second, 10 * time.Second, true},
		{"a limit of starts", rollover.Spec{MaxInFlight: 10}, 1000, 5, 200 * time.Second, 200 * time.Second, true},
		{"a limit of starts, too slow", rollover.Spec{MaxInFlight: 10}, 36_000, 5, 2 * time.Hour, 2 * time.Hour, false},
		{
			"waves bake between them",
			rollover.Spec{MaxInFlight: 1000, Strategy: rollover.Strategy{Start: rollover.FullStart, Waves: []rollover.WaveSize{{Size: 99}}, Bake: 20 * time.Minute}},
			1000, 0, 300 * time.Millisecond, 40*time.Minute + 300*time.Millisecond, true,
		},
		{
			"too many of them",
			rollover.Spec{MaxInFlight: 1000, Strategy: rollover.Strategy{Start: rollover.SlowStart, Bake: 20 * time.Minute}},
			15, 0, 400 * time.Millisecond, time.Hour + 400*time.Millisecond, false,
		},
		{
			"strict: as many at once as may fail and one", // 101 of 1000, and waves of 1 and 999 with 1 and 100.
			rollover.Spec{MaxInFlight: 1000, Tolerance: strict, Strategy: rollover.Strategy{Start: rollover.FullStart}},
			1000, 0, 11 * 100 * time.Millisecond, 11 * 100 * time.Millisecond, true,
		},
	} {
		c.spec.StageDeadline = now.Add(time.Hour)
		e := c.spec.EstimateFrom(now, c.tasks, c.most, rollover.AnyTime())
		if e.Work != c.work || e.Finish.Sub(now) != c.finish || e.Possible() != c.possible {
			t.Errorf("%s: EstimateFrom = %s of work, end after %s, possible %v; want %s, %s, %v", c.name, e.Work, e.Finish.Sub(now), e.Possible(), c.work, c.finish, c.possible)
		}
		if err := e.Err(); (err == nil) != c.possible || err != nil && (!errors.Is(err, rollover.ErrDeadline) || !strings.Contains(err.Error(), "tasks/s")) {
			t.Errorf("%s: Err = %v, want one with the arithmetic: %v", c.name, err, !c.possible)
		}
	}
	never := rollover.Timetable{Regular: rollover.Never{}, OffHours: rollover.Never{}}
	s := rollover.Spec{MaxInFlight: 1, StageDeadline: now.Add(time.Hour)}
	if e := s.EstimateFrom(now, 1, 0, never); e.Possible() || !strings.Contains(e.String(), "no end in sight") {
		t.Errorf("never open: %q is possible", e)
	}
	if s.StageDeadline = (time.Time{}); !s.EstimateFrom(now, 1, 0, never).Possible() {
		t.Error("without a deadline everything is possible")
	}
}

// A deadline is at risk when the likely end lies behind it, and no more when even
// the latest lies before it.
func TestRotation_Risk(t *testing.T) {
	d := rollovertest.Epoch
	at := func(min int) time.Time { return d.Add(time.Duration(min) * time.Minute) }
	forecast := func(earliest, likely, latest int) rollover.Forecast {
		return rollover.Forecast{Rate: 1, Earliest: at(earliest), Likely: at(likely), Latest: at(latest)}
	}
	assumed := forecast(-5, 5, 50)
	assumed.Assumed = true
	hopeless := forecast(5, 10, 20)
	hopeless.Assumed = true
	for _, c := range []struct {
		name   string
		before bool // it is at risk
		f      rollover.Forecast
		left   bool
		now    time.Time
		want   bool
	}{
		{"in good time", false, forecast(-9, -8, -7), true, at(-30), false},
		{"the latest is late: no risk yet", false, forecast(-9, -2, 5), true, at(-30), false},
		{"the likely is late", false, forecast(-9, 1, 5), true, at(-30), true},
		{"a little better is not good", true, forecast(-9, -2, 5), true, at(-30), true},
		{"good again", true, forecast(-9, -8, -7), true, at(-30), false},
		{"no end in sight", false, rollover.Forecast{Rate: 1}, true, at(-30), true},
		{"only assumed", false, assumed, true, at(-30), false},
		{"assumed, and too late at best", false, hopeless, true, at(-30), true},
		{"the deadline has passed", false, forecast(1, 2, 3), true, at(1), true},
		{"done in time", true, rollover.Forecast{Done: at(-1)}, false, at(5), false},
		{"done too late", false, rollover.Forecast{Done: at(1)}, false, at(5), true},
		{"done, nobody knows when, before it", true, rollover.Forecast{}, false, at(-1), false},
		{"done, nobody knows when, after it", true, rollover.Forecast{}, false, at(1), true},
	} {
		r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{StageDeadline: d}}
		if c.before {
			r.AtRiskSince = at(-60)
		}
		got, changed := r.Risk(c.f, c.left, c.now)
		if risk := !got.AtRiskSince.IsZero(); risk != c.want || changed != (c.before != c.want) {
			t.Errorf("%s: Risk = %v, changed %v; want %v", c.name, risk, changed, c.want)
		}
		if c.before && c.want && !got.AtRiskSince.Equal(at(-60)) {
			t.Errorf("%s: at risk since %s, want it since it began", c.name, got.AtRiskSince)
		}
		r.Spec.StageDeadline = time.Time{}
		if _, changed := r.Risk(c.f, c.left, c.now); changed {
			t.Errorf("%s: Risk without a deadline changed something", c.name)
		}
	}
}

// A schedule holds every step, of workers too, from the moment until which the gate
// is open; no gate is closed.
func TestNext_HoldsOutsideTheSchedule(t *testing.T) {
	now := rollovertest.Epoch
	r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage}
	r.Spec = rollover.Spec{MaxTries: 3, Schedule: rollover.Schedule{Freezes: []rollover.Freeze{{}}}}
	next := func(r rollover.Rotation, p rollover.Phase) rollover.Step {
		k := rollover.Task{Orders: r.Orders(rollover.Credential{})}
		k.Phase, k.Evidence = p, &rollover.Evidence{At: now}
		return rollover.Next(k, now)
	}
	if got := next(r, rollover.Planned); got != rollover.StepWait || !r.Closed(now) {
		t.Errorf("without a gate: Next = %s, closed %v; want it to wait", got, r.Closed(now))
	}
	r.Opening.OpenUntil = now
	if got := next(r, rollover.Staged); got != rollover.StepWait || !r.Closed(now) {
		t.Errorf("at the end of the gate: Next = %s, want it to wait", got)
	}
	r.Opening = rollover.Opening{OpenUntil: now.Add(1), OffHours: true}
	if got := next(r, rollover.Planned); got != rollover.StepStage || r.Closed(now) {
		t.Errorf("before the end of the gate: Next = %s, want the step", got)
	}
	r.Phase, r.Spec.Replaces, r.Spec.RetireNotBefore = rollover.PhaseRetire, []string{"ab"}, now.Add(-time.Hour)
	r.Spec.UndoWindow = -1 // Nothing is archived before it is removed.
	if got := next(r, rollover.Activated); got != rollover.StepWait {
		t.Errorf("retiring outside the windows: Next = %s, want it to wait", got)
	}
	r.Opening.OffHours = false
	if got := next(r, rollover.Activated); got != rollover.StepRetire {
		t.Errorf("retiring in a window: Next = %s, want it", got)
	}
	r.Spec.Schedule, r.Opening = rollover.Schedule{}, rollover.Opening{}
	if got := next(r, rollover.Activated); got != rollover.StepRetire || r.Closed(now) {
		t.Errorf("without a schedule: Next = %s, want the step", got)
	}
}

package rollover_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// run is a rotation whose tasks take a constant time each, played without a
// service: slots work, and the waves follow one another by the rules.
type run struct {
	tasks, slots int
	latency      time.Duration
	jitter       float64 // part of the latency by which a task may take more
	spec         rollover.Spec
}

// look is what a forecast said when so many tasks were past.
type look struct {
	past int
	at   time.Time
	f    rollover.Forecast
}

// play returns the forecasts at every task that got past, a moment after it, and
// when the last one did.
func (r run) play(t *testing.T) (looks []look, end time.Time) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	plan := make([]rollover.Item, r.tasks)
	for i := range plan {
		plan[i] = rollover.Item{Ord: i, Retire: []rollover.Credential{{SHA256: "ab"}}}
	}
	b := rollover.NewBoard(plan)
	rot := rollovertest.NewRotation("r1", rollover.Credential{}, rollovertest.Epoch)
	rot.Spec, rot.Digest, rot.Tasks = r.spec, "d", r.tasks
	rot.State, rot.Phase, rot.StartedAt = rollover.StateRunning, rollover.PhaseStage, rollovertest.Epoch
	now := rot.StartedAt
	type inHand struct {
		ord int
		at  time.Time
	}
	var hand []inHand
	out := map[int]bool{}
	for seq := uint64(1); ; {
		if next, ok := rot.NextWave(b.Counts(), now); ok {
			rot = next
			continue
		}
		free := min(r.slots, r.spec.MaxInFlight) - len(hand)
		for _, ord := range b.Releasable(rot, min(r.slots, r.spec.MaxInFlight)+len(hand), now) {
			if free > 0 && !out[ord] {
				free--
				took := r.latency + time.Duration(rng.Float64()*r.jitter*float64(r.latency))
				hand, out[ord] = append(hand, inHand{ord, now.Add(took)}), true
			}
		}
		if len(hand) == 0 {
			if !rot.BakeUntil.IsZero() && now.Before(rot.BakeUntil) {
				now = rot.BakeUntil
				continue
			}
			if c := b.Counts(); c.Past() != r.tasks {
				t.Fatalf("%d of %d tasks are past and nothing is in hand", c.Past(), r.tasks)
			}
			return looks, looks[len(looks)-1].at
		}
		slices.SortStableFunc(hand, func(x, y inHand) int { return x.at.Compare(y.at) })
		done := hand[0]
		hand, now = hand[1:], done.at
		b.Apply(done.ord, rollover.Progress{Phase: rollover.Activated, UpdatedAt: now}, seq)
		seq++
		c := b.Counts()
		f, ok := rollover.Predict(rot, c, b.Trail(), rollover.AnyTime(), now.Add(time.Millisecond))
		if ok != (c.Past() < r.tasks) {
			t.Fatalf("Predict with %d of %d past = %v", c.Past(), r.tasks, ok)
		}
		looks = append(looks, look{c.Past(), now, f})
	}
}

// From 20 % of the tasks on the forecast is off by at most a fifth of what the
// whole takes.
func TestPredict_IsWithinAFifthFrom20PercentOn(t *testing.T) {
	slow, full := rollover.Strategy{Start: rollover.SlowStart}, rollover.Strategy{Start: rollover.FullStart}
	strict := rollover.Tolerance{Mode: rollover.Strict, Limit: 10, Percent: true}
	soft := rollover.Tolerance{Mode: rollover.Soft, Limit: 100, Percent: true}
	waves := rollover.Strategy{Start: rollover.SlowStart, Waves: []rollover.WaveSize{{Size: 50}, {Size: 10, Percent: true}, {Size: 25, Percent: true}}}
	baked := waves
	baked.Bake = 30 * time.Second
	for _, c := range []struct {
		name         string
		tasks, slots int
		inFlight     int
		jitter       float64
		strategy     rollover.Strategy
		tolerance    rollover.Tolerance
	}{
		{"no waves", 500, 32, 256, 0, rollover.Strategy{}, rollover.Tolerance{}},
		{"the bench: full start, all at once", 2000, 128, 2048, 0, full, soft},
		{"the bench, with jitter", 2000, 128, 2048, 0.3, full, soft},
		{"full start, few in flight", 1000, 512, 20, 0, full, soft},
		{"slow start, slots are the limit", 2000, 32, 256, 0, slow, soft},
		{"slow start, in flight is the limit", 2000, 512, 64, 0, slow, soft},
		{"slow start, nothing is the limit", 1000, 4096, 4096, 0, slow, soft},
		{"slow start, strict: the tolerance is the limit", 2000, 512, 256, 0, slow, strict},
		{"slow start, strict, with jitter", 2000, 64, 256, 0.5, slow, strict},
		{"slow start, a hundred tasks", 100, 16, 256, 0, slow, strict},
		{"waves", 1500, 64, 256, 0.2, waves, strict},
		{"waves that bake", 1500, 64, 256, 0.2, baked, strict},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run{tasks: c.tasks, slots: c.slots, latency: time.Second, jitter: c.jitter}
			r.spec = rollover.Spec{MaxInFlight: c.inFlight, MaxTries: 3, Strategy: c.strategy, Tolerance: c.tolerance}
			looks, end := r.play(t)
			whole := end.Sub(rollovertest.Epoch).Seconds()
			worst, at := 0.0, 0
			for _, l := range looks[:len(looks)-1] {
				if l.past*5 < c.tasks {
					continue
				}
				off := math.Abs(l.f.Likely.Sub(end).Seconds()) / whole
				if off > worst {
					worst, at = off, l.past
				}
				if l.f.Earliest.After(l.f.Likely) || l.f.Likely.After(l.f.Latest) || l.f.Assumed || l.f.Rate <= 0 {
					t.Fatalf("Predict with %d past = %+v, want a measured one in order", l.past, l.f)
				}
			}
			t.Logf("%.1f s; at most %.1f %% off, with %d past", whole, 100*worst, at)
			if worst > 0.2 {
				t.Errorf("off by %.1f %% of the whole with %d of %d past, want at most 20 %%", 100*worst, at, c.tasks)
			}
		})
	}
}

func TestPredict_BeforeAnythingIsMeasured(t *testing.T) {
	now := rollovertest.Epoch
	r := rollover.Rotation{State: rollover.StatePlanned, Digest: "d", Spec: rollover.Spec{MaxInFlight: 10}}
	c := rollover.Counts{Workable: 100, Phases: map[rollover.Phase]int{rollover.Planned: 100}}
	f, ok := rollover.Predict(r, c, rollover.Trail{}, rollover.AnyTime(), now)
	if !ok || !f.Assumed || f.Rate != 0 || f.Likely.Sub(now) != 10*time.Second || !f.Earliest.Before(f.Likely) || !f.Latest.After(f.Likely) {
		t.Errorf("Predict of a plan of 100 tasks, 10 at once = %+v, %v; want it assumed, at 1 s each", f, ok)
	}
	for _, s := range []rollover.RotationState{rollover.StatePlanning, rollover.StateCancelling, rollover.StateSucceeded} {
		r.State = s
		if s == rollover.StatePlanning {
			r.Digest = ""
		}
		if f, ok := rollover.Predict(r, c, rollover.Trail{}, rollover.AnyTime(), now); ok {
			t.Errorf("Predict of one that is %s = %+v, want none", s, f)
		}
		r.Digest = "d"
	}
	r.State, r.Phase = rollover.StateRunning, rollover.PhaseOverlap
	if f, ok := rollover.Predict(r, c, rollover.Trail{}, rollover.AnyTime(), now); ok {
		t.Errorf("Predict in the overlap = %+v, want none", f)
	}
}

// night is closed but for the first hour of each day of UTC.
type night struct{}

func (night) OpenTime(from, to time.Time) time.Duration {
	var sum time.Duration
	for at := from.Truncate(24 * time.Hour); at.Before(to); at = at.Add(24 * time.Hour) {
		lo, hi := at, at.Add(time.Hour)
		if lo.Before(from) {
			lo = from
		}
		if hi.After(to) {
			hi = to
		}
		sum += max(0, hi.Sub(lo))
	}
	return sum
}

func (n night) Advance(t time.Time, d time.Duration) (time.Time, bool) {
	for {
		day := t.Truncate(24 * time.Hour)
		left := max(0, day.Add(time.Hour).Sub(t))
		if d <= left && left > 0 {
			return t.Add(d), true
		}
		d, t = d-left, day.Add(24*time.Hour)
	}
}

func TestPredict_CountsOpenTime(t *testing.T) {
	day := rollovertest.Epoch.Truncate(24 * time.Hour)
	r := rollover.Rotation{
		State: rollover.StateRunning, Phase: rollover.PhaseStage, Digest: "d", StartedAt: day.Add(12 * time.Hour),
		Spec: rollover.Spec{MaxInFlight: 1, Schedule: rollover.Schedule{Windows: []rollover.Window{{}}}},
	}
	c := rollover.Counts{Workable: 7200, Phases: map[rollover.Phase]int{rollover.Planned: 7200}}
	table := rollover.Timetable{Regular: night{}, OffHours: rollover.Always{}}
	now := day.Add(12 * time.Hour)
	check := func(what string, want time.Time) {
		t.Helper()
		if f, ok := rollover.Predict(r, c, rollover.Trail{}, table, now); !ok || !f.Likely.Equal(want) {
			t.Errorf("%s: Predict = %s, %v; want %s", what, f.Likely, ok, want)
		}
	}
	check("two hours of work, an hour a night", day.Add(49*time.Hour))
	r.Spec.Schedule.Policy, r.Spec.StageDeadline = rollover.DeadlineWins, day.Add(72*time.Hour)
	check("the windows suffice for the deadline", day.Add(49*time.Hour))
	r.Spec.StageDeadline = day.Add(40 * time.Hour)
	check("they do not, and the deadline wins", day.Add(14*time.Hour))
	table.OffHours = night{}
	check("but not over a freeze", day.Add(49*time.Hour))
	r.Spec.Schedule.Policy = rollover.WindowWins
	table.Regular = rollover.Never{}
	check("never open", time.Time{})
}

func ExampleEstimate() {
	s := rollover.Spec{
		MaxInFlight: 100, StageDeadline: rollovertest.Epoch.Add(time.Hour),
		Strategy: rollover.Strategy{Start: rollover.FullStart, Waves: []rollover.WaveSize{{Size: 1000}}, Bake: time.Hour},
	}
	fmt.Println(s.EstimateFrom(rollovertest.Epoch, 9000, 0, rollover.AnyTime()))
	// Output: 9000 tasks take at least 9.1s of work (989.0 tasks/s) in 3 waves with 2h0m0s between them; from 2016-11-01T01:00:00Z to the deadline 2016-11-01T02:00:00Z there are 1h0m0s, of which the schedule leaves 1h0m0s; the end is not before 2016-11-01T03:00:09Z
}

// A rotation that is paused when its wave has baked begins the next one when it is
// resumed. Its forecast moves on with the clock, or a deadline would be missed
// before it is at risk.
func TestPredict_AWaveThatWasHeldBeginsNow(t *testing.T) {
	plan := make([]rollover.Item, 3)
	for i := range plan {
		plan[i] = rollover.Item{Ord: i}
	}
	b := rollover.NewBoard(plan)
	b.Apply(0, rollover.Progress{Phase: rollover.Activated, UpdatedAt: rollovertest.Epoch.Add(time.Second)}, 1)
	r := rollovertest.NewRotation("r1", rollover.Credential{}, rollovertest.Epoch)
	r.Digest, r.Tasks, r.State, r.Phase, r.StartedAt = "d", 3, rollover.StatePaused, rollover.PhaseStage, rollovertest.Epoch
	r.Spec.Strategy = rollover.Strategy{Start: rollover.SlowStart, Waves: []rollover.WaveSize{{Size: 1}}, Bake: 20 * time.Minute}
	r.Spec.MaxInFlight = 1
	r.BakeUntil = rollovertest.Epoch.Add(20 * time.Minute)
	now := r.BakeUntil.Add(45 * time.Minute)
	f, ok := rollover.Predict(r, b.Counts(), b.Trail(), rollover.AnyTime(), now)
	if !ok || f.Earliest.Before(now) || f.Likely.Before(now) {
		t.Errorf("at %s the forecast is %+v, %t", now, f, ok)
	}
}

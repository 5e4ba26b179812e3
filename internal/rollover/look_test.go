package rollover_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// set changes the state of the world's rotation.
func (w *world) set(t testing.TB, change func(rollover.Rotation) (rollover.Rotation, error)) {
	t.Helper()
	r, err := w.store.Rotation(context.Background(), rotationID)
	check(t, err)
	r, err = change(r)
	check(t, err)
	_, err = w.store.SaveRotation(context.Background(), r)
	check(t, err)
}

func (w *world) cancel(t testing.TB) {
	t.Helper()
	w.set(t, func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", w.now) })
}

// endCancelled ends every open task as the conductor does, having looks done first.
// lost are those whose worker was lost, and whose nudge therefore comes again.
func (w *world) endCancelled(t testing.TB, lost map[int]bool) {
	t.Helper()
	for range 100 {
		open := 0
		for _, k := range w.tasks(t) {
			if k.Outcome != rollover.Open {
				continue
			}
			open++
			var err error
			switch {
			case lost[k.ID.Ord]:
				_, err = w.engine().AdvanceLost(context.Background(), k.ID)
				lost[k.ID.Ord] = err != nil
			case k.Unsure():
				_, err = w.engine().Advance(context.Background(), k.ID)
			default:
				_, err = w.store.SaveTask(context.Background(), k.CancelNow(w.now))
			}
			check(t, err)
		}
		if open == 0 {
			return
		}
		w.now = w.now.Add(time.Second)
	}
	t.Fatalf("tasks still open after 100 rounds: %+v", w.tasks(t))
}

// unanswered breaks additions and the readings after them: done, and nobody knows.
func unanswered(w *world, mode rollovertest.Mode) {
	added := false
	w.faults.Break = func(_ int, call string) (rollovertest.Mode, bool) {
		if call == "add" {
			added = true
			return mode, true
		}
		return rollovertest.Lost, added && call == "list"
	}
}

// A task whose addition was not answered is looked at when it is cancelled, and says
// then what stands.
func TestLook_ACancelledTaskSaysWhatStands(t *testing.T) {
	for _, c := range []struct {
		mode  rollovertest.Mode
		added bool
		phase rollover.Phase
	}{{rollovertest.DoneLost, true, rollover.Staged}, {rollovertest.Lost, false, rollover.Planned}} {
		w := newWorld(t)
		unanswered(w, c.mode)
		k, err := w.engine().Advance(context.Background(), rollover.TaskID{Rotation: rotationID})
		check(t, err)
		if !k.Unsure() || k.Added {
			t.Fatalf("%s: %+v after an addition that was not answered, want one that is not sure", c.mode, k.Progress)
		}
		w.cancel(t)
		w.faults.Break = nil
		w.endCancelled(t, map[int]bool{})
		if k = w.tasks(t)[0]; k.Outcome != rollover.Cancelled || k.Added != c.added || k.Phase != c.phase || k.Unsure() {
			t.Errorf("%s: ended as %+v, want cancelled in %s with added %t", c.mode, k.Progress, c.phase, c.added)
		}
		w.ledger.Check(t, rotationID)
		for _, j := range w.cloud.Journal()[min(1, len(w.cloud.Journal())):] {
			t.Errorf("%s: %s on %s, want no write after the cancellation", c.mode, j.Op, j.Target)
		}
	}
}

// What is not seen is looked for once more: the first answer may be of a moment ago.
func TestLook_WhatIsNotSeenIsLookedForOnceMore(t *testing.T) {
	w := newWorld(t)
	unanswered(w, rollovertest.DoneLost)
	id := rollover.TaskID{Rotation: rotationID}
	_, err := w.engine().Advance(context.Background(), id)
	check(t, err)
	w.cancel(t)
	w.faults.Break = nil
	target := w.plan[0].Target
	now := w.cloud.Standing(target).Standing
	w.cloud.Set(target, w.ledger.Before[target].Standing...) // A stale answer.
	k, err := w.engine().Advance(context.Background(), id)
	check(t, err)
	if k.Outcome != rollover.Open || k.Looks != 2 || k.NextAt.Sub(w.now) != rollover.DoubtPause {
		t.Fatalf("after a look that saw nothing: %+v, want one more in %s", k.Progress, rollover.DoubtPause)
	}
	w.cloud.Set(target, now...)
	if k, err = w.engine().Advance(context.Background(), id); err != nil || k.Outcome != rollover.Open {
		t.Fatalf("looked again at once: %+v, %v", k.Progress, err)
	}
	w.now = w.now.Add(rollover.DoubtPause)
	if k, err = w.engine().Advance(context.Background(), id); err != nil || k.Outcome != rollover.Cancelled || !k.Added {
		t.Errorf("after the second look: %+v, %v, want cancelled with what we added", k.Progress, err)
	}
}

// A target that refuses to be read ends at once, saying that it is not known.
func TestLook_ARefusedLookSaysThatItIsNotKnown(t *testing.T) {
	for name, phase := range map[string]rollover.Phase{"it may stand there": rollover.Planned, "they may be gone": rollover.Activated} {
		w := newWorld(t)
		k := w.tasks(t)[0]
		k.Phase, k.Tries = phase, 1
		_, err := w.store.SaveTask(context.Background(), k)
		check(t, err)
		w.cancel(t)
		e := rollover.NewEngine(rollover.Config{
			Store: w.store, Now: func() time.Time { return w.now },
			Driver: func(string) (rollover.Driver, error) { return refusing{w.cloud}, nil },
		})
		k, err = e.Advance(context.Background(), k.ID)
		check(t, err)
		if k.Outcome != rollover.Cancelled || k.Reason != rollover.NotKnown || !strings.Contains(k.Detail, name) || !strings.Contains(k.Detail, "no rights") {
			t.Errorf("%s: ended as %+v", phase, k.Progress)
		}
	}
}

type refusing struct{ rollover.Driver }

func (refusing) Observe(context.Context, rollover.Work) (rollover.Observation, error) {
	return rollover.Observation{}, rollover.Permanent(rollover.Refused, errors.New("no rights"))
}

// A look waits where the other side asked to be left alone, and not for the
// back-off of the try before.
func TestNext_OfACancelledTask(t *testing.T) {
	now := rollovertest.Epoch
	later := rollover.Progress{Phase: rollover.Planned, NextAt: now.Add(time.Minute), UpdatedAt: now}
	with := func(change func(*rollover.Progress)) rollover.Progress { p := later; change(&p); return p }
	for name, c := range map[string]struct {
		p    rollover.Progress
		want rollover.Step
	}{
		"never tried":       {later, rollover.StepWait},
		"failed once":       {with(func(p *rollover.Progress) { p.Tries = 1 }), rollover.StepLook},
		"not believed":      {with(func(p *rollover.Progress) { p.Doubted = true }), rollover.StepLook},
		"busy":              {with(func(p *rollover.Progress) { p.Throttled, p.Throttle = 1, rollover.ByHost }), rollover.StepWait},
		"looked once":       {with(func(p *rollover.Progress) { p.Looks = 1 }), rollover.StepWait},
		"looked, and waits": {with(func(p *rollover.Progress) { p.Looks, p.NextAt = 1, now }), rollover.StepLook},
		"staged":            {with(func(p *rollover.Progress) { p.Phase, p.Tries = rollover.Staged, 1 }), rollover.StepWait},
		"going back":        {with(func(p *rollover.Progress) { p.Undo, p.Tries = 1, 1 }), rollover.StepWait},
		"ended":             {with(func(p *rollover.Progress) { p.Outcome, p.Tries = rollover.Failed, 1 }), rollover.StepNothing},
	} {
		if got := rollover.Next(rollover.Task{Progress: c.p, Orders: rollover.Orders{Hold: true, Cancel: true}}, now); got != c.want {
			t.Errorf("%s: Next = %s, want %s", name, got, c.want)
		}
	}
}

// Whatever breaks, whoever dies with a task in hand, however often the rotation is
// paused before: what a cancelled task says of its target is so.
func TestLook_RandomCancellations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		percent, dead := rapid.IntRange(0, 40).Draw(rt, "percent broken"), false
		w.faults.Break = func(int, string) (rollovertest.Mode, bool) {
			if dead {
				return rollovertest.Lost, true
			}
			broken := rapid.IntRange(0, 99).Draw(rt, "break") < percent
			return rollovertest.Mode(rapid.IntRange(0, 1).Draw(rt, "mode")), broken
		}
		lost := map[int]bool{}
		for range rapid.IntRange(1, 40).Draw(rt, "moves") {
			switch rapid.IntRange(0, 7).Draw(rt, "move") {
			case 0:
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 30*3600).Draw(rt, "leap")) * time.Second)
			case 1:
				w.conductUnlessPaused(t)
			case 2:
				w.set(t, func(r rollover.Rotation) (rollover.Rotation, error) {
					if r.State == rollover.StatePaused {
						return r.Resume(false, rollover.Counts{}, w.now)
					}
					return r.Pause("wait", w.now)
				})
			default:
				ctx, die := context.WithCancel(context.Background())
				w.faults.Crash = nil
				if rapid.IntRange(0, 3).Draw(rt, "dies") == 0 {
					w.faults.Crash = func() { dead = true; die() }
				}
				ord := rapid.IntRange(0, len(w.plan)-1).Draw(rt, "task")
				advance := w.engine().Advance
				if lost[ord] {
					advance = w.engine().AdvanceLost
				}
				_, err := advance(ctx, rollover.TaskID{Rotation: rotationID, Ord: ord})
				lost[ord] = err != nil
				die()
				dead = false
			}
			w.ledger.Check(t, rotationID)
		}
		w.faults.Break, w.faults.Crash = nil, nil
		w.cancel(t)
		w.endCancelled(t, lost)
		w.ledger.Check(t, rotationID)
		for _, k := range w.tasks(t) {
			if k.Outcome == rollover.Cancelled && k.Reason != rollover.ByRequest {
				t.Errorf("task %d: %q, though it could be read", k.ID.Ord, k.Detail)
			}
		}
	})
}

func (w *world) conductUnlessPaused(t testing.TB) {
	t.Helper()
	r, err := w.store.Rotation(context.Background(), rotationID)
	check(t, err)
	if r.State == rollover.StateRunning {
		w.conduct(t)
	}
}

// A removal that was not answered is seen by the look: where all is gone, the task is
// what it would have been without the lost answer.
func TestLook_ARemovalThatWasNotAnswered(t *testing.T) {
	for _, c := range []struct {
		mode rollovertest.Mode
		want rollover.Outcome
	}{{rollovertest.DoneLost, rollover.Succeeded}, {rollovertest.Lost, rollover.Cancelled}} {
		w := newWorld(t)
		id := rollover.TaskID{Rotation: rotationID}
		broken := false
		w.faults.Break = func(_ int, call string) (rollovertest.Mode, bool) {
			broken = broken || call == "delete"
			return c.mode, call == "delete"
		}
		for i := 0; !broken; i++ {
			_, err := w.engine().Advance(context.Background(), id)
			check(t, err)
			w.conduct(t)
			if i > 20 {
				t.Fatal("nothing was ever removed")
			}
		}
		w.cancel(t)
		w.faults.Break = nil
		w.endCancelled(t, map[int]bool{})
		k := w.tasks(t)[0]
		if k.Outcome != c.want || len(k.Removed) > 0 != (c.want == rollover.Succeeded) {
			t.Errorf("%s: ended as %+v, want %s", c.mode, k.Progress, c.want)
		}
		if c.want == rollover.Succeeded && (k.Phase != rollover.Retired || k.Archive == nil || !k.Archive.Ready) {
			t.Errorf("ended as %+v, want it retired and kept for an undo", k.Progress)
		}
		w.ledger.Check(t, rotationID)
	}
}

// Whoever takes over from a worker that was lost looks twice before it adds: ACS may
// answer from before that worker's addition, and a second copy would stay.
func TestAdvanceLost_LooksTwiceBeforeItAdds(t *testing.T) {
	w := newWorld(t)
	id := rollover.TaskID{Rotation: rotationID}
	d := &asked{Driver: w.cloud}
	e := rollover.NewEngine(rollover.Config{
		Store: w.store, Now: func() time.Time { return w.now }, Driver: func(string) (rollover.Driver, error) { return d, nil },
	})
	_, err := e.Advance(context.Background(), id)
	check(t, err)
	id.Ord = 1
	_, err = e.AdvanceLost(context.Background(), id)
	check(t, err)
	if want := "[false true]"; fmt.Sprint(d.careful) != want {
		t.Errorf("Stage was asked to be careful %v, want %s: where a worker was lost", d.careful, want)
	}
}

// asked notes how Stage is asked.
type asked struct {
	rollover.Driver
	careful []bool
}

func (a *asked) Stage(ctx context.Context, w rollover.Work) (bool, error) {
	a.careful = append(a.careful, w.Careful)
	return a.Driver.Stage(ctx, w)
}

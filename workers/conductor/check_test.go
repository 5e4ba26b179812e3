package conductor_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/workers/checker"
	"github.com/crossfade-project/crossfade/workers/conductor"
)

// lead starts a conductor that leads checks too.
func (h *house) lead(name string) (stop func()) {
	m := mirror.New(h.broker, slog.New(slog.DiscardHandler))
	h.run("mirror of "+name, m.Run)
	c := conductor.New(conductor.Config{
		Store: h.broker, Mirror: m, Queue: h.broker, Checks: h.broker, Now: h.clock.Now, Log: slog.New(slog.DiscardHandler),
		Tick: 20 * time.Millisecond, Patience: 300 * time.Millisecond,
		Elect: func(ctx context.Context, lead func(context.Context)) error {
			return h.broker.Elect(ctx, "conductor", name, 2*time.Second, lead)
		},
	})
	return h.run(name, c.Run)
}

// check starts a checker that reads targets by ask; nil: the cloud's.
func (h *house) check(ask func(context.Context, rollover.Work) (rollover.Observation, error)) (stop func()) {
	h.t.Helper()
	k, err := checker.New(checker.Config{
		Store: h.broker, Now: h.clock.Now, Rate: 1e6,
		Driver: func(string) (rollover.Driver, error) {
			if ask == nil {
				return h.cloud, nil
			}
			return reader{h.cloud, ask}, nil
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.run("checker", func(ctx context.Context) error { return k.Run(ctx, h.broker, 2) })
}

// reader is the cloud with reads of somebody's own.
type reader struct {
	rollover.Driver
	ask func(context.Context, rollover.Work) (rollover.Observation, error)
}

func (r reader) Observe(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
	return r.ask(ctx, w)
}

// rotated takes a rotation to its end.
func (h *house) rotated(id string, change ...func(*rollover.Spec)) {
	h.t.Helper()
	h.plan()
	stop := h.rotate()
	h.create(id, change...)
	h.until(id, "planned", state(rollover.StatePlanned))
	h.start(id)
	h.until(id, "in the overlap", phase(rollover.PhaseOverlap))
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	h.until(id, "succeeded", state(rollover.StateSucceeded))
	stop()
}

// begin begins a check as a caller does.
func (h *house) begin(id string) {
	h.t.Helper()
	v, err := h.mirror.Rotation(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.BeginCheck(v.Counts, rollover.Check{}, h.clock.Now())
	})
}

// checkIs waits for the state of a check of that number.
func checkIs(n int, s rollover.CheckState) func(mirror.View) bool {
	return func(v mirror.View) bool {
		return v.Rotation.Check.Number == n && v.Rotation.Check.State == s && (s == rollover.CheckRunning || v.Rotation.CheckSettled(v.Counts))
	}
}

// told returns the drifts as "ord kind".
func (h *house) told(id string) []string {
	var out []string
	for _, d := range h.mirror.Drifts(id) {
		for _, x := range d.Drifts {
			out = append(out, fmt.Sprintf("%d %s", d.Ord, x.Kind))
		}
	}
	return out
}

func TestCheck_FindsWhatOthersChanged(t *testing.T) {
	h := newHouse(t, 150)
	h.lead("c1")
	h.rotated("r1")
	h.check(nil)
	h.begin("r1")
	v := h.until("r1", "checked", checkIs(1, rollover.CheckDone))
	if d := v.Counts.Drift; d.Looked(1) != 150 || d.Drifted+d.Unreadable != 0 {
		t.Errorf("check 1: %+v, want 150 looked at and nothing drifted", d)
	}
	other, _ := rollovertest.Certificate(t, "CN=other", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	h.cloud.Set(h.hosts[3])
	h.cloud.Set(h.hosts[70], append(h.cloud.Standing(h.hosts[70]).Standing, rollovertest.Stand(h.ledger.Old))...)
	h.cloud.Set(h.hosts[149], append(h.cloud.Standing(h.hosts[149]).Standing, rollovertest.Stand(other))...)
	h.begin("r1")
	v = h.until("r1", "checked again", checkIs(2, rollover.CheckDone))
	want := []string{"3 new_missing", "70 old_back", "149 foreign_added"}
	if got := h.told("r1"); !slices.Equal(got, want) || v.Counts.Drift.Drifted != 3 || v.Counts.Drift.Repairable != 2 {
		t.Errorf("drifts = %v, %+v, want %v", got, v.Counts.Drift, want)
	}
}

// The conductor and the checker die in the middle, with a part in hand; others take
// over, and every target is looked at in the same check.
func TestCheck_SurvivesTheDeathOfConductorAndChecker(t *testing.T) {
	h := newHouse(t, 200)
	first := h.lead("c1")
	h.rotated("r1")
	h.cloud.Set(h.hosts[199])
	var reads atomic.Int64
	stuck := make(chan struct{})
	stop := h.check(func(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
		if reads.Add(1) == 100 { // The first part is stored or nearly so; this one is not.
			close(stuck)
		}
		if reads.Load() >= 100 {
			<-ctx.Done()
			return rollover.Observation{}, ctx.Err()
		}
		return h.cloud.Standing(w.Target), nil
	})
	h.begin("r1")
	<-stuck
	first()
	stop()
	parts, err := h.broker.CheckParts(t.Context(), "r1")
	if err != nil || len(parts) == 4 {
		t.Fatalf("%d parts stored, %v, want fewer than 4: the test interrupted nothing", len(parts), err)
	}
	h.lead("c2")
	h.check(nil)
	v := h.until("r1", "checked", checkIs(1, rollover.CheckDone))
	if d := v.Counts.Drift; d.Looked(1) != 200 || !slices.Equal(h.told("r1"), []string{"199 new_missing"}) {
		t.Errorf("looked at %d, drifts %v, want 200 and the one", d.Looked(1), h.told("r1"))
	}
}

// Two conductors follow each other; a check that is due by schedule is begun once.
func TestCheck_TheScheduleIsNotDoubledByANewLeader(t *testing.T) {
	h := newHouse(t, 5)
	first := h.lead("c1")
	h.rotated("r1", func(s *rollover.Spec) { s.Drift = rollover.DriftPolicy{Every: 24 * time.Hour, For: 50 * time.Hour} })
	h.check(nil)
	h.advance(25 * time.Hour)
	h.until("r1", "checked by schedule", checkIs(1, rollover.CheckDone))
	h.lead("c2")
	first()
	h.advance(25 * time.Hour)
	v := h.until("r1", "checked again", checkIs(2, rollover.CheckDone))
	if !v.Rotation.Check.Scheduled || !v.Rotation.NextCheck().IsZero() {
		t.Errorf("check %+v, next at %s, want a scheduled one and no other", v.Rotation.Check, v.Rotation.NextCheck())
	}
	h.advance(1000 * time.Hour)
	turns := time.NewTicker(20 * time.Millisecond) // As the conductor's.
	defer turns.Stop()
	for range 10 {
		<-turns.C
	}
	if r, err := h.broker.Rotation(t.Context(), "r1"); err != nil || r.Check.Number != 2 {
		t.Errorf("check %d, %v, want that after two the time is over", r.Check.Number, err)
	}
}

// A rotation that goes to work again takes its check with it.
func TestCheck_StopsWhenTheRotationWorksAgain(t *testing.T) {
	h := newHouse(t, 5)
	h.lead("c1")
	h.rotated("r1")
	h.begin("r1") // There is no checker: it runs on.
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) {
		r.State = rollover.StatePlanned // A state in which the conductor leaves it alone.
		return r, nil
	})
	v := h.until("r1", "stopped", func(v mirror.View) bool { return v.Rotation.Check.State == rollover.CheckStopped })
	if v.Rotation.Check.Detail == "" || v.Rotation.Check.EndedAt.IsZero() {
		t.Errorf("check %+v, want why and when it stopped", v.Rotation.Check)
	}
}

// While a check waits for a slow cloud, a rotation is not held up.
func TestCheck_RotationsComeFirst(t *testing.T) {
	h := newHouse(t, 100)
	h.lead("c1")
	h.rotated("r1")
	hold := make(chan struct{})
	h.check(func(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
		select {
		case <-hold:
		case <-ctx.Done():
			return rollover.Observation{}, ctx.Err()
		}
		return h.cloud.Standing(w.Target), nil
	})
	h.begin("r1")
	h.rotate()
	h.create("r2", func(s *rollover.Spec) { s.ReplacesSubject, s.RetireNotBefore, s.RetirePolicy = false, time.Time{}, "" })
	h.until("r2", "planned", state(rollover.StatePlanned))
	h.start("r2")
	h.until("r2", "succeeded", state(rollover.StateSucceeded))
	close(hold)
	h.until("r1", "checked", checkIs(1, rollover.CheckDone))
}

package conductor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/workers/conductor"
	"github.com/crossfade-project/crossfade/workers/rotator"
)

// house is a whole service but for the wire and for ACS: a broker, a mirror,
// conductors, rotators, and a cloud in memory with a planner that reads it.
type house struct {
	t      *testing.T
	broker *jet.Broker
	store  string // its folder
	mirror *mirror.Mirror
	clock  *clock.Clock
	cloud  *rollovertest.Cloud
	driver rollover.Driver // the cloud, unless a test puts something before it
	queue  conductor.Queue // of the conductors: the broker, unless a test puts something before it
	ledger rollovertest.Ledger
	fresh  rollover.Credential
	hosts  []rollover.Target
	vault  rollovertest.Vault

	lookFor time.Duration // of the conductors; 0: their default
}

var switchAt = rollovertest.Epoch.AddDate(0, 0, 3)

func newHouse(t *testing.T, targets int) *house {
	t.Helper()
	e := rollovertest.Epoch
	old, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", e.AddDate(-2, 0, 0), e.AddDate(0, 1, 0))
	fresh, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", switchAt, switchAt.AddDate(2, 0, 0))
	h := &house{t: t, clock: clock.New(e, 1), fresh: fresh}
	h.cloud = rollovertest.NewCloud(h.clock.Now)
	h.driver = h.cloud
	h.store = t.TempDir()
	b, err := jet.Open(t.Context(), jet.Config{
		Dir: h.store, LazySync: true, Log: slog.New(slog.DiscardHandler),
		Certificate: func(context.Context, string) (rollover.Credential, error) { return fresh, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.broker, h.queue, h.mirror = b, b, mirror.New(b, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Errorf("closing the broker: %v", err)
		}
	})
	h.ledger = rollovertest.Ledger{
		Cloud: h.cloud, Store: b, New: fresh, Old: old, RetireNotBefore: switchAt,
		Before: map[rollover.Target]rollover.Observation{},
	}
	for i := range targets {
		target := rollover.Target{Kind: rollovertest.Kind, Host: fmt.Sprintf("ns%05d-sb.accesscontrol.windows.net", i), Identity: "crm.dynamics.com"}
		h.cloud.Set(target, rollovertest.Stand(old))
		h.ledger.Before[target] = h.cloud.Standing(target)
		h.hosts = append(h.hosts, target)
	}
	h.run("mirror", h.mirror.Run)
	<-h.mirror.Ready()
	return h
}

// run lets f run until the test ends, or until the returned function is called,
// and waits for it.
func (h *house) run(name string, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				h.t.Errorf("%s ended with %v", name, err)
			}
		})
	}
	h.t.Cleanup(stop)
	return stop
}

// conduct starts a conductor.
func (h *house) conduct(name string) (stop func()) {
	m := mirror.New(h.broker, slog.New(slog.DiscardHandler)) // Each process has a mirror of its own.
	h.run("mirror of "+name, m.Run)
	c := conductor.New(conductor.Config{
		Store: h.broker, Mirror: m, Queue: h.queue, Now: h.clock.Now, Log: slog.New(slog.DiscardHandler),
		Tick: 20 * time.Millisecond, LookFor: h.lookFor,
		Elect: func(ctx context.Context, lead func(context.Context)) error {
			return h.broker.Elect(ctx, "conductor", name, 2*time.Second, lead)
		},
	})
	return h.run(name, c.Run)
}

// rotate starts a rotator.
func (h *house) rotate() (stop func()) {
	r := rotator.New(rotator.Config{
		Queue: h.broker, Slots: 8, Log: slog.New(slog.DiscardHandler),
		Engine: rollover.NewEngine(rollover.Config{
			Store: h.broker, Now: h.clock.Now, Driver: func(string) (rollover.Driver, error) { return h.driver, nil },
			Archive: &h.vault,
		}),
	})
	return h.run("rotator", r.Run)
}

// plan starts a planner in small: every tenant has one target, by its position.
func (h *house) plan() {
	h.run("planner", func(ctx context.Context) error {
		return h.broker.Consume(ctx, jet.Plans, 4, func(ctx context.Context, d *jet.Delivery) {
			r, err := h.broker.Rotation(ctx, d.Nudge.Rotation)
			if err != nil {
				return
			}
			target := h.hosts[d.Nudge.Ord]
			o := h.cloud.Standing(target)
			f := rollover.Finding{V: 1, Tenant: d.Slot, Items: []rollover.Item{{
				Tenant: d.Slot, Target: target, Observed: o.Digest(h.fresh.SHA256), Retire: r.Spec.ToRetire(o),
				Endpoints: []rollover.EndpointRef{{Tenant: d.Slot, ID: "e1"}},
			}}}
			if h.broker.SaveFinding(ctx, r.ID, d.Nudge.Ord, f) == nil {
				_ = d.Done(ctx) // A nudge that comes again finds the tenant planned.
			}
		})
	})
}

// create makes a rotation over all targets.
func (h *house) create(id string, change ...func(*rollover.Spec)) {
	h.t.Helper()
	r := rollovertest.NewRotation(id, h.fresh, h.clock.Now())
	r.Spec.RetireNotBefore, r.Tenants = switchAt, len(h.hosts)
	for _, f := range change {
		f(&r.Spec)
	}
	tenants := make([]string, len(h.hosts))
	for i := range tenants {
		tenants[i] = fmt.Sprintf("tenant-%d", i)
	}
	if _, err := h.broker.CreateRotation(h.t.Context(), r, tenants); err != nil {
		h.t.Fatal(err)
	}
}

// until watches a rotation until what is asked for is told.
func (h *house) until(id, what string, reached func(mirror.View) bool) mirror.View {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	w, err := h.watch(ctx, id)
	if err != nil {
		h.t.Fatal(err)
	}
	defer w.Close()
	var last mirror.View
	for {
		b, err := w.Next(ctx)
		if err != nil {
			h.t.Fatalf("waiting until %s is %s: %v; last %s/%s %+v", id, what, err, last.Rotation.State, last.Rotation.Phase, last.Counts)
		}
		if b.View != nil {
			last = *b.View
			if reached(last) {
				return last
			}
		}
	}
}

// watch waits until the mirror knows the rotation: it was stored a moment ago.
func (h *house) watch(ctx context.Context, id string) (*mirror.Watch, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		w, err := h.mirror.Watch(id, nil)
		if !errors.Is(err, rollover.ErrNotFound) {
			return w, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

func state(s rollover.RotationState) func(mirror.View) bool {
	return func(v mirror.View) bool { return v.Rotation.State == s }
}

func phase(p rollover.RotationPhase) func(mirror.View) bool {
	return func(v mirror.View) bool { return v.Rotation.Phase == p }
}

// change applies a transition, again if someone else was first.
func (h *house) change(id string, f func(rollover.Rotation) (rollover.Rotation, error)) {
	h.t.Helper()
	for {
		r, err := h.broker.Rotation(h.t.Context(), id)
		if err == nil {
			r, err = f(r)
		}
		if err == nil {
			_, err = h.broker.SaveRotation(h.t.Context(), r)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, rollover.ErrConflict) {
			h.t.Fatal(err)
		}
	}
}

func (h *house) advance(d time.Duration) {
	h.t.Helper()
	if err := h.clock.Advance(d); err != nil {
		h.t.Fatal(err)
	}
}

func TestConductor_LeadsARotationFromPlanningToItsEnd(t *testing.T) {
	h := newHouse(t, 30)
	h.conduct("c1")
	h.rotate()
	h.plan()
	h.create("r1")
	if v := h.until("r1", "planned", state(rollover.StatePlanned)); v.Counts.Total != 30 {
		t.Fatalf("the plan has %d tasks, want 30", v.Counts.Total)
	}
	h.start("r1")
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.ledger.Check(t, "r1")
	h.advance(switchAt.Sub(h.clock.Now()) + rollover.Margin/2)
	if v, err := h.mirror.Rotation(t.Context(), "r1"); err != nil || v.Counts.Retired != 0 {
		t.Errorf("%d retired within the margin, %v, want none", v.Counts.Retired, err)
	}
	h.advance(rollover.Margin)
	v := h.until("r1", "succeeded", state(rollover.StateSucceeded))
	if v.Counts.Retired != 30 || v.Counts.Outcome(rollover.Succeeded) != 30 {
		t.Errorf("%d retired, %d succeeded, want 30", v.Counts.Retired, v.Counts.Outcome(rollover.Succeeded))
	}
	h.ledger.Check(t, "r1")
	if n := len(h.cloud.Journal()); n != 60 {
		t.Errorf("%d writes, want 30 adds and 30 deletes", n)
	}
}

func TestConductor_AnotherTakesOver(t *testing.T) {
	h := newHouse(t, 40)
	first := h.conduct("c1")
	h.plan()
	h.rotate()
	h.create("r1")
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.conduct("c2")
	h.start("r1")
	h.until("r1", "under way", func(v mirror.View) bool { return v.Counts.Phases[rollover.Activated] > 3 })
	first()
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	h.until("r1", "succeeded", state(rollover.StateSucceeded))
	h.ledger.Check(t, "r1")
}

// Two rotations over the same hosts meet in the same slots: they take turns, and
// the second finds what the first one did.
func TestConductor_TwoRotationsShareTheHosts(t *testing.T) {
	h := newHouse(t, 15)
	h.conduct("c1")
	h.rotate()
	h.rotate()
	h.plan()
	for _, id := range []string{"r1", "r2"} {
		h.create(id)
	}
	for _, id := range []string{"r1", "r2"} {
		h.until(id, "planned", state(rollover.StatePlanned))
	}
	h.start("r1")
	h.start("r2")
	for _, id := range []string{"r1", "r2"} {
		h.until(id, "in the overlap", phase(rollover.PhaseOverlap))
	}
	adds := 0
	for _, w := range h.cloud.Journal() {
		if w.Op == "add" {
			adds++
		}
	}
	if adds != 15 {
		t.Errorf("%d adds by two rotations over 15 targets, want 15", adds)
	}
	h.ledger.Check(t, "r1")
}

func TestConductor_NothingToRetireEndsAfterVerify(t *testing.T) {
	h := newHouse(t, 3)
	h.conduct("c1")
	h.rotate()
	h.plan()
	r := rollovertest.NewRotation("r1", h.fresh, h.clock.Now())
	r.Spec.ReplacesSubject, r.Spec.RetireNotBefore, r.Tenants = false, time.Time{}, 3
	if _, err := h.broker.CreateRotation(t.Context(), r, []string{"tenant-0", "tenant-1", "tenant-2"}); err != nil {
		t.Fatal(err)
	}
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	v := h.until("r1", "succeeded", state(rollover.StateSucceeded))
	if v.Counts.Outcome(rollover.Succeeded) != 3 || v.Counts.Retired != 0 {
		t.Errorf("%d succeeded, %d retired, want 3 and 0", v.Counts.Outcome(rollover.Succeeded), v.Counts.Retired)
	}
	h.ledger.Check(t, "r1")
}

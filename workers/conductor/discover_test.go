package conductor_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/workers/conductor"
)

// discover stores a discovery of n tenants.
func (h *house) discover(id string, n int) rollover.Rotation {
	h.t.Helper()
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("tenant-%d", i))
	}
	now := h.clock.Now()
	r, err := h.broker.CreateRotation(h.t.Context(), rollover.Rotation{
		V: 1, ID: id, State: rollover.StatePlanning, Tenants: n, CreatedAt: now, UpdatedAt: now,
		Spec: rollover.Spec{Purpose: rollover.ToDiscover, Kind: "acs-x509", MaxInFlight: 4, MaxTries: 1},
	}, ids)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// look looks at tenants as a planner does, and drops every third nudge of a position the
// first time that it comes.
func (h *house) look() (stop func()) {
	var mu sync.Mutex
	lost := map[rollover.Nudge]bool{}
	return h.run("planner", func(ctx context.Context) error {
		return h.broker.Consume(ctx, jet.Plans, 4, func(ctx context.Context, d *jet.Delivery) {
			mu.Lock()
			first := d.Nudge.Ord%3 == 0 && !lost[d.Nudge]
			lost[d.Nudge] = true
			mu.Unlock()
			if first { // As a worker that was killed after it was settled.
				_ = d.Done(ctx)
				return
			}
			f := rollover.Finding{V: 1, Tenant: fmt.Sprintf("tenant-%d", d.Nudge.Ord), Endpoints: make([]rollover.Endpoint, 2)}
			if err := h.broker.SaveFinding(ctx, d.Nudge.Rotation, d.Nudge.Ord, f.Discovery()); err == nil {
				_ = d.Done(ctx)
			}
		})
	})
}

// recorded waits until the stored record is as enough says.
func (h *house) recorded(id, what string, enough func(rollover.Rotation) bool) rollover.Rotation {
	h.t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for {
		r, err := h.broker.Rotation(h.t.Context(), id)
		if err == nil && enough(r) {
			return r
		}
		select {
		case <-tick.C:
		case <-end:
			h.t.Fatalf("waited for %s, it is %+v, %v", what, r, err)
		}
	}
}

// A discovery is led to its end with nudges that are lost, by a conductor that takes over
// in the middle; no plan is made of it.
func TestConductor_LeadsADiscovery(t *testing.T) {
	h := newHouse(t, 0)
	first := h.conduct("first")
	h.discover("d1", 9)
	h.look()
	h.recorded("d1", "the first findings", func(rollover.Rotation) bool {
		found, err := h.broker.Findings(t.Context(), "d1")
		return err == nil && len(found) > 2
	})
	first()
	h.conduct("second")
	r := h.recorded("d1", "the end", func(r rollover.Rotation) bool { return r.State.Ended() })
	if r.State != rollover.StateSucceeded || r.Discovered == nil || r.Discovered.Tenants != 9 || r.Discovered.Endpoints != 18 || r.EndedAt.IsZero() {
		t.Errorf("it ended as %+v with %+v", r, r.Discovered)
	}
	if _, err := h.broker.Plan(t.Context(), "d1", 0, 1); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Plan of a discovery = %v, want none", err)
	}
}

// A cancelled one is nudged no more, and what was found until then is summed up.
func TestConductor_SumsUpACancelledDiscovery(t *testing.T) {
	h := newHouse(t, 0)
	r := h.discover("d1", 3)
	if err := h.broker.SaveFinding(t.Context(), "d1", 1, rollover.Finding{Tenant: "tenant-1"}.Discovery()); err != nil {
		t.Fatal(err)
	}
	r, err := r.Cancel("", h.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.broker.SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	h.conduct("first")
	r = h.recorded("d1", "what was found", func(r rollover.Rotation) bool { return r.Discovered != nil })
	if r.State != rollover.StateCancelled || r.Discovered.Tenants != 1 {
		t.Errorf("it is %s with %+v, want cancelled with the one that was found", r.State, r.Discovered)
	}
	out, err := h.broker.InFlight(t.Context(), jet.Plans)
	if err != nil || len(out) != 0 {
		t.Errorf("%v are out, %v", out, err)
	}
}

// One whose time is over is deleted, also where rotations are kept for ever.
func TestConductor_DeletesOldDiscoveries(t *testing.T) {
	h := newHouse(t, 0)
	h.discover("d1", 2)
	h.finished("r1", 1)
	h.conduct("first")
	h.look()
	h.recorded("d1", "the end", func(r rollover.Rotation) bool { return r.State.Ended() })
	if err := h.clock.Advance(rollover.DiscoveryFor + time.Hour); err != nil {
		t.Fatal(err)
	}
	tick, end := time.NewTicker(5*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for {
		_, err := h.broker.Rotation(t.Context(), "d1")
		found, ferr := h.broker.Findings(t.Context(), "d1")
		if errors.Is(err, rollover.ErrGone) && ferr == nil && len(found) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("a month later it is there, %v, with %d findings, %v", err, len(found), ferr)
		}
	}
	if _, err := h.broker.Rotation(t.Context(), "r1"); err != nil {
		t.Errorf("the rotation: %v", err)
	}
}

// told collects audit records.
type told struct{ records []audit.Record }

func (a *told) Tell(_ context.Context, rs ...audit.Record) error {
	a.records = append(a.records, rs...)
	return nil
}

func TestTelling_ADiscoveryIsToldAsAJob(t *testing.T) {
	h, log := newHouse(t, 0), &told{}
	r := h.discover("d1", 1)
	r, err := r.Conclude(rollover.Discovered{Tally: rollover.Tally{Tenants: 1, Endpoints: 7, Targets: 6, Read: 5}}, h.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conductor.Telling(h.broker, log).SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if len(log.records) != 1 || log.records[0].Object != "inventoryJobs/d1" || log.records[0].Detail["read"] != "5" {
		t.Errorf("told is %+v", log.records)
	}
}

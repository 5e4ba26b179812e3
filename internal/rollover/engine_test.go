package rollover_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// world is a running rotation over a few targets in memory: one plain, two that
// are the halves of a federated endpoint, one that already holds the new
// credential.
type world struct {
	now    time.Time
	cloud  *rollovertest.Cloud
	store  *rollovertest.Memory
	faults *rollovertest.Faults
	ledger rollovertest.Ledger
	plan   []rollover.Item
	vault  rollovertest.Vault
}

const rotationID = "0198f000-0000-7000-8000-000000000001"

// switchAt is when the sender begins to use the new certificate.
var switchAt = rollovertest.Epoch.AddDate(0, 0, 3)

func newWorld(t testing.TB) *world {
	t.Helper()
	epoch := rollovertest.Epoch
	old, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", epoch.AddDate(-2, 0, 0), epoch.AddDate(0, 1, 0))
	fresh, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", switchAt, switchAt.AddDate(2, 0, 0))
	foreign, _ := rollovertest.Certificate(t, "CN=somebody.else", epoch.AddDate(-1, 0, 0), epoch.AddDate(1, 0, 0))

	w := &world{now: epoch.AddDate(0, 0, -1), faults: &rollovertest.Faults{}}
	clock := func() time.Time { return w.now }
	w.cloud, w.store = rollovertest.NewCloud(clock), rollovertest.NewMemory(fresh)
	w.cloud.Fault, w.vault.Fault = w.faults, w.faults
	spec := rollovertest.NewRotation(rotationID, fresh, w.now)
	spec.Spec.RetireNotBefore = switchAt
	w.ledger = rollovertest.Ledger{
		Cloud: w.cloud, Store: w.store, New: fresh, Old: old,
		RetireNotBefore: switchAt, Before: map[rollover.Target]rollover.Observation{},
	}
	f := rollover.Finding{V: 1, Tenant: "contoso"}
	for i, host := range []string{"plain-sb", "both-sb", "both", "done-sb"} {
		target := rollover.Target{Kind: rollovertest.Kind, Host: host + ".accesscontrol.windows.net", Identity: "crm.dynamics.com"}
		named := rollovertest.Stand(old)
		named.Name, named.Usage, named.End = "CRM key", "Signing", old.NotAfter.Add(-time.Hour)
		standing := []rollover.Standing{rollovertest.Stand(foreign), named}
		if host == "done-sb" {
			standing = append(standing, rollovertest.Stand(fresh))
		}
		w.cloud.Set(target, standing...)
		o := w.cloud.Standing(target)
		w.ledger.Before[target] = o
		_, present := o.Find(fresh.SHA256)
		f.Items = append(f.Items, rollover.Item{
			Tenant: "contoso", Target: target, Present: present, Observed: o.Digest(fresh.SHA256), Retire: spec.Spec.ToRetire(o),
			Endpoints: []rollover.EndpointRef{{Tenant: "contoso", ID: []string{"e0", "e1", "e1", "e3"}[i], Federated: i == 1 || i == 2}},
		})
	}
	w.plan = rollover.Assemble([]rollover.Finding{f})
	r, err := w.store.CreateRotation(context.Background(), spec, []string{"contoso"})
	check(t, err)
	r, err = r.Freeze(w.plan, w.now)
	check(t, err)
	r, err = w.store.FreezePlan(context.Background(), r, w.plan)
	check(t, err)
	r, err = r.Start(r.Digest, w.now)
	check(t, err)
	_, err = w.store.SaveRotation(context.Background(), r)
	check(t, err)
	return w
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// engine returns a new engine, as a restarted process has one.
func (w *world) engine() *rollover.Engine {
	return rollover.NewEngine(rollover.Config{
		Store:  rollovertest.FaultyStore{Store: w.store, Faults: w.faults},
		Driver: func(string) (rollover.Driver, error) { return w.cloud, nil },
		Now:    func() time.Time { return w.now }, Archive: &w.vault,
	})
}

// tasks reads all tasks past the faults.
func (w *world) tasks(t testing.TB) []rollover.Task {
	t.Helper()
	out := make([]rollover.Task, len(w.plan))
	for ord := range out {
		k, err := w.store.Task(context.Background(), rollover.TaskID{Rotation: rotationID, Ord: ord})
		check(t, err)
		out[ord] = k
	}
	return out
}

// conduct is the conductor in small: it opens the retire phase when that is
// allowed, and moves the clock on when nothing is due.
func (w *world) conduct(t testing.TB) {
	t.Helper()
	r, err := w.store.Rotation(context.Background(), rotationID)
	check(t, err)
	if r.Phase != rollover.PhaseRetire {
		r.Phase = rollover.PhaseOverlap
		if next, err := r.BeginRetire(w.now); err == nil {
			_, err = w.store.SaveRotation(context.Background(), next)
			check(t, err)
		}
	}
	w.now = w.now.Add(7 * time.Hour)
}

// finish drives every task to its end, starting a new engine after each error,
// and checks all promises after each call.
func (w *world) finish(t testing.TB) []rollover.Task {
	t.Helper()
	e := w.engine()
	for range 600 {
		ks := w.tasks(t)
		open := 0
		for _, k := range ks {
			if k.Outcome != rollover.Open {
				continue
			}
			open++
			if _, err := e.Advance(context.Background(), k.ID); err != nil {
				e = w.engine()
			}
			w.ledger.Check(t, rotationID)
		}
		if open == 0 {
			return ks
		}
		w.conduct(t)
	}
	t.Fatalf("tasks still open after 600 rounds: %+v", w.tasks(t))
	return nil
}

// allRotated complains unless every task ended well, with the old credential
// gone.
func (w *world) allRotated(t testing.TB, ks []rollover.Task) {
	t.Helper()
	for _, k := range ks {
		want := rollover.Rotated
		if k.Item.Present {
			want = rollover.AlreadyPresent
		}
		if k.Outcome != rollover.Succeeded || k.Reason != want || k.Phase != rollover.Retired {
			t.Errorf("task %d on %s ended as %s/%s in %s: %s", k.ID.Ord, k.Item.Target, k.Outcome, k.Reason, k.Phase, k.Detail)
		}
		if _, ok := w.cloud.Standing(k.Item.Target).Find(w.ledger.Old.SHA256); ok {
			t.Errorf("the old credential still stands on %s", k.Item.Target)
		}
	}
}

func TestAdvance_RotatesAndRetires(t *testing.T) {
	w := newWorld(t)
	w.allRotated(t, w.finish(t))
	if n := len(w.cloud.Journal()); n != 3+4 {
		t.Errorf("%d writes, want 3 adds and 4 deletes", n)
	}
}

// Every call that the engine and the driver make is broken, each both ways, one
// after the other; after each break a new engine goes on.
func TestAdvance_EveryFault(t *testing.T) {
	clean := newWorld(t)
	clean.finish(t)
	total := len(clean.faults.Calls())
	if total < 40 {
		t.Fatalf("a whole rotation makes %d calls, want more: the test looks at nothing", total)
	}
	for n := range total {
		for _, mode := range []rollovertest.Mode{rollovertest.Lost, rollovertest.DoneLost} {
			t.Run(fmt.Sprintf("call %d %s", n, mode), func(t *testing.T) {
				w := newWorld(t)
				w.faults.Break = func(i int, _ string) (rollovertest.Mode, bool) { return mode, i == n }
				w.allRotated(t, w.finish(t))
				if len(w.faults.Calls()) <= n {
					t.Errorf("call %d was never made", n)
				}
			})
		}
	}
}

// Many calls break at random, tasks are delivered twice and interleaved, and
// time passes in leaps: the promises hold at every moment, and a task that ends
// as succeeded is.
func TestAdvance_RandomSchedules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		percent := rapid.IntRange(0, 40).Draw(rt, "percent broken")
		w.faults.Break = func(int, string) (rollovertest.Mode, bool) {
			broken := rapid.IntRange(0, 99).Draw(rt, "break") < percent
			return rollovertest.Mode(rapid.IntRange(0, 1).Draw(rt, "mode")), broken
		}
		for range rapid.IntRange(5, 60).Draw(rt, "moves") {
			switch rapid.IntRange(0, 4).Draw(rt, "move") {
			case 0:
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 30*3600).Draw(rt, "leap")) * time.Second)
			case 1:
				w.conduct(t)
			default:
				ord := rapid.IntRange(0, len(w.plan)-1).Draw(rt, "task")
				_, _ = w.engine().Advance(context.Background(), rollover.TaskID{Rotation: rotationID, Ord: ord})
			}
			w.ledger.Check(t, rotationID)
		}
		w.faults.Break = nil
		for _, k := range w.finish(t) {
			if k.Outcome != rollover.Succeeded && k.Reason != rollover.TriesUsedUp {
				t.Errorf("task %d ended as %s/%s: %s", k.ID.Ord, k.Outcome, k.Reason, k.Detail)
			}
		}
	})
}

// intruder changes a target between two calls of the driver.
type intruder struct {
	rollover.Driver
	before map[string]func()
}

func (i intruder) Retire(ctx context.Context, w rollover.Work) ([]string, error) {
	if f := i.before["retire"]; f != nil {
		f()
	}
	return i.Driver.Retire(ctx, w)
}

func TestAdvance_TargetChangedSincePlanIsNotWritten(t *testing.T) {
	w := newWorld(t)
	target := w.plan[0].Target
	w.cloud.Set(target, rollovertest.Stand(w.ledger.Old)) // The foreign one was taken away.
	w.ledger.Before[target] = w.cloud.Standing(target)
	k := w.finish(t)[0]
	if k.Outcome != rollover.Conflict || k.Reason != rollover.ChangedSincePlan {
		t.Errorf("the task ended as %s/%s, want a conflict", k.Outcome, k.Reason)
	}
	for _, j := range w.cloud.Journal() {
		if j.Target == target {
			t.Errorf("%s on %s, want nothing written there", j.Op, target)
		}
	}
}

func TestAdvance_RetireTooEarly(t *testing.T) {
	almost := switchAt.Add(rollover.Margin - time.Second)
	t.Run("refused by the engine", func(t *testing.T) {
		w := newWorld(t)
		w.stageAll(t)
		w.openRetirePhase(t)
		w.now = almost
		for _, k := range w.tasks(t) {
			if s := rollover.Next(k, w.now); s != rollover.StepWait {
				t.Errorf("Next = %s a second before the time, want wait", s)
			}
			if _, err := w.engine().Advance(t.Context(), k.ID); err != nil {
				t.Errorf("Advance = %v", err)
			}
		}
		w.ledger.Check(t, rotationID)
		for _, j := range w.cloud.Journal() {
			if j.Op == "delete" {
				t.Errorf("deleted from %s at %s", j.Target, j.At)
			}
		}
	})
	t.Run("refused by the driver", func(t *testing.T) {
		w := newWorld(t)
		w.stageAll(t)
		k := w.tasks(t)[0]
		if _, err := w.cloud.Retire(t.Context(), k.Work(almost)); !errors.Is(err, rollover.ErrTooEarly) {
			t.Errorf("Retire = %v, want ErrTooEarly", err)
		}
	})
	t.Run("refused by the rotation", func(t *testing.T) {
		w := newWorld(t)
		r, err := w.store.Rotation(t.Context(), rotationID)
		check(t, err)
		r.Phase = rollover.PhaseOverlap
		if _, err := r.BeginRetire(almost); !errors.Is(err, rollover.ErrTooEarly) {
			t.Errorf("BeginRetire = %v, want ErrTooEarly", err)
		}
		if _, err := r.BeginRetire(almost.Add(time.Second)); err != nil {
			t.Errorf("BeginRetire when it is time = %v", err)
		}
	})
}

// stageAll takes every task to the overlap.
func (w *world) stageAll(t testing.TB) {
	t.Helper()
	for _, k := range w.tasks(t) {
		k, err := w.engine().Advance(context.Background(), k.ID)
		check(t, err)
		if k.Phase != rollover.Activated {
			t.Fatalf("task %d is %s, want activated", k.ID.Ord, k.Phase)
		}
	}
}

// openRetirePhase sets the phase without asking whether it is time, as a bug or
// a clock far ahead in another process would.
func (w *world) openRetirePhase(t testing.TB) {
	t.Helper()
	r, err := w.store.Rotation(context.Background(), rotationID)
	check(t, err)
	r.Phase = rollover.PhaseRetire
	_, err = w.store.SaveRotation(context.Background(), r)
	check(t, err)
}

func TestAdvance_NewGoneBeforeRetireKeepsOld(t *testing.T) {
	w := newWorld(t)
	w.stageAll(t)
	w.openRetirePhase(t)
	w.now = switchAt.Add(time.Hour)
	target := w.plan[0].Target
	d := intruder{w.cloud, map[string]func(){"retire": func() {
		w.cloud.Set(target, rollovertest.Stand(w.ledger.Old))
	}}}
	e := rollover.NewEngine(rollover.Config{
		Store: w.store, Now: func() time.Time { return w.now },
		Driver: func(string) (rollover.Driver, error) { return d, nil },
	})
	_, err := e.Advance(t.Context(), rollover.TaskID{Rotation: rotationID})
	check(t, err)
	if _, ok := w.cloud.Standing(target).Find(w.ledger.Old.SHA256); !ok {
		t.Errorf("the old credential is gone from %s although the new one was not there", target)
	}
}

// A federated endpoint signs in to both of its namespaces. While one half has no
// new credential, the other half keeps its old one.
func TestAdvance_HalfOfFederatedKeepsOld(t *testing.T) {
	w := newWorld(t)
	lone := w.plan[2].Target
	w.cloud.Set(lone) // Its identity was emptied after the plan: a conflict.
	delete(w.ledger.Before, lone)
	ks := w.finish(t)
	if k := ks[2]; k.Outcome != rollover.Conflict {
		t.Fatalf("the emptied half ended as %s, want conflict", k.Outcome)
	}
	k := ks[1]
	if k.Outcome != rollover.Succeeded || k.Reason != rollover.RotatedOldKept {
		t.Errorf("the other half ended as %s/%s, want succeeded with the old kept", k.Outcome, k.Reason)
	}
	if _, ok := w.cloud.Standing(k.Item.Target).Find(w.ledger.Old.SHA256); !ok {
		t.Errorf("the old credential is gone from %s", k.Item.Target)
	}
}

func TestAdvance_TriesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.faults.Break = func(_ int, call string) (rollovertest.Mode, bool) { return rollovertest.Lost, call == "add" }
	k := w.finish(t)[0]
	if k.Outcome != rollover.Failed || k.Reason != rollover.TriesUsedUp || k.Tries != 5 {
		t.Errorf("the task ended as %s/%s after %d tries, want failed after 5", k.Outcome, k.Reason, k.Tries)
	}
}

func TestAdvance_StopsWithItsContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.faults.Break = func(_ int, call string) (rollovertest.Mode, bool) {
		if call == "add" {
			cancel()
		}
		return rollovertest.DoneLost, call == "add"
	}
	if _, err := w.engine().Advance(ctx, rollover.TaskID{Rotation: rotationID}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Advance with a context that ended = %v, want its error", err)
	}
	if k := w.tasks(t)[0]; k.Rev != 0 {
		t.Errorf("the task was saved as %+v, want nothing saved: a stop is not a failed try", k.Progress)
	}
	w.faults.Break = nil
	w.allRotated(t, w.finish(t))
}

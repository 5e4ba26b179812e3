package checker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/workers/checker"
)

const rotation = "0192f0c1-0000-7000-8000-000000000001"

// house is a rotation of n targets that has ended well and whose check runs, in a
// cloud in memory.
type house struct {
	*rollovertest.Memory
	t          *testing.T
	cloud      *rollovertest.Cloud
	old, fresh rollover.Credential
	plan       []rollover.Item
	now        time.Time
	fault      func(call string) error // nil: none
}

func newHouse(t *testing.T, n int) *house {
	t.Helper()
	e := rollovertest.Epoch
	old, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", e.AddDate(-1, 0, 0), e.AddDate(1, 0, 0))
	fresh, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", e, e.AddDate(2, 0, 0))
	h := &house{Memory: rollovertest.NewMemory(fresh), t: t, old: old, fresh: fresh, now: e}
	h.cloud = rollovertest.NewCloud(func() time.Time { return h.now })
	r, err := h.CreateRotation(t.Context(), rollovertest.NewRotation(rotation, fresh, e), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	h.plan = rollovertest.Plan(n)
	for i := range h.plan {
		o := rollover.Observation{Standing: []rollover.Standing{rollovertest.Stand(old)}}
		h.plan[i].Observed, h.plan[i].Retire = o.Digest(fresh.SHA256), []rollover.Credential{old.Named()}
		mine := rollovertest.Stand(fresh)
		mine.Mark = rotation
		h.cloud.Set(h.plan[i].Target, mine)
	}
	if r, err = r.Freeze(h.plan, e); err == nil {
		_, err = h.FreezePlan(t.Context(), r, h.plan)
	}
	if err != nil {
		t.Fatal(err)
	}
	for ord := range h.plan {
		h.save(ord, rollover.Retired, rollover.Succeeded)
	}
	h.write(func(r *rollover.Rotation) { r.State, r.StartedAt, r.EndedAt = rollover.StateSucceeded, e, e })
	h.begin()
	return h
}

func (h *house) save(ord int, p rollover.Phase, o rollover.Outcome) {
	h.t.Helper()
	k, err := h.Memory.Task(h.t.Context(), rollover.TaskID{Rotation: rotation, Ord: ord})
	if err != nil {
		h.t.Fatal(err)
	}
	k.Phase, k.Outcome, k.Removed = p, o, []string{h.old.SHA256}
	if _, err := h.SaveTask(h.t.Context(), k); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) write(f func(*rollover.Rotation)) {
	h.t.Helper()
	r, err := h.Memory.Rotation(h.t.Context(), rotation)
	if err != nil {
		h.t.Fatal(err)
	}
	f(&r)
	if _, err := h.SaveRotation(h.t.Context(), r); err != nil {
		h.t.Fatal(err)
	}
}

// begin begins the next check.
func (h *house) begin() {
	h.write(func(r *rollover.Rotation) {
		r.Check = rollover.Check{Number: r.Check.Number + 1, State: rollover.CheckRunning, StartedAt: h.now}
	})
}

func (h *house) Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error) {
	if err := h.broken("task"); err != nil {
		return rollover.Task{}, err
	}
	return h.Memory.Task(ctx, id)
}

func (h *house) SaveCheckPart(ctx context.Context, id string, n int, p rollover.CheckPart, rev uint64) (uint64, error) {
	if err := h.broken("save"); err != nil {
		return 0, err
	}
	return h.Memory.SaveCheckPart(ctx, id, n, p, rev)
}

func (h *house) broken(call string) error {
	if h.fault == nil {
		return nil
	}
	return h.fault(call)
}

func (h *house) checker(change ...func(*checker.Config)) *checker.Checker {
	h.t.Helper()
	c := checker.Config{
		Store: h, Driver: func(string) (rollover.Driver, error) { return h.cloud, nil }, Now: func() time.Time { return h.now },
		Rate: 1e6, Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	for _, f := range change {
		f(&c)
	}
	k, err := checker.New(c)
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

func (h *house) check(part int) {
	h.t.Helper()
	if err := h.checker().Check(h.t.Context(), rollover.Nudge{Rotation: rotation, Ord: part}); err != nil {
		h.t.Fatalf("Check(%d) = %v", part, err)
	}
}

// part returns what is stored of a part.
func (h *house) part(n int) rollover.CheckPart {
	h.t.Helper()
	p, _, err := h.CheckPart(h.t.Context(), rotation, n)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// found writes a part as "ord kind", in order.
func found(p rollover.CheckPart) []string {
	var out []string
	for _, d := range p.Targets {
		for _, x := range d.Drifts {
			out = append(out, fmt.Sprintf("%d %s", d.Ord, x.Kind))
		}
	}
	return out
}

func TestCheck_StoresOnePartAndNothingOfWhatIsAsItWas(t *testing.T) {
	h := newHouse(t, rollover.CheckChunk+3)
	h.check(0)
	h.check(1)
	for n, looked := range []int{rollover.CheckChunk, 3} {
		if p := h.part(n); p.Check != 1 || p.Looked != looked || len(p.Targets) != 0 {
			t.Errorf("part %d = %+v, want %d targets looked at and none drifted", n, p, looked)
		}
	}
	if n := len(h.cloud.Journal()); n != 0 {
		t.Errorf("a check wrote %d times to targets, want never", n)
	}
}

func TestCheck_KeepsWhenItWasFirstSeenAndForgetsWhatIsMended(t *testing.T) {
	h := newHouse(t, 3)
	mended := h.cloud.Standing(h.plan[0].Target).Standing
	h.cloud.Set(h.plan[0].Target)
	h.cloud.Set(h.plan[2].Target)
	h.check(0)
	if got, want := found(h.part(0)), []string{"0 new_missing", "2 new_missing"}; !slices.Equal(got, want) {
		t.Fatalf("found %v, want %v", got, want)
	}
	h.cloud.Set(h.plan[0].Target, mended...)
	first := h.now
	h.now = h.now.Add(time.Hour)
	h.check(0) // The same check again changes nothing.
	if p := h.part(0); !p.At.Equal(first) {
		t.Errorf("a second nudge of one check wrote the part anew at %s", p.At)
	}
	h.begin()
	h.check(0)
	p := h.part(0)
	if got, want := found(p), []string{"2 new_missing"}; !slices.Equal(got, want) || !p.Targets[0].Drifts[0].Since.Equal(first) || p.Check != 2 {
		t.Errorf("check 2 stored %+v, want %v since %s", p, want, first)
	}
}

func TestCheck_LooksOnlyAtWhatWasRotated(t *testing.T) {
	h := newHouse(t, 5)
	for ord, o := range []rollover.Outcome{rollover.Failed, rollover.Undone, rollover.HandedOver, rollover.Cancelled} {
		h.save(ord, rollover.Staged, o)
		h.cloud.Set(h.plan[ord].Target)
	}
	h.check(0)
	if p := h.part(0); p.Looked != 1 || len(p.Targets) != 0 {
		t.Errorf("part = %+v, want one target looked at and none drifted", p)
	}
}

// What cannot be read is a result, never "no drift"; what may be read at the next
// try is tried again.
func TestCheck_UnreadableIsAResult(t *testing.T) {
	h := newHouse(t, 4)
	calls := map[string]int{}
	var mu sync.Mutex
	ask := func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		mu.Lock()
		defer mu.Unlock()
		calls[w.Target.Host]++
		switch w.Target.Host {
		case h.plan[0].Target.Host:
			return rollover.Observation{}, rollover.HandOver(rollover.NoAccess, errors.New("no management key"))
		case h.plan[1].Target.Host:
			return rollover.Observation{}, fmt.Errorf("connection refused %s", strings.Repeat("x", 1000))
		case h.plan[2].Target.Host:
			if calls[w.Target.Host] < 3 {
				return rollover.Observation{}, rollover.RetryAfter(time.Second, errors.New("busy"))
			}
		case h.plan[3].Target.Host:
			panic("poison")
		}
		return h.cloud.Standing(w.Target), nil
	}
	k := h.checker(func(c *checker.Config) {
		c.Driver = func(string) (rollover.Driver, error) { return observer{h.cloud, ask}, nil }
	})
	if err := k.Check(t.Context(), rollover.Nudge{Rotation: rotation}); err != nil {
		t.Fatal(err)
	}
	p := h.part(0)
	if got, want := found(p), []string{"0 unreadable", "1 unreadable", "3 unreadable"}; !slices.Equal(got, want) || p.Looked != 4 {
		t.Errorf("found %v of %d, want %v of 4", got, p.Looked, want)
	}
	for _, d := range p.Targets {
		if n := len([]rune(d.Drifts[0].Detail)); n == 0 || n > 300 {
			t.Errorf("target %d says %q", d.Ord, d.Drifts[0].Detail)
		}
	}
	if calls[h.plan[0].Target.Host] != 1 || calls[h.plan[1].Target.Host] != 3 {
		t.Errorf("asked %v, want no access once and a refused connection three times", calls)
	}
}

// observer is a driver whose reads are somebody's own.
type observer struct {
	rollover.Driver
	ask func(context.Context, rollover.Work) (rollover.Observation, error)
}

func (o observer) Observe(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
	return o.ask(ctx, w)
}

// What says nothing about the target stores nothing: the part is not checked.
func TestCheck_AStoreThatFailsOrAnEndStoresNothing(t *testing.T) {
	h := newHouse(t, 2)
	for _, call := range []string{"task", "save"} {
		h.fault = func(c string) error {
			if c == call {
				return rollover.ErrUnavailable
			}
			return nil
		}
		if err := h.checker().Check(t.Context(), rollover.Nudge{Rotation: rotation}); !errors.Is(err, rollover.ErrUnavailable) {
			t.Errorf("%s fails: Check = %v, want unavailable", call, err)
		}
	}
	h.fault = nil
	ctx, cancel := context.WithCancel(t.Context())
	k := h.checker(func(c *checker.Config) {
		c.Driver = func(string) (rollover.Driver, error) {
			return observer{h.cloud, func(ctx context.Context, _ rollover.Work) (rollover.Observation, error) {
				cancel() // Whatever the driver makes of its end says nothing of the target.
				return rollover.Observation{}, rollover.HandOver(rollover.NoAccess, ctx.Err())
			}}, nil
		}
	})
	if err := k.Check(ctx, rollover.Nudge{Rotation: rotation}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended in the middle: Check = %v, want canceled", err)
	}
	if p := h.part(0); p.Check != 0 {
		t.Errorf("part = %+v, want that nothing is stored", p)
	}
	if err := h.checker().Check(t.Context(), rollover.Nudge{Rotation: "no-such"}); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Check of an unknown rotation = %v, want not found", err)
	}
	h.write(func(r *rollover.Rotation) { r.Check.State = rollover.CheckDone })
	h.check(0)
	if p := h.part(0); p.Check != 0 {
		t.Errorf("without a check under way part = %+v, want nothing", p)
	}
}

// In the retire phase our own removal happens between the reading of the task and
// that of the target. It must not look like somebody else's.
func TestCheck_OurOwnRemovalIsNoDrift(t *testing.T) {
	h := newHouse(t, 1)
	h.write(func(r *rollover.Rotation) { r.State, r.Phase = rollover.StateRunning, rollover.PhaseRetire })
	k, err := h.Memory.Task(t.Context(), rollover.TaskID{Rotation: rotation})
	if err != nil {
		t.Fatal(err)
	}
	k.Phase, k.Outcome, k.Removed = rollover.Activated, rollover.Open, nil
	if _, err := h.SaveTask(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	c := h.checker(func(c *checker.Config) {
		c.Driver = func(string) (rollover.Driver, error) {
			return observer{h.cloud, func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
				once.Do(func() { h.save(0, rollover.Retired, rollover.Succeeded) })
				return h.cloud.Standing(w.Target), nil
			}}, nil
		}
	})
	if err := c.Check(t.Context(), rollover.Nudge{Rotation: rotation}); err != nil {
		t.Fatal(err)
	}
	if p := h.part(0); p.Looked != 1 || len(p.Targets) != 0 {
		t.Errorf("part = %+v, want no drift", p)
	}
}

func TestCheck_AMarkIsLookedUp(t *testing.T) {
	h := newHouse(t, 2)
	other, _ := rollovertest.Certificate(t, "CN=next", rollovertest.Epoch, rollovertest.Epoch.AddDate(3, 0, 0))
	const later = "0192f0c1-0000-7000-8000-000000000009"
	if _, err := h.CreateRotation(t.Context(), rollovertest.NewRotation(later, other, h.now), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	for i, mark := range []string{later, "0192f0c1-0000-7000-8000-00000000000f"} {
		s := rollovertest.Stand(other)
		s.Mark = mark
		h.cloud.Set(h.plan[i].Target, append(h.cloud.Standing(h.plan[i].Target).Standing, s)...)
	}
	h.check(0)
	if got, want := found(h.part(0)), []string{"1 foreign_added"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v: the other mark names a rotation", got, want)
	}
}

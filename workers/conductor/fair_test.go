package conductor_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/bench"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// hooked is a cloud that asks before it stages.
type hooked struct {
	*rollovertest.Cloud
	stage func(ctx context.Context, w rollover.Work) error
}

func (c hooked) Stage(ctx context.Context, w rollover.Work) (bool, error) {
	if err := c.stage(ctx, w); err != nil {
		return false, err
	}
	return c.Cloud.Stage(ctx, w)
}

// someOf makes a rotation over the targets of the given positions. The selection
// names positions, and planOf says whose each is.
func (h *house) someOf(id string, positions []int, change ...func(*rollover.Spec)) {
	h.t.Helper()
	r := rollovertest.NewRotation(id, h.fresh, h.clock.Now())
	r.Spec.RetireNotBefore, r.Tenants = switchAt, len(positions)
	r.Spec.MaxInFlight, r.Spec.MaxTries = 1000, 5
	for _, f := range change {
		f(&r.Spec)
	}
	names := make([]string, len(positions))
	for i, p := range positions {
		names[i] = fmt.Sprint(p)
	}
	if _, err := h.broker.CreateRotation(h.t.Context(), r, names); err != nil {
		h.t.Fatal(err)
	}
}

// planOf starts a planner in small for rotations of someOf: the target at each
// position of a selection is that of the tenant that whose names. enter, if set, is
// called before a position is planned.
func (h *house) planOf(whose func(position int) string, enter func(rotation string)) {
	h.run("planner", func(ctx context.Context) error {
		return h.broker.Consume(ctx, jet.Plans, 4, func(ctx context.Context, d *jet.Delivery) {
			if enter != nil {
				enter(d.Nudge.Rotation)
			}
			r, err := h.broker.Rotation(ctx, d.Nudge.Rotation)
			var p int
			if _, serr := fmt.Sscan(d.Slot, &p); err != nil || serr != nil {
				return
			}
			target := h.hosts[p]
			o := h.cloud.Standing(target)
			f := rollover.Finding{V: 1, Tenant: whose(p), Items: []rollover.Item{{
				Tenant: whose(p), Target: target, Observed: o.Digest(h.fresh.SHA256), Retire: r.Spec.ToRetire(o),
				Endpoints: []rollover.EndpointRef{{Tenant: whose(p), ID: d.Slot}},
			}}}
			if h.broker.SaveFinding(ctx, r.ID, d.Nudge.Ord, f) == nil {
				_ = d.Done(ctx)
			}
		})
	})
}

// begun waits for the plan and starts it.
func (h *house) begun(id string) {
	h.t.Helper()
	h.until(id, "planned", state(rollover.StatePlanned))
	h.start(id)
}

func span(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func urgently(s *rollover.Spec) { s.Lane = rollover.Urgent }

// every is whose of a house where each target is another tenant's.
func every(p int) string { return fmt.Sprintf("tenant-%d", p) }

// While bulk work fills every hand and does not move at all, an urgent rotation is
// planned, started and written.
func TestConductor_UrgentPassesBulkThatDoesNotMove(t *testing.T) {
	h := newHouse(t, 120)
	release := make(chan struct{})
	var once sync.Once
	open := func() { once.Do(func() { close(release) }) }
	t.Cleanup(open)
	wait := func(ctx context.Context) {
		select {
		case <-release:
		case <-ctx.Done():
		}
	}
	entered := make(chan string, 200)
	h.driver = hooked{h.cloud, func(ctx context.Context, w rollover.Work) error {
		entered <- w.Rotation
		if w.Rotation != "urgent" {
			wait(ctx)
		}
		return nil
	}}
	h.conduct("c1")
	h.rotate()
	h.planOf(every, func(rotation string) {
		if rotation == "planning" {
			wait(t.Context())
		}
	})
	h.someOf("bulk", span(0, 100))
	h.begun("bulk")
	for range 8 { // All hands of the one rotator.
		<-entered
	}
	h.someOf("planning", span(100, 119))
	h.until("planning", "being planned", state(rollover.StatePlanning))
	h.someOf("urgent", []int{119}, urgently)
	h.begun("urgent")
	h.until("urgent", "in the overlap", phase(rollover.PhaseOverlap))
	if n := len(h.cloud.Journal()); n != 1 {
		t.Errorf("%d writes, want the urgent one alone", n)
	}
	open()
	h.until("bulk", "in the overlap", phase(rollover.PhaseOverlap))
}

// Tenants of equal size go forward alike beside one that has many times their
// targets, and it beside them, by the plan as it is assembled.
func TestConductor_EqualTenantsGoForwardAlike(t *testing.T) {
	const small, each, large = 50, 20, 5000
	h := newHouse(t, small*each+large)
	whose, targets := map[string]string{}, map[string][]rollover.Target{"large": h.hosts[small*each:]}
	names := []string{"large"} // It comes first.
	for i := range small {
		name := fmt.Sprintf("small-%02d", i)
		names, targets[name] = append(names, name), h.hosts[i*each:(i+1)*each]
	}
	for name, of := range targets {
		for _, target := range of {
			whose[target.Host] = name
		}
	}
	h.conduct("c1")
	h.planTenants(targets)
	r := rollovertest.NewRotation("r1", h.fresh, h.clock.Now())
	r.Spec.RetireNotBefore, r.Tenants, r.Spec.MaxInFlight, r.Spec.MaxTries = switchAt, len(names), 1000, 5
	if _, err := h.broker.CreateRotation(t.Context(), r, names); err != nil {
		t.Fatal(err)
	}
	h.begun("r1")
	h.rotate()
	h.rotate()
	h.until("r1", "half done", func(v mirror.View) bool { return v.Counts.Past() > small*each })
	written, done := map[string]int{}, 0
	for _, w := range h.cloud.Journal() {
		name := whose[w.Target.Host]
		written[name]++
		if name != "large" {
			done++
		}
		if done == small*each/2 {
			break
		}
	}
	var progress []float64
	for i := range small {
		progress = append(progress, float64(written[fmt.Sprintf("small-%02d", i)]))
	}
	if j := bench.Jain(progress); j < 0.95 || done != small*each/2 {
		t.Errorf("after %d tasks of small tenants Jain's index of %v is %.3f, want at least 0.95 after %d", done, progress, j, small*each/2)
	}
	if n := written["large"]; n == 0 || n > 4*each {
		t.Errorf("the large tenant has %d written when the small ones have %d each, want about as many", n, each/2)
	}
}

// planTenants starts a planner in small for tenants with many targets each.
func (h *house) planTenants(targets map[string][]rollover.Target) {
	h.run("planner", func(ctx context.Context) error {
		return h.broker.Consume(ctx, jet.Plans, 4, func(ctx context.Context, d *jet.Delivery) {
			r, err := h.broker.Rotation(ctx, d.Nudge.Rotation)
			if err != nil {
				return
			}
			f := rollover.Finding{V: 1, Tenant: d.Slot}
			for i, target := range targets[d.Slot] {
				o := h.cloud.Standing(target)
				f.Items = append(f.Items, rollover.Item{
					Tenant: d.Slot, Target: target, Observed: o.Digest(h.fresh.SHA256), Retire: r.Spec.ToRetire(o),
					Endpoints: []rollover.EndpointRef{{Tenant: d.Slot, ID: fmt.Sprint(i)}},
				})
			}
			if h.broker.SaveFinding(ctx, r.ID, d.Nudge.Ord, f) == nil {
				_ = d.Done(ctx)
			}
		})
	})
}

// A rotation that came later gets its share beside an older, larger one.
func TestConductor_ALaterRotationGetsItsShare(t *testing.T) {
	h := newHouse(t, 440)
	h.conduct("c1")
	h.planOf(every, nil)
	h.someOf("old", span(0, 400))
	h.someOf("young", span(400, 440))
	h.begun("old")
	h.until("young", "planned", state(rollover.StatePlanned))
	h.rotate()
	h.until("old", "under way", func(v mirror.View) bool { return v.Counts.Phases[rollover.Activated] > 5 })
	h.start("young")
	h.until("young", "under way", func(v mirror.View) bool { return v.Counts.Phases[rollover.Activated] > 0 })
	before, err := h.mirror.Rotation(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	h.until("young", "in the overlap", phase(rollover.PhaseOverlap))
	v, err := h.mirror.Rotation(t.Context(), "old")
	if n := v.Counts.Phases[rollover.Activated] - before.Counts.Phases[rollover.Activated]; err != nil || n > 160 {
		t.Errorf("the old rotation got %d of 400 done while the young one did its 40, %v; want about as many", n, err)
	}
}

// crowd counts who is in hand at once.
type crowd struct {
	mu        sync.Mutex
	now, most map[string]int
}

func (c *crowd) add(tenant string, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now, c.most = map[string]int{}, map[string]int{}
	}
	c.now[tenant] += n
	c.most[tenant] = max(c.most[tenant], c.now[tenant])
	return c.now[tenant]
}

// No more of a tenant's tasks are in hand at once than its limit, over two
// rotations, and over a change of conductors that finds some in hand.
func TestConductor_ATenantsLimitHolds(t *testing.T) {
	h := newHouse(t, 90)
	var c crowd
	hold, entered := make(chan struct{}), make(chan struct{}, 200)
	h.driver = hooked{h.cloud, func(ctx context.Context, w rollover.Work) error {
		c.add(w.Tenant, 1)
		defer c.add(w.Tenant, -1)
		entered <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return nil
	}}
	whose := func(p int) string { return fmt.Sprintf("tenant-%d", p%3) }
	first := h.conduct("c1")
	h.rotate()
	h.rotate()
	h.planOf(whose, nil)
	limit := func(s *rollover.Spec) { s.Limits.PerTenant = 2 }
	h.someOf("r1", span(0, 60), limit)
	h.someOf("r2", span(60, 90), limit)
	h.begun("r1")
	h.begun("r2")
	for range 6 {
		<-entered
	}
	first()
	h.conduct("c2")
	turns := time.NewTicker(20 * time.Millisecond) // As the conductor's.
	defer turns.Stop()
	for range 25 { // The lease is two seconds; it was given back.
		<-turns.C
	}
	close(hold)
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.until("r2", "in the overlap", phase(rollover.PhaseOverlap))
	for tenant, n := range c.most {
		if n != 2 {
			t.Errorf("%d tasks of %s were in hand at once, want 2", n, tenant)
		}
	}
	if len(c.most) != 3 {
		t.Errorf("tenants %v, want three", c.most)
	}
}

// counted is a queue that notes when tasks are sent.
type counted struct {
	*jet.Broker
	now func() time.Time
	mu  sync.Mutex
	at  []time.Time
}

func (q *counted) NudgeTask(ctx context.Context, host string, n rollover.Nudge) error {
	at := q.now()
	err := q.Broker.NudgeTask(ctx, host, n)
	if err == nil || ctx.Err() != nil { // A conductor that is stopped may have sent it without hearing so.
		q.mu.Lock()
		q.at = append(q.at, at)
		q.mu.Unlock()
	}
	return err
}

// No second sees more starts than the limit and a tenth, also when conductors
// change within it.
func TestConductor_StartsPerSecond(t *testing.T) {
	h := newHouse(t, 60)
	q := &counted{Broker: h.broker, now: h.clock.Now}
	h.queue = q
	first := h.conduct("c1")
	h.rotate()
	h.planOf(every, nil)
	h.someOf("r1", span(0, 60), func(s *rollover.Spec) { s.Limits.StartsPerSecond = 20 })
	h.begun("r1")
	h.until("r1", "under way", func(v mirror.View) bool { return v.Counts.Phases[rollover.Activated] > 15 })
	first()
	h.conduct("c2")
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	q.mu.Lock()
	defer q.mu.Unlock()
	from := 0
	for i, at := range q.at {
		for at.Sub(q.at[from]) >= time.Second {
			from++
		}
		if n := i - from + 1; n > 22 {
			t.Errorf("%d starts in the second before start %d, want at most 22", n, i)
		}
	}
	if len(q.at) < 60 {
		t.Errorf("%d starts, want 60", len(q.at))
	}
}

// While several hosts answer 503 everything goes slower; nothing fails by it, and
// no try is used up.
func TestConductor_ServiceThatIsOverloadedSlowsAll(t *testing.T) {
	h := newHouse(t, 60)
	var mu sync.Mutex
	asked := map[string]int{}
	h.driver = hooked{h.cloud, func(_ context.Context, w rollover.Work) error {
		mu.Lock()
		defer mu.Unlock()
		if asked[w.Target.Host]++; asked[w.Target.Host] <= 2 {
			return rollover.Throttled(rollover.ByService, 0, errors.New("503"))
		}
		return nil
	}}
	h.conduct("c1")
	h.rotate()
	h.planOf(every, nil)
	h.someOf("r1", span(0, 60), func(s *rollover.Spec) { s.MaxTries = 1 })
	h.begun("r1")
	v := h.until("r1", "slowed", func(v mirror.View) bool { return v.Counts.Slowed >= 50 })
	if v.Counts.Throttled == 0 || v.Counts.Retrying != 0 {
		t.Errorf("%d throttled, %d retrying, want some and none", v.Counts.Throttled, v.Counts.Retrying)
	}
	h.pass("r1", time.Second, phase(rollover.PhaseOverlap))
	if v, err := h.mirror.Rotation(t.Context(), "r1"); err != nil || v.Counts.Outcome(rollover.Failed) != 0 || v.Counts.Throttled != 0 {
		t.Errorf("counts %+v, %v, want none failed and none throttled", v.Counts, err)
	}
}

// pass lets the clock run on in steps until a rotation is as asked for.
func (h *house) pass(id string, step time.Duration, reached func(mirror.View) bool) {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		<-tick.C
		v, err := h.mirror.Rotation(h.t.Context(), id)
		if err != nil {
			h.t.Fatal(err)
		}
		if reached(v) {
			return
		}
		h.advance(step)
	}
	h.t.Fatalf("%s was not as asked for after 3000 steps of %s", id, step)
}

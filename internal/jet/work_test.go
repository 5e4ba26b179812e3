package jet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

const host = "contoso-sb.accesscontrol.windows.net"

// joined opens a second broker on the server that b runs.
func joined(t testing.TB, b *jet.Broker, c jet.Config) *jet.Broker {
	t.Helper()
	c.URL, c.Dir, c.Listen = b.URL(), "", ""
	return open(t, c)
}

// listening is an embedded server that others can join.
func listening(t testing.TB, certs ...rollover.Credential) jet.Config {
	c := config(t, certs...)
	c.Listen, c.AckWait = "127.0.0.1:0", time.Second
	return c
}

// consuming runs Consume until the returned function is called, which waits.
func consuming(t testing.TB, b *jet.Broker, slots int, handle func(context.Context, *jet.Delivery)) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, jet.Tasks, slots, handle) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Consume = %v, want the end of its context", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// wait returns what comes from ch, or ends the test.
func wait[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("waited %s for %s", patience, what)
	}
	return v
}

// patience bounds every wait of these tests; a machine at its limit needs some.
const patience = 90 * time.Second

// eventually polls f until it is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

func TestNudgeTask_OneForEachHostWhoeverAsks(t *testing.T) {
	b := open(t, listening(t))
	other := joined(t, b, listening(t))
	if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1", Ord: 1}); err != nil {
		t.Fatalf("NudgeTask = %v", err)
	}
	for name, x := range map[string]*jet.Broker{"same": b, "other": other} {
		if err := x.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r2", Ord: 9}); !errors.Is(err, jet.ErrBusy) {
			t.Errorf("NudgeTask of a second rotation by the %s broker = %v, want ErrBusy", name, err)
		}
	}
	if err := other.NudgePlan(t.Context(), host, rollover.Nudge{Rotation: "r3"}); err != nil {
		t.Errorf("NudgePlan of the same key = %v, want another queue", err)
	}
	got, err := other.InFlight(t.Context(), jet.Tasks)
	if want := (rollover.Nudge{Rotation: "r1", Ord: 1}); err != nil || len(got) != 1 || got[host] != want {
		t.Errorf("InFlight = %v, %v, want %v on %s", got, err, want, host)
	}
	// A fresh slot while one is in a worker's hands; the same one is busy still.
	in, out := make(chan struct{}), make(chan struct{})
	consuming(t, other, 4, func(ctx context.Context, d *jet.Delivery) {
		in <- struct{}{}
		<-out
		if err := d.Done(ctx); err != nil {
			t.Errorf("Done = %v", err)
		}
	})
	wait(t, in, "the nudge")
	if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r2"}); !errors.Is(err, jet.ErrBusy) {
		t.Errorf("NudgeTask while a worker has it = %v, want ErrBusy", err)
	}
	close(out)
	eventually(t, "the slot to be free", func() bool {
		err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r2"})
		if err != nil && !errors.Is(err, jet.ErrBusy) {
			t.Fatalf("NudgeTask = %v", err)
		}
		return err == nil
	})
	wait(t, in, "the second nudge")
}

func TestConsume_HandsAllOutOnceWithinItsSlots(t *testing.T) {
	b := open(t, listening(t))
	const n, slots = 300, 8
	var now, most atomic.Int64
	var mu sync.Mutex
	seen := map[string]int{}
	left := make(chan struct{}, n)
	handle := func(ctx context.Context, d *jet.Delivery) {
		for m := now.Add(1); ; {
			if old := most.Load(); m <= old || most.CompareAndSwap(old, m) {
				break
			}
		}
		mu.Lock()
		seen[d.Slot]++
		mu.Unlock()
		if err := d.Done(ctx); err != nil {
			t.Errorf("Done = %v", err)
		}
		now.Add(-1)
		left <- struct{}{}
	}
	consuming(t, b, slots, handle)
	for i := range n {
		if err := b.NudgeTask(t.Context(), fmt.Sprintf("ns%d.example", i), rollover.Nudge{Rotation: "r1", Ord: i}); err != nil {
			t.Fatalf("NudgeTask = %v", err)
		}
	}
	for range n {
		wait(t, left, "all nudges")
	}
	if most.Load() > slots || len(seen) != n {
		t.Errorf("%d slots were seen with at most %d at once, want %d with %d", len(seen), most.Load(), n, slots)
	}
	for s, k := range seen {
		if k != 1 {
			t.Errorf("%s was handed out %d times, want once", s, k)
		}
	}
}

func TestConsume_ALongHandleKeepsItsNudge(t *testing.T) {
	c := listening(t)
	c.AckWait = 4 * time.Second // A machine at its limit renews late, but not by seconds.
	b := open(t, c)
	var times atomic.Int64
	over := make(chan error, 8)
	consuming(t, b, 2, func(ctx context.Context, d *jet.Delivery) {
		times.Add(1)
		select { // Longer than AckWait: time itself is what is tested.
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
		}
		over <- ctx.Err()
		_ = d.Done(ctx)
	})
	if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, over, "the handle"); err != nil {
		t.Errorf("the handle's context ended: %v, want it to last", err)
	}
	eventually(t, "the slot to be free", func() bool {
		in, err := b.InFlight(t.Context(), jet.Tasks)
		return err == nil && len(in) == 0
	})
	if n := times.Load(); n != 1 {
		t.Errorf("the nudge was handed out %d times, want once", n)
	}
}

func TestConsume_StopsTheHandleThatCannotKeepItsNudge(t *testing.T) {
	c := listening(t)
	b := open(t, c)
	other := joined(t, b, c)
	in, ended := make(chan struct{}, 1), make(chan error, 1)
	consuming(t, other, 1, func(ctx context.Context, d *jet.Delivery) {
		in <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
	})
	if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Fatal(err)
	}
	wait(t, in, "the nudge")
	shut(t, b) // The server is gone: nobody confirms that the nudge is kept.
	begun := time.Now()
	if err := wait(t, ended, "the handle's context"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the handle's context ended with %v, want the reason", err)
	}
	if took := time.Since(begun); took > c.AckWait {
		t.Errorf("the handle was stopped after %s, want it within AckWait %s", took, c.AckWait)
	}
}

func TestConsume_AnotherWorkerGoesOnWhenOneDies(t *testing.T) {
	c := listening(t)
	b := open(t, c)
	dying := joined(t, b, c)
	in, again := make(chan struct{}, 8), make(chan *jet.Delivery, 8)
	stop := consuming(t, dying, 1, func(ctx context.Context, _ *jet.Delivery) { in <- struct{}{}; <-ctx.Done() })
	if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1", Ord: 5}); err != nil {
		t.Fatal(err)
	}
	wait(t, in, "the first worker")
	stop() // It ends without a word about its nudge.
	consuming(t, b, 1, func(ctx context.Context, d *jet.Delivery) { _ = d.Done(ctx); again <- d })
	d := wait(t, again, "the second worker")
	if d.Nudge != (rollover.Nudge{Rotation: "r1", Ord: 5}) || d.Delivered < 2 || d.Slot != host {
		t.Errorf("second delivery = %+v of %q, number %d", d.Nudge, d.Slot, d.Delivered)
	}
}

func TestDelivery_AgainAndDrop(t *testing.T) {
	b := open(t, listening(t))
	got := make(chan int, 16)
	consuming(t, b, 1, func(ctx context.Context, d *jet.Delivery) {
		got <- d.Delivered
		var err error
		if d.Delivered < 5 {
			err = d.Again(ctx)
		} else {
			err = d.Drop()
		}
		if err != nil {
			t.Errorf("settling delivery %d = %v", d.Delivered, err)
		}
	})
	begun := time.Now()
	if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Fatal(err)
	}
	for want := 1; want <= 5; want++ {
		if n := wait(t, got, "a delivery"); n != want {
			t.Errorf("delivery number %d, want %d", n, want)
		}
		if want == 4 && time.Since(begun) > 900*time.Millisecond {
			t.Errorf("the first four came within %s, want them at once", time.Since(begun))
		}
	}
	if took := time.Since(begun); took < 900*time.Millisecond {
		t.Errorf("the fifth came after %s, want it to have rested for AckWait", took)
	}
	eventually(t, "the slot to be free", func() bool {
		in, err := b.InFlight(t.Context(), jet.Tasks)
		return err == nil && len(in) == 0
	})
}

func TestConsume_GoesOnWhenTheServerLostItsQueue(t *testing.T) {
	c := listening(t)
	b := open(t, c)
	worker := joined(t, b, c)
	got := make(chan string, 8)
	consuming(t, worker, 2, func(ctx context.Context, d *jet.Delivery) { _ = d.Done(ctx); got <- d.Slot })
	if err := b.NudgeTask(t.Context(), "one", rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Fatal(err)
	}
	wait(t, got, "the first nudge")
	c.Listen = b.URL()[len("nats://"):]
	shut(t, b)
	b = open(t, c) // Its work queue was in memory.
	if err := b.NudgeTask(t.Context(), "two", rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Fatal(err)
	}
	if s := wait(t, got, "the second nudge"); s != "two" {
		t.Errorf("slot = %q, want two", s)
	}
}

// A nudge is of the trace of whoever sent it, and so is who takes it.
func TestNudge_CarriesItsTrace(t *testing.T) {
	b := open(t, listening(t))
	got := make(chan string, 2)
	consuming(t, b, 2, func(ctx context.Context, d *jet.Delivery) {
		got <- spans.ID(ctx)
		if err := d.Done(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("Done = %v", err)
		}
	})
	ctx := spans.In(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if err := b.NudgeTask(ctx, host, rollover.Nudge{Rotation: "r"}); err != nil {
		t.Fatal(err)
	}
	if id := wait(t, got, "a nudge"); id != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("the nudge is of trace %q", id)
	}
	if err := b.NudgeTask(t.Context(), "other-"+host, rollover.Nudge{Rotation: "r"}); err != nil {
		t.Fatal(err)
	}
	if id := wait(t, got, "a nudge"); id != "" {
		t.Errorf("a nudge of no trace is of %q", id)
	}
}

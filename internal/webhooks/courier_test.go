package webhooks_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/webhooks"
)

func TestCourier_TellsARotationInOrder(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	old := idOf(t, time.Now().Add(-time.Hour))
	h.set(old, running)
	h.run(r)
	h.known()
	id := newID(t) // Nothing of the one that was there before is told.
	h.set(id, planning)
	wantKinds(t, r, id, "created")
	h.set(id, running)
	wantKinds(t, r, id, "planned", "started")
	h.set(old, ended) // From now on what happens to it is told, too.
	wantKinds(t, r, old, "ended")
	h.set(id, ended)
	wantKinds(t, r, id, "ended")
}

// The connection is cut after the receiver took the event in: it comes again, the
// same to the byte, and what follows comes after it.
func TestCourier_LostAnswersAreTheSameMessage(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	h.run(r)
	h.known()
	r.answers(func(n int) int { return []int{0, http.StatusBadGateway, http.StatusOK}[min(n-1, 2)] })
	id := newID(t)
	h.set(id, running)
	first := r.next()
	for range 2 {
		h.pass(time.Hour) // Past the pause between two tries.
		if again := nextOther(t, h, r); again != first {
			t.Errorf("came %+v, want %+v again", again, first)
		}
	}
	wantKinds(t, r, id, "planned", "started")
}

// nextOther waits for the next message while the clock goes on.
func nextOther(t *testing.T, h *house, r *receiver) got {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case g := <-r.came:
			return g
		case <-tick.C:
			h.pass(10 * time.Second)
		case <-deadline:
			t.Fatal("nothing came in 30 s")
		}
	}
}

// forgetful is a bucket whose writes after a delivery are lost, as if the process had
// been killed between sending and noting.
type forgetful struct {
	webhooks.Bucket
	lost chan struct{}
}

func (f forgetful) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if !strings.Contains(string(value), `"pending"`) {
		select {
		case f.lost <- struct{}{}:
		default:
		}
		return 0, rollover.ErrUnavailable
	}
	return f.Bucket.Update(ctx, key, value, rev)
}

func TestCourier_KilledBetweenSendingAndNoting(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	lost := make(chan struct{}, 1)
	stop := h.run(r, func(c *webhooks.Config) { c.Bucket = forgetful{c.Bucket, lost} })
	h.known()
	id := newID(t)
	h.set(id, planning)
	first := r.next()
	<-lost
	stop()
	for len(r.came) > 0 {
		if g := <-r.came; g != first {
			t.Errorf("came %+v, want nothing but %+v", g, first)
		}
	}
	h.set(id, running) // What was pending goes out as it was.
	h.run(r)
	next := r.next()
	if next != first {
		t.Errorf("after the restart came %+v, want %+v again", next, first)
	}
	for next == first { // One may still have been on its way when the process ended.
		next = r.next()
	}
	if next.kind != "rotation.planned" {
		t.Errorf("behind it came %+v, want that it was planned", next)
	}
	wantKinds(t, r, id, "started")
}

// A receiver that is down for a day: what waits is given up, and what happens after
// is told.
func TestCourier_ADownReceiverIsGivenUpAfterADay(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	results := make(chan webhooks.Result, 1024)
	h.run(r, func(c *webhooks.Config) { c.Count = func(_ string, res webhooks.Result) { results <- res } })
	h.known()
	r.answers(func(int) int { return http.StatusServiceUnavailable })
	id := newID(t)
	h.set(id, planning)
	tries := 0
	for gaveUp := false; !gaveUp; {
		h.pass(31 * time.Minute)
		select {
		case res := <-results:
			tries++
			gaveUp = res == webhooks.GivenUp
		case <-time.After(10 * time.Millisecond):
		}
	}
	if tries < 5 {
		t.Errorf("given up after %d tries, want more in a day", tries)
	}
	for len(r.came) > 0 {
		<-r.came
	}
	r.answers(func(int) int { return http.StatusOK })
	h.set(id, ended)
	wantKinds(t, r, id, "ended")
}

// 410 means that the receiver wants the event no more.
func TestCourier_GoneIsGivenUpAtOnce(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	h.run(r)
	h.known()
	r.answers(func(n int) int { return map[bool]int{true: http.StatusGone, false: http.StatusOK}[n == 1] })
	id := newID(t)
	h.set(id, planning)
	wantKinds(t, r, id, "created")
	h.set(id, running)
	wantKinds(t, r, id, "planned", "started")
}

// Two processes: one tells, and the other takes over.
func TestCourier_OneOfTwoTells(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	noted := make(chan webhooks.Result, 1024)
	count := func(c *webhooks.Config) { c.Count = func(_ string, res webhooks.Result) { noted <- res } }
	stops := []func(){h.run(r, count), h.run(r, count)}
	h.known()
	seen := map[string]int{}
	for range 20 {
		id := newID(t)
		h.set(id, running)
		for range 3 {
			seen[r.next().id]++
			<-noted
		}
	}
	stops[0]()
	id := newID(t)
	h.set(id, running)
	for range 3 {
		seen[r.next().id]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times, want once", id, n)
		}
	}
	if len(seen) != 63 || len(r.came) != 0 {
		t.Errorf("%d events came and %d more, want 63", len(seen), len(r.came))
	}
}

// One rotation's receiver error does not hold up the others.
func TestCourier_OneRotationWaitsForItselfOnly(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	h.run(r)
	h.known()
	var stuck string
	r.answers(func(n int) int {
		return map[bool]int{true: http.StatusInternalServerError, false: http.StatusOK}[n == 1]
	})
	stuck = newID(t)
	h.set(stuck, planning)
	wantKinds(t, r, stuck, "created")
	for range 5 {
		id := newID(t)
		h.set(id, planning)
		wantKinds(t, r, id, "created")
	}
}

func TestCourier_FiltersByEventAndLabel(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	h.hook.Events, h.hook.Labels = []string{webhooks.Ended}, map[string]string{"env": "prod"}
	h.run(r)
	h.known()
	other, id := newID(t), newID(t)
	h.set(other, func(x *rollover.Rotation) { running(x); ended(x) })
	h.set(id, func(x *rollover.Rotation) { running(x); ended(x); x.Labels = map[string]string{"env": "prod"} })
	wantKinds(t, r, id, "ended")
}

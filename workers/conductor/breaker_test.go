package conductor_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// Four targets on a host that is down are tried as often as each may be, no more
// often than its breaker lets through, and then have failed. The others do not wait.
func TestConductor_BreakerHoldsTheTasksOfADeadHost(t *testing.T) {
	h := newHouse(t, 30)
	for p := 20; p < 24; p++ { // Four identities on one host.
		h.hosts[p] = rollover.Target{Kind: rollovertest.Kind, Host: "dead-sb.accesscontrol.windows.net", Identity: fmt.Sprintf("crm%d", p)}
		h.cloud.Set(h.hosts[p], rollovertest.Stand(h.ledger.Old))
	}
	var mu sync.Mutex
	var asked []time.Time
	tries := map[string]int{}
	h.driver = hooked{h.cloud, func(_ context.Context, w rollover.Work) error {
		if w.Target.Host != h.hosts[20].Host {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, h.clock.Now())
		tries[w.Target.Identity]++
		return rollover.Throttled(rollover.HostDown, 0, errors.New("silence"))
	}}
	h.conduct("c1")
	h.rotate()
	h.planOf(every, nil)
	h.someOf("r1", span(0, 30), func(s *rollover.Spec) { s.MaxTries = 2 })
	h.begun("r1")
	h.until("r1", "all but the dead", func(v mirror.View) bool { return v.Counts.Phases[rollover.Activated] == 26 })
	h.pass("r1", 5*time.Second, func(v mirror.View) bool { return v.Counts.Outcome(rollover.Failed) == 4 })
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 8 || len(tries) != 4 {
		t.Errorf("the dead host was asked %d times for %v, want twice for each of four", len(asked), tries)
	}
	for i := 3; i < len(asked); i++ {
		if gap, want := asked[i].Sub(asked[i-1]), 10*time.Second<<(i-3); gap < want && gap < 5*time.Minute {
			t.Errorf("call %d came %s after the one before, want the breaker open for %s", i, gap, want)
		}
	}
}

// A host that comes back while its breaker is open costs its tasks nothing more.
func TestConductor_AHostThatComesBackIsFinished(t *testing.T) {
	h := newHouse(t, 4)
	var mu sync.Mutex
	n := 0
	h.driver = hooked{h.cloud, func(_ context.Context, w rollover.Work) error {
		mu.Lock()
		defer mu.Unlock()
		if w.Target.Host != h.hosts[0].Host {
			return nil
		}
		if n++; n <= 4 {
			return rollover.Throttled(rollover.HostDown, 0, errors.New("silence"))
		}
		return nil
	}}
	h.conduct("c1")
	h.rotate()
	h.planOf(every, nil)
	h.someOf("r1", span(0, 4))
	h.begun("r1")
	h.until("r1", "trying", func(v mirror.View) bool { return v.Counts.Down == 1 })
	h.pass("r1", 2*time.Second, phase(rollover.PhaseOverlap))
	if v, err := h.mirror.Rotation(t.Context(), "r1"); err != nil || v.Counts.Phases[rollover.Activated] != 4 || v.Counts.Down != 0 {
		t.Errorf("counts %+v, %v, want all four activated", v.Counts, err)
	}
}

// A conductor that takes over knows from the states of the tasks which hosts are to
// be left alone.
func TestConductor_ASuccessorLeavesHostsAlone(t *testing.T) {
	h := newHouse(t, 12)
	for p := 8; p < 12; p++ {
		h.hosts[p] = rollover.Target{Kind: rollovertest.Kind, Host: "dead-sb.accesscontrol.windows.net", Identity: fmt.Sprintf("crm%d", p)}
		h.cloud.Set(h.hosts[p], rollovertest.Stand(h.ledger.Old))
	}
	var mu sync.Mutex
	asked := 0
	h.driver = hooked{h.cloud, func(_ context.Context, w rollover.Work) error {
		mu.Lock()
		defer mu.Unlock()
		if w.Target.Host != h.hosts[8].Host {
			return nil
		}
		if asked++; asked == 3 {
			return rollover.Throttled(rollover.ByHost, time.Hour, errors.New("429"))
		}
		return rollover.Throttled(rollover.HostDown, 0, errors.New("silence"))
	}}
	first := h.conduct("c1")
	h.rotate()
	h.planOf(every, nil)
	h.someOf("r1", span(0, 12))
	h.begun("r1")
	h.until("r1", "held up", func(v mirror.View) bool { return v.Counts.Throttled == 1 && v.Counts.Phases[rollover.Activated] == 8 })
	first()
	h.conduct("c2")
	h.advance(30 * time.Second) // Their own back-off is over.
	turns := time.NewTicker(20 * time.Millisecond)
	defer turns.Stop()
	for range 50 {
		<-turns.C
	}
	mu.Lock()
	defer mu.Unlock()
	if asked != 3 {
		t.Errorf("the host was asked %d times, want 3: it wants to be left alone", asked)
	}
}

// What a conductor remembers of hosts by a clock that is five minutes fast does not
// hold them for five minutes once the clock is right.
func TestConductor_AFastClockThatIsPutRightHoldsNoHost(t *testing.T) {
	h := newHouse(t, 4)
	if err := h.clock.SetSkew(5 * time.Minute); err != nil {
		t.Fatal(err)
	}
	struck := make(chan struct{})
	h.driver = hooked{h.cloud, func(_ context.Context, w rollover.Work) error {
		if w.Target.Host != h.hosts[0].Host {
			return nil
		}
		select {
		case <-struck:
			return nil
		default:
			return rollover.Throttled(rollover.ByHost, time.Minute, errors.New("too many"))
		}
	}}
	h.conduct("c1")
	h.rotate()
	h.planOf(every, nil)
	h.someOf("r1", span(0, 4))
	h.begun("r1")
	h.until("r1", "throttled", func(v mirror.View) bool { return v.Counts.Throttled > 0 })
	close(struck)
	if err := h.clock.SetSkew(0); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("after the clock was put right it took %s, want the host asked again at once", took)
	}
}

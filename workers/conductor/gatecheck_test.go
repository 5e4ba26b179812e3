package conductor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/gates"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/workers/conductor"
)

// conductAsking starts a conductor that asks the checks of a configuration, each of
// which is at a path of one server.
func (h *house) conductAsking(name string, srv *httptest.Server, timeout time.Duration, checks ...string) (stop func()) {
	h.t.Helper()
	config := map[string][]byte{}
	for _, check := range checks {
		config[check] = fmt.Appendf(nil, "url: %s/%s\ntimeout: %s\n", srv.URL, check, timeout)
	}
	set, err := gates.Open(gates.Config{Checks: config, HTTP: srv.Client(), Secrets: secrets.New(secrets.Config{})})
	if err != nil {
		h.t.Fatal(err)
	}
	m := mirror.New(h.broker, slog.New(slog.DiscardHandler))
	h.run("mirror of "+name, m.Run)
	c := conductor.New(conductor.Config{
		Store: h.broker, Mirror: m, Queue: h.queue, Gates: set, Now: h.clock.Now, Log: slog.New(slog.DiscardHandler),
		Tick: 20 * time.Millisecond,
		Elect: func(ctx context.Context, lead func(context.Context)) error {
			return h.broker.Elect(ctx, "conductor", name, 2*time.Second, lead)
		},
	})
	return h.run(name, c.Run)
}

// gatedBy asks for one task and then all others, with these checks after each.
func gatedBy(checks ...string) func(*rollover.Spec) {
	return func(s *rollover.Spec) {
		s.Strategy.Start = rollover.FullStart
		for _, check := range checks {
			s.Strategy.Gates = append(s.Strategy.Gates, rollover.Gate{Kind: rollover.CheckGate, Check: check})
		}
	}
}

// asking is a server of checks that notes what it is asked.
type asking struct {
	mu        sync.Mutex
	questions []rollover.GateQuestion
	paths     []string
}

func (a *asking) note(t *testing.T, r *http.Request) {
	var q rollover.GateQuestion
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		t.Errorf("the question is no JSON: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.questions, a.paths = append(a.questions, q), append(a.paths, r.URL.Path)
}

// Two checks that pass, asked over TLS as the configuration says, open the second
// wave, and after it the overlap: each is asked once at each gate, in their order,
// and told how things stand.
func TestConductor_ChecksThatPassOpenTheWaves(t *testing.T) {
	h := newHouse(t, 4)
	var asked asking
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.note(t, r)
		_, _ = w.Write([]byte(`{"result":"pass","reason":"all is well"}`))
	}))
	t.Cleanup(srv.Close)
	h.conductAsking("c1", srv, 5*time.Second, "health", "orders")
	h.plan()
	h.rotate()
	h.create("r1", byDefault, gatedBy("health", "orders"))
	h.begun("r1")
	v := h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	if g := v.Rotation.Gate; g.Wave != 2 || g.Index != 1 || g.Result != rollover.GatePass || g.By != rollover.ByCheck || g.Reason != "all is well" {
		t.Errorf("gate = %+v, want the second of wave 2 passed by its check", g)
	}
	asked.mu.Lock()
	defer asked.mu.Unlock()
	if got := strings.Join(asked.paths, " "); got != "/health /orders /health /orders" {
		t.Errorf("asked %s, want each check once after each wave", got)
	}
	for i, q := range asked.questions {
		want := rollover.GateQuestion{Rotation: "rotations/r1", Wave: i/2 + 1, Waves: 2, Tasks: 4, Done: []int{1, 4}[i/2]}
		if q.DisplayName = ""; q != want {
			t.Errorf("question %d = %+v, want %+v", i, q, want)
		}
	}
	h.ledger.Check(t, "r1")
}

// Whatever is no clear pass pauses the rotation after the first target.
func TestConductor_ABrokenAnswerOpensNoWave(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
	}{
		"says-fail": {200, `{"result":"fail","reason":"orders are lost"}`}, "unsure": {200, `{"result":"inconclusive"}`},
		"broken": {500, `{"result":"pass"}`}, "text": {200, `pass`}, "unknown": {200, `{"result":"passed"}`},
		"large": {200, `{"result":"pass","reason":"` + strings.Repeat("x", 65<<10) + `"}`}, "late": {}, "gone": {},
	}
	h := newHouse(t, 3)
	over := make(chan struct{})
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "late" {
			<-over
			return
		}
		w.WriteHeader(answers[name].status)
		_, _ = w.Write([]byte(answers[name].body))
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(over) })
	h.conductAsking("c1", srv, time.Second, "says-fail", "unsure", "broken", "text", "unknown", "large", "late")
	h.plan()
	h.rotate()
	for name := range answers {
		h.create(name, byDefault, gatedBy(name))
	}
	for name := range answers {
		h.begun(name)
	}
	for name := range answers {
		v := h.until(name, "paused", state(rollover.StatePaused))
		want := rollover.GateInconclusive
		if name == "says-fail" {
			want = rollover.GateFail
		}
		if g := v.Rotation.Gate; g.Wave != 1 || g.Result != want || g.By != rollover.ByCheck || v.Counts.Phases[rollover.Planned] != 2 || v.Rotation.WaveNumber > 1 {
			t.Errorf("%s: gate %+v in wave %d with %d planned, want %s after the first target", name, g, v.Rotation.WaveNumber, v.Counts.Phases[rollover.Planned], want)
		}
		if !strings.HasPrefix(v.Rotation.Detail, fmt.Sprintf("gate %s of wave 1: %s: ", name, want)) {
			t.Errorf("%s: detail %q, want the gate, the wave and the result", name, v.Rotation.Detail)
		}
	}
	if n := len(h.cloud.Journal()); n != 1 {
		t.Errorf("%d writes, want the first target's alone, which all rotations have in common", n)
	}
}

// The conductor goes while its question is out. The next one asks again, and only
// the answer that it gets is stored; what the first was told counts for nothing.
func TestConductor_ASuccessorAsksAgain(t *testing.T) {
	h := newHouse(t, 2)
	entered, answer := make(chan struct{}, 8), make(chan string)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q rollover.GateQuestion
		if json.NewDecoder(r.Body).Decode(&q) == nil && q.Wave > 1 {
			_, _ = w.Write([]byte(`{"result":"pass","reason":"the end"}`))
			return
		}
		entered <- struct{}{}
		select {
		case said := <-answer:
			_, _ = w.Write([]byte(said))
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	first := h.conductAsking("c1", srv, 30*time.Second, "health")
	h.plan()
	h.rotate()
	h.create("r1", byDefault, gatedBy("health"))
	h.begun("r1")
	<-entered
	v := h.until("r1", "at its gate", func(v mirror.View) bool { return v.Rotation.Gate.Wave == 1 })
	first() // It waits until its question is taken back.
	if got, err := h.broker.Rotation(t.Context(), "r1"); err != nil || got.Rev != v.Rotation.Rev || got.Gate.Result != rollover.GateWaits {
		t.Errorf("after its conductor went: %+v, %v, want the gate still waited for", got.Gate, err)
	}
	h.conductAsking("c2", srv, 30*time.Second, "health")
	h.conductAsking("c3", srv, 30*time.Second, "health") // One of the two leads.
	<-entered
	answer <- `{"result":"pass","reason":"asked again"}`
	v = h.until("r1", "past its gate", func(v mirror.View) bool { return v.Rotation.Gate.Result == rollover.GatePass })
	if g := v.Rotation.Gate; g.Wave == 1 && g.Reason != "asked again" {
		t.Errorf("gate = %+v, want the answer that the successor got", g)
	}
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	select {
	case <-entered:
		t.Error("the check was asked a third time, although its answer was stored")
	default:
	}
}

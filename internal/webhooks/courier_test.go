package webhooks_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/webhooks"
)

// got is what a receiver took in.
type got struct{ id, kind, rotation, body string }

// receiver is somebody's server, with a certificate of its own. It complains of
// signatures that are not right.
type receiver struct {
	t    *testing.T
	srv  *httptest.Server
	keys map[string]string // by reference
	came chan got

	mu     sync.Mutex
	answer func(n int) int // status of the n-th call, from 1; 0: the connection is cut after it was taken in
	calls  int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, keys: map[string]string{}, came: make(chan got, 1024), answer: func(int) int { return http.StatusNoContent }}
	for _, ref := range []string{"env:KEY", "env:OTHER"} {
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		r.keys[ref] = "whsec_" + base64.StdEncoding.EncodeToString(key)
	}
	r.srv = httptest.NewTLSServer(http.HandlerFunc(r.take))
	t.Cleanup(r.srv.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, q *http.Request) {
	b, _ := io.ReadAll(q.Body)
	sec, err := strconv.ParseInt(q.Header.Get("webhook-timestamp"), 10, 64)
	if at := time.Unix(sec, 0); err != nil || time.Since(at).Abs() > time.Minute {
		r.t.Errorf("webhook-timestamp is %q", q.Header.Get("webhook-timestamp"))
	}
	key, err := webhooks.Key(secrets.NewSecret(r.keys["env:KEY"]))
	if err != nil {
		r.t.Error(err)
	}
	want := webhooks.Sign(key, q.Header.Get("webhook-id"), time.Unix(sec, 0), b)
	if !slices.Contains(strings.Fields(q.Header.Get("webhook-signature")), want) {
		r.t.Errorf("webhook-signature is %q, want %q among them", q.Header.Get("webhook-signature"), want)
	}
	var m struct {
		Type string `json:"type"`
		Data struct {
			Rotation string `json:"rotation"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		r.t.Errorf("the body is %q: %v", b, err)
	}
	r.mu.Lock()
	r.calls++
	status := r.answer(r.calls)
	r.mu.Unlock()
	r.came <- got{q.Header.Get("webhook-id"), m.Type, m.Data.Rotation, string(b)}
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
}

func (r *receiver) answers(f func(n int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls, r.answer = 0, f
}

// next waits for what comes next.
func (r *receiver) next() got {
	r.t.Helper()
	select {
	case g := <-r.came:
		return g
	case <-time.After(30 * time.Second):
		r.t.Fatal("nothing came in 30 s")
		return got{}
	}
}

// Secret is the keys' place.
func (r *receiver) Secret(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return secrets.NewSecret(r.keys[string(ref)]), nil
}

// client reaches the receiver as the configuration would have it.
func (r *receiver) client() *http.Client {
	r.t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.srv.Certificate().Raw})
	c, err := outbound.New(outbound.Config{CAPEM: ca, Dial: map[string]string{"example.com": r.srv.Listener.Addr().String()}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.CloseIdleConnections)
	return c
}

func (r *receiver) sender() *webhooks.Sender {
	return &webhooks.Sender{HTTP: r.client(), Secrets: r, Now: time.Now}
}

// house is a store and the rotations that its live copy would show.
type house struct {
	t      *testing.T
	broker *jet.Broker
	bucket *jet.Bucket
	hook   webhooks.Hook

	mu     sync.Mutex
	views  []mirror.View
	passed time.Duration // of the machine's clock, as the test has it
}

func newHouse(t *testing.T) *house {
	b, err := jet.Open(t.Context(), jet.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	k, err := b.Bucket("webhooks")
	if err != nil {
		t.Fatal(err)
	}
	return &house{t: t, broker: b, bucket: k, hook: webhooks.Hook{Name: "portal", URL: "https://example.com/in", Secret: "env:KEY"}}
}

func (h *house) rotations() []mirror.View {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.views)
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.passed)
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passed += d
}

// set shows a rotation in a state; an id that is new is added.
func (h *house) set(id string, change func(*rollover.Rotation)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.views, func(v mirror.View) bool { return v.Rotation.ID == id })
	if i < 0 {
		h.views = append(h.views, mirror.View{Rotation: rollover.Rotation{ID: id, State: rollover.StatePlanning, CreatedAt: time.Now()}})
		i = len(h.views) - 1
	}
	change(&h.views[i].Rotation)
	h.views[i].Rotation.UpdatedAt = time.Now()
}

func newID(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func planning(*rollover.Rotation) {}

func running(r *rollover.Rotation) {
	r.PlannedAt, r.StartedAt, r.State, r.Phase = time.Now(), time.Now(), rollover.StateRunning, rollover.PhaseStage
}

func ended(r *rollover.Rotation) { r.State, r.EndedAt = rollover.StateSucceeded, time.Now() }

// run runs a process that tells until stop is called, or the test ends.
func (h *house) run(r *receiver, adjust ...func(*webhooks.Config)) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	close(ready)
	c := webhooks.Config{
		Hooks: []webhooks.Hook{h.hook}, Rotations: h.rotations, Ready: ready, Bucket: h.bucket, Sender: r.sender(),
		Elect: func(ctx context.Context, lead func(context.Context)) error {
			return h.broker.Elect(ctx, "webhooks", "test", time.Second, lead)
		},
		Now: h.now, Log: slog.New(slog.DiscardHandler), Tick: 5 * time.Millisecond,
	}
	for _, f := range adjust {
		f(&c)
	}
	done := make(chan error, 1)
	go func() { done <- webhooks.New(c).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			h.t.Errorf("Run = %v, want %v", err, context.Canceled)
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// known waits until the webhook is known, so that rotations from now on are told of.
func (h *house) known() {
	h.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, _, err := h.bucket.Get(h.t.Context(), "hook/portal"); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatal("the webhook is not known after 30 s")
		}
	}
}

func wantKinds(t *testing.T, r *receiver, rotation string, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		if g := r.next(); g.kind != "rotation."+kind || g.rotation != "rotations/"+rotation {
			t.Fatalf("came %s of %s, want rotation.%s of rotations/%s", g.kind, g.rotation, kind, rotation)
		}
	}
}

func TestCourier_TellsARotationInOrder(t *testing.T) {
	h, r := newHouse(t), newReceiver(t)
	old := newID(t)
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
	if again := r.next(); again != first {
		t.Errorf("after the restart came %+v, want %+v again", again, first)
	}
	wantKinds(t, r, id, "planned", "started")
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

func TestSender_SignsWithBothKeysAndFollowsNothing(t *testing.T) {
	r := newReceiver(t)
	h := webhooks.Hook{Name: "portal", URL: "https://example.com/in", Secret: "env:OTHER", AlsoSecret: "env:KEY"}
	s := r.sender()
	if err := s.Send(t.Context(), h, "msg_1", []byte(`{}`)); err != nil {
		t.Errorf("Send = %v", err)
	}
	r.answers(func(int) int { return http.StatusTemporaryRedirect })
	if err := s.Send(t.Context(), h, "msg_1", []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("Send to one that leads elsewhere = %v, want an error with its status", err)
	}
	r.keys["env:OTHER"] = "hunter2"
	if err := s.Send(t.Context(), h, "msg_1", []byte(`{}`)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Send with a key that is none = %v, want an error without it", err)
	}
	plain, err := outbound.New(outbound.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.keys["env:OTHER"] = r.keys["env:KEY"]
	_, port, _ := net.SplitHostPort(r.srv.Listener.Addr().String())
	inside := webhooks.Hook{Name: "inside", URL: fmt.Sprintf("https://127.0.0.1:%s/in", port), Secret: "env:KEY"}
	if err := (&webhooks.Sender{HTTP: plain, Secrets: r, Now: time.Now}).Send(t.Context(), inside, "msg_1", []byte(`{}`)); err == nil || strings.Contains(err.Error(), "127.0.0.1:"+port+"/in") {
		t.Errorf("Send into our own network = %v, want a refusal without the address", err)
	}
}

// The example of the Standard Webhooks specification.
func TestSign_IsStandard(t *testing.T) {
	key, err := webhooks.Key(secrets.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	if err != nil {
		t.Fatal(err)
	}
	got := webhooks.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestParse_SaysAllThatIsWrong(t *testing.T) {
	good := "url: https://example.com/in\nsecret: env:CROSSFADE_SECRET_HOOK\nevents: [rotation.ended]\nlabels: {env: prod}\n"
	if hooks, err := webhooks.Parse(map[string][]byte{"portal": []byte(good)}); err != nil || len(hooks) != 1 || hooks[0].Name != "portal" || hooks[0].Labels["env"] != "prod" {
		t.Errorf("Parse = %+v, %v", hooks, err)
	}
	for name, text := range map[string]string{
		"a plain address":      "url: http://example.com\nsecret: env:CROSSFADE_SECRET_HOOK\n",
		"a name in it":         "url: https://me:hunter2@example.com\nsecret: env:CROSSFADE_SECRET_HOOK\n",
		"the secret itself":    "url: https://example.com\nsecret: whsec_hunter2\n",
		"no secret":            "url: https://example.com\n",
		"the same secret":      "url: https://example.com\nsecret: env:A\nalso_secret: env:A\n",
		"an unknown field":     good + "retry: 3\n",
		"an event that is not": "url: https://example.com\nsecret: env:A\nevents: [rotation.exploded]\n",
	} {
		_, err := webhooks.Parse(map[string][]byte{"portal": []byte(text)})
		if err == nil || !strings.Contains(err.Error(), "webhooks.portal") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse of %s = %v, want an error that names the webhook and no secret", name, err)
		}
	}
	if _, err := webhooks.Parse(map[string][]byte{"Portal": []byte(good)}); err == nil {
		t.Error("Parse of an upper-case name = nil, want an error")
	}
	many := map[string][]byte{}
	for i := range webhooks.MaxHooks + 1 {
		many[fmt.Sprint("h", i)] = []byte(good)
	}
	if _, err := webhooks.Parse(many); err == nil {
		t.Errorf("Parse of %d webhooks = nil, want an error", len(many))
	}
}

package webhooks_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
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
	return idOf(t, time.Now())
}

// idOf returns the id of a rotation that was made at an instant.
func idOf(t *testing.T, at time.Time) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	for i, ms := 5, at.UnixMilli(); i >= 0; i, ms = i-1, ms>>8 {
		id[i] = byte(ms)
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

package jet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// inside returns a broker whose insides a test may reach.
func inside(t *testing.T, c Config) *Broker {
	t.Helper()
	c.Dir = t.TempDir()
	b, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return b
}

func TestSettle_FaultsInPairs(t *testing.T) {
	b := inside(t, Config{})
	busyErr := &jetstream.APIError{Code: 400, ErrorCode: codeLastBusy}
	for i, c := range []struct {
		name  string
		fault error
		first bool // the first try is done although its answer is lost
		other bool // and another writer comes between
		want  error
	}{
		{name: "lost before it was done", fault: nats.ErrTimeout},
		{name: "done, the answer was lost", fault: nats.ErrTimeout, first: true},
		{name: "done, no responders", fault: nats.ErrNoResponders, first: true},
		{name: "lost, and another one came", fault: nats.ErrTimeout, other: true, want: rollover.ErrConflict},
		{name: "another write on its way", fault: busyErr},
		{name: "busy, and another one came", fault: busyErr, other: true, want: rollover.ErrConflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := write{stream: streamState, subject: fmt.Sprintf("s.0.r.%d", i), data: []byte(`{"v":1,"phase":"staged"}`)}
			tries := 0
			seq, err := b.settle(t.Context(), w, false, attemptTimeout, func(ctx context.Context) (uint64, error) {
				if tries++; tries > 1 {
					return b.publish(ctx, w.msg())
				}
				if c.first {
					if _, err := b.publish(ctx, w.msg()); err != nil {
						t.Fatal(err)
					}
				}
				if c.other {
					x := w
					x.data = []byte(`{"v":1,"phase":"verified"}`)
					if _, err := b.publish(ctx, x.msg()); err != nil {
						t.Fatal(err)
					}
				}
				return 0, c.fault
			})
			if !errors.Is(err, c.want) {
				t.Errorf("settle = %v, want %v", err, c.want)
			}
			m, lerr := b.last(t.Context(), streamState, w.subject)
			if lerr != nil || m == nil {
				t.Fatalf("last = %v, %v", m, lerr)
			}
			if c.want == nil && (seq != m.Sequence || string(m.Data) != string(w.data)) {
				t.Errorf("settle = %d, stored is %s at %d", seq, m.Data, m.Sequence)
			}
		})
	}
}

func TestSettle_GivesUpInTime(t *testing.T) {
	b := inside(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	w := write{stream: streamState, subject: "s.0.r.1", data: []byte(`{"v":1}`)}
	_, err := b.settle(ctx, w, false, attemptTimeout, func(context.Context) (uint64, error) { return 0, nats.ErrTimeout })
	if !errors.Is(err, rollover.ErrUnavailable) {
		t.Errorf("settle = %v, want ErrUnavailable", err)
	}
}

func TestCommit_AGroupWhoseAnswerWasLostIsFoundStored(t *testing.T) {
	b := inside(t, Config{})
	ws := make([]write, 40)
	for i := range ws {
		ws[i] = write{stream: streamState, subject: fmt.Sprintf("s.0.r.%d", i), data: []byte(`{"v":1}`)}
	}
	if _, err := b.publishBatch(t.Context(), ws); err != nil {
		t.Fatal(err)
	}
	for i, w := range ws { // As swapMany does after silence.
		seq, err := b.settle(t.Context(), w, true, attemptTimeout, func(ctx context.Context) (uint64, error) { return b.publish(ctx, w.msg()) })
		if err != nil || seq != uint64(i+1) {
			t.Errorf("write %d = %d, %v, want it found at %d", i, seq, err, i+1)
		}
	}
	// Without doubt the same is a conflict: somebody else stored it.
	if _, errs := b.swapMany(t.Context(), ws); !errors.Is(errs[0], rollover.ErrConflict) {
		t.Errorf("swapMany = %v, want ErrConflict", errs[0])
	}
}

func TestBatch_AbandonedMidwayStoresNothing(t *testing.T) {
	b := inside(t, Config{})
	r := rollover.Rotation{ID: "r1", State: rollover.StatePlanning}
	data, err := encode(selectionRecord{V: 1, Tenants: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	// The first messages of a batch whose writer then dies.
	for i := range 3 {
		w := write{stream: streamRotations, subject: b.names.selection("r1", i), data: data}
		m := w.msg()
		m.Header.Set("Nats-Batch-Id", "abandoned")
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(i+1))
		if i == 0 {
			if _, err := b.nc.RequestMsgWithContext(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		} else if err := b.nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.nc.FlushTimeout(attemptTimeout); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{b.names.record("r1"), b.names.selection("r1", 0)} {
		if m, err := b.last(t.Context(), streamRotations, subject); err != nil || m != nil {
			t.Errorf("last of %s = %v, %v, want nothing", subject, m, err)
		}
	}
	if _, err := b.CreateRotation(t.Context(), r, []string{"z"}); err != nil {
		t.Errorf("CreateRotation after an abandoned one = %v", err)
	}
	if ids, err := b.SelectedTenants(t.Context(), "r1"); err != nil || len(ids) != 1 || ids[0] != "z" {
		t.Errorf("SelectedTenants = %q, %v, want z", ids, err)
	}
}

func TestConsume_StrandedNudgesAreFoundAgain(t *testing.T) {
	b := inside(t, Config{AckWait: time.Second})
	const n = 20
	for i := range n {
		if err := b.NudgeTask(t.Context(), fmt.Sprint(i), rollover.Nudge{Rotation: "r1", Ord: i}); err != nil {
			t.Fatal(err)
		}
	}
	strand(t, b, n)
	found := make(chan int, 10*n)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, Tasks, 4, func(ctx context.Context, d *Delivery) {
			if d.Done(ctx) == nil {
				found <- d.Nudge.Ord
			}
		})
	}()
	left := map[int]bool{}
	for i := 0; i < n; i += 2 {
		left[i] = true
	}
	deadline := time.After(20 * time.Second)
	for len(left) > 0 {
		select {
		case i := <-found:
			delete(left, i)
		case <-deadline:
			t.Fatalf("after 20 s these nudges are still stranded: %v", left)
		}
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want it to end with its context", err)
	}
}

// strand makes the server forget nudges that are in flight: half are fetched,
// and then every other one is purged (jetstream.md §6.3).
func strand(t *testing.T, b *Broker, n int) {
	t.Helper()
	c, err := b.consumer(t.Context(), Tasks)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(n/2, jetstream.FetchMaxWait(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		_ = m // In flight, never settled.
	}
	s, err := b.js.Stream(t.Context(), streamWork)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < n; i += 2 {
		if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(slot(Tasks, fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
}

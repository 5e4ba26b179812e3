package jet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// ledger is what a follower of the feed knows.
type ledger struct {
	mu        sync.Mutex
	rotations map[string]rollover.Rotation
	tasks     map[rollover.TaskID]rollover.TaskChange
	seqs      map[rollover.TaskID]uint64
	findings  map[rollover.FindingChange]bool
	caughtUp  int
	running   int // calls of tell at once
}

// following lets a ledger follow b until the returned function is called.
func following(t testing.TB, b *jet.Broker) (*ledger, func()) {
	t.Helper()
	l := &ledger{
		rotations: map[string]rollover.Rotation{}, tasks: map[rollover.TaskID]rollover.TaskChange{},
		seqs: map[rollover.TaskID]uint64{}, findings: map[rollover.FindingChange]bool{},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Tail(ctx, func(c rollover.Change) { l.tell(t, c) }) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Tail = %v, want the end of its context", err)
			}
		})
	}
	t.Cleanup(stop)
	return l, stop
}

func (l *ledger) tell(t testing.TB, c rollover.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running++
	defer func() { l.running-- }()
	if l.running > 1 {
		t.Error("Tail called fn from two goroutines")
	}
	switch {
	case c.CaughtUp:
		l.caughtUp++
	case c.Rotation != nil:
		if c.Rotation.Rev != c.Seq || c.Time.IsZero() {
			t.Errorf("change of rotation %s has Rev %d, Seq %d, time %s", c.Rotation.ID, c.Rotation.Rev, c.Seq, c.Time)
		}
		l.rotations[c.Rotation.ID] = *c.Rotation
	case c.Task != nil:
		if c.Seq <= l.seqs[c.Task.ID] {
			t.Errorf("task %s was told at %d after %d", c.Task.ID, c.Seq, l.seqs[c.Task.ID])
		}
		l.tasks[c.Task.ID], l.seqs[c.Task.ID] = *c.Task, c.Seq
	case c.Finding != nil:
		l.findings[*c.Finding] = true
	}
}

func (l *ledger) look(f func() bool) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return f()
	}
}

// stage saves the task as staged at n tries, whatever it was.
func stage(t testing.TB, s rollover.Store, id rollover.TaskID, n int) rollover.Task {
	t.Helper()
	k, err := s.Task(t.Context(), id)
	if err != nil {
		t.Fatalf("Task(%s) = %v", id, err)
	}
	k.Phase, k.Tries = rollover.Staged, n
	k, err = s.SaveTask(t.Context(), k)
	if err != nil {
		t.Fatalf("SaveTask(%s) = %v", id, err)
	}
	return k
}

// planned stores a rotation with a plan of n.
func planned(t testing.TB, s rollover.Store, c rollover.Credential, id string, n int) rollover.Rotation {
	t.Helper()
	now := rollovertest.Epoch
	r, err := s.CreateRotation(t.Context(), rollovertest.NewRotation(id, c, now), []string{"a", "b"})
	if err != nil {
		t.Fatalf("CreateRotation = %v", err)
	}
	if r, err = r.Freeze(rollovertest.Plan(n), now); err != nil {
		t.Fatal(err)
	}
	if r, err = s.FreezePlan(t.Context(), r, rollovertest.Plan(n)); err != nil {
		t.Fatalf("FreezePlan = %v", err)
	}
	return r
}

func TestTail_TellsWhatIsStoredThenWhatComes(t *testing.T) {
	c := newCert(t)
	b := open(t, config(t, c))
	r := planned(t, b, c, "r1", 3)
	id := rollover.TaskID{Rotation: "r1", Ord: 1}
	stage(t, b, id, 1)
	big := rollover.Finding{V: 1, Tenant: "a", Items: rollovertest.Plan(5000)}
	if err := b.SaveFinding(t.Context(), "r1", 0, big); err != nil {
		t.Fatal(err)
	}
	l, _ := following(t, b)
	eventually(t, "the feed to catch up", l.look(func() bool { return l.caughtUp == 1 }))
	l.look(func() bool {
		if l.rotations["r1"].Rev != r.Rev || l.tasks[id].Progress.Tries != 1 || !l.findings[rollover.FindingChange{Rotation: "r1"}] || len(l.findings) != 1 {
			t.Errorf("at CaughtUp: %+v, %+v, %v", l.rotations, l.tasks, l.findings)
		}
		return true
	})()
	stage(t, b, id, 2)
	eventually(t, "the change", l.look(func() bool { return l.tasks[id].Progress.Tries == 2 }))
	if l.caughtUp != 1 {
		t.Errorf("CaughtUp came %d times, want once", l.caughtUp)
	}
}

func TestTail_AnEmptyStoreIsCaughtUp(t *testing.T) {
	b := open(t, config(t))
	l, _ := following(t, b)
	eventually(t, "the feed to catch up", l.look(func() bool { return l.caughtUp == 1 }))
}

func TestTail_HasNoGapWhenTheServerRestarts(t *testing.T) {
	cert := newCert(t)
	c := listening(t, cert)
	b := open(t, c)
	follower := joined(t, b, c)
	planned(t, b, cert, "r1", 50)
	epoch, err := follower.Epoch(t.Context())
	if err != nil {
		t.Fatalf("Epoch = %v", err)
	}
	l, _ := following(t, follower)
	eventually(t, "the feed to catch up", l.look(func() bool { return l.caughtUp == 1 }))
	c.Listen = b.URL()[len("nats://"):]
	for round := 1; round <= 3; round++ {
		for ord := range 50 {
			stage(t, b, rollover.TaskID{Rotation: "r1", Ord: ord}, round)
		}
		shut(t, b)
		b = open(t, c)
		stage(t, b, rollover.TaskID{Rotation: "r1", Ord: 7}, 100+round)
	}
	eventually(t, "the last state of every task", l.look(func() bool {
		for ord := range 50 {
			want := 3
			if ord == 7 {
				want = 103
			}
			if l.tasks[rollover.TaskID{Rotation: "r1", Ord: ord}].Progress.Tries != want {
				return false
			}
		}
		return l.caughtUp == 1
	}))
	if again, err := follower.Epoch(t.Context()); err != nil || again != epoch {
		t.Errorf("Epoch after a restart = %q, %v, want %q", again, err, epoch)
	}
	if _, err := b.Rotation(t.Context(), "r1"); err != nil {
		t.Errorf("Rotation after restarts = %v", err)
	}
}

func TestTail_IsCompleteUnderManyWriters(t *testing.T) {
	cert := newCert(t)
	b := open(t, config(t, cert))
	const n, rounds = 600, 3
	planned(t, b, cert, "r1", n)
	l, _ := following(t, b)
	var wg sync.WaitGroup
	for ord := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			k := rollover.Task{ID: rollover.TaskID{Rotation: "r1", Ord: ord}}
			for i := 1; i <= rounds; i++ {
				k.Phase, k.Tries = rollover.Staged, i
				var err error
				if k, err = b.SaveTask(t.Context(), k); err != nil {
					t.Errorf("SaveTask(%s) = %v", k.ID, err)
					return
				}
			}
		}()
	}
	wg.Wait()
	eventually(t, "every task's last state", l.look(func() bool {
		for ord := range n {
			if l.tasks[rollover.TaskID{Rotation: "r1", Ord: ord}].Progress.Tries != rounds {
				return false
			}
		}
		return true
	}))
	for ord := range n {
		id := rollover.TaskID{Rotation: "r1", Ord: ord}
		if k, err := b.Task(t.Context(), id); err != nil || k.Rev != l.seqs[id] {
			t.Fatalf("Task(%s) has Rev %d, %v; the feed said %d", id, k.Rev, err, l.seqs[id])
		}
	}
}

func TestTail_EndsWithTheBroker(t *testing.T) {
	b := open(t, config(t))
	done := make(chan error, 1)
	up := make(chan struct{})
	go func() {
		done <- b.Tail(t.Context(), func(c rollover.Change) {
			if c.CaughtUp {
				close(up)
			}
		})
	}()
	wait(t, up, "the feed")
	shut(t, b)
	if err := wait(t, done, "the end of Tail"); err == nil {
		t.Error("Tail = nil after Close, want an error")
	}
	if err := b.Tail(t.Context(), func(rollover.Change) {}); !errors.Is(err, rollover.ErrUnavailable) {
		t.Errorf("Tail of a closed broker = %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := b.Ready(ctx); !errors.Is(err, rollover.ErrUnavailable) {
		t.Errorf("Ready of a closed broker = %v, want ErrUnavailable", err)
	}
}

// said is a log that tells of one message when it comes.
type said struct {
	what string
	once sync.Once
	came chan struct{}
}

func (s *said) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.what) {
		s.once.Do(func() { close(s.came) })
	}
	return len(p), nil
}

func TestTail_BegunWithoutALeaderBeginsWhenThereIsOne(t *testing.T) {
	t.Parallel() // It waits for longer than a call may take.
	dir, port := t.TempDir(), ports(t, 1)[0]
	n := &node{bin: natsServer(t), conf: filepath.Join(dir, "nats.conf")}
	conf := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream { store_dir: %q, max_file: 64G, max_mem: 1G }\n", port, dir)
	if err := os.WriteFile(n.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	t.Cleanup(n.kill)
	cert, waits := newCert(t), &said{what: "waits for its stream's leader", came: make(chan struct{})}
	c := config(t, cert)
	c.Dir, c.URL, c.Log = "", fmt.Sprintf("nats://127.0.0.1:%d", port), slog.New(slog.NewTextHandler(waits, nil))
	b := open(t, c)
	planned(t, b, cert, "r1", 3)
	stage(t, b, rollover.TaskID{Rotation: "r1", Ord: 1}, 1)
	n.freeze(t)
	l, _ := following(t, b)
	wait(t, waits.came, "the feed to wait for the server")
	if err := n.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the feed to tell of the task", l.look(func() bool { return l.caughtUp == 1 && len(l.tasks) == 1 }))
}

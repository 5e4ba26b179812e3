package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// store is the store in memory with a name of its own.
type store struct{ *rollovertest.Memory }

func (store) Epoch(context.Context) (string, error) { return "e1", nil }

// open returns a store with a frozen rotation of n tasks and a mirror of it that
// has caught up.
func open(t *testing.T, n int) (store, *mirror.Mirror, rollover.Rotation) {
	t.Helper()
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(2, 0, 0))
	s := store{rollovertest.NewMemory(c)}
	r, err := s.CreateRotation(t.Context(), rollovertest.NewRotation("r1", c, rollovertest.Epoch), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	plan := rollovertest.Plan(n)
	if r, err = r.Freeze(plan, rollovertest.Epoch); err != nil {
		t.Fatal(err)
	}
	if r, err = s.FreezePlan(t.Context(), r, plan); err != nil {
		t.Fatal(err)
	}
	return s, follow(t, s), r
}

// follow runs a mirror of s until the test ends.
func follow(t *testing.T, s store) *mirror.Mirror {
	t.Helper()
	m := mirror.New(s, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's end", err)
		}
	})
	<-m.Ready()
	return m
}

// save stores the next progress of a task.
func save(t *testing.T, s store, ord int, p rollover.Phase, o rollover.Outcome) {
	t.Helper()
	k, err := s.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: ord})
	if err != nil {
		t.Fatal(err)
	}
	k.Phase, k.Outcome = p, o
	if _, err := s.SaveTask(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

// folded is what a watcher knows by adding up its batches.
type folded struct {
	tasks map[int]rollover.Task
	pos   mirror.Position
	ended bool
}

// read takes one batch into f, and complains of what a watcher must never see.
func (f *folded) read(t *testing.T, w *mirror.Watch) {
	t.Helper()
	b, err := w.Next(t.Context())
	if err != nil {
		t.Fatalf("Next = %v", err)
	}
	if len(b.Tasks) > mirror.MaxBatch {
		t.Errorf("a batch holds %d tasks, at most %d are allowed", len(b.Tasks), mirror.MaxBatch)
	}
	if b.Reset {
		f.tasks = map[int]rollover.Task{}
	}
	for _, k := range b.Tasks {
		if old, ok := f.tasks[k.ID.Ord]; ok && old.Rev >= k.Rev && k.Rev != 0 {
			t.Errorf("task %d told at version %d after %d", k.ID.Ord, k.Rev, old.Rev)
		}
		if k.Item.Target.Host == "" {
			t.Errorf("task %d came without its item", k.ID.Ord)
		}
		f.tasks[k.ID.Ord] = k
	}
	f.pos, f.ended = b.Pos, b.Ended
}

func TestWatch_SnapshotThenChangesThenEnd(t *testing.T) {
	s, m, r := open(t, 3)
	w, err := m.Watch("r1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var f folded
	f.read(t, w)
	if len(f.tasks) != 3 {
		t.Fatalf("the snapshot told %d tasks, want 3", len(f.tasks))
	}
	for ord := range 3 {
		save(t, s, ord, rollover.Retired, rollover.Succeeded)
	}
	end := r
	end.State = rollover.StateSucceeded
	if _, err := s.SaveRotation(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	for !f.ended {
		f.read(t, w)
	}
	again, err := m.Watch("r1", &f.pos)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if b, err := again.Next(t.Context()); err != nil || !b.Ended || len(b.Tasks) != 0 {
		t.Errorf("Next from the end of an ended rotation = %+v, %v, want its end and no task", b, err)
	}
	for ord, k := range f.tasks {
		if k.Outcome != rollover.Succeeded {
			t.Errorf("task %d was last told as %q, want succeeded", ord, k.Outcome)
		}
	}
	v, err := m.Rotation(t.Context(), "r1")
	if err != nil || v.Counts.Outcome(rollover.Succeeded) != 3 || v.Counts.OpenTasks != 0 {
		t.Errorf("Rotation = %+v, %v, want three succeeded", v.Counts, err)
	}
}

// A watcher that is cut off again and again, and resumes from its last cursor on
// any replica, knows in the end what one knows that never was, and is told
// nothing twice.
func TestWatch_ResumeHasNoGapAndNoRepeat(t *testing.T) {
	const n = 1300 // more than two batches
	s, first, r := open(t, n)
	replicas := []*mirror.Mirror{first, follow(t, s)}
	rng := rand.New(rand.NewPCG(1, 2))
	f := folded{tasks: map[int]rollover.Task{}}
	var since *mirror.Position
	phases := []rollover.Phase{rollover.Staged, rollover.Verified, rollover.Activated, rollover.Retired}
	for round := range 12 {
		w, err := replicas[round%2].Watch("r1", since)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			save(t, s, rng.IntN(n), phases[rng.IntN(4)], rollover.Open)
		}
		for range 1 + rng.IntN(2) {
			f.read(t, w)
		}
		w.Close()
		p, err := mirror.ParsePosition(f.pos.String())
		if err != nil || p != f.pos {
			t.Fatalf("ParsePosition(String()) = %+v, %v, want %+v", p, err, f.pos)
		}
		since = &p
	}
	for ord := range n {
		save(t, s, ord, rollover.Retired, rollover.Succeeded)
	}
	r.State = rollover.StateSucceeded
	if _, err := s.SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w, err := first.Watch("r1", since)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for !f.ended {
		f.read(t, w)
	}
	want, err := first.Tasks(t.Context(), "r1", 0, n)
	if err != nil || len(want) != n || len(f.tasks) != n {
		t.Fatalf("Tasks = %d, %v; the watcher knows %d, want %d", len(want), err, len(f.tasks), n)
	}
	for _, k := range want {
		if got := f.tasks[k.ID.Ord]; !reflect.DeepEqual(got, k) {
			t.Fatalf("task %d: the watcher knows %+v\nthe mirror %+v", k.ID.Ord, got, k)
		}
	}
}

func TestWatch_ForeignCursorGivesSnapshot(t *testing.T) {
	_, m, _ := open(t, 2)
	w, err := m.Watch("r1", &mirror.Position{Epoch: "another store", Rotation: 99, Tasks: 99, Planned: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b, err := w.Next(t.Context())
	if err != nil || !b.Reset || len(b.Tasks) != 2 {
		t.Errorf("Next = reset %v with %d tasks, %v, want a snapshot of 2", b.Reset, len(b.Tasks), err)
	}
}

// Whoever watches from the planning on is told every task when the plan is
// frozen, also when it was cut off at that moment.
func TestWatch_FromPlanningOn(t *testing.T) {
	c, _ := rollovertest.Certificate(t, "CN=x", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	s := store{rollovertest.NewMemory(c)}
	r, err := s.CreateRotation(t.Context(), rollovertest.NewRotation("r1", c, rollovertest.Epoch), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	m := follow(t, s)
	w, err := m.Watch("r1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var f folded
	f.read(t, w)
	w.Close()
	plan := rollovertest.Plan(5)
	if r, err = r.Freeze(plan, rollovertest.Epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.FreezePlan(t.Context(), r, plan); err != nil {
		t.Fatal(err)
	}
	for len(f.tasks) < 5 {
		if w, err = m.Watch("r1", &f.pos); err != nil {
			t.Fatal(err)
		}
		f.read(t, w)
		w.Close()
	}
}

func TestMissing_IsWhatHasNoFinding(t *testing.T) {
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(2, 0, 0))
	s := store{rollovertest.NewMemory(c)}
	tenants := []string{"a", "b", "c", "d", "e"}
	r := rollovertest.NewRotation("r1", c, rollovertest.Epoch)
	r.Tenants = len(tenants)
	if _, err := s.CreateRotation(t.Context(), r, tenants); err != nil {
		t.Fatal(err)
	}
	if got := follow(t, s).Missing("r1", 5, 2); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("Missing before any finding = %v, want the first two", got)
	}
	for _, ord := range []int{0, 1, 3} {
		if err := s.SaveFinding(t.Context(), "r1", ord, rollover.Finding{V: 1, Tenant: tenants[ord]}); err != nil {
			t.Fatal(err)
		}
	}
	m := follow(t, s)
	for range 2 { // The second time it knows where to begin.
		if got := m.Missing("r1", 5, 9); !slices.Equal(got, []int{2, 4}) {
			t.Errorf("Missing = %v, want 2 and 4", got)
		}
	}
	if n := m.Found("r1"); n != 3 {
		t.Errorf("Found = %d, want 3", n)
	}
	for ord, want := range []bool{true, true, false, true, false} {
		if got := m.HasFinding(rollover.TaskID{Rotation: "r1", Ord: ord}); got != want {
			t.Errorf("HasFinding(%d) = %v, want %v", ord, got, want)
		}
	}
}

func TestWatch_UnknownRotation(t *testing.T) {
	_, m, _ := open(t, 1)
	if _, err := m.Watch("nope", nil); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Watch of an unknown rotation = %v, want ErrNotFound", err)
	}
}

func TestNext_EndsWithItsContext(t *testing.T) {
	_, m, _ := open(t, 1)
	w, err := m.Watch("r1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	new(folded).readAny(t, w)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 150*time.Millisecond, errors.New("enough"))
	defer cancel()
	if _, err := w.Next(ctx); err == nil || err.Error() != "enough" {
		t.Errorf("Next after the end of its context = %v, want its cause", err)
	}
}

func (f *folded) readAny(t *testing.T, w *mirror.Watch) {
	t.Helper()
	f.tasks = map[int]rollover.Task{}
	f.read(t, w)
}

func FuzzParsePosition(f *testing.F) {
	f.Add(mirror.Position{Epoch: "e", Rotation: 1, Tasks: 2, Planned: true}.String())
	f.Add("")
	f.Add("bnVsbA")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := mirror.ParsePosition(s)
		if err != nil {
			return
		}
		if q, err := mirror.ParsePosition(p.String()); err != nil || q != p {
			t.Errorf("ParsePosition(%q) = %+v, again %+v, %v", s, p, q, err)
		}
		_ = fmt.Sprint(p)
	})
}

// behind is a store that answers for a while from before the plan was made, as one
// that has just changed its leader may.
type behind struct {
	store
	left *atomic.Int32
}

func (b behind) Plan(ctx context.Context, id string, from, to int) ([]rollover.Item, error) {
	if b.left.Add(-1) >= 0 {
		return nil, fmt.Errorf("plan of rotation %s is not made yet: %w", id, rollover.ErrNotFound)
	}
	return b.store.Plan(ctx, id, from, to)
}

// A plan that cannot be read at once is read a moment later, and not only when the
// rotation changes again, which may be days later.
func TestRun_APlanThatIsNotThereYetIsReadAgain(t *testing.T) {
	s, _, r := open(t, 3)
	b := behind{s, &atomic.Int32{}}
	b.left.Store(2)
	m := mirror.New(b, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	<-m.Ready()
	if v, err := m.Rotation(t.Context(), r.ID); err != nil || v.Rotation.Digest != r.Digest || v.Counts.Total != 3 {
		t.Errorf("Rotation = %s with %d tasks, %v, want the plan of 3", v.Rotation.Digest, v.Counts.Total, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want the context's end: the plan was read", err)
	}
}

package mirror_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// reader is a watcher with what it knows.
type reader struct {
	w *mirror.Watch
	f folded
}

// join opens a watch from since on; nil: with a snapshot, which is read.
func join(t *testing.T, m *mirror.Mirror, since *mirror.Position, f folded) *reader {
	t.Helper()
	w, err := m.Watch("r1", since)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	r := &reader{w, folded{tasks: map[int]rollover.Task{}}}
	for ord, k := range f.tasks {
		r.f.tasks[ord] = k
	}
	for since == nil && r.f.pos.Epoch == "" {
		r.f.read(t, w)
	}
	return r
}

// until reads until the newest state that is told is version seq.
func (r *reader) until(t *testing.T, seq uint64) {
	t.Helper()
	for r.f.pos.Tasks < seq {
		r.f.read(t, r.w)
	}
}

func TestWatch_ReadersAtOnePlaceShareTheirBatches(t *testing.T) {
	s, m, _ := open(t, 3)
	a, b := join(t, m, nil, folded{}), join(t, m, nil, folded{})
	for round := range 3 {
		save(t, s, round, rollover.Staged, rollover.Open)
		x, err := a.w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.w.Next(t.Context())
		if err != nil || x.Shared == nil || x.Shared != y.Shared || len(x.Tasks) != 1 || x.Tasks[0].ID.Ord != round {
			t.Errorf("round %d: batches %p with %d tasks and %p, %v, want one with the task for both", round, x.Shared, len(x.Tasks), y.Shared, err)
		}
	}
	made := 0
	for range 2 {
		save(t, s, 0, rollover.Verified, rollover.Open)
		for _, r := range []*reader{a, b} {
			n, err := r.w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			v, err := n.Shared.Made(t.Context(), "key", func() (any, error) { made++; return made, nil })
			if err != nil || v != made {
				t.Errorf("Made = %v, %v, want %d for both", v, err, made)
			}
		}
	}
	if made != 2 {
		t.Errorf("made %d times, want once for each of 2 batches", made)
	}
}

// However slow a reader is, and whenever it comes, it is told everything and
// nothing twice: read complains of a version that comes again.
func TestWatch_EveryReaderOfACrowdIsToldAll(t *testing.T) {
	const n = 700 // more than one batch
	s, m, r := open(t, n)
	rng := rand.New(rand.NewPCG(3, 4))
	fast, steady, asleep := join(t, m, nil, folded{}), join(t, m, nil, folded{}), join(t, m, nil, folded{})
	all := []*reader{fast, steady, asleep}
	for round := range 24 { // More than a crowd keeps.
		last := uint64(0)
		for range 1 + rng.IntN(5) {
			ord := rng.IntN(n)
			save(t, s, ord, rollover.Staged, rollover.Open)
			k, err := s.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: ord})
			if err != nil {
				t.Fatal(err)
			}
			last = k.Rev
		}
		switch { // Some come before the crowd is told of it, some after.
		case round%6 == 2:
			all = append(all, join(t, m, &fast.f.pos, fast.f))
		case round%6 == 5:
			all = append(all, join(t, m, nil, folded{}))
		}
		fast.until(t, last)
		if round%3 == 0 {
			steady.f.read(t, steady.w)
		}
	}
	for ord := range n {
		save(t, s, ord, rollover.Retired, rollover.Succeeded)
	}
	r.State = rollover.StateSucceeded
	if _, err := s.SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	var want []rollover.Task
	for i, x := range all {
		for !x.f.ended {
			x.f.read(t, x.w)
		}
		if i == 0 { // It has ended for this reader, so the mirror knows all.
			var err error
			if want, err = m.Tasks(t.Context(), "r1", 0, n); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range want {
			if got := x.f.tasks[k.ID.Ord]; !reflect.DeepEqual(got, k) {
				t.Fatalf("reader %d: task %d is known as %+v\nthe mirror has %+v", i, k.ID.Ord, got, k)
			}
		}
	}
}

// A crowd that watches the planning is told the plan when it is frozen, in
// several batches, and whoever comes meanwhile is told it once.
func TestWatch_CrowdFromPlanningOn(t *testing.T) {
	const n = 1200
	c, _ := rollovertest.Certificate(t, "CN=x", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	s := store{rollovertest.NewMemory(c)}
	r, err := s.CreateRotation(t.Context(), rollovertest.NewRotation("r1", c, rollovertest.Epoch), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	m := follow(t, s)
	all := []*reader{join(t, m, nil, folded{}), join(t, m, nil, folded{})}
	plan := rollovertest.Plan(n)
	if r, err = r.Freeze(plan, rollovertest.Epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.FreezePlan(t.Context(), r, plan); err != nil {
		t.Fatal(err)
	}
	for len(all[0].f.tasks) == 0 {
		all[0].f.read(t, all[0].w)
	}
	if p := all[0].f.pos; p.Epoch != "" {
		t.Errorf("after %d of %d tasks the position is %+v, want one that nobody can go on from", len(all[0].f.tasks), n, p)
	}
	all = append(all, join(t, m, nil, folded{}))
	save(t, s, n-1, rollover.Staged, rollover.Open)
	for i, x := range all {
		for len(x.f.tasks) < n || x.f.tasks[n-1].Phase != rollover.Staged {
			x.f.read(t, x.w)
		}
		for ord := range n {
			if x.f.tasks[ord].ID.Ord != ord {
				t.Errorf("reader %d was not told task %d", i, ord)
			}
		}
	}
}

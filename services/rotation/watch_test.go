package rotation_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// watch is a watch that tests read.
type watch struct {
	stream grpc.ServerStreamingClient[pb.WatchRotationResponse]
	stop   context.CancelFunc
}

func (h *house) watch(t *testing.T, req *pb.WatchRotationRequest) *watch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	s, err := h.client().WatchRotation(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return &watch{s, cancel}
}

func (w *watch) next(t *testing.T) *pb.WatchRotationResponse {
	t.Helper()
	m, err := w.stream.Recv()
	if err != nil {
		t.Fatalf("Recv = %v", err)
	}
	return m
}

// known is what a reader of a watch has put together.
type known struct {
	rotation *pb.Rotation
	tasks    map[string]*pb.RotationTask
	cursor   string
	resets   int
}

// take adds a message, as the contract tells clients to.
func (k *known) take(t *testing.T, m *pb.WatchRotationResponse) {
	t.Helper()
	switch e := m.GetEvent().(type) {
	case *pb.WatchRotationResponse_Snapshot:
		k.rotation, k.tasks = e.Snapshot.GetRotation(), map[string]*pb.RotationTask{}
		if e.Snapshot.GetReset_() {
			k.resets++
		}
	case *pb.WatchRotationResponse_Rotation:
		k.rotation = e.Rotation
	case *pb.WatchRotationResponse_Tasks:
		if len(e.Tasks.GetTasks()) > 500 {
			t.Errorf("a message has %d tasks, at most 500 are allowed", len(e.Tasks.GetTasks()))
		}
		for _, task := range e.Tasks.GetTasks() {
			if old := k.tasks[task.GetName()]; old.GetRevision() <= task.GetRevision() {
				k.tasks[task.GetName()] = task
			}
		}
	}
	if m.GetCursor() == "" || m.GetEventTime() == nil {
		t.Errorf("a message without cursor or time: %v", m)
	}
	k.cursor = m.GetCursor()
}

// A reader is cut off after one message or two, and comes back with its last
// cursor; in the end it knows all.
func TestWatchRotation_NothingIsLostWhereverItIsCut(t *testing.T) {
	h := open(t, nil)
	const n = 700 // two messages of tasks
	r := h.start(t, h.plan(t, h.create(t).GetName(), n))
	k := &known{tasks: map[string]*pb.RotationTask{}}
	w := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), IncludeTasks: true})
	for len(k.tasks) < n { // The snapshot must be read in one go.
		k.take(t, w.next(t))
	}
	w.stop()
	for ord := range n {
		h.save(t, r.GetName(), ord, rollover.Retired, rollover.Succeeded)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateSucceeded })
	for cuts := 0; ; cuts++ {
		w := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), IncludeTasks: true, Cursor: k.cursor})
		m, err := w.stream.Recv()
		if err != nil {
			t.Fatalf("after %d cuts: %v", cuts, err)
		}
		k.take(t, m)
		if _, isTasks := m.GetEvent().(*pb.WatchRotationResponse_Tasks); !isTasks && cuts%2 == 1 {
			// The first of two messages has the cursor before it: who is cut off
			// there every time comes no further. So go on to the second.
			m, err := w.stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("after %d cuts: %v", cuts, err)
			}
			k.take(t, m)
		}
		w.stop()
		if cuts > 50 {
			t.Fatal("the watch does not come to its end")
		}
	}
	for name, task := range k.tasks {
		if task.GetOutcome() != pb.RotationTask_OUTCOME_SUCCEEDED {
			t.Errorf("%s was last told as %s, want SUCCEEDED", name, task.GetOutcome())
		}
	}
	if len(k.tasks) != n || k.rotation.GetState() != pb.Rotation_STATE_SUCCEEDED || k.rotation.GetCounts().GetSucceeded() != n || k.resets != 0 {
		t.Errorf("the reader knows %d tasks, %s, %d succeeded, %d resets; want %d, SUCCEEDED, %d, 0",
			len(k.tasks), k.rotation.GetState(), k.rotation.GetCounts().GetSucceeded(), k.resets, n, n)
	}
}

func TestWatchRotation_EndsWithOKAfterTheEnd(t *testing.T) {
	h := open(t, nil)
	r := h.create(t)
	w := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName()})
	if s := w.next(t).GetSnapshot(); s == nil || s.GetReset_() {
		t.Errorf("the first message is %v, want a snapshot that resets nothing", s)
	}
	if _, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: r.GetName(), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	m := w.next(t)
	if m.GetRotation().GetState() != pb.Rotation_STATE_CANCELLED {
		t.Errorf("the last event is %v, want CANCELLED", m)
	}
	if m, err := w.stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("Recv after the end = %v, %v, want the stream's end", m, err)
	}
	// Whoever lost the end is told it again, and not kept waiting.
	w = h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), Cursor: m.GetCursor()})
	if m := w.next(t); m.GetRotation().GetState() != pb.Rotation_STATE_CANCELLED {
		t.Errorf("coming back after the end, the event is %v, want CANCELLED", m)
	}
	if _, err := w.stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("Recv = %v, want the stream's end", err)
	}
}

func TestWatchRotation_Cursors(t *testing.T) {
	h := open(t, nil)
	r, other := h.plan(t, h.create(t).GetName(), 2), h.create(t)
	w := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName()})
	at := w.next(t).GetCursor()
	for name, cursor := range map[string]string{"rubbish": "abc", "half": "t." + r.GetName()[len("rotations/"):] + ".%%"} {
		_, err := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), Cursor: cursor}).stream.Recv()
		if info := refused(t, err, codes.InvalidArgument, "CURSOR_INVALID"); info == nil {
			t.Errorf("%s was taken", name)
		}
	}
	_, err := h.watch(t, &pb.WatchRotationRequest{Name: other.GetName(), Cursor: at}).stream.Recv()
	refused(t, err, codes.InvalidArgument, "CURSOR_INVALID")
	// From a watch without tasks nobody can go on with them.
	m := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), Cursor: at, IncludeTasks: true}).next(t)
	if !m.GetSnapshot().GetReset_() {
		t.Errorf("the first message is %v, want a snapshot with reset", m)
	}
}

func TestWatchRotation_SaysThatItIsAlive(t *testing.T) {
	h := open(t, func(c *rotation.Config) { c.Checkpoint = 10 * time.Millisecond })
	r := h.create(t)
	w := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName()})
	first, second := w.next(t), w.next(t)
	if second.GetCheckpoint() == nil || second.GetCursor() != first.GetCursor() {
		t.Errorf("without news came %v, want a checkpoint with the cursor %s", second, first.GetCursor())
	}
}

func TestWatchRotation_EndsWhenTheServerStops(t *testing.T) {
	h := open(t, nil)
	w := h.watch(t, &pb.WatchRotationRequest{Name: h.create(t).GetName()})
	w.next(t)
	h.stop()
	_, err := w.stream.Recv()
	refused(t, err, codes.Unavailable, "DRAINING")
}

// Only what matches is told, and what matched once more when it does not: a copy would
// be stale for ever.
func TestWatchRotation_TellsTasksThatMatch(t *testing.T) {
	h := open(t, nil)
	r := h.start(t, h.plan(t, h.create(t).GetName(), 3))
	req := &pb.WatchRotationRequest{Name: r.GetName(), IncludeTasks: true, TaskFilter: "phase = PHASE_STAGED"}
	w := h.watch(t, req)
	told := func() *pb.RotationTask {
		t.Helper()
		for {
			m := w.next(t)
			req.Cursor = m.GetCursor()
			if ks := m.GetTasks().GetTasks(); len(ks) == 1 {
				return ks[0]
			} else if len(ks) > 1 {
				t.Fatalf("told of %v at once", ks)
			}
		}
	}
	h.save(t, r.GetName(), 1, rollover.Staged, "")
	if k := told(); k.GetName() != r.GetName()+"/tasks/000001" || k.GetPhase() != pb.RotationTask_PHASE_STAGED {
		t.Errorf("told of %v, want the task that matches", k)
	}
	h.save(t, r.GetName(), 2, rollover.Verified, "") // Never matched, and is not told.
	h.save(t, r.GetName(), 1, rollover.Verified, "")
	if k := told(); k.GetName() != r.GetName()+"/tasks/000001" || k.GetPhase() != pb.RotationTask_PHASE_VERIFIED {
		t.Errorf("told of %v, want the task that matches no more", k)
	}
	h.save(t, r.GetName(), 1, rollover.Activated, "") // Was told to match no more.
	h.save(t, r.GetName(), 0, rollover.Staged, "")
	if k := told(); k.GetName() != r.GetName()+"/tasks/000000" {
		t.Errorf("told of %v, want the next that matches", k)
	}
	// From a cursor it is not known what was told: a task that changes is told once.
	w = h.watch(t, req)
	h.save(t, r.GetName(), 0, rollover.Verified, "")
	if k := told(); k.GetName() != r.GetName()+"/tasks/000000" || k.GetPhase() != pb.RotationTask_PHASE_VERIFIED {
		t.Errorf("from the cursor told of %v, want the task that matches no more", k)
	}
	for field, wrong := range map[string]*pb.WatchRotationRequest{
		"INVALID_FIELDS": {Name: r.GetName(), TaskFilter: "phase = PHASE_STAGED"},
		"FILTER_INVALID": {Name: r.GetName(), IncludeTasks: true, TaskFilter: "nonsense = 1"},
	} {
		_, err := h.watch(t, wrong).stream.Recv()
		refused(t, err, codes.InvalidArgument, field)
	}
}

func TestWatchRotation_SlowReaderIsSentAway(t *testing.T) {
	// Long enough for the watch that is read, on a busy machine and with the race
	// detector.
	const slow = 2 * time.Second
	h := open(t, func(c *rotation.Config) { c.SlowAfter = slow })
	const n = 3000 // far more than a stream's window takes
	r := h.plan(t, h.create(t).GetName(), n)
	w := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), IncludeTasks: true})
	// Nothing is read while another watch, which is read, sees all: one does not
	// hold up the other.
	k := &known{tasks: map[string]*pb.RotationTask{}}
	reader := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), IncludeTasks: true})
	for len(k.tasks) < n {
		k.take(t, reader.next(t))
	}
	<-time.After(slow * 3 / 2) // Time itself is what is tested: nothing is read for so long.
	for {
		if _, err := w.stream.Recv(); err != nil {
			refused(t, err, codes.ResourceExhausted, "SLOW_CONSUMER")
			return
		}
	}
}

// A cursor of a life of the store that is lost, as after files were put back that are
// older: versions are given anew, so the reader begins anew.
func TestWatchRotation_ACursorOfALostFutureBeginsAnew(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 2)
	id := r.GetName()[len("rotations/"):]
	for name, p := range map[string]mirror.Position{
		"a record that is not there yet": {Epoch: "e1", Rotation: 1 << 40, Planned: true},
		"a task that is not there yet":   {Epoch: "e1", Tasks: 1 << 40, Planned: true},
	} {
		m := h.watch(t, &pb.WatchRotationRequest{Name: r.GetName(), IncludeTasks: true, Cursor: "t." + id + "." + p.String()}).next(t)
		if !m.GetSnapshot().GetReset_() {
			t.Errorf("%s: the first message is %v, want a snapshot with reset", name, m)
		}
	}
}

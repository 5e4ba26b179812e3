package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// watchersEach is how many watch one rotation.
const watchersEach = 2

// watch watches the rotation until it has ended, with several watchers.
func (p *portal) watch(ctx context.Context) {
	for i := range watchersEach {
		w := &watcher{d: p.d, done: &p.done, name: fmt.Sprintf("%s-%d", p.intent.Label, i), rotation: p.intent.Name, slow: i == 1 && p.d.draw(3) == 0}
		p.d.watching.Go(func() { w.run(ctx) })
	}
}

// watcher is one who wants to know, over many streams.
type watcher struct {
	d              *Driver
	done           *atomic.Bool // of the portal
	name, rotation string
	slow           bool
	cursor         string
	over           bool // the rotation is in an end state
}

// run opens streams until one that was opened when nothing more was asked of the
// rotation ends by itself at its end: what has ended may be undone, and run again.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil && !w.stream(ctx) {
		if !pause(ctx, w.d.between(0, 200*time.Millisecond)) {
			return
		}
	}
}

// stream is one stream to its end. It reports whether nothing more is to come.
func (w *watcher) stream(ctx context.Context) bool {
	sctx, cancel := context.WithTimeout(ctx, w.d.between(100*time.Millisecond, 4*time.Second))
	defer cancel()
	done := w.done.Load()
	w.note(record.Watch{Kind: record.WatchOpened, Cursor: w.cursor})
	api := w.d.clients[w.d.draw(len(w.d.clients))]
	s, err := api.WatchRotation(sctx, &pb.WatchRotationRequest{Name: w.rotation, Cursor: w.cursor, IncludeTasks: true})
	for err == nil {
		var m *pb.WatchRotationResponse
		if m, err = s.Recv(); err == nil {
			w.told(m)
			if w.slow {
				pause(sctx, 250*time.Millisecond)
			}
		}
	}
	ended := errors.Is(err, io.EOF)
	cut := record.Watch{Kind: record.WatchCut, Code: status.Code(err).String(), Detail: status.Convert(err).Message()}
	if ended {
		cut.Code, cut.Detail = "OK", ""
	}
	w.note(cut)
	return ended && w.over && done
}

// told writes down a message.
func (w *watcher) told(m *pb.WatchRotationResponse) {
	line := record.Watch{Cursor: m.GetCursor()}
	switch e := m.GetEvent().(type) {
	case *pb.WatchRotationResponse_Snapshot:
		line.Kind, line.Reset = record.WatchSnapshot, e.Snapshot.GetReset_()
		line.State = stateOf(e.Snapshot.GetRotation())
	case *pb.WatchRotationResponse_Rotation:
		line.Kind, line.State = record.WatchRotation, stateOf(e.Rotation)
	case *pb.WatchRotationResponse_Tasks:
		line.Kind = record.WatchTasks
		for _, k := range e.Tasks.GetTasks() {
			line.Tasks = append(line.Tasks, taskOf(k))
		}
	case *pb.WatchRotationResponse_Checkpoint:
		line.Kind = record.WatchCheckpoint
	default:
		return
	}
	if line.State != nil {
		switch line.State.State {
		case "SUCCEEDED", "FAILED", "CANCELLED", "UNDONE":
			w.over = true
		default:
			w.over = false
		}
	}
	w.cursor = m.GetCursor()
	w.note(line)
}

func (w *watcher) note(line record.Watch) {
	line.Watcher, line.Rotation, line.Real, line.Slow = w.name, w.rotation, time.Now(), w.slow
	w.d.noted(w.d.watches.Add(line))
}

// stateOf is the part of a rotation that is written down.
func stateOf(r *pb.Rotation) *record.RotationState {
	s := &record.RotationState{
		Name: r.GetName(), Label: r.GetDisplayName(), State: stateName(r), PlanDigest: r.GetPlanDigest(), Counts: map[string]int64{},
	}
	if c := r.GetCounts(); c != nil {
		c.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			s.Counts[string(f.Name())] = v.Int()
			return true
		})
	}
	return s
}

func taskOf(k *pb.RotationTask) record.Task {
	t := record.Task{
		Name: k.GetName(), Tenant: strings.TrimPrefix(k.GetTenant(), "tenants/"), Host: k.GetHost(), Identity: k.GetIdentity(),
		Phase: strings.TrimPrefix(k.GetPhase().String(), "PHASE_"), Outcome: strings.TrimPrefix(k.GetOutcome().String(), "OUTCOME_"),
		AddedByUs: k.GetAddedByUs(), WillAdd: k.GetWillAdd(), Removed: k.GetRemoved(), Revision: k.GetRevision(),
	}
	if k.GetReason() != pb.RotationTask_REASON_UNSPECIFIED {
		t.Reason = strings.TrimPrefix(k.GetReason().String(), "REASON_")
	}
	for _, e := range k.GetEndpoints() {
		t.Endpoints = append(t.Endpoints, e.GetName())
	}
	for _, c := range k.GetWillRetire() {
		t.WillRetire = append(t.WillRetire, c.GetSha256())
	}
	return t
}

// settleLimit is what watchers get to hear the end, and the lists to be read.
const settleLimit = 15 * time.Second

// Final waits for the watchers to hear the end, and reads what the API says then.
func (d *Driver) Final(ctx context.Context) (record.Final, error) {
	heard := make(chan struct{})
	go func() { d.watching.Wait(); close(heard) }()
	timer := time.NewTimer(settleLimit)
	select {
	case <-heard:
	case <-timer.C: // The judge sees who did not hear it. Paused ones have no end to hear.
	}
	timer.Stop()
	if d.stop != nil { // Else nothing was run.
		d.stop()
	}
	<-heard
	d.mu.Lock()
	f := record.Final{Quiet: d.quiet, Settled: d.settled}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	var err error
	if f.Rotations, err = d.rotations(ctx); err != nil {
		return f, err
	}
	f.Identities, err = d.c.Identities(ctx)
	return f, err
}

// rotations reads all rotations with all tasks, from the first API that answers.
func (d *Driver) rotations(ctx context.Context) ([]record.FinalRotation, error) {
	var err error
	for try := 0; try == 0 || pause(ctx, 200*time.Millisecond); try++ {
		var out []record.FinalRotation
		if out, err = d.list(ctx, d.clients[try%len(d.clients)]); err == nil {
			return out, nil
		}
	}
	return nil, fmt.Errorf("reading the end: %w", err)
}

func (d *Driver) list(ctx context.Context, api pb.RotationServiceClient) ([]record.FinalRotation, error) {
	var out []record.FinalRotation
	for page := ""; ; {
		resp, err := api.ListRotations(ctx, &pb.ListRotationsRequest{PageSize: 50, PageToken: page})
		if err != nil {
			return nil, err
		}
		for _, r := range resp.GetRotations() {
			f := record.FinalRotation{RotationState: *stateOf(r)}
			if f.Tasks, err = tasks(ctx, api, r.GetName()); err != nil {
				return nil, err
			}
			out = append(out, f)
		}
		if page = resp.GetNextPageToken(); page == "" {
			return out, nil
		}
	}
}

func tasks(ctx context.Context, api pb.RotationServiceClient, name string) ([]record.Task, error) {
	var out []record.Task
	for page := ""; ; {
		resp, err := api.ListRotationTasks(ctx, &pb.ListRotationTasksRequest{Parent: name, PageSize: 200, PageToken: page})
		if err != nil {
			return nil, err
		}
		for _, k := range resp.GetTasks() {
			out = append(out, taskOf(k))
		}
		if page = resp.GetNextPageToken(); page == "" {
			return out, nil
		}
	}
}

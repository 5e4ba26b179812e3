package drive_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/emulator"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// serverPatience is how long the service waits for a reader that takes nothing.
const serverPatience = 30 * time.Second

// window is the least that gRPC lets a reader take in without reading.
const window = 64<<10 - 1

// reader watches one rotation on a connection of its own.
type reader struct {
	stream grpc.ServerStreamingClient[pb.WatchRotationResponse]
	cursor string
	state  pb.Rotation_State
	tasks  map[string]*pb.RotationTask
}

func (s *stand) client() pb.RotationServiceClient {
	s.t.Helper()
	conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return pb.NewRotationServiceClient(conn)
}

func (r *reader) open(ctx context.Context, s *stand, name string) {
	s.t.Helper()
	var err error
	r.stream, err = s.client().WatchRotation(ctx, &pb.WatchRotationRequest{Name: name, IncludeTasks: true, Cursor: r.cursor})
	if err != nil {
		s.t.Fatal(err)
	}
}

// read takes all that comes until the stream ends.
func (r *reader) read() error {
	for {
		m, err := r.stream.Recv()
		if err != nil {
			return err
		}
		switch e := m.GetEvent().(type) {
		case *pb.WatchRotationResponse_Snapshot:
			r.tasks, r.state = map[string]*pb.RotationTask{}, e.Snapshot.GetRotation().GetState()
		case *pb.WatchRotationResponse_Rotation:
			r.state = e.Rotation.GetState()
		case *pb.WatchRotationResponse_Tasks:
			for _, k := range e.Tasks.GetTasks() {
				r.tasks[k.GetName()] = k
			}
		}
		r.cursor = m.GetCursor()
	}
}

// heardAll fails the test unless r knows the end of all n tasks.
func (r *reader) heardAll(t *testing.T, who string, n int) {
	t.Helper()
	succeeded := 0
	for _, k := range r.tasks {
		if k.GetOutcome() == pb.RotationTask_OUTCOME_SUCCEEDED {
			succeeded++
		}
	}
	if r.state != pb.Rotation_STATE_SUCCEEDED || len(r.tasks) != n || succeeded != n {
		t.Errorf("%s knows %s with %d tasks, %d of them succeeded; want STATE_SUCCEEDED with %d", who, r.state, len(r.tasks), succeeded, n)
	}
}

// planned makes a rotation of all tenants that removes nothing, and waits until it
// can be started.
func (s *stand) planned(ctx context.Context, api pb.RotationServiceClient) *pb.Rotation {
	s.t.Helper()
	made, err := api.CreateRotation(ctx, &pb.CreateRotationRequest{Rotation: &pb.Rotation{DisplayName: "much", Spec: &pb.RotationSpec{
		Kind: "acs-x509", Certificate: "certificates/" + s.world.New,
		Target:   &pb.TargetSelector{Selection: &pb.TargetSelector_AllTenants{AllTenants: true}},
		Strategy: &pb.Strategy{Start: pb.Strategy_START_FULL},
	}}})
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := api.WatchRotation(ctx, &pb.WatchRotationRequest{Name: made.GetRotation().GetName()})
	if err != nil {
		s.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			s.t.Fatalf("waiting for the plan: %v", err)
		}
		r := m.GetRotation()
		if r == nil {
			r = m.GetSnapshot().GetRotation()
		}
		if r.GetState() == pb.Rotation_STATE_PLANNED {
			return r
		}
	}
}

func TestDrive_WhoReadsNothingIsSentAwayAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	const targets, readers = 300, 8
	s := newStand(t, emulator.Config{Seed: 12, Tenants: 3, Uniform: targets / 3})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d := s.driver([]string{s.api, s.api})
	if err := errors.Join(d.SetUp(ctx), d.Close()); err != nil {
		t.Fatal(err)
	}
	api := s.client()
	plan := s.planned(ctx, api)
	name := plan.GetName()
	var slow [readers]reader
	begun := time.Now()
	for i := range slow {
		slow[i].open(ctx, s, name) // A snapshot is more than its window and what the service keeps for it.
	}
	var good reader
	good.open(ctx, s, name)
	if _, err := api.StartRotation(ctx, &pb.StartRotationRequest{Name: name, PlanDigest: plan.GetPlanDigest()}); err != nil {
		t.Fatal(err)
	}
	if err := good.read(); !errors.Is(err, io.EOF) {
		t.Fatalf("the watcher that reads ended with %v, want io.EOF", err)
	}
	took := time.Since(begun)
	good.heardAll(t, "the watcher that reads", targets)
	t.Logf("%d targets were done in %s beside %d watchers that read nothing", targets, took.Round(time.Millisecond), readers)
	if took >= serverPatience {
		t.Errorf("the rotation took %s, want less than %s: it may have waited for those that read nothing", took.Round(time.Millisecond), serverPatience)
	}
	select { // Time itself is what is tested: nothing is read for so long after all was sent.
	case <-time.After(serverPatience + 2*time.Second):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	for i := range slow {
		err := slow[i].read()
		if got := reason(err); status.Code(err) != codes.ResourceExhausted || got != "SLOW_CONSUMER" {
			t.Errorf("a watcher that read nothing ended with %v and reason %q, want RESOURCE_EXHAUSTED and SLOW_CONSUMER", err, got)
		}
		slow[i].open(ctx, s, name)
		if err := slow[i].read(); !errors.Is(err, io.EOF) {
			t.Errorf("the watcher that went on ended with %v, want io.EOF", err)
		}
		slow[i].heardAll(t, "a watcher that was sent away and went on", targets)
	}
}

// reason is what the service says in its error besides the code.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i.GetReason()
		}
	}
	return ""
}

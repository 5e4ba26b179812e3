package edge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// room is a service of which tests say what it does.
type room struct {
	pb.UnimplementedRotationServiceServer
	get   func(ctx context.Context) error
	watch func(grpc.ServerStreamingServer[pb.WatchRotationResponse]) error
	list  func(*pb.ListRotationsRequest) (*pb.ListRotationsResponse, error)
}

func (r *room) ListRotations(_ context.Context, req *pb.ListRotationsRequest) (*pb.ListRotationsResponse, error) {
	return r.list(req)
}

func (r *room) GetRotation(ctx context.Context, _ *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
	return &pb.GetRotationResponse{}, r.get(ctx)
}

func (r *room) WatchRotation(_ *pb.WatchRotationRequest, s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
	return r.watch(s)
}

// journal is a log that tests read.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// house is a running server with a client.
type house struct {
	room    *room
	log     *journal
	metrics *prometheus.Registry
	conn    *grpc.ClientConn
	client  pb.RotationServiceClient
	server  *edge.Server
	uploads *uploads
	stop    func() // and wait for Serve
}

// serve runs a server until the test ends.
func serve(t *testing.T, adjust func(*edge.Config)) *house {
	t.Helper()
	h := &house{room: &room{}, uploads: &uploads{}, log: &journal{}, metrics: prometheus.NewRegistry()}
	c := edge.Config{
		Log: slog.New(slog.NewTextHandler(h.log, nil)), Metrics: h.metrics, Reflection: true,
		Health: func(context.Context) error { return nil }, HealthEvery: 5 * time.Millisecond,
	}
	if adjust != nil {
		adjust(&c)
	}
	s := edge.NewServer(c)
	h.server = s
	pb.RegisterRotationServiceServer(s, h.room)
	pb.RegisterInventoryServiceServer(s, h.uploads)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, lis) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-served; err != nil {
				t.Errorf("Serve = %v, want nil after a stop", err)
			}
		})
	}
	t.Cleanup(h.stop)
	h.conn, err = grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.conn.Close() })
	h.client = pb.NewRotationServiceClient(h.conn)
	return h
}

func getRequest() *pb.GetRotationRequest { return &pb.GetRotationRequest{Name: "rotations/" + id} }

// detail returns the detail of that type, and complains of a second one.
func detail[T any](t *testing.T, err error) (found T, ok bool) {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if e, isError := d.(error); isError {
			t.Errorf("a detail cannot be read: %v", e)
		}
		if m, is := d.(T); is {
			if ok {
				t.Errorf("there are two details of type %T", m)
			}
			found, ok = m, true
		}
	}
	return found, ok
}

// checkInfo says whether err has that code and reason.
func checkInfo(t *testing.T, err error, code codes.Code, reason string) *errdetails.ErrorInfo {
	t.Helper()
	info, ok := detail[*errdetails.ErrorInfo](t, err)
	if status.Code(err) != code || !ok || info.GetReason() != reason || info.GetDomain() != "crossfade" {
		t.Fatalf("got %v with %v, want %s %s", err, info, code, reason)
	}
	return info
}

func TestServer_ErrorsCarryTheirDetails(t *testing.T) {
	h := serve(t, nil)
	name := "rotations/" + id

	h.room.get = func(context.Context) error {
		return edge.About(name, fmt.Errorf("reading: %w", rollover.ErrNotFound))
	}
	_, err := h.client.GetRotation(t.Context(), getRequest())
	checkInfo(t, err, codes.NotFound, "NOT_FOUND")
	if d, _ := detail[*errdetails.ResourceInfo](t, err); d.GetResourceName() != name || d.GetResourceType() != "crossfade/Rotation" {
		t.Errorf("ResourceInfo = %v, want %s", d, name)
	}

	h.room.get = func(context.Context) error { return fmt.Errorf("x: %w", rollover.ErrUnavailable) }
	var trailer metadata.MD
	_, err = h.client.GetRotation(t.Context(), getRequest(), grpc.Trailer(&trailer))
	checkInfo(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	if d, ok := detail[*errdetails.RetryInfo](t, err); !ok || d.GetRetryDelay().AsDuration() != 2*time.Second {
		t.Errorf("RetryInfo = %v, want two seconds", d)
	}
	if got := trailer.Get("grpc-retry-pushback-ms"); len(got) != 1 || got[0] != "2000" {
		t.Errorf("pushback = %q, want 2000", got)
	}

	h.room.get = func(context.Context) error {
		return &rollover.StateError{Verb: "start", State: rollover.StateFailed, Why: "create a new rotation"}
	}
	_, err = h.client.GetRotation(t.Context(), getRequest(), grpc.Trailer(&trailer))
	checkInfo(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	if d, _ := detail[*errdetails.PreconditionFailure](t, err); len(d.GetViolations()) != 1 || d.GetViolations()[0].GetSubject() != "failed" {
		t.Errorf("PreconditionFailure = %v, want one violation about the state failed", d)
	}

	h.room.get = func(context.Context) error { return rollover.ErrFull }
	_, err = h.client.GetRotation(t.Context(), getRequest())
	checkInfo(t, err, codes.ResourceExhausted, "STORAGE_FULL")
	if _, ok := detail[*errdetails.QuotaFailure](t, err); !ok {
		t.Error("there is no QuotaFailure")
	}

	_, err = h.client.GetRotation(t.Context(), &pb.GetRotationRequest{Name: "x"})
	checkInfo(t, err, codes.InvalidArgument, "INVALID_FIELDS")
	if d, _ := detail[*errdetails.BadRequest](t, err); len(d.GetFieldViolations()) != 1 || d.GetFieldViolations()[0].GetField() != "name" {
		t.Errorf("BadRequest = %v, want one violation of name", d)
	}

	_, err = h.client.RetireRotation(t.Context(), &pb.RetireRotationRequest{Name: name})
	checkInfo(t, err, codes.Unimplemented, "UNKNOWN_METHOD")
}

func TestServer_AMistakeLeaksNothing(t *testing.T) {
	h := serve(t, nil)
	for name, get := range map[string]func(context.Context) error{
		"panic": func(context.Context) error { panic("the key is hunter2") },
		"error": func(context.Context) error { return errors.New("the key is hunter2") },
	} {
		h.room.get = get
		_, err := h.client.GetRotation(t.Context(), getRequest())
		info := checkInfo(t, err, codes.Internal, "INTERNAL")
		if strings.Contains(fmt.Sprint(status.Convert(err).Proto()), "hunter2") {
			t.Errorf("%s: the caller was told %v", name, status.Convert(err).Proto())
		}
		errorID := info.GetMetadata()["error_id"]
		if errorID == "" || !strings.Contains(h.log.String(), "error_id="+errorID) {
			t.Errorf("%s: error_id %q is not in the log:\n%s", name, errorID, h.log)
		}
	}
}

func TestServer_OneLogLineACallAndNoneForHealth(t *testing.T) {
	h := serve(t, nil)
	h.room.get = func(context.Context) error { return nil }
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "portal-7")
	var header metadata.MD
	if _, err := h.client.GetRotation(ctx, getRequest(), grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	if got := header.Get("x-request-id"); len(got) != 1 || got[0] != "portal-7" {
		t.Errorf("x-request-id = %q, want the one that was sent", got)
	}
	if _, err := healthpb.NewHealthClient(h.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	h.stop() // The line is written when the call is over.
	lines := strings.Count(h.log.String(), "finished call")
	if lines != 1 || !strings.Contains(h.log.String(), "request=portal-7") || !strings.Contains(h.log.String(), "grpc.code=OK") {
		t.Errorf("%d lines of calls, want one with the request's id:\n%s", lines, h.log)
	}
	got, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.GetName())
	}
	if !strings.Contains(strings.Join(names, " "), "grpc_server_handling_seconds") {
		t.Errorf("metrics are %q, want those of gRPC with the histogram", names)
	}
}

func TestServer_CallsHaveADeadline(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.UnaryTimeout = 20 * time.Millisecond })
	h.room.get = func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("reading: %w", ctx.Err())
	}
	_, err := h.client.GetRotation(t.Context(), getRequest())
	checkInfo(t, err, codes.DeadlineExceeded, "DEADLINE")
}

// open opens a watch whose handler waits for its end, and returns when it runs.
func (h *house) open(t *testing.T) grpc.ServerStreamingClient[pb.WatchRotationResponse] {
	t.Helper()
	if h.room.watch == nil {
		h.room.watch = func(s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
			if err := s.Send(&pb.WatchRotationResponse{Cursor: "1"}); err != nil {
				return err
			}
			<-s.Context().Done()
			return context.Cause(s.Context())
		}
	}
	w, err := h.client.WatchRotation(t.Context(), &pb.WatchRotationRequest{Name: "rotations/" + id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestServer_StopEndsWatchesAtOnce(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.StopTimeout = time.Minute })
	w := h.open(t)
	hw, err := healthpb.NewHealthClient(h.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hw.Recv(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	h.stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopping took %s, want no wait for watches", took)
	}
	_, err = w.Recv()
	checkInfo(t, err, codes.Unavailable, "DRAINING")
	if _, ok := detail[*errdetails.RetryInfo](t, err); !ok {
		t.Error("there is no RetryInfo")
	}
}

func TestServer_StopLetsACallFinish(t *testing.T) {
	h := serve(t, nil)
	began, finish := make(chan struct{}), make(chan struct{})
	h.room.get = func(context.Context) error {
		close(began)
		<-finish
		return nil
	}
	result := make(chan error, 1)
	go func() {
		_, err := h.client.GetRotation(t.Context(), getRequest())
		result <- err
	}()
	<-began
	w := h.open(t)
	stopped := make(chan struct{})
	go func() {
		h.stop()
		close(stopped)
	}()
	if _, err := w.Recv(); err == nil { // Ended: the stop has begun.
		t.Error("the watch goes on while the server stops")
	}
	close(finish)
	if err := <-result; err != nil {
		t.Errorf("the call in hand ended with %v, want it to finish", err)
	}
	<-stopped
}

func TestServer_StopCutsOffAHandlerThatIgnoresItsEnd(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.StopTimeout = 50 * time.Millisecond })
	began, release := make(chan struct{}), make(chan struct{})
	h.room.get = func(context.Context) error {
		close(began)
		<-release
		return nil
	}
	result := make(chan error, 1)
	go func() {
		_, err := h.client.GetRotation(t.Context(), getRequest())
		result <- err
	}()
	<-began
	h.stop()
	close(release)
	if err := <-result; err == nil {
		t.Error("a call that outlived the stop was answered")
	}
}

func TestServer_WatchEndsAtItsAge(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.MaxStreamAge = 30 * time.Millisecond })
	_, err := h.open(t).Recv()
	checkInfo(t, err, codes.Unavailable, "STREAM_TOO_OLD")
	h.counted(t, `crossfade_watches_ended_total{why="aged"} 1`)
}

func TestServer_WatchesAreBounded(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.MaxWatches = 1 })
	h.open(t)
	w, err := h.client.WatchRotation(t.Context(), &pb.WatchRotationRequest{Name: "rotations/" + id})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Recv()
	checkInfo(t, err, codes.ResourceExhausted, "TOO_MANY_WATCHES")
	h.counted(t, `crossfade_watches_ended_total{why="refused"} 1`)
	h.counted(t, `crossfade_watches_open 1`)
	h.counted(t, `crossfade_watches_max 1`)
}

// counted wants a line among the metrics. What was counted before the answer was sent is
// there when the answer is.
func (h *house) counted(t *testing.T, line string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "metrics")
	if err := prometheus.WriteToTextfile(file, h.metrics); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), line+"\n") {
		t.Errorf("the metrics have no %q: %v", line, err)
	}
}

func TestServer_StreamRequestsAreChecked(t *testing.T) {
	h := serve(t, nil)
	h.room.watch = func(grpc.ServerStreamingServer[pb.WatchRotationResponse]) error { return nil }
	w, err := h.client.WatchRotation(t.Context(), &pb.WatchRotationRequest{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Recv()
	checkInfo(t, err, codes.InvalidArgument, "INVALID_FIELDS")
}

func TestServer_HealthFollowsTheBroker(t *testing.T) {
	var mu sync.Mutex
	var broker error
	set := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		broker = err
	}
	h := serve(t, func(c *edge.Config) {
		c.Health = func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			return broker
		}
	})
	for _, service := range []string{"", "crossfade.v1.RotationService"} {
		w, err := healthpb.NewHealthClient(h.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		until := func(want healthpb.HealthCheckResponse_ServingStatus) {
			t.Helper()
			for {
				got, err := w.Recv()
				if err != nil {
					t.Fatalf("health of %q: %v, want %s", service, err, want)
				}
				if got.GetStatus() == want {
					return
				}
			}
		}
		until(healthpb.HealthCheckResponse_SERVING)
		set(errors.New("no leader"))
		until(healthpb.HealthCheckResponse_NOT_SERVING)
		set(nil)
		until(healthpb.HealthCheckResponse_SERVING)
	}
}

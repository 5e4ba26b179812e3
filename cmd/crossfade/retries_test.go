package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// watched is a service of which tests say what its watches tell.
type watched struct {
	crossfadev1.UnimplementedRotationServiceServer
	opened atomic.Int32
	one    func(req *crossfadev1.WatchRotationRequest, token string, s grpc.ServerStreamingServer[crossfadev1.WatchRotationResponse]) error
	many   func(n int32, s grpc.ServerStreamingServer[crossfadev1.WatchRotationsResponse]) error
}

func (w *watched) WatchRotation(req *crossfadev1.WatchRotationRequest, s grpc.ServerStreamingServer[crossfadev1.WatchRotationResponse]) error {
	w.opened.Add(1)
	return w.one(req, strings.Join(metadata.ValueFromIncomingContext(s.Context(), "authorization"), ","), s)
}

func (w *watched) WatchRotations(_ *crossfadev1.WatchRotationsRequest, s grpc.ServerStreamingServer[crossfadev1.WatchRotationsResponse]) error {
	return w.many(w.opened.Add(1), s)
}

// serve serves it and returns its address.
func (w *watched) serve(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	crossfadev1.RegisterRotationServiceServer(s, w)
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return lis.Addr().String()
}

const watchedName = "rotations/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"

// A watch outlives its token where somebody else renews the file.
func TestWatch_GoesOnWithTheRenewedToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("first")
	w := &watched{}
	w.one = func(req *crossfadev1.WatchRotationRequest, token string, s grpc.ServerStreamingServer[crossfadev1.WatchRotationResponse]) error {
		r := &crossfadev1.Rotation{Name: watchedName, State: crossfadev1.Rotation_STATE_RUNNING}
		if token == "Bearer first" {
			if err := s.Send(&crossfadev1.WatchRotationResponse{Cursor: "c1", Event: &crossfadev1.WatchRotationResponse_Rotation{Rotation: r}}); err != nil {
				return err
			}
			write("second")
			return status.Error(codes.Unauthenticated, "the token has ended")
		}
		if token != "Bearer second" || req.GetCursor() != "c1" {
			t.Errorf("watched again with %q from %q, want the second token from where the first ended", token, req.GetCursor())
		}
		r.State = crossfadev1.Rotation_STATE_SUCCEEDED
		return s.Send(&crossfadev1.WatchRotationResponse{Cursor: "c2", Event: &crossfadev1.WatchRotationResponse_Rotation{Rotation: r}})
	}
	out, errOut, exit := command(t, "rotation", "watch", watchedName, "--json", "--address", w.serve(t), "--token-file", file)
	if exit != 0 || !strings.Contains(out, "STATE_SUCCEEDED") || w.opened.Load() != 2 {
		t.Errorf("ended with %d after %d watches: %s%s", exit, w.opened.Load(), out, errOut)
	}
}

// A token that was never believed is tried once, and not waited for.
func TestWatch_ATokenThatIsNotBelievedIsNotTriedAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &watched{one: func(*crossfadev1.WatchRotationRequest, string, grpc.ServerStreamingServer[crossfadev1.WatchRotationResponse]) error {
		return status.Error(codes.Unauthenticated, "no")
	}}
	if _, _, exit := command(t, "rotation", "watch", watchedName, "--address", w.serve(t), "--token-file", file); exit == 0 || w.opened.Load() != 1 {
		t.Errorf("ended with %d after %d watches, want an error after one", exit, w.opened.Load())
	}
}

func TestWait_AsLongAsTheServiceAsksFor(t *testing.T) {
	s, err := status.New(codes.Unavailable, "stopping").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got := wait(1, s.Err()); got != time.Hour {
		t.Errorf("wait = %s, want the hour of the RetryInfo", got)
	}
	if got := wait(3, status.Error(codes.Unavailable, "")); got <= 0 || got > time.Minute {
		t.Errorf("wait = %s, want the back-off alone", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); err != errStopped { //nolint:errorlint // It is returned as it is.
		t.Errorf("pause = %v, want that it was stopped", err)
	}
}

// A watch that is refused for now says what it waits for, once.
func TestWatch_SaysWhatItWaitsFor(t *testing.T) {
	w := &watched{}
	w.one = func(_ *crossfadev1.WatchRotationRequest, _ string, s grpc.ServerStreamingServer[crossfadev1.WatchRotationResponse]) error {
		if w.opened.Load() <= 2 {
			return status.Error(codes.ResourceExhausted, "you have 64 watches open")
		}
		r := &crossfadev1.Rotation{Name: watchedName, State: crossfadev1.Rotation_STATE_SUCCEEDED}
		return s.Send(&crossfadev1.WatchRotationResponse{Event: &crossfadev1.WatchRotationResponse_Rotation{Rotation: r}})
	}
	_, errOut, exit := command(t, "rotation", "watch", watchedName, "--address", w.serve(t))
	if want := "watching " + watchedName + ": you have 64 watches open; trying again\n"; exit != 0 || errOut != want {
		t.Errorf("ended with %d and said %q, want %q", exit, errOut, want)
	}
}

// All rotations are watched again after a cut, until nothing more may be seen.
func TestWatchAll_TellsEachAndGoesOnAfterACut(t *testing.T) {
	w := &watched{}
	w.many = func(n int32, s grpc.ServerStreamingServer[crossfadev1.WatchRotationsResponse]) error {
		r := &crossfadev1.Rotation{Name: watchedName, State: crossfadev1.Rotation_STATE_RUNNING, DisplayName: "November"}
		send := func(m *crossfadev1.WatchRotationsResponse) {
			if err := s.Send(m); err != nil {
				t.Error(err)
			}
		}
		send(&crossfadev1.WatchRotationsResponse{Event: &crossfadev1.WatchRotationsResponse_Snapshot{Snapshot: &crossfadev1.RotationsSnapshot{Rotations: []*crossfadev1.Rotation{r}}}})
		if n == 1 {
			return status.Error(codes.Unavailable, "stopping")
		}
		r.State = crossfadev1.Rotation_STATE_PAUSED
		send(&crossfadev1.WatchRotationsResponse{Event: &crossfadev1.WatchRotationsResponse_Rotation{Rotation: r}})
		send(&crossfadev1.WatchRotationsResponse{Event: &crossfadev1.WatchRotationsResponse_Gone{Gone: watchedName}})
		return status.Error(codes.PermissionDenied, "no more")
	}
	out, _, exit := command(t, "rotation", "watch", "--all", "--address", w.serve(t))
	if exit == 0 || strings.Count(out, "running") != 2 || strings.Count(out, "paused") != 1 || strings.Count(out, "gone") != 1 {
		t.Errorf("ended with %d: %s", exit, out)
	}
	for _, wrong := range [][]string{{"--all", watchedName}, {"--all", "--cursor", "c"}, {watchedName, "--filter", "kind = \"x\""}, {}} {
		if _, _, exit := command(t, append([]string{"rotation", "watch"}, wrong...)...); exit != 2 {
			t.Errorf("rotation watch %q ends with %d, want 2", wrong, exit)
		}
	}
}

package edge_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/crossfade-project/crossfade/internal/identity"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// slowTokens judges the token "slow" only when its call ends, and says when it is asked.
type slowTokens struct {
	tokens
	asked chan struct{}
}

func (k slowTokens) Token(ctx context.Context, raw string) (identity.Subject, error) {
	if raw == "slow" {
		k.asked <- struct{}{}
		<-ctx.Done()
		return identity.Subject{}, ctx.Err()
	}
	return k.tokens.Token(ctx, raw)
}

// waiting is a handler of watches that says when one is open.
func waiting(opened chan<- struct{}) func(grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
	return func(s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		opened <- struct{}{}
		<-s.Context().Done()
		return context.Cause(s.Context())
	}
}

// opens wants that a watch of jane's is let in.
func (h *house) opens(t *testing.T, opened <-chan struct{}) {
	t.Helper()
	s, err := h.client.WatchRotation(as(t, "jane"), &pb.WatchRotationRequest{Name: getRequest().GetName()})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // Ends with the test's context.
		_, err := s.Recv()
		ended <- err
	}()
	select {
	case <-opened:
	case err := <-ended:
		t.Errorf("the watch of one who may = %v, want that it is let in", err)
	}
}

// Whoever is not proven yet takes no place of a watch: strangers could take them all.
func TestGate_StrangersTakeNoPlace(t *testing.T) {
	b := &table{}
	b.set(t, viewer)
	k := slowTokens{tokens{until: time.Now().Add(time.Hour)}, make(chan struct{}, 1)}
	h := serve(t, func(c *edge.Config) {
		c.MaxWatches = 1
		c.Identity = &edge.Identity{Tokens: k, Rights: b.now.Load, Now: time.Now}
	})
	opened := make(chan struct{}, 1)
	h.room.watch = waiting(opened)
	if _, err := h.client.WatchRotation(as(t, "slow"), &pb.WatchRotationRequest{Name: getRequest().GetName()}); err != nil {
		t.Fatal(err)
	}
	<-k.asked
	h.opens(t, opened)
}

// Health may be watched by anybody, but not without end, and in nobody's place.
func TestGate_WatchesOfHealthAreBounded(t *testing.T) {
	b := &table{}
	b.set(t, viewer)
	h := serve(t, func(c *edge.Config) {
		c.MaxWatches = 1
		c.Identity = &edge.Identity{Tokens: tokens{until: time.Now().Add(time.Hour)}, Rights: b.now.Load, Now: time.Now}
	})
	opened := make(chan struct{}, 1)
	h.room.watch = waiting(opened)
	watch := func(ctx context.Context) error {
		s, err := healthpb.NewHealthClient(h.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			return err
		}
		_, err = s.Recv()
		return err
	}
	ctx, leave := context.WithCancel(t.Context())
	for n := range 64 {
		if err := watch(ctx); err != nil {
			t.Fatalf("watch %d of health = %v", n, err)
		}
	}
	checkInfo(t, watch(t.Context()), codes.ResourceExhausted, "TOO_MANY_WATCHES")
	if _, err := healthpb.NewHealthClient(h.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("Check while many watch = %v", err)
	}
	h.opens(t, opened)
	leave()
}

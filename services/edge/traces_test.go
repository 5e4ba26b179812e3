package edge_test

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/metadata"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"

	"github.com/crossfade-project/crossfade/internal/spans"
)

const (
	parent  = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// Whether spans are made or not, handlers are in their caller's trace.
func TestTraces_ACallIsOfItsCallersTrace(t *testing.T) {
	r := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	for name, adjust := range map[string]func(*edge.Config){
		"without spans": func(*edge.Config) {}, "with spans": func(c *edge.Config) { c.Traces = p },
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 1)
			h := serve(t, adjust)
			h.room.get = func(ctx context.Context) error {
				seen <- spans.ID(ctx)
				return nil
			}
			ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent)
			if _, err := h.client.GetRotation(ctx, getRequest()); err != nil {
				t.Fatal(err)
			}
			if got := <-seen; got != traceID {
				t.Errorf("the handler is in trace %q, want the caller's", got)
			}
			if _, err := healthpb.NewHealthClient(h.conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	got := r.Ended()
	if len(got) != 1 || got[0].Name() != "crossfade.v1.RotationService/GetRotation" || got[0].Parent().SpanID().String() != "00f067aa0ba902b7" {
		t.Errorf("%d spans ended, want that of one call, within the caller's", len(got))
	}
}

func TestChanges_FollowsTheScopes(t *testing.T) {
	for method, want := range map[string]bool{
		pb.RotationService_CreateRotation_FullMethodName[1:]:  true,
		pb.RotationService_ApproveRotation_FullMethodName[1:]: true,
		pb.RotationService_GetRotation_FullMethodName[1:]:     false,
		"grpc.health.v1.Health/Check":                         false,
		"x":                                                   false,
	} {
		if got := edge.Changes(method); got != want {
			t.Errorf("Changes(%q) = %t, want %t", method, got, want)
		}
	}
}

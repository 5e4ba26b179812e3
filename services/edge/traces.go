package edge

import (
	"context"
	"sync"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// statsOf returns the option that makes spans of calls; none for a nil p.
func statsOf(p trace.TracerProvider) grpc.ServerOption {
	if p == nil {
		return grpc.EmptyServerOption{}
	}
	return grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(p), otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}), otelgrpc.WithFilter(filters.Not(filters.HealthCheck())),
	))
}

// tracing returns the interceptors that put a call into its caller's trace, where nothing
// else does, or into a new one where its caller is in none: the audit log then has one id
// for the call and for all that follows from it.
func tracing(p trace.TracerProvider) (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	if p != nil {
		return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
				return h(ctx, req)
			},
			func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
				return h(srv, ss)
			}
	}
	in := func(ctx context.Context) context.Context {
		if v := metadata.ValueFromIncomingContext(ctx, spans.Header); len(v) == 1 {
			ctx = spans.In(ctx, v[0])
		}
		return spans.Begin(ctx)
	}
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			return h(in(ctx), req)
		}, func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			return h(srv, &withContext{ss, in(ss.Context())})
		}
}

// Changes reports whether a method, by its full name without the slash before it, may
// change something: it asks for more than to read.
func Changes(method string) bool {
	scope, known := methodScopes()["/"+method]
	return known && scope != rights.Read
}

var methodScopes = sync.OnceValue(MethodScopes)

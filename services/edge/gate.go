package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/protoadapt"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The causes for which the gate ends a stream.
var (
	errDrained = errors.New("the server is stopping")
	errAged    = errors.New("the stream has reached its age")
)

// gate lets streams in, up to a number, and ends them: all at once when the
// server stops, each at its age. Without it a graceful stop would wait for every
// watch.
type gate struct {
	age     time.Duration
	watches chan struct{}   // a slot for each open watch
	ctx     context.Context //nolint:containedctx // Its end is the signal that all streams wait for.
	drain   context.CancelFunc
}

func newGate(c Config) *gate {
	g := &gate{age: c.MaxStreamAge, watches: make(chan struct{}, c.MaxWatches)}
	g.ctx, g.drain = context.WithCancel(context.Background())
	return g
}

// unary refuses calls that come in while the server stops. Those in hand may
// finish.
func (g *gate) unary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if g.ctx.Err() != nil && !quiet(i.FullMethod) {
		return nil, Draining()
	}
	return h(ctx, req)
}

func (g *gate) stream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	if i.IsClientStream && !i.IsServerStream {
		return h(srv, ss) // What is being sent may be finished.
	}
	if !quiet(i.FullMethod) {
		select {
		case g.watches <- struct{}{}:
			defer func() { <-g.watches }()
		default:
			return g.full()
		}
	}
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	defer context.AfterFunc(g.ctx, func() { cancel(errDrained) })()
	aged := time.AfterFunc(g.age, func() { cancel(errAged) })
	defer aged.Stop()

	err := h(srv, &withContext{ss, ctx})
	switch cause := context.Cause(ctx); {
	case err == nil: // It told all that there was to tell.
		return nil
	case errors.Is(cause, errDrained):
		return Draining()
	case errors.Is(cause, errAged):
		return &Problem{
			Code: codes.Unavailable, Reason: pb.ErrorReason_ERROR_REASON_STREAM_TOO_OLD,
			Message: "the watch has reached its age; watch again from the last cursor", Retry: 100 * time.Millisecond,
		}
	default:
		return err
	}
}

func (g *gate) full() error {
	return &Problem{
		Code: codes.ResourceExhausted, Reason: pb.ErrorReason_ERROR_REASON_TOO_MANY_WATCHES,
		Message: "too many watches are open in this server", Retry: 5 * time.Second,
		Details: []protoadapt.MessageV1{&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
			{Subject: "watches", Description: fmt.Sprintf("at most %d at once", cap(g.watches))},
		}}},
	}
}

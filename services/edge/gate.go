package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// gate lets watches in, up to a number, and ends them: all at once when the
// server stops, each at its age. Without it a graceful stop would wait for every
// watch. Uploads may be finished while the server stops, up to half of its time.
type gate struct {
	age     time.Duration
	watches chan struct{} // a slot for each open watch
	open    chan struct{} // a slot for each that needs no proof
	// strangers counts those by address.
	strangers *quotas
	ctx       context.Context //nolint:containedctx // Its end is the signal that all streams wait for.
	drain     context.CancelFunc
	late      context.Context //nolint:containedctx // Its end is the signal for uploads, which may be finished until then.
	cut       context.CancelFunc
	ended     *prometheus.CounterVec // watches, by why
}

// The whys for which watches end.
const (
	endDone    = "done"    // all was told that there was to tell
	endLeft    = "left"    // the reader went away
	endDrained = "drained" // this server stops
	endAged    = "aged"    // it was open for long
	endSlow    = "slow"    // nothing was read for too long
	endFailed  = "failed"
	endRefused = "refused" // it was never opened: there are too many
)

func newGate(c Config) *gate {
	g := &gate{age: c.MaxStreamAge, watches: make(chan struct{}, c.MaxWatches), open: make(chan struct{}, openOfAll), strangers: newQuotas(Quota{Watches: openOfOne})}
	g.ended = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "crossfade_watches_ended_total", Help: "Watches that ended, by why.",
	}, []string{"why"})
	for _, why := range []string{endDone, endLeft, endDrained, endAged, endSlow, endFailed, endRefused} {
		g.ended.WithLabelValues(why)
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(g.ended,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "crossfade_watches_open", Help: "Watches that are open in this process."},
				func() float64 { return float64(len(g.watches)) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "crossfade_watches_max", Help: "Watches that may be open in this process."},
				func() float64 { return float64(cap(g.watches)) }),
		)
	}
	g.ctx, g.drain = context.WithCancel(context.Background())
	g.late, g.cut = context.WithCancel(context.Background())
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
	stops, watch := g.ctx, !quiet(i.FullMethod)
	if upload(i) {
		if g.ctx.Err() != nil {
			return Draining()
		}
		stops, watch = g.late, false
	}
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	defer context.AfterFunc(stops, func() { cancel(errDrained) })()
	aged := time.AfterFunc(g.age, func() { cancel(errAged) })
	defer aged.Stop()

	err := h(srv, &withContext{ss, ctx})
	if watch {
		g.ended.WithLabelValues(why(err, context.Cause(ctx))).Inc()
	}
	switch cause := context.Cause(ctx); {
	case err == nil: // It told all that there was to tell.
		return nil
	case errors.Is(cause, errDrained):
		return Draining()
	case errors.Is(cause, errAged):
		p := &Problem{
			Code: codes.Unavailable, Reason: pb.ErrorReason_ERROR_REASON_STREAM_TOO_OLD,
			Message: "the watch has reached its age; watch again from the last cursor", Retry: 100 * time.Millisecond,
		}
		if upload(i) {
			p.Message = "the upload has reached its age; send it again, an import with the same request_id"
		}
		return p
	default:
		return err
	}
}

// upload reports whether a method takes a stream in and answers once.
func upload(i *grpc.StreamServerInfo) bool { return i.IsClientStream && !i.IsServerStream }

// The bounds of watches that nobody has to prove anything for, which are those of health:
// of one address, behind which many may stand, and of all.
const (
	openOfOne = 64
	openOfAll = 1024
)

// slot gives a watch its place for as long as it is open. It stands behind the guard:
// otherwise strangers whose proof takes long to be judged could keep out everybody.
func (g *gate) slot(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	slots := g.watches
	switch {
	case open(i.FullMethod):
		giveBack, err := g.strangers.hold(ss.Context(), false)
		if err != nil {
			return err
		}
		defer giveBack()
		slots = g.open
	case quiet(i.FullMethod) || !i.IsServerStream:
		return h(srv, ss)
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
		return h(srv, ss)
	default:
		return crowded(cap(slots))
	}
}

// why says why a watch ended with err, whose context ended for cause.
func why(err, cause error) string {
	var p *Problem
	switch {
	case err == nil:
		return endDone
	case errors.Is(cause, errDrained):
		return endDrained
	case errors.Is(cause, errAged):
		return endAged
	case errors.As(err, &p) && p.Reason == pb.ErrorReason_ERROR_REASON_SLOW_CONSUMER:
		return endSlow
	case errors.As(err, &p) && p.Reason == pb.ErrorReason_ERROR_REASON_TOO_MANY_WATCHES:
		return endRefused
	case cause != nil:
		return endLeft
	}
	return endFailed
}

func crowded(limit int) error {
	return &Problem{
		Code: codes.ResourceExhausted, Reason: pb.ErrorReason_ERROR_REASON_TOO_MANY_WATCHES,
		Message: "too many watches are open in this server", Retry: 5 * time.Second,
		Details: []protoadapt.MessageV1{&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
			{Subject: "watches", Description: fmt.Sprintf("at most %d at once", limit)},
		}}},
	}
}

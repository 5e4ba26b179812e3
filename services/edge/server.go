package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// Config is what a [Server] is made of. Log and Health are required.
type Config struct {
	Log *slog.Logger
	// Metrics is where the server's metrics are registered. Default: nowhere.
	Metrics prometheus.Registerer
	// Reflection lets callers ask for the contract. Off by default: it tells
	// strangers what there is.
	Reflection bool
	// TLS is how the server proves who it is. Default: none, for loopback and
	// for servers behind a proxy.
	TLS *tls.Config
	// Identity says how callers prove who they are, and what they may do. Default: nobody
	// is asked, names are claimed, and everything is allowed; for loopback only.
	Identity *Identity
	// Traces makes a span of every call but those of health, within the caller's trace
	// where there is one. Default: no spans; work is still of the caller's trace.
	Traces trace.TracerProvider
	// Audit is told of every call that changes something, and of everybody who is refused.
	// Default: nobody is told.
	Audit Auditor
	// TellEvery is how often refusals that were only counted are told. Default 10 s.
	TellEvery time.Duration
	// Health says whether store and broker can be used now. It is asked every
	// HealthEvery with a deadline of two seconds, and readiness follows it.
	Health func(ctx context.Context) error
	// HealthEvery defaults to 3 s.
	HealthEvery time.Duration
	// UnaryTimeout bounds a call whose caller set no nearer deadline. Default
	// 30 s.
	UnaryTimeout time.Duration
	// MaxAge ends a connection, so that callers spread over the servers that
	// there are now. Default 30 min.
	MaxAge time.Duration
	// MaxStreamAge ends a watch; its reader comes back with its cursor. Default
	// 1 h.
	MaxStreamAge time.Duration
	// Pages seals the tokens of pages. Default: a key of this server alone, so that a
	// token is of no use at another.
	Pages *PageKey
	// Quota is what one caller may take of this server. Default: whatever there is.
	Quota Quota
	// UploadIdle ends a stream whose next request does not come for so long. Default
	// 1 min.
	UploadIdle time.Duration
	// MaxWatches bounds the streams that are open at once, at 16 KB each.
	// Default 4096.
	MaxWatches int
	// StopTimeout is how long calls in hand may take when the server stops, and then
	// once more to take notice that they are cut off. Uploads have half of it, so that
	// their callers can still be told. Default 2 s: a process has ten for all that it
	// does.
	StopTimeout time.Duration
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.HealthEvery, 3 * time.Second}, {&c.UnaryTimeout, 30 * time.Second}, {&c.MaxAge, 30 * time.Minute},
		{&c.MaxStreamAge, time.Hour}, {&c.UploadIdle, uploadIdle}, {&c.StopTimeout, 2 * time.Second}, {&c.TellEvery, 10 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.Pages == nil {
		c.Pages = NewPageKey(nil)
	}
	if c.MaxWatches <= 0 {
		c.MaxWatches = defaultWatches
	}
	return c
}

// healthTimeout bounds one question to Config.Health.
const healthTimeout = 2 * time.Second

// Server is a gRPC server with the chain of interceptors, health, and a stop
// that ends watches at once. Make it with [NewServer], register services on it,
// and call Serve.
type Server struct {
	c       Config
	grpc    *grpc.Server
	health  *health.Server
	metrics *grpcprom.ServerMetrics
	gate    *gate
	teller  *teller
	inside  *passage // calls of other doors of this process
}

// NewServer returns a server without services. It panics if the metrics are
// registered already.
func NewServer(c Config) *Server {
	c = c.withDefaults()
	s := &Server{
		c: c, health: health.NewServer(), gate: newGate(c), inside: newPassage(),
		metrics: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram()),
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(s.metrics)
	}
	// Outermost first. Recovery is inside logging, or a panic would leave no
	// line; tell is inside recovery, so that all see the final status.
	logOpts, g := logOptions(), newGuard(c.Identity)
	q := newQuotas(c.Quota)
	t := newTeller(c.Audit, func(ctx context.Context, err error) {
		c.Log.ErrorContext(ctx, "the audit log was not told what came of a call", "request", RequestOf(ctx), "err", err)
	})
	s.teller = t
	recovered := recovery.WithRecoveryHandlerContext(s.recovered)
	traceUnary, traceStream := tracing(c.Traces)
	opts := []grpc.ServerOption{
		statsOf(c.Traces),
		grpc.ChainUnaryInterceptor(
			traceUnary, s.metrics.UnaryServerInterceptor(),
			nameCall, callingUnary,
			quietUnary(logging.UnaryServerInterceptor(logTo(c.Log), logOpts...)),
			recovery.UnaryServerInterceptor(recovered),
			tellUnary, s.gate.unary, deadline(c.UnaryTimeout), t.outerUnary, g.unary, q.unary, t.innerUnary, c.Pages.unary, validateUnary,
		),
		grpc.ChainStreamInterceptor(
			traceStream, s.metrics.StreamServerInterceptor(),
			nameStream, callingStream,
			quietStream(logging.StreamServerInterceptor(logTo(c.Log), logOpts...)),
			recovery.StreamServerInterceptor(recovered),
			tellStream, s.gate.stream, t.outerStream, g.stream, q.stream, s.gate.slot, t.innerStream, validateStream(c.UploadIdle),
		),
		// Clients that ping each 30 s are welcome, also between calls; the default
		// would cut them off.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionAge: c.MaxAge, MaxConnectionAgeGrace: time.Minute,
		}),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.ConnectionTimeout(20 * time.Second),
		grpc.WaitForHandlers(true), // So that the store may be closed after Serve.
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")}),
		grpc.Creds(newDoorman(c.TLS)),
	}
	s.grpc = grpc.NewServer(opts...)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	if c.Reflection {
		reflection.Register(s.grpc)
	}
	return s
}

// RegisterService adds a service, as generated code wants it.
func (s *Server) RegisterService(d *grpc.ServiceDesc, impl any) { s.grpc.RegisterService(d, impl) }

// Serve answers calls on lis until ctx ends, and then stops: it says that it is
// not ready, ends watches, lets calls in hand finish, and cuts off what is left
// after StopTimeout. It returns nil after such a stop. lis is closed.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	s.metrics.InitializeMetrics(s.grpc)
	s.setHealth(errors.New("not asked yet"))
	var wg sync.WaitGroup
	defer wg.Wait()
	hctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { s.watchHealth(hctx) })
	wg.Go(func() { s.teller.run(hctx, s.c.TellEvery) })

	served, inside := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.grpc.Serve(lis) }()
	go func() { inside <- s.grpc.Serve(s.inside) }()
	select {
	case err := <-served:
		_ = s.inside.Close() // Never fails.
		<-inside             //nolint:errcheck // It was closed.
		return fmt.Errorf("serving gRPC on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	if s.stop() {
		<-served //nolint:errcheck // Told to stop, and stopped.
		<-inside //nolint:errcheck // As above.
	}
	s.teller.flush(ctx)
	return nil
}

// stop is done in this order, so that nobody is sent here any more before
// anybody is sent away. It reports whether every handler has returned.
func (s *Server) stop() bool {
	s.health.Shutdown()
	s.gate.drain()
	uploads := time.AfterFunc(s.c.StopTimeout/2, s.gate.cut)
	defer uploads.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	t := time.NewTimer(s.c.StopTimeout)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	}
	s.c.Log.Warn("calls did not end in time and are cut off", "timeout", s.c.StopTimeout)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc.Stop()
	}()
	// Stop cancels the handlers and waits for them. One that ignores its context
	// is given up, so that the process ends.
	t.Reset(s.c.StopTimeout)
	select {
	case <-stopped:
		<-done
		return true
	case <-t.C:
		s.c.Log.Error("a handler ignores its end")
		return false
	}
}

// watchHealth makes readiness follow Config.Health.
func (s *Server) watchHealth(ctx context.Context) {
	tick := time.NewTicker(s.c.HealthEvery)
	defer tick.Stop()
	var last error
	for first := true; ; first = false {
		err := s.askHealth(ctx)
		if ctx.Err() != nil {
			return
		}
		s.setHealth(err)
		switch {
		case err != nil && (first || last == nil):
			s.c.Log.WarnContext(ctx, "not ready", "err", err)
		case err == nil && (first || last != nil):
			s.c.Log.InfoContext(ctx, "ready")
		}
		last = err
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) askHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return s.c.Health(ctx)
}

// setHealth sets the state of the server and of each service. After Shutdown it
// changes nothing.
func (s *Server) setHealth(err error) {
	state := healthpb.HealthCheckResponse_SERVING
	if err != nil {
		state = healthpb.HealthCheckResponse_NOT_SERVING
	}
	s.health.SetServingStatus("", state)
	for name := range s.grpc.GetServiceInfo() {
		if !quiet("/" + name + "/") {
			s.health.SetServingStatus(name, state)
		}
	}
}

package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// Health is one of the services that may be asked.
	_ "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/crossfade-project/crossfade/services/edge"
)

// Config is what a [Server] is made of. Dial and Log are required.
type Config struct {
	// Dial returns a connection to the gRPC server of this process for the calls of one
	// connection; see [edge.Server.Dial].
	Dial func(edge.Origin) (*grpc.ClientConn, error)
	Log  *slog.Logger
	// TLS is how the server proves who it is, with h2 and http/1.1. Default: none, for
	// loopback and for servers behind a proxy.
	TLS *tls.Config
	// Origins are the web pages that may call, as browsers write them:
	// "https://portal.example". Default: none; whatever is no browser may always call.
	Origins []string
	// BodyTimeout bounds how long a request may take to come in. Default 30 s.
	BodyTimeout time.Duration
	// WriteTimeout is how long a reader may take no byte before its stream is cut.
	// Default 30 s.
	WriteTimeout time.Duration
	// AliveEvery is how often a comment is sent on a stream of events without news, so
	// that proxies keep it. Default 10 s.
	AliveEvery time.Duration
	// OpenAfter is how long the first message of a stream is waited for before the
	// answer is begun without it. Refusals come sooner, and have a status of their own.
	// Default 250 ms.
	OpenAfter time.Duration
	// Retry is how long an EventSource waits before it comes back. Default 1 s.
	Retry time.Duration
	// StopTimeout is how long calls in hand may take when the server stops. Default 3 s.
	StopTimeout time.Duration
	// MaxConnections bounds those that are open at once; more wait to be taken in.
	// Default 4096.
	MaxConnections int
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.BodyTimeout, defaultBody}, {&c.WriteTimeout, defaultWrite}, {&c.AliveEvery, defaultAlive}, {&c.OpenAfter, defaultOpen},
		{&c.Retry, defaultRetry}, {&c.StopTimeout, defaultStop},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = maxConnections
	}
	return c
}

// Server is the HTTP door. Make it with [New].
type Server struct {
	c       Config
	origins origins
	methods map[string]method // by path

	stopping context.Context //nolint:containedctx // Its end is the signal that all calls look at.
	stop     context.CancelFunc

	mu    sync.Mutex
	lines map[net.Conn]*line // guarded by mu; one for each open connection
}

// method is one that may be called.
type method struct {
	desc protoreflect.MethodDescriptor
	path string // of HTTP and of gRPC alike
}

// New returns a server that knows every method of crossfade.v1 that needs a scope, and
// health. It fails if an origin is none.
func New(c Config) (*Server, error) {
	s := &Server{c: c.withDefaults(), methods: methods(), lines: map[net.Conn]*line{}}
	var err error
	if s.origins, err = newOrigins(c.Origins); err != nil {
		return nil, err
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// methods returns what may be called: what the table of scopes knows of our own
// services, and whether the server is healthy.
func methods() map[string]method {
	allowed := edge.MethodScopes()
	out := map[string]method{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			ms := f.Services().Get(i).Methods()
			for j := range ms.Len() {
				m := ms.Get(j)
				path := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
				if _, ok := allowed[path]; ok && f.Package() == "crossfade.v1" || path == "/grpc.health.v1.Health/Check" {
					out[path] = method{m, path}
				}
			}
		}
		return true
	})
	return out
}

// line is one connection of a caller, and the way inside for its calls.
type line struct {
	addr net.Addr

	mu     sync.Mutex
	conn   *grpc.ClientConn // nil before the first call
	closed bool
}

type lineKey struct{}

var errLineClosed = errors.New("the connection is closed")

// inside returns the connection inside for the calls of r.
func (s *Server) inside(r *http.Request) (*grpc.ClientConn, error) {
	l, ok := r.Context().Value(lineKey{}).(*line)
	if !ok {
		return nil, errors.New("a request without a connection")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errLineClosed
	}
	if l.conn == nil {
		var err error
		// What the handshake of this very connection showed, and nothing that the request says.
		if l.conn, err = s.c.Dial(edge.Origin{Addr: l.addr, TLS: r.TLS}); err != nil {
			return nil, err
		}
	}
	return l.conn, nil
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil {
		_ = l.conn.Close() // Fails only if it was closed.
	}
}

// opened notes a connection, and closed forgets it.
func (s *Server) opened(ctx context.Context, c net.Conn) context.Context {
	l := &line{addr: c.RemoteAddr()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[c] = l
	return context.WithValue(ctx, lineKey{}, l)
}

func (s *Server) closed(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	s.mu.Lock()
	l := s.lines[c]
	delete(s.lines, c)
	s.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// Serve answers on lis until ctx ends, and then stops: calls in hand may finish, within
// StopTimeout. The gRPC server has to stop at the same time, since it is what ends
// watches. It returns nil after such a stop. lis is closed.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	h := &http.Server{
		Handler: s, TLSConfig: s.c.TLS, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaders,
		// Strangers' failed handshakes are no news.
		ErrorLog:    slog.NewLogLogger(s.c.Log.Handler(), slog.LevelDebug),
		ConnContext: s.opened, ConnState: s.closed,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop()
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.c.StopTimeout)
		defer cancel()
		if err := h.Shutdown(sctx); err != nil {
			s.c.Log.Warn("calls of browsers did not end in time and are cut off", "timeout", s.c.StopTimeout)
			_ = h.Close() // What is left is gone with it.
		}
	})
	addr := lis.Addr()
	lis = netutil.LimitListener(lis, s.c.MaxConnections)
	var err error
	if s.c.TLS != nil {
		err = h.ServeTLS(lis, "", "")
	} else {
		err = h.Serve(lis)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serving browsers on %s: %w", addr, err)
	}
	<-stopped
	s.hangUp()
	return nil
}

// hangUp closes what is left inside.
func (s *Server) hangUp() {
	s.mu.Lock()
	left := s.lines
	s.lines = map[net.Conn]*line{}
	s.mu.Unlock()
	for _, l := range left {
		l.close()
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	s.bound(w, r)
	if err := s.origins.admit(w.Header(), r); err != nil {
		s.refuse(w, r, http.StatusForbidden, err)
		return
	}
	m, known := s.methods[r.URL.Path]
	if !known {
		s.refuse(w, r, http.StatusNotFound, unknown(r.URL.Path))
		return
	}
	if r.Method == http.MethodOptions {
		preflight(w.Header(), m)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if m.desc.IsStreamingClient() {
		s.refuse(w, r, 0, unimplemented("browsers cannot send streams; "+m.path+" needs gRPC"))
		return
	}
	if allowed := verbs(m); !strings.Contains(allowed, r.Method) {
		w.Header().Set("Allow", allowed)
		s.refuse(w, r, http.StatusMethodNotAllowed, unimplemented("want "+allowed))
		return
	}
	if m.desc.IsStreamingServer() {
		s.stream(w, r, m)
		return
	}
	s.unary(w, r, m)
}

// bound gives the body of a request its time, also one that is not looked at: before
// an answer goes out, net/http reads what is left of it, and without a deadline a
// sender who stops would never be answered.
func (s *Server) bound(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return // A deadline would end the stream of a GET, which has no body.
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.c.BodyTimeout)) // As far as the connection can.
	if r.Method != http.MethodPost {
		w.Header().Set("Connection", "close") // Nobody reads it, and nobody waits for it.
	}
}

// verbs returns with which HTTP methods m may be called. An EventSource can only GET; a
// call that may change something never goes by GET.
func verbs(m method) string {
	if m.desc.IsStreamingServer() && !m.desc.IsStreamingClient() {
		return "GET, POST"
	}
	return "POST"
}

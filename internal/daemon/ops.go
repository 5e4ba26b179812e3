package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyTimeout bounds one question whether the process is ready.
const readyTimeout = 2 * time.Second

// NewRegistry returns a registry with the metrics that every Go process has.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return r
}

// Ops is the listener for operators and their machines. All fields are required.
type Ops struct {
	// Metrics is what /metrics shows.
	Metrics prometheus.Gatherer
	// Ready says whether the process can do its work now: nil, or why not. It is
	// asked by each call of /readyz, with a deadline of two seconds.
	Ready func(ctx context.Context) error
	// Log is told what goes wrong while serving.
	Log *slog.Logger
}

// Serve answers on lis until ctx ends: /metrics, /healthz (the process lives),
// /readyz (it can work, else 503 with the reason) and, if only this machine
// reaches lis, /debug/pprof/. A profile may hold secrets out of the memory, so
// others never get one. lis is closed.
func (o Ops) Serve(ctx context.Context, lis net.Listener) error {
	s := &http.Server{
		Handler:           o.handler(loopback(lis.Addr().String())),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // A CPU profile takes 30 s by default.
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		err := s.Shutdown(sctx)
		if err != nil {
			err = s.Close() // A profile in progress is not waited for.
		}
		stopped <- err
	})
	err := s.Serve(lis)
	if !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serving metrics and health on %s: %w", lis.Addr(), err)
	}
	return <-stopped
}

func (o Ops) handler(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4, Timeout: 20 * time.Second,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := o.Ready(ctx); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	return mux
}

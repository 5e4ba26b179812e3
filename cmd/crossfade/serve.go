package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// serveFlags is what "serve" and "work" were told.
type serveFlags struct {
	config  string
	data    string
	workers int
	check   bool
}

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the service: API, broker and workers",
		Long: `Serve runs the gRPC API, workers, and, unless the configuration names an external
one, the broker with its files under the data directory.`,
		Example: "  crossfade serve\n  crossfade serve --config crossfade.yaml --workers 0",
		RunE:    func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), f, true) },
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration `FILE` (default: the defaults)")
	c.Flags().StringVar(&f.data, "data", "", "`DIR` of the embedded broker's files (default as configured)")
	c.Flags().IntVar(&f.workers, "workers", -1, "targets worked on at once in this process; 0: none (default as configured)")
	c.Flags().BoolVar(&f.check, "check", false, "only say whether the configuration is right")
	return c
}

func (a *app) workCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "work --config FILE",
		Short: "Run workers alone",
		Long: `Work plans tenants and rotates targets for a service that runs elsewhere. The
configuration names its broker in nats.url. Run as many as you like.`,
		Example: "  crossfade work --config worker.yaml",
		RunE:    func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), f, false) },
	}
	f.workers = -1
	c.Flags().StringVar(&f.config, "config", "", "configuration `FILE`")
	c.Flags().IntVar(&f.workers, "workers", -1, "targets worked on at once (default as configured)")
	c.Flags().BoolVar(&f.check, "check", false, "only say whether the configuration is right")
	_ = c.MarkFlagRequired("config") // The flag exists: it was made above.
	return c
}

// load reads the configuration and puts the flags over it.
func (f serveFlags) load(api bool) (daemon.Config, error) {
	c := daemon.Default()
	if f.config != "" {
		var err error
		if c, err = daemon.Load(f.config); err != nil {
			return c, usage("%w", err)
		}
	}
	if f.data != "" {
		c.Data = f.data
	}
	if f.workers > 0 {
		c.Workers.TaskSlots = f.workers
	}
	if err := c.Check(); err != nil {
		return c, usage("%w", err)
	}
	if !api && c.NATS.URL == "" {
		return c, usage("%s: nats.url is missing: workers alone need a broker that runs elsewhere", f.config)
	}
	if !api && f.workers == 0 {
		return c, usage("--workers 0: nothing would run")
	}
	return c, nil
}

// serve runs one process of the service until ctx ends.
func (a *app) serve(ctx context.Context, f serveFlags, api bool) (err error) {
	c, err := f.load(api)
	if err != nil {
		return err
	}
	nc, err := newNodeConfig(c, c.Log.Logger(a.errOut))
	if err != nil {
		return usage("%w", err)
	}
	if f.check {
		fmt.Fprintln(a.out, "the configuration is right")
		return nil
	}
	n, err := openNode(ctx, nc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	parts, err := n.parts(c, f, api)
	if err != nil {
		return err
	}
	n.warn(c, api)
	return all(ctx, parts...)
}

// parts returns what this process runs, with its ports already open.
func (n *node) parts(c daemon.Config, f serveFlags, api bool) ([]func(context.Context) error, error) {
	parts := []func(context.Context) error{n.mirror.Run, n.conduct}
	if f.workers != 0 {
		parts = append(parts, n.work)
	}
	olis, err := net.Listen("tcp", c.Listen.Ops)
	if err != nil {
		return nil, usage("listen.ops: %w; two processes on one machine need two addresses", err)
	}
	ops := daemon.Ops{Registry: n.c.registry, Ready: n.broker.Ready, Log: n.c.log}
	parts = append(parts, func(ctx context.Context) error { return ops.Serve(ctx, olis) })
	if api {
		lis, err := net.Listen("tcp", c.Listen.GRPC)
		if err != nil {
			return nil, usage("listen.grpc: %w", err)
		}
		n.c.log.Info("serving", "grpc", lis.Addr().String(), "tls", n.c.tls != nil, "broker", brokerText(c), "workers", f.workers != 0, "ops", olis.Addr().String())
		parts = append(parts, func(ctx context.Context) error { return n.api(ctx, lis) })
	} else {
		n.c.log.Info("working", "broker", brokerText(c), "task_slots", c.Workers.TaskSlots, "plan_slots", c.Workers.PlanSlots, "ops", olis.Addr().String())
	}
	return parts, nil
}

// warn says loudly what must not be so in production.
func (n *node) warn(c daemon.Config, api bool) {
	if api && n.c.tls == nil {
		n.c.log.Warn("the API speaks plaintext and asks nobody who they are: whoever reaches it can rotate everything", "grpc", c.Listen.GRPC)
	}
	if c.Clock != "" {
		n.c.log.Warn("running on a test clock: old certificates are removed by it", "clock", c.Clock)
	}
	if len(c.Network.Dial) > 0 {
		n.c.log.Warn("other people's host names are sent to addresses of our own", "hosts", len(c.Network.Dial))
	}
}

func brokerText(c daemon.Config) string {
	if c.NATS.URL == "" {
		return "embedded in " + c.Data
	}
	return "external, " + fmt.Sprint(1+strings.Count(c.NATS.URL, ",")) + " servers named"
}

// newNodeConfig makes a process's parts of its configuration file.
func newNodeConfig(c daemon.Config, log *slog.Logger) (nodeConfig, error) {
	n := nodeConfig{
		jet: jet.Config{
			URL: c.NATS.URL, Creds: c.NATS.Creds, CAFile: c.NATS.CA, CertFile: c.NATS.Cert, KeyFile: c.NATS.Key,
			Replicas: c.NATS.Replicas, Name: "crossfade", AckWait: c.Workers.AckWait,
			MaxStore: int64(c.NATS.MaxStore),
		},
		clock:     clock.System(),
		secrets:   secrets.Config{Dir: c.Secrets.Dir, EnvPrefix: c.Secrets.EnvPrefix},
		outbound:  outbound.Config{CAFile: c.Network.CAFile, Dial: c.Network.Dial},
		authority: c.Entra.Authority, discovery: !c.Entra.DisableInstanceDiscovery,
		hostRate: c.Workers.PerHostRate, hostBurst: c.Workers.PerHostBurst, planSlots: c.Workers.PlanSlots, taskSlots: c.Workers.TaskSlots,
		drivers: c.Drivers, reflection: c.Reflection, log: log, registry: prometheus.NewRegistry(),
	}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c.NATS.URL == "" {
		n.jet.Dir, n.jet.Listen, n.jet.LazySync = c.Data, c.NATS.Listen, c.NATS.LazySync
	}
	if c.Clock != "" {
		var err error
		if n.clock, err = clock.Follow(c.Clock); err != nil {
			return n, fmt.Errorf("clock: %w", err)
		}
	}
	if c.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return n, fmt.Errorf("tls: %w", err)
		}
		n.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	}
	return n, nil
}

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/services/edge"
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
func (a *app) serve(ctx context.Context, f serveFlags, api bool) error {
	c, err := f.load(api)
	if err != nil {
		return err
	}
	nc, err := newNodeConfig(c, daemon.NewLogger(c.Log, a.errOut))
	if err != nil {
		return usage("%w", err)
	}
	if f.check {
		fmt.Fprintln(a.out, "the configuration is right")
		return nil
	}
	ports, err := listen(c, api)
	if err != nil {
		return err
	}
	n, err := openNode(ctx, nc)
	if err != nil {
		ports.close()
		return err
	}
	nc.registry.MustRegister(daemon.NewTasks(n.standings), daemon.NewDrifts(n.standings), daemon.NewIncidents(n.incidents), daemon.NewDiscoveries(n.discoveries), daemon.NewQueues(n.broker.Gauges, n.mirror))
	for _, w := range c.Warnings() {
		nc.log.Warn(w)
	}
	g := n.group(f.workers != 0)
	g.Add("memory", c.Memory(nc.log).Run)
	ops := daemon.Ops{Metrics: nc.registry, Ready: n.broker.Ready, Log: nc.log}
	g.Add("ops", func(ctx context.Context) error { return ops.Serve(ctx, ports.ops) })
	if api {
		if !c.Identified() {
			nc.log.Warn("NOBODY IS ASKED WHO THEY ARE: whoever reaches the API on this machine can rotate everything, and is whom they say to be", "grpc", c.Listen.GRPC)
		}
		told := n.countWebhooks()
		g.Add("webhooks", func(ctx context.Context) error { return n.tell(ctx, told) })
		g.Add("api", func(ctx context.Context) error { return n.api(ctx, ports.grpc, ports.web) })
		nc.log.Info("serving", "grpc", ports.grpc.Addr().String(), "ops", ports.ops.Addr().String(), "tls", nc.tls != nil, "identified", c.Identified(), "embedded", c.Embedded(), "workers", f.workers != 0)
		if ports.web != nil {
			nc.log.Info("serving browsers", "web", ports.web.Addr().String(), "origins", nc.origins)
		}
	} else {
		nc.log.Info("working", "ops", ports.ops.Addr().String(), "task_slots", nc.taskSlots, "plan_slots", nc.planSlots)
	}
	return g.Run(ctx)
}

// standings is how the rotations stand, for the metrics.
func (n *node) standings() []daemon.Standing {
	views := n.mirror.Rotations()
	out := make([]daemon.Standing, len(views))
	for i, v := range views {
		out[i] = daemon.Standing{
			Kind: v.Rotation.Spec.Kind, State: v.Rotation.State, Counts: v.Counts,
			AtRisk:   !v.Rotation.AtRiskSince.IsZero() && !v.Rotation.State.Ended(),
			Held:     heldBy(v.Rotation),
			Checking: v.Rotation.Check.State == rollover.CheckRunning,
		}
	}
	return out
}

// heldBy says why a rotation is paused.
func heldBy(r rollover.Rotation) string {
	switch {
	case r.State != rollover.StatePaused:
		return ""
	case r.TenantHeld:
		return "tenant_tolerance"
	case r.Exceeded:
		return "tolerance"
	case r.Gate.Result == rollover.GateFail:
		return "gate_failed"
	case r.Gate.Result == rollover.GateInconclusive:
		return "gate_inconclusive"
	}
	return "person"
}

// discoveries is how the discoveries of endpoints stand, for the metrics.
func (n *node) discoveries() []daemon.Discovery {
	var out []daemon.Discovery
	for _, v := range n.mirror.Discoveries() {
		d := daemon.Discovery{State: v.Rotation.State}
		if d.State == rollover.StatePlanning {
			d.Left = v.Rotation.Tenants - n.mirror.Found(v.Rotation.ID)
		}
		out = append(out, d)
	}
	return out
}

// incidents is how the incidents stand, the latest first, for the metrics.
func (n *node) incidents() []daemon.Incident {
	var out []daemon.Incident
	for _, v := range n.mirror.Rotations() {
		if i := v.Rotation.Spec.Incident; i != nil {
			out = append(out, daemon.Incident{
				Compromised: i.Compromised, State: v.Rotation.State, Containment: v.Rotation.Containment(v.Counts, n.c.clock.Now()),
			})
		}
	}
	return out
}

// group is what every process runs; what is added to it is stopped before these.
func (n *node) group(workers bool) *daemon.Group {
	g := &daemon.Group{Log: n.c.log}
	g.OnStop("broker", n.close)
	g.Add("mirror", n.mirror.Run)
	g.Add("conductor", n.conduct)
	g.Add("audit", n.keepAudit)
	if workers {
		g.Add("workers", n.work)
	}
	return g
}

// ports are the open listeners of a process.
type ports struct{ grpc, web, ops net.Listener } // web: nil where browsers are not served

// listen opens them before anything else is started, so that a port that is
// taken is said at once.
func listen(c daemon.Config, api bool) (p ports, err error) {
	if p.ops, err = net.Listen("tcp", c.Listen.Ops); err != nil {
		return p, usage("listen.ops: %w; two processes on one machine need two addresses", err)
	}
	if !api {
		return p, nil
	}
	if p.grpc, err = net.Listen("tcp", c.Listen.GRPC); err != nil {
		p.close()
		return p, usage("listen.grpc: %w", err)
	}
	if c.Listen.Web == "" {
		return p, nil
	}
	if p.web, err = net.Listen("tcp", c.Listen.Web); err != nil {
		p.close()
		return p, usage("listen.web: %w", err)
	}
	return p, nil
}

func (p ports) close() {
	for _, l := range []net.Listener{p.grpc, p.web, p.ops} {
		if l != nil {
			_ = l.Close() // Nobody has connected yet.
		}
	}
}

// newNodeConfig makes a process's parts of its configuration file.
func newNodeConfig(c daemon.Config, log *slog.Logger) (n nodeConfig, err error) {
	n = nodeConfig{
		jet: c.Broker(), secrets: c.Resolver(), stores: c.Stores, outbound: c.Outbound(),
		authority: c.Entra.Authority, discovery: !c.Entra.DisableInstanceDiscovery, drivers: c.Drivers, gates: c.Gates, webhooks: c.Webhooks,
		hostRate: c.Workers.PerHostRate, hostBurst: c.Workers.PerHostBurst, planSlots: c.Workers.PlanSlots, taskSlots: c.Workers.TaskSlots,
		drift: c.Drift.Policy(), checkRate: c.Drift.MaxRate, retention: c.Retention.Policy(),
		origins: c.Web.List(), limits: c.Limits, reflection: c.Reflection, auditKey: secrets.Ref(c.Audit.Key), auditOld: c.Audit.Old(), auditOrigin: c.Audit.Origin, log: log, registry: daemon.NewRegistry(),
	}
	if len(c.Audit.Old()) > 0 {
		if _, err := audit.NewKeys(c.Audit.Origin, c.Audit.Old()...); err != nil {
			return n, fmt.Errorf("audit.old_keys: %w", err)
		}
	}
	n.traces, n.ratio = tracesOf(c), c.Traces.Ratio
	n.jet.Name = "crossfade"
	if c.Embedded() {
		n.jet.Local = jet.LocalSocket(c.Data)
	}
	if n.clock, err = c.OpenClock(); err != nil {
		return n, fmt.Errorf("clock: %w", err)
	}
	if n.tls, err = c.TLS.Server(time.Now, log); err != nil {
		return n, fmt.Errorf("tls: %w", err)
	}
	if n.approvals, err = c.Approvals.Policy(); err != nil {
		return n, err
	}
	if !c.Identified() {
		daemon.ObserveIdentity(n.registry, n.tls, nil)
	} else {
		table, err := rights.Open(c.Identity.Rights, time.Now, log)
		if err != nil {
			return n, fmt.Errorf("identity.rights: %w", err)
		}
		n.identity = identityOf(c, n.tls, table)
		daemon.ObserveIdentity(n.registry, n.tls, table.Problem)
	}
	return n, nil
}

// identityOf returns how the callers of the API prove who they are, and what ends what
// is asked about them.
func identityOf(c daemon.Config, listener *daemon.ServerTLS, table *rights.File) func(*http.Client) (*edge.Identity, func(), error) {
	return func(client *http.Client) (*edge.Identity, func(), error) {
		v, err := c.Verifier(client)
		if err != nil {
			return nil, nil, err
		}
		id, stop := &edge.Identity{Rights: table.Table, Now: time.Now}, func() {}
		if v != nil {
			id.Tokens, stop = v, v.Close
		}
		if listener != nil {
			id.Revoked = listener
		}
		return id, stop, nil
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/drivers"
	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/gates"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/spans"
	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/webhooks"
	"github.com/crossfade-project/crossfade/services/bridge"
	"github.com/crossfade-project/crossfade/services/certificate"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/inventory"
	"github.com/crossfade-project/crossfade/services/rotation"
	targetsets "github.com/crossfade-project/crossfade/services/targetset"
	"github.com/crossfade-project/crossfade/workers/checker"
	"github.com/crossfade-project/crossfade/workers/conductor"
	"github.com/crossfade-project/crossfade/workers/planner"
	"github.com/crossfade-project/crossfade/workers/rotator"
)

// nodeConfig is what one process of the service is made of.
type nodeConfig struct {
	jet       jet.Config // Certificate and Log are filled in
	clock     *clock.Clock
	secrets   secrets.Config
	traces    func(*secrets.Resolver) (sdktrace.SpanExporter, error) // nil: no spans
	ratio     float64                                                // of calls that only read
	stores    func(*http.Client) (map[string]secrets.Store, error)   // of secrets; nil: none
	outbound  outbound.Config
	authority string // Entra; empty: by the organisation's cloud
	// discovery says whether the log-in asks Microsoft which authorities there
	// are. An emulator's is not among them.
	discovery bool

	gates    map[string][]byte // the checks that gates may name
	webhooks map[string][]byte // who is told how rotations stand
	drivers  map[string][]byte // each one's part of the configuration file, by kind

	hostRate             float64 // calls a second to one host
	hostBurst            int
	planSlots, taskSlots int
	drift                rollover.DriftPolicy // of rotations that say nothing of it
	retention            rollover.Retention   // of rotations that have ended
	checkRate            float64              // targets a second that checks read; 0: the default

	limits     daemon.Limits // of one caller
	reflection bool
	tls        *daemon.ServerTLS // nil: plaintext
	origins    []string          // of pages that may call by HTTP
	approvals  rollover.ApprovalPolicy
	auditKey   secrets.Ref // signs the audit log; "": the one in the embedded store's folder
	auditOld   []string    // what verifies its keys of before, the oldest first
	// auditOrigin is the first line of its checkpoints; "": the default.
	auditOrigin string
	identity    func(*http.Client) (id *edge.Identity, stop func(), err error)
	log         *slog.Logger
	registry    *prometheus.Registry
}

// node is one process of the service: a broker, what is read through it, and
// whatever of API, workers and conductor is run on it.
type node struct {
	c         nodeConfig
	broker    *jet.Broker
	inventory *tenants.Inventory
	certs     *certs.Store
	blocks    *certs.Blocks
	sets      *targetset.Store
	requests  *jet.Bucket
	mirror    *mirror.Mirror
	secrets   *secrets.Resolver
	http      *http.Client
	drivers   *drivers.Set
	gates     *gates.Set
	hooks     []webhooks.Hook
	told      *jet.Bucket // to webhooks
	jobs      *jet.Bucket // of the inventory
	jobErrors *jet.Bucket // of their rows
	pages     *jet.Bucket // the key of page tokens
	audit     *audit.Log
	metrics   *daemon.Metrics
	provider  trace.TracerProvider // of spans; nil: none are made
	tracer    *spans.Tracer        // as well
	flush     func(context.Context) error
}

// openNode connects, or starts the embedded broker, and opens everything that
// stands on it.
func openNode(ctx context.Context, c nodeConfig) (_ *node, err error) {
	n := &node{c: c, metrics: daemon.NewMetrics(c.registry)}
	if n.http, err = outbound.New(c.outbound); err != nil {
		return nil, fmt.Errorf("making the HTTP client: %w", err)
	}
	c.secrets.Looked = n.metrics.SecretLooked
	c.secrets.Turned = func(store string, err error) {
		if err != nil {
			c.log.Warn("a store of secrets is away; what needs a secret of it waits", "store", store, "err", err)
			return
		}
		c.log.Info("a store of secrets answers again", "store", store)
	}
	if c.stores != nil {
		if c.secrets.Stores, err = c.stores(n.http); err != nil {
			return nil, err
		}
	}
	n.secrets = secrets.New(c.secrets)
	if err := n.openTraces(); err != nil {
		return nil, err
	}
	if n.gates, err = gates.Open(gates.Config{
		Checks: c.gates, HTTP: n.http, Secrets: n.secrets,
		Answered: func(check string, r rollover.GateResult) { n.metrics.Checked(check, string(r)) },
	}); err != nil {
		return nil, fmt.Errorf("opening the gates: %w", err)
	}
	if n.hooks, err = webhooks.Parse(c.webhooks); err != nil {
		return nil, fmt.Errorf("opening the webhooks: %w", err)
	}
	jc := c.jet
	jc.Log = c.log
	jc.Certificate = func(ctx context.Context, sha string) (rollover.Credential, error) {
		cert, err := n.certs.Certificate(ctx, sha)
		return cert.Credential, err
	}
	if n.broker, err = jet.Open(ctx, jc); err != nil {
		return nil, fmt.Errorf("opening the broker: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.broker.Close(context.WithoutCancel(ctx)))
		}
	}()
	buckets := map[string]*jet.Bucket{}
	for _, name := range jet.BucketNames() {
		if buckets[name], err = n.broker.Bucket(name); err != nil {
			return nil, fmt.Errorf("opening bucket %s: %w", name, err)
		}
	}
	n.inventory = tenants.New(buckets["tenants"], buckets["endpoints"])
	n.certs, n.requests = certs.NewStore(buckets["certificates"]), buckets["requests"]
	n.blocks = certs.NewBlocks(buckets["blocks"], time.Now)
	n.sets = targetset.NewStore(buckets["targetsets"], buckets["targetrows"])
	n.told, n.jobs, n.jobErrors, n.pages = buckets["webhooks"], buckets["jobs"], buckets["joberrors"], buckets["pages"]
	n.audit = audit.NewLog(n.broker, c.clock.Now, n.metrics.Told)
	n.mirror = mirror.New(n.broker, c.log)
	guard := kit.NewGuard(c.clock.Now)
	n.drivers, err = drivers.Open(c.drivers, kit.Kit{
		HTTP: n.http, Now: c.clock.Now, Log: c.log, Access: n.access, Renew: n.renew,
		Pace: guard.Pace(kit.NewPacer(c.hostRate, c.hostBurst).Wait),
		Observe: func(host, op string, status int, took time.Duration) {
			guard.Observe(host, status)
			n.metrics.Call(host, op, status, took)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("opening the drivers: %w", err)
	}
	return n, nil
}

// access finds the management account of a host, and its secret.
func (n *node) access(ctx context.Context, tenant, host string) (kit.Access, error) {
	account, ref, err := n.inventory.Access(ctx, tenant, host)
	if errors.Is(err, rollover.ErrNotFound) {
		return kit.Access{}, fmt.Errorf("%w: %w", kit.ErrNoAccess, err)
	}
	if err != nil {
		return kit.Access{}, err
	}
	s, err := n.secrets.Secret(ctx, ref)
	if errors.Is(err, secrets.ErrMissing) || errors.Is(err, secrets.ErrForbidden) || errors.Is(err, secrets.ErrRef) {
		return kit.Access{}, fmt.Errorf("%w: %w", kit.ErrNoAccess, err)
	}
	return kit.Access{Account: account, Secret: s}, awaited(err)
}

// awaited lets a step wait for a store of secrets that is away, without using up a try.
func awaited(err error) error {
	if errors.Is(err, secrets.ErrAway) {
		return rollover.StoreAway(err)
	}
	return err
}

// renew looks past what is remembered for a secret that a host refused, and reports
// whether there is another one now.
func (n *node) renew(ctx context.Context, tenant, host string, refused secrets.Secret) (kit.Access, bool, error) {
	account, ref, err := n.inventory.Access(ctx, tenant, host)
	if err != nil {
		return kit.Access{}, false, err
	}
	s, other, err := n.secrets.Anew(ctx, ref, refused)
	return kit.Access{Account: account, Secret: s}, other, awaited(err)
}

// rotates returns the id of a rotation that has not ended and is for a tenant, or "".
func (n *node) rotates(ctx context.Context, tenant string) (string, error) {
	select {
	case <-n.mirror.Ready():
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	for _, v := range n.mirror.Rotations() {
		if v.Rotation.State.Ended() {
			continue
		}
		ids, err := n.broker.SelectedTenants(ctx, v.Rotation.ID)
		if err != nil {
			return "", fmt.Errorf("reading the selection of rotation %s: %w", v.Rotation.ID, err)
		}
		if slices.Contains(ids, tenant) {
			return v.Rotation.ID, nil
		}
	}
	return "", nil
}

// api serves gRPC on lis, and browsers on web where there is one, until ctx ends.
func (n *node) api(ctx context.Context, lis, web net.Listener) error {
	c := edge.Config{Audit: n.audit, Traces: n.provider, Log: n.c.log, Metrics: n.c.registry, Reflection: n.c.reflection, Health: n.broker.Ready}
	c.Pages = edge.NewPageKey(n.pages)
	c.Quota = edge.Quota{CallsPerSecond: n.c.limits.CallsPerSecond, Watches: n.c.limits.Watches, Uploads: n.c.limits.Uploads}
	if n.c.tls != nil {
		c.TLS = n.c.tls.Config()
	}
	if n.c.identity != nil {
		var err error
		var stop func()
		if c.Identity, stop, err = n.c.identity(n.http); err != nil {
			return err
		}
		defer stop()
	}
	s := edge.NewServer(c)
	rc := rotation.Config{
		Store: n.broker, Mirror: n.mirror, Requests: n.requests, Certificates: n.certs, Tenants: n.inventory,
		Blocks: n.blocks, TargetSets: n.sets, Kinds: n.drivers.Kinds(), Now: n.c.clock.Now, Log: n.c.log, Drift: n.c.drift, Checks: n.gates.Names(),
		Approvals: n.c.approvals, LiveRotations: n.c.limits.Rotations,
	}
	if c.Identity != nil {
		rc.Rights = c.Identity.Rights
	}
	rotation.New(rc).Register(s)
	inventory.New(inventory.Config{
		Inventory: n.inventory, Jobs: n.jobs, JobErrors: n.jobErrors, InUse: n.rotates, Now: n.c.clock.Now, Log: n.c.log,
		Discovery: inventory.Discovery{Store: n.broker, Mirror: n.mirror, Kind: acsx509.Kind},
	}).Register(s)
	certificate.New(certificate.Config{
		Store: n.certs, Blocks: n.blocks, Requests: n.requests, Now: n.c.clock.Now,
	}).Register(s)
	targetsets.New(targetsets.Config{
		Store: n.sets, Tenants: n.inventory, Mirror: n.mirror, Requests: n.requests, Now: n.c.clock.Now,
	}).Register(s)
	if web == nil {
		return s.Serve(ctx, lis)
	}
	bc := bridge.Config{Dial: s.Dial, Log: n.c.log, Origins: n.c.origins}
	if n.c.tls != nil {
		bc.TLS = n.c.tls.WebConfig()
	}
	b, err := bridge.New(bc)
	if err != nil {
		return err
	}
	// Told to stop together: the first ends watches, and the second lets their end out.
	return all(ctx,
		func(ctx context.Context) error { return s.Serve(ctx, lis) },
		func(ctx context.Context) error { return b.Serve(ctx, web) },
	)
}

// work plans tenants and rotates tasks until ctx ends.
func (n *node) work(ctx context.Context) error {
	orgs, err := dataverse.New(dataverse.Config{
		// Entra and Dataverse count in the machine's time, as do their pauses.
		HTTP: n.http, Now: time.Now, Authority: n.c.authority, DisableInstanceDiscovery: !n.c.discovery, Log: n.c.log,
	})
	if err != nil {
		return fmt.Errorf("making the Dataverse client: %w", err)
	}
	p, err := planner.New(planner.Config{
		Store: n.broker, Tenants: n.inventory, Secrets: n.secrets, Organisations: orgs, Driver: n.drivers.Driver,
		Drifts: n.broker, Sets: n.sets, Census: n.inventory, Now: n.c.clock.Now, Log: n.c.log, Jitter: rand.Float64, Tracer: n.tracer, Tried: n.metrics.Planned,
	})
	if err != nil {
		return err
	}
	k, err := checker.New(checker.Config{
		Store: n.broker, Driver: n.drivers.Driver, Now: n.c.clock.Now, Log: n.c.log, Rate: n.c.checkRate, Tracer: n.tracer,
	})
	if err != nil {
		return err
	}
	told := &rotator.Teller{Tasks: n.broker, To: n.audit}
	r := rotator.New(rotator.Config{
		Queue: n.broker, Slots: n.c.taskSlots, Log: n.c.log, Waited: n.metrics.Waited, TakenOver: n.metrics.TakenOver, Tracer: n.tracer,
		Engine: rollover.NewEngine(rollover.Config{
			Store: told, Driver: n.drivers.Driver, Now: n.c.clock.Now, Jitter: rand.Float64,
			Begin: n.beginStep,
			Done: func(k rollover.Task, s rollover.Step, took time.Duration, err error) {
				told.Tried(k, s, took, err)
				n.metrics.Step(k, s, took, err)
			},
			Blocks: n.blocks, Archive: n.certs.Vault(),
		}),
	})
	return all(ctx,
		func(ctx context.Context) error { return p.Run(ctx, n.broker, n.c.planSlots) },
		r.Run,
		func(ctx context.Context) error { return k.Run(ctx, n.broker, checkSlots) },
	)
}

// checkSlots is how many parts of checks for drift one process has in hand at
// once. Their pace is drift.max_rate.
const checkSlots = 4

// leaseTime is how long a conductor that died is waited for.
const leaseTime = 5 * time.Second

// conduct leads rotations whenever this process is elected.
func (n *node) conduct(ctx context.Context) error {
	owner := leader()
	return conductor.New(conductor.Config{
		Store: conductor.Telling(n.broker, n.audit), Mirror: n.mirror, Queue: n.broker, Checks: n.broker, Gates: n.gates, Now: n.c.clock.Now, Log: n.c.log,
		Retention: n.c.retention, Deleted: n.metrics.Deleted,
		Status:   func(s conductor.Status) { n.metrics.Conducting(daemon.Conducting(s)) },
		Repeated: n.metrics.Repeated,
		Elect: func(ctx context.Context, lead func(context.Context)) error {
			return n.broker.Elect(ctx, "conductor", owner, leaseTime, lead)
		},
	}).Run(ctx)
}

// close ends what stands on the broker, and the broker.
func (n *node) close(ctx context.Context) error {
	n.http.CloseIdleConnections()
	err := n.broker.Close(ctx)
	if n.flush != nil {
		fctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		if ferr := n.flush(fctx); ferr != nil {
			n.c.log.WarnContext(ctx, "the last traces were not sent", "err", ferr)
		}
	}
	return err
}

// all runs every f until ctx ends or one of them fails, waits for all, and
// returns the first failure. An end that ctx asked for is none.
func all(ctx context.Context, fs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(fs))
	for _, f := range fs {
		go func() { errs <- f(ctx) }()
	}
	var first error
	for range fs {
		err := <-errs
		if err != nil && first == nil && ctx.Err() == nil {
			first = err
		}
		cancel() // One that ends takes the others along: the process is whole or gone.
	}
	return first
}

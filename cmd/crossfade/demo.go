package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/secrets"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// demoFlags is what "crossfade demo" was told.
type demoFlags struct {
	tenants     int
	seed        int64
	faults      string
	certificate string
	skip        bool
	plain       bool
	secure      bool
	alter       bool
	dir         string
}

// The calendar of KB 3200643: the demo begins on the eve of the deadline, and
// Microsoft switches to the new certificate three days after it.
var (
	demoBegin  = time.Date(2016, 10, 31, 18, 0, 0, 0, time.UTC)
	demoSwitch = time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
)

// demoRate is how much faster than real time the demo's clock runs: a minute a
// second. What it skips, it skips between two rounds of the sender.
const demoRate = 60

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Rotate a whole emulated fleet, in this process, in a minute",
		Long: `Demo starts emulated Access Control namespaces, CRM organisations and an Entra
directory, a sender that signs in to every endpoint all the time with CRM's
private key, and the whole service. It rotates every tenant to the new
certificate, waits out the overlap on a clock that runs fast, and removes the
old one. The sender must never be refused where the rotation succeeded.

With --skip-rotation nothing is rotated, and the sender is refused after the
switch, as customers were: that is what the rotation is for.`,
		Example: "  crossfade demo\n  crossfade demo --tenants 2000 --faults rough\n  crossfade demo --skip-rotation",
		RunE:    func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), f) },
	}
	fl := c.Flags()
	fl.IntVar(&f.tenants, "tenants", 200, "how many tenants there are")
	fl.Int64Var(&f.seed, "seed", 1, "decides names, mix and faults; the same seed gives the same fleet")
	fl.StringVar(&f.faults, "faults", "none", "\"none\", or \"rough\": throttling, errors, cut connections, work done but answered as an error")
	fl.StringVar(&f.certificate, "certificate", "", "roll out this certificate `FILE` instead; its key is not here, so the sender\nstays with the old one and nothing is removed")
	fl.BoolVar(&f.skip, "skip-rotation", false, "rotate nothing: the control, which must fail")
	fl.BoolVar(&f.plain, "plain", false, "plain lines on a terminal too")
	fl.BoolVar(&f.secure, "secure", false, "with TLS, client certificates, tokens, rights, a second person, webhooks, pages and the audit log\nverified, and with all that must be refused tried")
	fl.BoolVar(&f.alter, "alter-audit", false, "with --secure: alter one record of the exported audit log in the end, which must be found")
	fl.StringVar(&f.dir, "dir", "", "`DIR` for the report and all files (default a new temporary one)")
	return c
}

// demo runs the demo in a directory of its own.
func (a *app) demo(ctx context.Context, f demoFlags) error {
	if f.faults != "none" && f.faults != "rough" {
		return usage("--faults %q: want none or rough", f.faults)
	}
	if f.tenants < 1 || f.tenants > emulator.MaxTenants {
		return usage("--tenants %d: want 1 to %d", f.tenants, emulator.MaxTenants)
	}
	if f.alter && !f.secure {
		return usage("--alter-audit: only with --secure")
	}
	if f.dir == "" {
		dir, err := os.MkdirTemp("", "crossfade-demo-")
		if err != nil {
			return fmt.Errorf("making a directory: %w", err)
		}
		f.dir = dir
	}
	d := &demo{app: a, f: f, clock: clock.New(demoBegin, demoRate), begun: time.Now()}
	return d.run(ctx)
}

// demo is a running demo.
type demo struct {
	*app
	f      demoFlags
	clock  *clock.Clock
	cloud  *emulator.Cloud
	sender *demoSender
	begun  time.Time // real time
	report *report
	secure *secureDemo // nil: callers prove nothing
}

// run starts everything, lets the story happen, and stops everything.
func (d *demo) run(ctx context.Context) (err error) {
	log, closeLog, err := d.log()
	if err != nil {
		return err
	}
	defer closeLog()
	d.say("starting an emulated cloud with %d tenants …", d.f.tenants)
	d.cloud, err = emulator.Start(emulator.Config{
		Now: d.clock.Now, Seed: d.f.seed, Tenants: d.f.tenants, Faults: d.f.faults, SwitchAt: demoSwitch, Log: log,
	})
	if err != nil {
		return fmt.Errorf("starting the emulator: %w", err)
	}
	defer func() { err = errors.Join(err, d.cloud.Close(context.WithoutCancel(ctx))) }()
	if err := d.cloud.WriteDir(d.path("emulated")); err != nil {
		return err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer func() { _ = lis.Close() }() // The server has closed it, if there was one.
	d.address, d.caFile, d.proof = lis.Addr().String(), "", proof{}
	nc := d.nodeConfig(log)
	var web net.Listener // for pages; nil: there are none
	if d.f.secure {
		d.secure, err = d.secureAt(ctx, d.address)
		defer d.secure.close()
		if err != nil {
			return err
		}
		web = d.secure.web
		if nc, err = d.secure.nodeConfig(log); err != nil {
			return err
		}
	}
	n, err := openNode(ctx, nc)
	if err != nil {
		return err
	}
	if d.sender, err = d.newSender(); err != nil {
		return errors.Join(err, n.close(ctx))
	}
	g := n.group(true)
	g.Add("api", func(ctx context.Context) error { return n.api(ctx, lis, web) })
	if d.secure != nil {
		told := n.countWebhooks()
		g.Add("webhooks", func(ctx context.Context) error { return n.tell(ctx, told) })
	}
	g.Add("sender", d.sender.run)
	gctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- g.Run(gctx)
		stop() // Whatever ended the service ends the story.
	}()
	err = d.story(gctx)
	stop()
	if serr := <-ended; err == nil || serr != nil && ctx.Err() == nil {
		err = errors.Join(serr, err)
	}
	if d.secure != nil {
		err = errors.Join(err, prometheus.WriteToTextfile(d.path("metrics.txt"), nc.registry))
	}
	if err != nil {
		return err
	}
	if d.secure == nil {
		return d.conclude()
	}
	if d.json { // Its last line is the summary.
		return errors.Join(d.secure.audited(ctx), d.conclude())
	}
	return errors.Join(d.conclude(), d.secure.audited(ctx))
}

// by returns the command line in somebody's hands; all are one where nobody proves who
// they are.
func (d *demo) by(name string) *app {
	if d.secure == nil {
		return d.app
	}
	return d.secure.by(name)
}

func (d *demo) path(name string) string { return filepath.Join(d.f.dir, name) }

// say tells a person what happens; a program that asked for JSON is not told.
func (d *demo) say(format string, args ...any) {
	if !d.json {
		fmt.Fprintf(d.out, format+"\n", args...)
	}
}

// log opens the service's log beside the report.
func (d *demo) log() (*slog.Logger, func(), error) {
	if err := os.MkdirAll(d.f.dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("making the demo's directory: %w", err)
	}
	f, err := os.OpenFile(d.path("service.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the log: %w", err)
	}
	return slog.New(daemon.Traced(slog.NewJSONHandler(f, nil))), func() { _ = f.Close() }, nil
}

// nodeConfig is the embedded defaults, pointed at the emulated cloud.
func (d *demo) nodeConfig(log *slog.Logger) nodeConfig {
	return nodeConfig{
		jet:       jet.Config{Dir: d.path("data"), Name: "crossfade demo"},
		clock:     d.clock,
		secrets:   secrets.Config{Dir: d.path("emulated/secrets")},
		outbound:  outbound.Config{CAPEM: d.cloud.CAPEM(), Dial: d.cloud.Dial()},
		hostRate:  10,
		hostBurst: 10,
		planSlots: 16, taskSlots: 32,
		log: log, registry: prometheus.NewRegistry(),
	}
}

// story is what the demo shows: import, plan, start, watch, switch, retire.
func (d *demo) story(ctx context.Context) error {
	ts, err := d.readTenants(d.path("emulated/tenants.yaml"), "")
	if err != nil {
		return err
	}
	err = d.by(demoAdmin).with(func(cl *client) error { return d.importTenants(ctx, cl, ts, importFlags{}) })
	if err != nil {
		return err
	}
	if d.secure != nil {
		if err := d.secure.tryStrangers(ctx); err != nil {
			return err
		}
	}
	if err := d.sender.round(ctx); err != nil {
		return err
	}
	d.say("it is %s; the sender has signed in to all %d of its endpoints once", d.clock.Now().Format(time.RFC3339), d.sender.endpoints)
	if d.f.skip {
		d.say("nothing is rotated; the clock goes on to the switch at %s …", demoSwitch.Format(time.RFC3339))
		d.sender.skipTo(demoSwitch.Add(time.Hour))
		return d.sender.waitFor(ctx, demoSwitch.Add(time.Hour), 1)
	}
	return d.by(demoPortal).with(func(cl *client) error { return d.rotateAll(ctx, cl) })
}

// rotateAll plans and runs the rotation, while the sender signs in.
func (d *demo) rotateAll(ctx context.Context, cl *client) error {
	f := rotateFlags{certificate: d.path("emulated/new.cer"), maxInFlight: 256, reason: "KB 3200643"}
	if d.f.certificate != "" {
		f.certificate = d.f.certificate
	} else {
		f.replaces, f.retireNotBefore = []string{"same-subject"}, demoSwitch.Format(time.RFC3339)
	}
	spec, err := d.spec(ctx, cl, f)
	if err != nil {
		return err
	}
	cctx, cancel := bounded(ctx)
	defer cancel()
	created, err := cl.rotations.CreateRotation(cctx, &crossfadev1.CreateRotationRequest{
		Rotation: &crossfadev1.Rotation{DisplayName: "demo", Spec: spec},
	})
	if err != nil {
		return err
	}
	r, err := d.planned(ctx, cl, created.GetRotation())
	if err != nil {
		return err
	}
	if !d.json {
		if err := d.showPlan(ctx, cl, r); err != nil {
			return err
		}
	}
	if d.secure != nil {
		if err := d.secure.approve(ctx, cl, r); err != nil {
			return err
		}
	}
	sctx, cancel := bounded(ctx)
	defer cancel()
	if _, err := cl.rotations.StartRotation(sctx, &crossfadev1.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()}); err != nil {
		return err
	}
	watch := watching{name: r.GetName(), until: func(r *crossfadev1.Rotation) bool {
		if r.GetPhase() == crossfadev1.Rotation_PHASE_OVERLAP {
			// Nothing happens now until the switch: the clock may skip it.
			d.sender.skipTo(demoSwitch.Add(10 * time.Minute))
		}
		return ended(r)
	}}
	if _, err := cl.follow(ctx, watch, d.newView(d.f.plain)); err != nil {
		return err
	}
	if d.secure != nil {
		if err := d.secure.around(ctx, r.GetName()); err != nil {
			return err
		}
	}
	d.sender.skipTo(demoSwitch.Add(time.Hour))
	if err := d.sender.waitFor(ctx, demoSwitch.Add(time.Hour), 1); err != nil {
		return err
	}
	if d.report, err = cl.report(ctx, r.GetName()); err != nil {
		return err
	}
	return (&app{out: discard{}, errOut: d.errOut}).saveReport(d.report, d.path("report"))
}

// discard takes what nobody needs to read.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

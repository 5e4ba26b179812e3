package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/crossfade-project/crossfade/internal/bench"
	"github.com/crossfade-project/crossfade/internal/drivers"
	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// acsLatency is how long the emulated ACS takes for a call: the goals' number.
const acsLatency = 20 * time.Millisecond

// until watches a rotation, without its tasks, until reached says so, and
// returns it as it then was.
func (f *benchFleet) until(ctx context.Context, name string, reached func(*crossfadev1.Rotation) bool) (*crossfadev1.Rotation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.cl.rotations.WatchRotation(ctx, &crossfadev1.WatchRotationRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("watching: %w", err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("watching: %w", err)
		}
		r := m.GetRotation()
		if s := m.GetSnapshot(); s != nil {
			r = s.GetRotation()
		}
		if r != nil && reached(r) {
			return r, nil
		}
	}
}

// plan makes a rotation over all tenants and waits for its plan, which must have
// so many tasks.
func (f *benchFleet) plan(ctx context.Context, tasks int) (*crossfadev1.Rotation, error) {
	return f.planFor(ctx, tasks, &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_AllTenants{AllTenants: true}}, crossfadev1.Lane_LANE_BULK)
}

// planFor does the same over some tenants, in a lane.
func (f *benchFleet) planFor(ctx context.Context, tasks int, whom *crossfadev1.TargetSelector, lane crossfadev1.Lane) (*crossfadev1.Rotation, error) {
	cctx, cancel := bounded(ctx)
	defer cancel()
	created, err := f.cl.rotations.CreateRotation(cctx, &crossfadev1.CreateRotationRequest{Rotation: &crossfadev1.Rotation{
		DisplayName: "bench",
		Spec: &crossfadev1.RotationSpec{
			Kind: acsx509.Kind, Certificate: f.cert, MaxInFlight: 2048, Reason: "measuring", Lane: lane,
			// All at once and whatever fails: the system is measured, not its caution.
			Strategy: &crossfadev1.Strategy{Start: crossfadev1.Strategy_START_FULL},
			Tolerance: &crossfadev1.Tolerance{
				Limit: &crossfadev1.Tolerance_Percent{Percent: 100}, Mode: crossfadev1.Tolerance_MODE_SOFT,
			},
			Target: whom,
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("creating the rotation: %w", err)
	}
	r, err := f.until(ctx, created.GetRotation().GetName(), func(r *crossfadev1.Rotation) bool {
		return r.GetState() != crossfadev1.Rotation_STATE_PLANNING
	})
	if err != nil {
		return nil, err
	}
	if got := r.GetCounts().GetPlanned(); got != int64(tasks) || r.GetCounts().GetTotal() != got {
		return nil, fmt.Errorf("the plan has %d tasks to do of %d, want %d", got, r.GetCounts().GetTotal(), tasks)
	}
	return r, nil
}

// start starts a planned rotation.
func (f *benchFleet) start(ctx context.Context, r *crossfadev1.Rotation) error {
	cctx, cancel := bounded(ctx)
	defer cancel()
	_, err := f.cl.rotations.StartRotation(cctx, &crossfadev1.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
	return err
}

// finish waits for the end of a rotation and checks that nothing was lost and
// nothing done twice: every task succeeded, and each target holds the new
// certificate once and the old one beside it.
func (f *benchFleet) finish(ctx context.Context, name string) error {
	r, err := f.until(ctx, name, ended)
	if err != nil {
		return err
	}
	c := r.GetCounts()
	if c.GetSucceeded() != c.GetTotal() {
		return fmt.Errorf("of %d tasks %d succeeded, %d failed, %d are in conflict", c.GetTotal(), c.GetSucceeded(), c.GetFailed(), c.GetConflict())
	}
	return f.judge()
}

// judge looks at what stands on the targets.
func (f *benchFleet) judge() error {
	w := f.cloud.World()
	for _, x := range w.Expected() {
		n := 0
		keys := f.cloud.ACS().Identity(x.Host, x.Identity)
		for _, k := range keys {
			if string(k.Value) == string(w.New.DER) {
				n++
			}
		}
		if n != 1 || len(keys) != 2 {
			return fmt.Errorf("%s holds the new certificate %d times among %d keys, want once among 2", x.Host, n, len(keys))
		}
	}
	return nil
}

// rotate measures stage and verify with latency, and what they take.
func (m *measuring) rotate(ctx context.Context) (err error) {
	n := m.sizes.targets
	f, err := m.newFleet(ctx, n/endpointsPerTenant, acsLatency, m.f.slots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	r, err := f.plan(ctx, n)
	if err != nil {
		return err
	}
	calls := f.cloud.ACS().Counters().Calls
	foretold := f.foretold(ctx, r.GetName(), n)
	took, err := m.timed(ctx, f, r, "rotate")
	if err != nil {
		return err
	}
	off, foreseen, err := f.forecastError(ctx, r.GetName(), foretold)
	if err != nil {
		return err
	}
	mem, err := f.memory()
	if err != nil {
		return err
	}
	disk, err := bench.DiskUse(filepath.Join(f.dir, "data"))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("stage+verify, 20 ms, %d targets", n)
	m.note(what, "targets/s", float64(n)/took.Seconds(), goal{value: 333})
	m.note(what+": time", "s", took.Seconds(), goal{value: 300 * float64(n) / 100_000, atMost: true})
	if foreseen {
		m.note(what+": forecast at 20 %, off by", "% of the time", off, goal{value: 20, atMost: true})
	}
	m.note(what+": memory at most", "MiB", float64(mem.Peak)/(1<<20), goal{value: 512, atMost: true})
	m.note(what+": memory at the end", "MiB", float64(mem.Resident)/(1<<20), goal{value: 512, atMost: true})
	m.note(what+": NATS disk", "B/target", float64(disk)/float64(n), goal{})
	m.note(what+": ACS calls", "calls/target", float64(f.cloud.ACS().Counters().Calls-calls)/float64(n), goal{value: 4, atMost: true})
	return nil
}

// timed runs a planned rotation to its end, and saves profiles if asked to.
func (m *measuring) timed(ctx context.Context, f *benchFleet, r *crossfadev1.Rotation, section string) (time.Duration, error) {
	profiled := make(chan error, 1)
	if m.f.profiles == "" {
		profiled <- nil
	} else {
		go func() { profiled <- f.collect(ctx, m.f.profiles, section+".cpu.pprof", "profile?seconds=10") }()
	}
	begun := time.Now()
	if err := f.start(ctx, r); err != nil {
		return 0, errors.Join(err, <-profiled)
	}
	err := f.finish(ctx, r.GetName())
	took := time.Since(begun)
	if err = errors.Join(err, <-profiled); err != nil || m.f.profiles == "" {
		return took, err
	}
	return took, errors.Join(
		f.collect(ctx, m.f.profiles, section+".allocs.pprof", "allocs"), f.collect(ctx, m.f.profiles, section+".heap.pprof", "heap?gc=1"))
}

// bare measures the whole system without latency, and the bare loop after it.
func (m *measuring) bare(ctx context.Context) error {
	n := m.sizes.compared
	ours, calls, spent, err := m.wholeSystem(ctx, n)
	if err != nil {
		return err
	}
	theirs, bareCalls, bareSpent, err := m.bareLoop(ctx, n)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("stage+verify, no latency, %d targets", n)
	m.note(what, "targets/s", ours, goal{})
	m.note(what+": bare loop", "targets/s", theirs, goal{})
	m.note(what+": ours / bare", "ratio", ours/theirs, goal{value: 0.7})
	m.note(what+": ACS calls", "calls/target", calls, goal{value: 4, atMost: true})
	m.note(what+": ACS calls of the bare loop", "calls/target", bareCalls, goal{})
	service, fleet := spent.each(n)
	_, both := bareSpent.each(n)
	m.note(what+": processor time of the service", "ms/target", service, goal{})
	m.note(what+": processor time of the fleet", "ms/target", fleet, goal{})
	m.note(what+": processor time of bare loop and fleet", "ms/target", both, goal{})
	m.note(what+": bare / ours by processor time", "ratio", both/(service+fleet), goal{})
	return nil
}

// wholeSystem returns targets a second, calls a target, and what it took of the
// processors.
func (m *measuring) wholeSystem(ctx context.Context, n int) (rate, calls float64, spent processors, err error) {
	f, err := m.newFleet(ctx, n/endpointsPerTenant, 0, m.f.slots)
	if err != nil {
		return 0, 0, spent, err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	r, err := f.plan(ctx, n)
	if err != nil {
		return 0, 0, spent, err
	}
	count := f.cloud.ACS().Counters().Calls
	before, err := f.processors()
	if err != nil {
		return 0, 0, spent, err
	}
	took, err := m.timed(ctx, f, r, "bare")
	if err != nil {
		return 0, 0, spent, err
	}
	after, err := f.processors()
	return float64(n) / took.Seconds(), float64(f.cloud.ACS().Counters().Calls-count) / float64(n), after.since(before), err
}

// bareLoop does the same without the system. The reading that planning does
// comes first and is not counted, so that tokens and connections are as warm.
func (m *measuring) bareLoop(ctx context.Context, n int) (rate, calls float64, spent processors, err error) {
	cloud, err := emulator.Start(emulator.Config{Seed: 1, Tenants: n / endpointsPerTenant, Uniform: endpointsPerTenant})
	if err != nil {
		return 0, 0, spent, err
	}
	f := &benchFleet{app: m.app, cloud: cloud, dir: filepath.Join(m.f.dir, "bare")}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	d, works, err := bareWork(cloud, m.f.slots)
	if err != nil {
		return 0, 0, spent, err
	}
	if err := bench.Observe(ctx, d, works, m.f.slots); err != nil {
		return 0, 0, spent, err
	}
	count := cloud.ACS().Counters().Calls
	before, err := f.processors()
	if err != nil {
		return 0, 0, spent, err
	}
	took, err := bench.Bare(ctx, d, works, m.f.slots)
	if err != nil {
		return 0, 0, spent, err
	}
	after, err := f.processors()
	if err != nil {
		return 0, 0, spent, err
	}
	return float64(n) / took.Seconds(), float64(cloud.ACS().Counters().Calls-count) / float64(n), after.since(before), f.judge()
}

// bareWork opens the driver as a node does and makes a work of each target.
func bareWork(cloud *emulator.Cloud, slots int) (rollover.Driver, []rollover.Work, error) {
	w := cloud.World()
	access := map[string]kit.Access{}
	for _, t := range w.Tenants {
		for _, n := range t.Namespaces {
			access[n.Host] = kit.Access{Account: n.Account, Secret: secrets.NewSecret(string(n.Secret))}
		}
	}
	client, err := outbound.New(outbound.Config{
		CAPEM: cloud.CAPEM(), Dial: cloud.Dial(), MaxIdleConns: max(outbound.DefaultMaxIdleConns, 2*slots),
	})
	if err != nil {
		return nil, nil, err
	}
	set, err := drivers.Open(nil, kit.Kit{
		HTTP: client, Now: time.Now, Pace: kit.NewPacer(10, 10).Wait,
		Access: func(_ context.Context, _, host string) (kit.Access, error) { return access[host], nil },
	})
	if err != nil {
		return nil, nil, err
	}
	d, err := set.Driver(acsx509.Kind)
	if err != nil {
		return nil, nil, err
	}
	fresh, err := rollover.FromDER(w.New.DER)
	if err != nil {
		return nil, nil, err
	}
	var works []rollover.Work
	for _, x := range w.Expected() {
		works = append(works, rollover.Work{
			Rotation: "bare", Tenant: x.Tenant, New: fresh, Now: time.Now(),
			Target: rollover.Target{Kind: acsx509.Kind, Host: x.Host, Identity: x.Identity},
		})
	}
	return d, works, nil
}

// plan measures planning.
func (m *measuring) plan(ctx context.Context) (err error) {
	tenants := m.sizes.planTenants
	f, err := m.newFleet(ctx, tenants, acsLatency, m.f.slots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	begun := time.Now()
	if _, err := f.plan(ctx, tenants*endpointsPerTenant); err != nil {
		return err
	}
	took := time.Since(begun)
	what := fmt.Sprintf("plan, 20 ms, %d tenants with %d endpoints", tenants, tenants*endpointsPerTenant)
	m.note(what, "s", took.Seconds(), goal{value: 90 * float64(tenants) / 10_000, atMost: true})
	m.note(what+": rate", "endpoints/s", float64(tenants*endpointsPerTenant)/took.Seconds(), goal{})
	return nil
}

// restart measures how long the service is away after kill -9.
func (m *measuring) restart(ctx context.Context) (err error) {
	n := m.sizes.restart
	f, err := m.newFleet(ctx, n/endpointsPerTenant, acsLatency, m.f.slots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	r, err := f.plan(ctx, n)
	if err != nil {
		return err
	}
	if err := f.start(ctx, r); err != nil {
		return err
	}
	// In the midst of it: some are done, some in hand, most not begun.
	_, err = f.until(ctx, r.GetName(), func(r *crossfadev1.Rotation) bool { return r.GetCounts().GetSucceeded() > int64(n/5) })
	if err != nil {
		return err
	}
	f.kill()
	begun := time.Now()
	if err := f.serve(ctx); err != nil {
		return err
	}
	serving, had := time.Since(begun), int64(-1)
	_, err = f.until(ctx, r.GetName(), func(r *crossfadev1.Rotation) bool {
		if had < 0 {
			had = r.GetCounts().GetSucceeded()
		}
		return r.GetCounts().GetSucceeded() > had || ended(r) // A small one may be through before we look.
	})
	if err != nil {
		return err
	}
	working := time.Since(begun)
	if err := f.finish(ctx, r.GetName()); err != nil {
		return err
	}
	what := fmt.Sprintf("kill -9, %d tasks", n)
	m.note(what+": serving again", "s", serving.Seconds(), goal{})
	m.note(what+": working again", "s", working.Seconds(), goal{value: 10, atMost: true})
	return nil
}

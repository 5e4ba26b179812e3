package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/bench"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// urgentOnes is how many urgent rotations are started, one after the other, while
// the bulk one runs.
const urgentOnes = 3

// written returns when each host was first given the new certificate, by the
// emulator's own journal.
func (f *benchFleet) written() map[string]time.Time {
	out := map[string]time.Time{}
	for _, e := range f.cloud.ACS().Journal() {
		if _, seen := out[e.Host]; !seen && e.Op == acs.OpCreate && e.Applied {
			out[e.Host] = e.At
		}
	}
	return out
}

// hostsOf returns the hosts of the targets of each tenant.
func (f *benchFleet) hostsOf() map[string][]string {
	out := map[string][]string{}
	for _, x := range f.cloud.World().Expected() {
		out[x.Tenant] = append(out[x.Tenant], x.Host)
	}
	return out
}

// urgent measures how long an urgent rotation of one tenant takes from its start
// to its first write while a bulk rotation of all others runs.
func (m *measuring) urgent(ctx context.Context) (err error) {
	n := m.sizes.urgent
	f, err := m.newFleet(ctx, n/endpointsPerTenant+urgentOnes, acsLatency, m.f.slots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	var names, others []string
	for _, t := range f.cloud.World().Tenants[:urgentOnes] {
		names = append(names, t.ID)
		others = append(others, fmt.Sprintf("id != %q", t.ID))
	}
	bulk, err := f.planFor(ctx, n, &crossfadev1.TargetSelector{
		Selection: &crossfadev1.TargetSelector_Filter{Filter: strings.Join(others, " AND ")},
	}, crossfadev1.Lane_LANE_BULK)
	if err != nil {
		return err
	}
	if err := f.start(ctx, bulk); err != nil {
		return err
	}
	_, err = f.until(ctx, bulk.GetName(), func(r *crossfadev1.Rotation) bool { return r.GetCounts().GetSucceeded() > int64(n/50) })
	if err != nil {
		return err
	}
	what, hosts := fmt.Sprintf("urgent beside %d targets in bulk", n), f.hostsOf()
	for _, name := range names {
		planned, wrote, err := f.urgentOne(ctx, name, hosts[name])
		if err != nil {
			return err
		}
		m.note(what+": first write after the start", "ms", float64(wrote.Microseconds())/1000, goal{value: 1000, atMost: true})
		m.note(what+": planned after", "ms", float64(planned.Microseconds())/1000, goal{})
	}
	r, err := f.cl.rotation(ctx, bulk.GetName())
	if err != nil {
		return err
	}
	left := r.GetCounts().GetTotal() - r.GetCounts().GetSucceeded()
	m.note(what+": left of the bulk when the last had written", "targets", float64(left), goal{})
	return f.finish(ctx, bulk.GetName())
}

// urgentOne plans and starts an urgent rotation over one tenant, waits for its
// end, and returns how long the plan and the first write took.
func (f *benchFleet) urgentOne(ctx context.Context, tenant string, hosts []string) (planned, wrote time.Duration, err error) {
	begun := time.Now()
	r, err := f.planFor(ctx, len(hosts), &crossfadev1.TargetSelector{
		Selection: &crossfadev1.TargetSelector_Tenants{Tenants: &crossfadev1.TenantNames{Names: []string{"tenants/" + tenant}}},
	}, crossfadev1.Lane_LANE_URGENT)
	if err != nil {
		return 0, 0, err
	}
	planned, begun = time.Since(begun), time.Now()
	if err := f.start(ctx, r); err != nil {
		return 0, 0, err
	}
	if _, err := f.until(ctx, r.GetName(), ended); err != nil {
		return 0, 0, err
	}
	var first time.Time
	for h, at := range f.written() {
		if slices.Contains(hosts, h) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.IsZero() {
		return 0, 0, fmt.Errorf("the urgent rotation of %s ended and wrote nothing", tenant)
	}
	return planned, first.Sub(begun), nil
}

// fair measures how equally tenants go forward beside one that has many times
// their endpoints, in one rotation: when half of the equal ones' targets are
// written.
func (m *measuring) fair(ctx context.Context) (err error) {
	tenants, each, large := m.sizes.fair[0], m.sizes.fair[1], m.sizes.fair[2]
	f, err := m.fleetOf(ctx, emulator.Config{Seed: 1, Tenants: tenants + 1, Uniform: each, Large: large, Latency: acsLatency}, m.f.slots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	r, err := f.plan(ctx, tenants*each+large)
	if err != nil {
		return err
	}
	if _, err := m.timed(ctx, f, r, "fair"); err != nil {
		return err
	}
	written := f.written()
	var progress []float64
	var whole []time.Time // of the equal ones
	byTenant := f.hostsOf()
	for _, hosts := range byTenant {
		if len(hosts) == each {
			for _, h := range hosts {
				whole = append(whole, written[h])
			}
		}
	}
	slices.SortFunc(whole, time.Time.Compare)
	half, ofLarge := whole[len(whole)/2], 0.0
	for _, hosts := range byTenant {
		n := 0.0
		for _, h := range hosts {
			if !written[h].After(half) {
				n++
			}
		}
		if len(hosts) == each {
			progress = append(progress, n)
		} else {
			ofLarge = n
		}
	}
	what := fmt.Sprintf("fair, %d tenants of %d beside one of %d", tenants, each, large)
	m.note(what+": Jain's index", "", bench.Jain(progress), goal{value: 0.95})
	m.note(what+": the large one's targets by then", "targets", ofLarge, goal{})
	return nil
}

// The storm: 429 on a share of the hosts, each time with the wish to be left alone
// for so long, or for the whole of a shorter storm.
const (
	stormShare = 0.05
	stormAfter = 10 * time.Second
)

// storm measures what a storm of 429 on a twentieth of the hosts does to the other
// hosts, against the same without one.
func (m *measuring) storm(ctx context.Context) error {
	n := m.sizes.storm
	calm, _, err := m.stormed(ctx, n, false)
	if err != nil {
		return err
	}
	took, refused, err := m.stormed(ctx, n, true)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("429 on 5 %% of %d hosts for %s", n, m.sizes.stormFor)
	m.note(what+": refused, of all calls", "%", 100*refused, goal{value: 1, atMost: true})
	m.note(what+": the others' time, of that without", "ratio", took.Seconds()/calm.Seconds(), goal{value: 1.2, atMost: true})
	m.note(what+": the others' time", "s", took.Seconds(), goal{})
	return nil
}

// stormed rotates n targets, and returns when the last host that is not struck was
// written to, after the start, and which share of the rotation's calls, planning
// included, was refused.
func (m *measuring) stormed(ctx context.Context, n int, storm bool) (took time.Duration, refused float64, err error) {
	f, err := m.newFleet(ctx, n/endpointsPerTenant, acsLatency, m.f.slots)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	faults := acs.Faults{Seed: 1, Rules: []acs.FaultRule{{
		Kind: acs.FaultThrottled, HostShare: stormShare, For: m.sizes.stormFor, RetryAfter: min(stormAfter, m.sizes.stormFor),
	}}}
	var hosts []string
	for _, x := range f.cloud.World().Expected() {
		hosts = append(hosts, x.Host)
	}
	// A rotation begins with one target alone, and all wait for it. That wait is not
	// what is measured, so that one is not struck.
	struck := map[string]bool{}
	for first := hosts[:endpointsPerTenant]; len(struck) == 0 || slices.ContainsFunc(first, func(h string) bool { return struck[h] }); {
		faults.Seed++
		clear(struck)
		for _, h := range faults.StruckHosts(stormShare, hosts) {
			struck[h] = true
		}
	}
	before := f.cloud.ACS().Counters()
	r, err := f.plan(ctx, n)
	if err != nil {
		return 0, 0, err
	}
	if storm {
		f.cloud.ACS().SetFaults(faults)
	}
	begun := time.Now()
	if _, err := m.timed(ctx, f, r, "storm"); err != nil {
		return 0, 0, err
	}
	for h, at := range f.written() {
		if !struck[h] {
			took = max(took, at.Sub(begun))
		}
	}
	after := f.cloud.ACS().Counters()
	return took, float64(after.Refused429-before.Refused429) / float64(after.Calls-before.Calls), nil
}

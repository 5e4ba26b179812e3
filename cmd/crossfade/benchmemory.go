package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/bench"
)

// memory measures how the memory of the service, with its broker and workers,
// grows with the fleet: ten times the targets are to take less than twice of it.
func (m *measuring) memory(ctx context.Context) error {
	few, many := m.sizes.targets/10, m.sizes.targets
	few = max(endpointsPerTenant, few-few%endpointsPerTenant)
	var got [2]bench.Memory
	for i, n := range []int{few, many} {
		var err error
		if got[i], err = m.held(ctx, n); err != nil {
			return fmt.Errorf("with %d targets: %w", n, err)
		}
		what := fmt.Sprintf("memory, %d targets", n)
		m.note(what+": at most", "MiB", float64(got[i].Peak)/(1<<20), goal{value: 512, atMost: true})
		m.note(what+": at the end", "MiB", float64(got[i].Resident)/(1<<20), goal{value: 512, atMost: true})
	}
	what := fmt.Sprintf("memory, %d targets / %d targets", many, few)
	m.note(what+": at most", "ratio", float64(got[1].Peak)/float64(got[0].Peak), goal{value: 2, atMost: true})
	m.note(what+": at the end", "ratio", float64(got[1].Resident)/float64(got[0].Resident), goal{value: 2, atMost: true})
	return nil
}

// held plans and rotates n targets and returns what the service then holds.
func (m *measuring) held(ctx context.Context, n int) (mem bench.Memory, err error) {
	f, err := m.newFleet(ctx, n/endpointsPerTenant, acsLatency, m.f.slots)
	if err != nil {
		return mem, err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	r, err := f.plan(ctx, n)
	if err != nil {
		return mem, err
	}
	if _, err := m.timed(ctx, f, r, fmt.Sprintf("memory%d", n)); err != nil {
		return mem, err
	}
	return f.memory()
}

// processors is how much time the processors spend on the service and on the
// fleet, which is in this process. Unlike rates it hardly depends on what else
// the machine does.
type processors struct{ service, fleet time.Duration }

// processors reads both; a fleet without a service has none of the first.
func (f *benchFleet) processors() (p processors, err error) {
	if p.fleet, err = bench.ReadProcessor(0); err != nil || f.service == nil {
		return p, err
	}
	p.service, err = bench.ReadProcessor(f.service.cmd.Process.Pid)
	return p, err
}

// since returns what was spent from before to p.
func (p processors) since(before processors) processors {
	return processors{p.service - before.service, p.fleet - before.fleet}
}

// each returns, in milliseconds for each of n targets, what was spent.
func (p processors) each(n int) (service, fleet float64) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(n) }
	return ms(p.service), ms(p.fleet)
}

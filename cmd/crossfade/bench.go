package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/bench"
)

// benchFlags is what "crossfade bench" was told.
type benchFlags struct {
	profile  string
	targets  int
	runs     int
	slots    int
	only     []string
	profiles string // where pprof profiles of the service go
	dir      string
}

// benchSizes is how large each profile measures.
type benchSizes struct {
	targets     int    // of stage and verify
	compared    int    // of the comparison with the bare loop
	planTenants int    // of planning, five endpoints each
	status      int    // targets under the watchers
	watchers    []int  // ascending
	restart     int    // targets of the restart
	urgent      int    // targets of the bulk rotation that urgent ones pass
	fair        [3]int // tenants, the endpoints of each, and those of the large one beside them
	storm       int    // targets under the storm
	stormFor    time.Duration
}

// endpointsPerTenant is the same as in the goal for planning: 50,000 endpoints
// of 10,000 tenants.
const endpointsPerTenant = 5

func benchProfiles() map[string]benchSizes {
	return map[string]benchSizes{
		"quick": {targets: 500, compared: 500, planTenants: 50, status: 500, watchers: []int{1, 100}, restart: 500,
			urgent: 2000, fair: [3]int{20, 10, 100}, storm: 500, stormFor: 3 * time.Second},
		"full": {targets: 100_000, compared: 20_000, planTenants: 10_000, status: 10_000, watchers: []int{1, 100, 1000}, restart: 20_000,
			urgent: 100_000, fair: [3]int{50, 100, 5000}, storm: 20_000, stormFor: 30 * time.Second},
	}
}

// benchSections are what can be measured, in the order in which it is.
func benchSections() []string {
	return []string{"rotate", "bare", "plan", "status", "restart", "memory", "urgent", "fair", "storm"}
}

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure the whole system against an emulated fleet",
		Long: `Bench runs the service as a process of its own, as "crossfade serve" does, against
an emulated fleet in this process, and measures: the rate of stage and verify with
an ACS that takes 20 ms for each call, with the memory, the disk and the ACS calls
that it takes, and how far off its forecast was; the same without latency beside a bare loop that makes the same
calls with the same driver and keeps nothing; planning; how long a change of
status takes to a watcher, and what watchers cost; how long the service is
away after kill -9; how its memory grows with ten times the targets; how soon urgent
rotations write beside a bulk one; how equally tenants go forward beside a large one;
and what a storm of 429 on some hosts does to the others. Every rotation must end with each certificate exactly once on
its target, or the command fails.

The process and the fleet are made anew for every run.`,
		Example: "  crossfade bench --profile quick\n  crossfade bench --profile full --only rotate,bare --runs 5",
		RunE:    func(c *cobra.Command, _ []string) error { return a.bench(c.Context(), f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.profile, "profile", "quick", "quick: small numbers, under a minute; full: the numbers of the goals")
	fl.IntVar(&f.targets, "targets", 0, "targets of each rotation instead of the profile's (planning keeps its own)")
	fl.IntVar(&f.runs, "runs", 0, "how often each is measured (default 1 for quick, 3 for full)")
	fl.IntVar(&f.slots, "slots", 128, "targets worked on at once, ours and in the bare loop")
	fl.StringSliceVar(&f.only, "only", nil, "measure only these: "+strings.Join(benchSections(), ", "))
	fl.StringVar(&f.profiles, "profiles", "", "`DIR` for CPU and allocation profiles of the service, taken in rotate and bare")
	fl.StringVar(&f.dir, "dir", "", "`DIR` for all files (default a new temporary one, removed at the end)")
	return c
}

// sizes checks the flags and returns what to measure.
func (f *benchFlags) sizes() (benchSizes, error) {
	s, ok := benchProfiles()[f.profile]
	switch {
	case !ok:
		return s, usage("--profile %q: want quick or full", f.profile)
	case f.targets < 0 || f.targets > 250_000 || f.targets%endpointsPerTenant != 0:
		return s, usage("--targets %d: want a multiple of %d up to 250000", f.targets, endpointsPerTenant)
	case f.runs < 0 || f.slots < 1 || f.slots > 4096:
		return s, usage("--runs %d, --slots %d: want at least 1, and at most 4096 slots", f.runs, f.slots)
	}
	for _, o := range f.only {
		if !slices.Contains(benchSections(), o) {
			return s, usage("--only %q: want %s", o, strings.Join(benchSections(), ", "))
		}
	}
	if f.targets > 0 {
		s.targets, s.compared, s.status, s.restart = f.targets, f.targets, f.targets, f.targets
		s.urgent, s.storm = f.targets, f.targets
		s.planTenants = min(s.planTenants, max(1, f.targets/endpointsPerTenant))
	}
	if f.runs == 0 {
		f.runs = map[string]int{"quick": 1, "full": 3}[f.profile]
	}
	return s, nil
}

// bench measures what was asked for and prints it.
func (a *app) bench(ctx context.Context, f benchFlags) (err error) {
	s, err := f.sizes()
	if err != nil {
		return err
	}
	if f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "crossfade-bench-"); err != nil {
			return fmt.Errorf("making a directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.dir)) }()
	}
	m := &measuring{app: a, f: f, sizes: s, rows: map[string]*bench.Row{}}
	if !a.json {
		fmt.Fprintf(a.errOut, "profile %s, %d runs, %d slots, %d cores\n", f.profile, f.runs, f.slots, runtime.NumCPU())
	}
	sections := map[string]func(context.Context) error{
		"rotate": m.rotate, "bare": m.bare, "plan": m.plan, "status": m.status, "restart": m.restart,
		"urgent": m.urgent, "fair": m.fair, "storm": m.storm,
		"memory": m.memory,
	}
	for _, name := range benchSections() {
		if len(f.only) > 0 && !slices.Contains(f.only, name) {
			continue
		}
		for run := range f.runs {
			begun := time.Now()
			if err := sections[name](ctx); err != nil {
				return fmt.Errorf("measuring %s: %w", name, err)
			}
			if !a.json {
				fmt.Fprintf(a.errOut, "%s %d/%d took %s\n", name, run+1, f.runs, time.Since(begun).Round(time.Millisecond))
			}
		}
	}
	return m.print()
}

// measuring collects rows.
type measuring struct {
	*app
	f     benchFlags
	sizes benchSizes
	order []string
	rows  map[string]*bench.Row
	fleet int // how many fleets there have been; each has a folder
}

// goal is what a row should reach.
type goal struct {
	value  float64
	atMost bool
}

// note adds a value to a row.
func (m *measuring) note(name, unit string, value float64, g goal) {
	r := m.rows[name]
	if r == nil {
		r = &bench.Row{Name: name, Unit: unit, Goal: g.value, AtMost: g.atMost}
		m.rows[name] = r
		m.order = append(m.order, name)
	}
	r.Values = append(r.Values, value)
}

// print shows all rows, as a table or as JSON, one a line.
func (m *measuring) print() error {
	rows := make([]bench.Row, len(m.order))
	for i, name := range m.order {
		rows[i] = *m.rows[name]
	}
	if !m.json {
		return bench.Table(m.out, rows)
	}
	for _, r := range rows {
		m.object("bench", r.Fields())
	}
	return nil
}

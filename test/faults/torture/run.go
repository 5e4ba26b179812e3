package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-project/crossfade/test/faults/drive"
	"github.com/crossfade-project/crossfade/test/faults/judge"
	"github.com/crossfade-project/crossfade/test/faults/record"
	"github.com/crossfade-project/crossfade/test/faults/world"
)

type flags struct {
	seed                       int64
	profile                    string
	runs, parallel, tenants    int
	dir                        string
	keep, calm, json           bool
	patience                   time.Duration
	crossfade, previous, judge string

	self, nats string
	out        io.Writer
	mu         sync.Mutex // guards out and total
	total      map[string]*world.Tally
}

// maxTenants bounds the world of a run: the disk quota of its broker is small.
const maxTenants = 500

// result is what came of one run.
type result struct {
	Seed       int64             `json:"seed"`
	Seconds    float64           `json:"seconds"`
	Settle     float64           `json:"settle"` // seconds from the last mending to the last end
	Figures    judge.Figures     `json:"figures"`
	Violations []judge.Violation `json:"violations,omitempty"`
	Exits      []string          `json:"exits,omitempty"` // ends of processes that nobody asked for
	Err        string            `json:"err,omitempty"`   // the run itself did not work
	Dir        string            `json:"dir,omitempty"`   // where its files are, if they were kept
}

func (f *flags) run(ctx context.Context, out io.Writer) error {
	f.out, f.total = out, map[string]*world.Tally{}
	if f.judge != "" {
		return f.judgeAgain()
	}
	i := slices.IndexFunc(world.Profiles(), func(p world.Profile) bool { return p.Name == f.profile })
	if i < 0 {
		return fmt.Errorf("--profile %q: want tiny, short or long", f.profile)
	}
	p := world.Profiles()[i]
	if f.tenants < 0 || f.tenants > maxTenants {
		return fmt.Errorf("--tenants %d: want 1 to %d, or 0 for the profile's own number", f.tenants, maxTenants)
	}
	if f.tenants > 0 {
		p.Tenants = f.tenants
	}
	if f.patience < time.Second {
		return fmt.Errorf("--patience %s: want a second or more", f.patience)
	}
	if f.runs < 1 || f.parallel < 1 || f.parallel > 8 {
		return errors.New("--runs and --parallel: want 1 or more, and at most 8 at once")
	}
	if f.dir == "" {
		dir, err := os.MkdirTemp("", "crossfade-torture-")
		if err != nil {
			return err
		}
		f.dir = dir
		defer func() { _ = os.Remove(dir) }() // It stays if a run is kept in it.
	}
	if err := f.build(ctx); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(filepath.Join(f.dir, "bin")) }()
	results := make([]result, f.runs)
	var g errgroup.Group
	g.SetLimit(f.parallel)
	slots := make(chan int, f.parallel) // each has a loopback address of its own
	for n := range f.parallel {
		slots <- n
	}
	for n := range f.runs {
		g.Go(func() error {
			slot := <-slots
			defer func() { slots <- slot }()
			if ctx.Err() == nil {
				results[n] = f.one(ctx, p, f.seed+int64(n), slot)
				f.tell(results[n])
			}
			return nil
		})
	}
	_ = g.Wait() // What went wrong stands in the results.
	return f.sum(results)
}

// build makes the programs that are not given.
func (f *flags) build(ctx context.Context) (err error) {
	if f.self, err = os.Executable(); err != nil {
		return err
	}
	if f.dir, err = filepath.Abs(f.dir); err != nil {
		return err
	}
	bin := filepath.Join(f.dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	f.nats = filepath.Join(bin, "nats-server")
	programs := map[string]string{f.nats: "github.com/nats-io/nats-server/v2"}
	if f.crossfade == "" {
		f.crossfade = filepath.Join(bin, "crossfade")
		programs[f.crossfade] = "github.com/crossfade-project/crossfade/cmd/crossfade"
	}
	for to, pkg := range programs {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", to, pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
	}
	if f.crossfade, err = filepath.Abs(f.crossfade); err != nil {
		return err
	}
	if f.previous != "" {
		f.previous, err = filepath.Abs(f.previous)
	}
	return err
}

// defaultPatience is how long after its last fault a run ends at the latest: by then
// everything must have settled. A host whose probes failed one after the other is left
// alone for up to five minutes.
const defaultPatience = 7 * time.Minute

// one makes one run and has it judged.
func (f *flags) one(ctx context.Context, p world.Profile, seed int64, slot int) (res result) {
	begun := time.Now()
	res = result{Seed: seed, Dir: filepath.Join(f.dir, fmt.Sprintf("seed-%d", seed))}
	defer func() {
		res.Seconds = time.Since(begun).Seconds()
		if !f.keep && len(res.Violations) == 0 && res.Err == "" {
			_ = os.RemoveAll(res.Dir)
			res.Dir = ""
		}
	}()
	if err := f.live(ctx, p, slot, &res); err != nil {
		res.Err = err.Error()
	}
	report, err := judge.Run(res.Dir)
	if err != nil {
		res.Err = strings.TrimSpace(res.Err + "\njudging: " + err.Error())
		return res
	}
	res.Figures, res.Violations = report.Figures, report.Violations
	for _, v := range report.Violations {
		_ = os.WriteFile(filepath.Join(res.Dir, "violation.txt"), []byte(v.String()+"\n"+report.Timeline(v)), 0o600)
		break // The first is mostly the cause of the others.
	}
	return res
}

// live is a run until all has ended and is written down.
func (f *flags) live(ctx context.Context, p world.Profile, slot int, res *result) (err error) {
	if err := errors.Join(os.RemoveAll(res.Dir), os.MkdirAll(res.Dir, 0o700)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.Length+f.patience+time.Minute)
	defer cancel()
	w, err := world.Start(ctx, world.Options{
		Dir: res.Dir, Seed: res.Seed, Tenants: p.Tenants, Number: (os.Getpid()%6000)*10 + slot, Self: f.self,
		Crossfade: f.crossfade, NATSServer: f.nats, Previous: f.previous,
	})
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	defer func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, w.Stop(sctx))
		res.Exits = w.Exits()
		f.add(w.Tallies())
	}()
	rounds, every := 1, time.Duration(0)
	if p.Name == "long" {
		rounds, every = 6, p.Length/7
	}
	d, err := drive.New(drive.Config{
		Dir: res.Dir, Seed: res.Seed, World: w.Seeded(), Rounds: rounds, RoundTime: every, APIs: w.APIs(), Crossfade: f.crossfade,
		TenantsFile: w.TenantsFile(), NewCertificate: w.NewCertificate(), Now: w.Now, Advance: w.Advance, FailHosts: w.FailHosts, MuddleHosts: w.MuddleHosts, Identities: w.Identities,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.SetUp(ctx); err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	return f.drive(ctx, p, w, d, res)
}

// drive breaks and asks at the same time, and writes down the end.
func (f *flags) drive(ctx context.Context, p world.Profile, w *world.World, d *drive.Driver, res *result) error {
	rctx, cancel := context.WithTimeout(ctx, p.Length+f.patience)
	defer cancel()
	var broken error
	var all sync.WaitGroup
	all.Go(func() {
		if !f.calm {
			broken = w.Break(rctx, world.Schedule(res.Seed, p))
		}
		d.Quiet()
	})
	err := d.Run(rctx)
	all.Wait()
	world := d.World()
	world.Profile = p.Name
	final, ferr := d.Final(ctx)
	if !final.Settled.IsZero() {
		res.Settle = max(0, final.Settled.Sub(final.Quiet).Seconds())
	}
	return errors.Join(broken, err, ferr, record.Save(res.Dir, record.WorldFile, world), record.Save(res.Dir, record.FinalFile, final))
}

// add adds to what was broken in all runs.
func (f *flags) add(tallies []world.Tally) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range tallies {
		if f.total[t.Kind] == nil {
			f.total[t.Kind] = &world.Tally{Kind: t.Kind}
		}
		f.total[t.Kind].Injected += t.Injected
		f.total[t.Kind].Mended += t.Mended
		f.total[t.Kind].Skipped += t.Skipped
		f.total[t.Kind].Lasted += t.Lasted
	}
}

// tell prints a run.
func (f *flags) tell(r result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.json {
		_ = json.NewEncoder(f.out).Encode(r) // Nobody to tell it.
		return
	}
	g := r.Figures
	fmt.Fprintf(f.out, "seed %d: %d violations; %.0f s, settled %.1f s after the last fault; %d rotations, %d tasks, %d writes (%d of unclear outcome, %d removals), %d sign-ins, %d calls (%d repeats), %d messages to watchers in %d streams, %d faults, %d unasked exits\n",
		r.Seed, len(r.Violations), r.Seconds, r.Settle, g.Rotations, g.Tasks, g.Writes, g.Unclear, g.Removed, g.SignIns, g.Calls, g.Repeats, g.Messages, g.Streams, g.Faults, len(r.Exits))
	if r.Err != "" {
		fmt.Fprintf(f.out, "  the run did not work: %s\n", strings.ReplaceAll(r.Err, "\n", "\n  "))
	}
	for i, v := range r.Violations {
		if i == 10 {
			fmt.Fprintf(f.out, "  and %d more\n", len(r.Violations)-i)
			break
		}
		fmt.Fprintf(f.out, "  %s\n", v)
	}
	if len(r.Violations) > 0 {
		if b, err := os.ReadFile(filepath.Join(r.Dir, "violation.txt")); err == nil {
			fmt.Fprintf(f.out, "%s", b)
		}
	}
	if r.Dir != "" {
		fmt.Fprintf(f.out, "  files: %s; again with --seed %d --profile %s\n", r.Dir, r.Seed, f.profile)
	}
}

// sum prints the table by fault, and says whether all was well.
func (f *flags) sum(results []result) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	bad, ran, broken := 0, 0, 0
	for _, r := range results {
		if r.Seconds > 0 {
			ran++
		}
		if len(r.Violations) > 0 {
			bad++
		} else if r.Err != "" {
			broken++
		}
	}
	if !f.json {
		t := tabwriter.NewWriter(f.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "fault\ttimes injected\tmended\tskipped\tlasted in all")
		for _, k := range slices.Sorted(maps.Keys(f.total)) {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", k, f.total[k].Injected, f.total[k].Mended, f.total[k].Skipped, f.total[k].Lasted.Round(time.Second))
		}
		_ = t.Flush()
		fmt.Fprintf(f.out, "%d runs, %d with violations, %d that did not work\n", ran, bad, broken)
	}
	switch {
	case bad > 0:
		return errViolated
	case broken > 0 || ran < len(results):
		return errors.New("not every run worked")
	}
	return nil
}

// judgeAgain judges the files of a run that was kept.
func (f *flags) judgeAgain() error {
	report, err := judge.Run(f.judge)
	if err != nil {
		return err
	}
	for _, v := range report.Violations {
		fmt.Fprintf(f.out, "%s\n%s\n", v, report.Timeline(v))
	}
	fmt.Fprintf(f.out, "%d violations; %+v\n", len(report.Violations), report.Figures)
	if len(report.Violations) > 0 {
		return errViolated
	}
	return nil
}

// Mutants breaks Crossfade on purpose, one promise at a time, and looks whether the
// torture suite notices. Each patch beside this file is one such break; the program
// is built with it, without touching the tree, and tortured with one seed after the
// other until its judge tells that the promise was broken.
//
//	go run ./test/faults/mutants
//	go run ./test/faults/mutants --only 06 --seeds 1,2,3
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called.
	}
}

func command() *cobra.Command {
	var r runner
	c := &cobra.Command{
		Use:   "mutants",
		Short: "Break each promise on purpose and look whether the torture suite notices",
		Args:  cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error { return r.run(c.Context(), c.OutOrStdout()) },
	}
	c.Flags().StringSliceVar(&r.only, "only", nil, "begin of the `NAMES` of those to be tried, such as 03 (default all)")
	c.Flags().Int64SliceVar(&r.seeds, "seeds", []int64{1, 2, 3}, "tried one after the other until one tells; a patch that needs others names them")
	c.Flags().BoolVar(&r.noControl, "no-control", false, "do not torture the program as it is first")
	return c
}

// runner tries mutants.
type runner struct {
	only      []string
	seeds     []int64
	noControl bool

	root, dir, torture string
}

// verdict is what came of one mutant.
type verdict struct {
	mutant
	by      string // the violation that told; empty: it lives
	seed    int64
	seconds float64
	other   []string // what else was noticed, by seed
}

func (r *runner) run(ctx context.Context, out io.Writer) (err error) {
	all, err := mutants()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(m mutant) bool {
		return len(r.only) > 0 && !slices.ContainsFunc(r.only, func(s string) bool { return strings.HasPrefix(m.name, s) })
	})
	if len(all) == 0 || len(r.seeds) == 0 {
		return fmt.Errorf("--only %v, --seeds %v: nothing is left to be tried", r.only, r.seeds)
	}
	if r.root, err = root(ctx); err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp("", "crossfade-mutants-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	r.torture = filepath.Join(r.dir, "torture")
	if err := r.build(ctx, r.torture, "./test/faults/torture", nil); err != nil {
		return err
	}
	if !r.noControl {
		if err := r.control(ctx, out); err != nil {
			return err
		}
	}
	var verdicts []verdict
	for _, m := range all {
		v, err := r.try(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Fprintln(out, v.line())
		verdicts = append(verdicts, v)
	}
	return sum(out, verdicts)
}

// line tells what came of a mutant when it is known.
func (v verdict) line() string {
	if v.by == "" {
		return fmt.Sprintf("%s LIVES after %.0f s; noticed besides: %s", v.name, v.seconds, strings.Join(v.other, "; "))
	}
	return fmt.Sprintf("%s caught with seed %d after %.0f s: %s", v.name, v.seed, v.seconds, v.by)
}

// sum prints the table. Its error names those that live.
func sum(out io.Writer, all []verdict) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "mutant\tpromise\tcaught by\tseed\tseconds")
	var live []string
	for _, v := range all {
		by := v.by
		if by == "" {
			by = "NOTHING"
			live = append(live, v.name)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%.0f\n", v.name, strings.Join(v.promises, ", "), by, v.seed, v.seconds)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(live) > 0 {
		return fmt.Errorf("%d of %d mutants live: %s", len(live), len(all), strings.Join(live, ", "))
	}
	return nil
}

// control tortures the program as it is. Where that tells of a broken promise, what
// it tells of mutants means nothing.
func (r *runner) control(ctx context.Context, out io.Writer) error {
	program := filepath.Join(r.dir, "crossfade-as-it-is")
	if err := r.build(ctx, program, "./cmd/crossfade", nil); err != nil {
		return err
	}
	for _, seed := range r.seeds {
		res, err := r.once(ctx, program, seed)
		switch {
		case err != nil:
			return fmt.Errorf("without a mutant, seed %d: %w", seed, err)
		case res.Err != "":
			return fmt.Errorf("without a mutant, seed %d: the run did not work: %s", seed, res.Err)
		case len(res.Violations) > 0:
			return fmt.Errorf("without a mutant, seed %d: %s: %s: %s", seed, res.Violations[0].Promise, res.Violations[0].Subject, res.Violations[0].What)
		}
		fmt.Fprintf(out, "without a mutant, seed %d: no violation in %.0f s\n", seed, res.Seconds)
	}
	return nil
}

// try builds the mutant and tortures it until it is caught or no seed is left.
func (r *runner) try(ctx context.Context, m mutant) (v verdict, err error) {
	v.mutant = m
	begun := time.Now()
	defer func() { v.seconds = time.Since(begun).Seconds() }()
	dir, err := os.MkdirTemp(r.dir, "mutant-")
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	replace, err := m.write(r.root, dir)
	if err != nil {
		return v, err
	}
	program := filepath.Join(dir, "crossfade")
	if err := r.build(ctx, program, "./cmd/crossfade", replace); err != nil {
		return v, err
	}
	seeds := r.seeds
	if len(m.seeds) > 0 {
		seeds = m.seeds
	}
	for _, seed := range seeds {
		res, err := r.once(ctx, program, seed)
		if err != nil {
			return v, err
		}
		v.seed = seed
		for _, x := range res.Violations {
			if slices.Contains(m.promises, x.Promise) {
				v.by = x.Promise + ": " + x.What
				return v, nil
			}
			if len(v.other) < 4 {
				v.other = append(v.other, fmt.Sprintf("seed %d %s: %s", seed, x.Promise, x.What))
			}
		}
		if res.Err != "" {
			v.other = append(v.other, fmt.Sprintf("seed %d did not work: %.200s", seed, res.Err))
		}
	}
	return v, nil
}

// result is what the torture command says of one run.
type result struct {
	Seconds    float64 `json:"seconds"`
	Violations []struct {
		Promise string `json:"promise"`
		Subject string `json:"subject"`
		What    string `json:"what"`
	} `json:"violations"`
	Err string `json:"err"`
}

// patience is less than a run has by itself: a mutant that stands still is to be told
// soon, and one run of two hundred needs more.
const patience = "150s"

// runLimit bounds one short run, with building the broker: it has a patience of its
// own of less than half of that.
const runLimit = 8 * time.Minute

// once tortures a program with one seed.
func (r *runner) once(ctx context.Context, program string, seed int64) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	dir, err := os.MkdirTemp(r.dir, "run-")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := exec.CommandContext(ctx, r.torture, "--crossfade", program, "--seed", fmt.Sprint(seed), "--profile", "short", "--patience", patience, "--json", "--dir", dir)
	cmd.Dir = r.root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // It ends what it began.
	cmd.WaitDelay = time.Minute
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, runErr := cmd.Output()
	if err := json.Unmarshal(bytes.TrimSpace(out), &res); err != nil { // Its exit status says no more than the object.
		return res, fmt.Errorf("torture with seed %d: %w\n%s", seed, errors.Join(runErr, err), errs.Bytes())
	}
	return res, nil
}

// buildLimit bounds one build.
const buildLimit = 10 * time.Minute

// build builds a package of the tree with some of its files replaced.
func (r *runner) build(ctx context.Context, to, pkg string, replace map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	args := []string{"build", "-o", to}
	if len(replace) > 0 {
		overlay, err := writeOverlay(filepath.Dir(to), replace)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return nil
}

func writeOverlay(dir string, replace map[string]string) (string, error) {
	b, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

// root is the folder of the module.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking for the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

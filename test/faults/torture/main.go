// Torture runs Crossfade as real processes while a seed breaks them, the lines
// between them, their clocks, their broker's disk and ACS, and has a judge look at
// everything afterwards. The judge shares no code with what it judges.
//
//	go run ./test/faults/torture --seed 1
//	go run ./test/faults/torture --seed 1 --runs 200 --parallel 3
//	go run ./test/faults/torture --profile long
//	go run ./test/faults/torture --judge DIR
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/test/faults/world"
)

// errViolated says that a promise was broken; it was told already.
var errViolated = errors.New("promises were broken")

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
	var f flags
	c := &cobra.Command{
		Use:   "torture",
		Short: "Break everything around Crossfade and look whether its promises hold",
		Args:  cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), c.OutOrStdout()) },
	}
	fl := c.Flags()
	fl.Int64Var(&f.seed, "seed", 1, "decides what is broken and when, and who does what")
	fl.StringVar(&f.profile, "profile", "short", "tiny: 3 s of faults; short: 14 s; long: 20 minutes")
	fl.IntVar(&f.tenants, "tenants", 0, "how many tenants (default 0: the profile's own number)")
	fl.DurationVar(&f.patience, "patience", defaultPatience, "how long after the last fault everything may take to settle")
	fl.IntVar(&f.runs, "runs", 1, "how many runs, each with the next seed")
	fl.IntVar(&f.parallel, "parallel", 1, "how many at once, at most 8")
	fl.StringVar(&f.dir, "dir", "", "`DIR` for the runs (default a new temporary one; a run without a violation is removed)")
	fl.BoolVar(&f.keep, "keep", false, "keep the files of every run")
	fl.StringVar(&f.crossfade, "crossfade", "", "`PROGRAM` under test (default: built from this tree)")
	fl.StringVar(&f.previous, "previous", "", "older `PROGRAM` with which an API and half of the workers begin")
	fl.StringVar(&f.judge, "judge", "", "judge the kept `DIR` of one run again, and run nothing")
	fl.BoolVar(&f.calm, "calm", false, "break nothing: what a run costs by itself")
	fl.BoolVar(&f.json, "json", false, "one JSON object a run")
	var e world.EmulatorFlags
	emu := &cobra.Command{
		Use: "emulator", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return world.RunEmulator(c.Context(), e, os.Stdin, os.Stdout)
		},
	}
	emu.Flags().StringVar(&e.Dir, "dir", "", "")
	emu.Flags().Int64Var(&e.Seed, "seed", 1, "")
	emu.Flags().IntVar(&e.Tenants, "tenants", 1, "")
	emu.Flags().StringVar(&e.Listen, "listen", "", "")
	c.AddCommand(emu)
	return c
}

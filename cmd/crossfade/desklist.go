package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// deskFlags say which dead letters are meant.
type deskFlags struct {
	filter     string
	order      string
	superseded bool
	group      bool
	csv        bool
}

func (a *app) deskListCommand() *cobra.Command {
	var f deskFlags
	c := &cobra.Command{
		Use: "list", Short: "List every task that needs a person", Args: cobra.NoArgs,
		Long: `List shows the tasks of all rotations that failed, were found in conflict or must
be done by their owners. Those whose target a newer rotation has rotated since are
left out, unless --all.`,
		Example: `  crossfade desk list --group
  crossfade desk list --filter 'reason = REASON_NO_ACCESS AND tenant = "tenants/contoso"'
  crossfade desk list --csv > letters.csv`,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.group && f.order != "" {
				return usage("--order-by does not go with --group")
			}
			if (f.group || a.json) && f.csv {
				return usage("--csv goes neither with --json nor with --group")
			}
			return a.with(func(cl *client) error { return a.deskList(c.Context(), cl, f) })
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.filter, "filter", "", "AIP-160 `FILTER` over rotation, tenant, host, identity, kind, outcome, reason, detail, retriable and since")
	fl.StringVar(&f.order, "order-by", "", "`FIELDS` to order by, each with desc behind it or not, of since, tenant and host")
	fl.BoolVar(&f.superseded, "all", false, "also those whose target a newer rotation has rotated since")
	fl.BoolVar(&f.group, "group", false, "count them by outcome and reason")
	fl.BoolVar(&f.csv, "csv", false, "as a table for a spreadsheet")
	return c
}

func (a *app) deskList(ctx context.Context, cl *client, f deskFlags) error {
	if f.group {
		return a.deskGroups(ctx, cl, f)
	}
	if f.csv {
		return writeLetters(a.out, func(do func(*crossfadev1.DeadLetter) error) error { return cl.eachLetter(ctx, f, do) })
	}
	n := 0
	err := cl.eachLetter(ctx, f, func(l *crossfadev1.DeadLetter) error {
		n++
		if a.json {
			a.message("dead_letter", l)
			return nil
		}
		fmt.Fprintf(a.out, "%s\n    %s\n", letterLine(l), l.GetTask().GetHint())
		return nil
	})
	if err == nil && n == 0 && !a.json {
		fmt.Fprintln(a.out, "nothing needs a person")
	}
	return err
}

func (a *app) deskGroups(ctx context.Context, cl *client, f deskFlags) error {
	ctx, cancel := context.WithTimeout(ctx, wideCall)
	defer cancel()
	res, err := cl.desk.SummarizeDeadLetters(ctx, &crossfadev1.SummarizeDeadLettersRequest{Filter: f.filter, IncludeSuperseded: f.superseded})
	if err != nil {
		return err
	}
	for _, g := range res.GetGroups() {
		if a.json {
			a.message("dead_letter_group", g)
			continue
		}
		fmt.Fprintf(a.out, "%6d  %s, %s: %s, such as %s\n        %s\n", g.GetCount(), enumText(g.GetOutcome().String(), "OUTCOME_"),
			enumText(g.GetReason().String(), "REASON_"), amount(g.GetTenantCount(), "tenant"), strings.TrimPrefix(g.GetSampleTasks()[0], "rotations/"), g.GetHint())
	}
	if res.GetTruncated() {
		fmt.Fprintln(a.errOut, "there are more; only the newest were counted")
	}
	return nil
}

// eachLetter calls do for every dead letter that matches.
func (c *client) eachLetter(ctx context.Context, f deskFlags, do func(*crossfadev1.DeadLetter) error) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := c.desk.ListDeadLetters(pctx, &crossfadev1.ListDeadLettersRequest{
			PageSize: 1000, PageToken: token, Filter: f.filter, OrderBy: f.order, IncludeSuperseded: f.superseded,
		})
		cancel()
		if err != nil {
			return err
		}
		for _, l := range res.GetDeadLetters() {
			if err := do(l); err != nil {
				return err
			}
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

// letterLine is one dead letter in one line: where, whose, what, and since when.
func letterLine(l *crossfadev1.DeadLetter) string {
	k := l.GetTask()
	line := fmt.Sprintf("%s  %s  %s", strings.TrimPrefix(k.GetName(), "rotations/"), strings.TrimPrefix(k.GetTenant(), "tenants/"), reasonText(k))
	if k.GetHost() != "" {
		line += fmt.Sprintf("  %s@%s", k.GetIdentity(), k.GetHost())
	}
	line += "; since " + instant(l.GetSinceTime())
	if l.GetSuperseded() {
		line += "; a newer rotation has done it"
	}
	if k.GetDetail() != "" {
		line += ": " + k.GetDetail()
	}
	return line
}

func reasonText(k *crossfadev1.RotationTask) string {
	return enumText(k.GetOutcome().String(), "OUTCOME_") + ", " + enumText(k.GetReason().String(), "REASON_")
}

// letterColumns is the header of the table. Columns are only ever added at its end.
func letterColumns() []string {
	return []string{
		"task", "rotation", "rotation_display_name", "tenant", "host", "identity", "endpoints", "outcome", "reason", "since",
		"superseded", "retriable", "tries", "hint", "detail",
	}
}

// writeLetters writes dead letters as CSV.
func writeLetters(w io.Writer, each func(func(*crossfadev1.DeadLetter) error) error) error {
	c := csv.NewWriter(w)
	if err := c.Write(letterColumns()); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	err := each(func(l *crossfadev1.DeadLetter) error {
		k := l.GetTask()
		var endpoints []string
		for _, e := range k.GetEndpoints() {
			endpoints = append(endpoints, e.GetName())
		}
		return c.Write(harmless([]string{
			k.GetName(), l.GetRotation(), l.GetRotationDisplayName(), strings.TrimPrefix(k.GetTenant(), "tenants/"), k.GetHost(), k.GetIdentity(),
			strings.Join(endpoints, " "), enumText(k.GetOutcome().String(), "OUTCOME_"), enumText(k.GetReason().String(), "REASON_"),
			instant(l.GetSinceTime()), fmt.Sprint(l.GetSuperseded()), fmt.Sprint(l.GetRetriable()), fmt.Sprint(k.GetTries()), k.GetHint(), k.GetDetail(),
		}))
	})
	c.Flush()
	return errors.Join(err, c.Error())
}

// requeueFlags say what is tried again.
type requeueFlags struct {
	deskFlags
	reason string
	dryRun bool
}

func (a *app) deskRequeueCommand() *cobra.Command {
	var f requeueFlags
	c := &cobra.Command{
		Use: "requeue", Short: "Try again what was mended", Args: cobra.NoArgs,
		Long: `Requeue has the tasks that match tried again, each in its own rotation, where it
stood and with all its tries; a rotation that had ended runs again. What planning
decided, or a cancelled rotation left, wants a new rotation, and what an undo left
wants another undo: those are counted.`,
		Example: `  crossfade desk requeue --filter 'reason = REASON_NO_ACCESS' --reason "keys were given" --dry-run
  crossfade desk requeue --filter 'tenant = "tenants/contoso"' --reason "the namespace is back"`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.requeue(c.Context(), cl, f) })
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.filter, "filter", "", "AIP-160 `FILTER` as of \"desk list\" (default all that are listed)")
	fl.StringVar(&f.reason, "reason", "", "why, for the record")
	fl.BoolVar(&f.dryRun, "dry-run", false, "say what would be tried again, and do nothing")
	_ = c.MarkFlagRequired("reason") // The flag exists: it was made above.
	return c
}

// mostNames is how many tasks one call retries.
const mostNames = 1000

func (a *app) requeue(ctx context.Context, cl *client, f requeueFlags) error {
	tasks := map[string][]string{} // by rotation
	var order []string
	others := 0
	err := cl.eachLetter(ctx, f.deskFlags, func(l *crossfadev1.DeadLetter) error {
		if !l.GetRetriable() {
			others++
			return nil
		}
		if tasks[l.GetRotation()] == nil {
			order = append(order, l.GetRotation())
		}
		tasks[l.GetRotation()] = append(tasks[l.GetRotation()], l.GetTask().GetName())
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, rotation := range order {
		n, err := a.requeueOne(ctx, cl, rotation, tasks[rotation], f)
		if err != nil { // The others go on: each rotation is one of its own.
			errs = append(errs, fmt.Errorf("%s: %w", rotation, err))
		}
		verb := "tried again"
		if f.dryRun {
			verb = "would be tried again"
		}
		if a.json {
			a.object("requeue", map[string]any{"rotation": rotation, "tasks": n, "dry_run": f.dryRun})
			continue
		}
		fmt.Fprintf(a.out, "%s: %d of %s %s\n", rotation, n, amount(len(tasks[rotation]), "task"), verb)
	}
	if others > 0 {
		fmt.Fprintf(a.errOut, "%d cannot be tried again where they are: they want a new rotation or, after an undo, another undo\n", others)
	}
	return errors.Join(errs...)
}

// requeueOne retries tasks of one rotation, as many at once as a call takes. It
// returns how many were opened again.
func (a *app) requeueOne(ctx context.Context, cl *client, rotation string, names []string, f requeueFlags) (int64, error) {
	if f.dryRun {
		return int64(len(names)), nil
	}
	var n int64
	for part := range slices.Chunk(names, mostNames) {
		cctx, cancel := context.WithTimeout(ctx, wideCall)
		res, err := cl.rotations.RetryRotationTasks(cctx, &crossfadev1.RetryRotationTasksRequest{
			Parent: rotation, Names: part, Reason: f.reason, RequestId: uuid.NewString(),
		})
		cancel()
		if err != nil {
			return n, err
		}
		n += res.GetRetried()
	}
	return n, nil
}

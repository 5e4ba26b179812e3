package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) rotationCommand() *cobra.Command {
	return group("rotation", "Look at rotations and steer them",
		a.rotationListCommand(), a.rotationShowCommand(), a.rotationTasksCommand(), a.rotationWatchCommand(),
		a.rotationStartCommand(), a.rotationPauseCommand(), a.rotationResumeCommand(), a.rotationCancelCommand(), a.rotationRetireCommand(), a.rotationApproveCommand(), a.rotationReportCommand(),
		a.rotationGateCommand(), a.rotationCheckCommand(), a.rotationDriftsCommand(),
		a.rotationRetryCommand(), a.rotationUndoCommand(),
	)
}

// rotationName accepts a rotation's name or its bare id.
func rotationName(arg string) string {
	return "rotations/" + strings.TrimPrefix(arg, "rotations/")
}

// instant is a time as people read it, in UTC.
func instant(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// verb makes a command that names one rotation.
func (a *app) verb(use, short, example string, do func(ctx context.Context, cl *client, name string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error { return do(c.Context(), cl, rotationName(args[0])) })
		},
	}
}

func (a *app) rotationListCommand() *cobra.Command {
	var l listing
	c := &cobra.Command{
		Use: "list", Short: "List rotations, newest first",
		Example: "  crossfade rotation list --filter 'state = STATE_RUNNING AND labels.team = \"crm\"'",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.listRotations(c.Context(), cl, l) })
		},
	}
	l.flags(c, rotationFilter, "create_time, update_time and display_name")
	return c
}

func (a *app) listRotations(ctx context.Context, cl *client, l listing) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.rotations.ListRotations(pctx, &crossfadev1.ListRotationsRequest{PageSize: 500, PageToken: token, Filter: l.filter, OrderBy: l.order})
		cancel()
		if err != nil {
			return err
		}
		for _, r := range res.GetRotations() {
			a.rotationLine(r)
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func (a *app) rotationShowCommand() *cobra.Command {
	var plan bool
	c := a.verb("show", "Show one rotation", "  crossfade rotation show rotations/0198… --plan", func(ctx context.Context, cl *client, name string) error {
		r, err := cl.rotation(ctx, name)
		if err != nil {
			return err
		}
		if plan {
			return a.showPlan(ctx, cl, r)
		}
		a.showRotation(r)
		return nil
	})
	c.Flags().BoolVar(&plan, "plan", false, "show the frozen plan")
	return c
}

// rotation reads one rotation.
func (c *client) rotation(ctx context.Context, name string) (*crossfadev1.Rotation, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.rotations.GetRotation(ctx, &crossfadev1.GetRotationRequest{Name: name})
	return res.GetRotation(), err
}

func (a *app) showRotation(r *crossfadev1.Rotation) {
	if a.json {
		a.message("rotation", r)
		return
	}
	row := func(name, value string) {
		if value != "" && value != "-" {
			fmt.Fprintf(a.out, "%-18s %s\n", name, value)
		}
	}
	row("rotation", r.GetName())
	row("display name", r.GetDisplayName())
	row("state", stateText(r))
	row("detail", r.GetStatusDetail().GetMessage())
	row("tasks", countsText(r.GetCounts()))
	row("tolerance", toleranceText(r))
	row("tenant tolerance", tenantToleranceText(r))
	row("waves", wavesText(r))
	row("order", orderText(r))
	row("gates", gatesText(r))
	row("wave", waveText(r))
	row("gate", gateText(r))
	row("failure budget", budgetText(r))
	row("lane", laneText(r))
	row("throttle", throttleText(r))
	row("schedule", scheduleText(r))
	row("open", openText(r))
	row("forecast", forecastText(r))
	row("deadline", deadlineText(r))
	row("undo", undoText(r))
	if r.GetPartial() {
		row("shown", "an outline, since it has tenants of others too; \"rotation tasks\" lists those of yours")
	} else {
		row("tenants", fmt.Sprint(r.GetTenantCount()))
	}
	row("certificate", r.GetSpec().GetCertificate())
	row("replaces", strings.Join(r.GetSpec().GetReplaces(), " "))
	if r.GetSpec().GetReplacesSameSubject() {
		row("replaces", "all with the same subject")
	}
	row("compromised", compromisedText(r))
	row("containment", containText(r))
	row("approval", approvalText(r))
	row("approvals", approvalsText(r))
	row("approvals needed", neededText(r))
	row("retire not before", retireText(r))
	row("drift", checkText(r.GetCheck()))
	if w := r.GetSpec().GetUndoWindow(); w != nil {
		row("undo window", w.AsDuration().String())
	}
	row("plan digest", r.GetPlanDigest())
	created := instant(r.GetCreateTime())
	if by := r.GetCreator(); by != "" {
		created += " by " + by
	}
	row("created", created)
	row("planned", instant(r.GetPlanTime()))
	row("started", instant(r.GetStartTime()))
	row("ended", instant(r.GetEndTime()))
}

func (a *app) rotationTasksCommand() *cobra.Command {
	var l listing
	c := a.verb("tasks", "List the tasks of a rotation", "  crossfade rotation tasks 0198… --filter 'outcome = OUTCOME_HANDED_OVER AND tenant = \"tenants/contoso\"'",
		func(ctx context.Context, cl *client, name string) error {
			return cl.eachTask(ctx, name, l, func(k *crossfadev1.RotationTask) {
				if a.json {
					a.message("task", k)
					return
				}
				fmt.Fprintln(a.out, taskLine(k))
				if k.GetHint() != "" {
					fmt.Fprintf(a.out, "    %s\n", k.GetHint())
				}
			})
		})
	l.flags(c, "outcome, phase, reason, tenant, host and identity", "name, update_time, tenant and host")
	return c
}

func (a *app) rotationWatchCommand() *cobra.Command {
	var cursor, filter string
	var plain, all, withEnded bool
	c := a.verb("watch", "Show the progress of a rotation until it ends, or of all", `  crossfade rotation watch 0198…
  crossfade rotation watch 0198… --json --cursor t.0198…
  crossfade rotation watch --all --filter 'state = STATE_RUNNING'`, func(ctx context.Context, cl *client, name string) error {
		last, err := cl.follow(ctx, watching{name: name, cursor: cursor}, a.newView(plain))
		if err != nil {
			return err
		}
		return verdictOf(last)
	})
	one := c.RunE
	c.Use = "watch NAME | --all"
	c.Args = func(c *cobra.Command, args []string) error {
		if all {
			return cobra.NoArgs(c, args)
		}
		return cobra.ExactArgs(1)(c, args)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case all && (cursor != "" || plain):
			return usage("--all: a watch of many rotations has no --cursor, and its lines are --plain anyway")
		case !all && (filter != "" || withEnded):
			return usage("--filter and --ended say which rotations --all shows; add it, or leave them out")
		case all:
			return a.with(func(cl *client) error { return a.watchAll(c.Context(), cl, filter, withEnded) })
		}
		return one(c, args)
	}
	c.Flags().BoolVar(&all, "all", false, "show how all rotations stand, each when it changes, until it is stopped")
	c.Flags().StringVar(&filter, "filter", "", "with --all: AIP-160 `FILTER` over "+rotationFilter)
	c.Flags().BoolVar(&withEnded, "ended", false, "with --all: those too that have ended before")
	c.Flags().StringVar(&cursor, "cursor", "", "go on from a `CURSOR` that an earlier watch printed")
	c.Flags().BoolVar(&plain, "plain", false, "plain lines on a terminal too")
	return c
}

func (a *app) rotationStartCommand() *cobra.Command {
	var digest string
	c := a.verb("start", "Start a planned rotation", "  crossfade rotation start 0198… --digest 3a7f…", func(ctx context.Context, cl *client, name string) error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		res, err := cl.rotations.StartRotation(ctx, &crossfadev1.StartRotationRequest{Name: name, PlanDigest: digest})
		if err != nil {
			return err
		}
		a.showRotation(res.GetRotation())
		return nil
	})
	c.Flags().StringVar(&digest, "digest", "", "`DIGEST` of the plan that was shown; another plan is refused")
	_ = c.MarkFlagRequired("digest") // The flag exists: it was made above.
	return c
}

func (a *app) rotationCancelCommand() *cobra.Command {
	var reason string
	c := a.verb("cancel", "Stop a rotation; targets keep what they have", `  crossfade rotation cancel 0198… --reason "the wrong certificate"`, func(ctx context.Context, cl *client, name string) error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		res, err := cl.rotations.CancelRotation(ctx, &crossfadev1.CancelRotationRequest{Name: name, Reason: reason})
		if err != nil {
			return err
		}
		a.showRotation(res.GetRotation())
		return nil
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	_ = c.MarkFlagRequired("reason") // The flag exists: it was made above.
	return c
}

func (a *app) rotationRetireCommand() *cobra.Command {
	var notBefore string
	c := a.verb("retire", "Remove the old certificates of a rotation that waits for it", `  crossfade rotation retire 0198…
  crossfade rotation retire 0198… --not-before 2016-11-04T01:00:00Z`, func(ctx context.Context, cl *client, name string) error {
		req := &crossfadev1.RetireRotationRequest{Name: name}
		if notBefore != "" {
			at, err := time.Parse(time.RFC3339, notBefore)
			if err != nil {
				return usage("--not-before %q: want an instant such as 2016-11-04T01:00:00Z", notBefore)
			}
			req.RetireNotBefore = timestamppb.New(at)
		}
		r, err := cl.rotation(ctx, name)
		if err != nil {
			return err
		}
		ctx, cancel := bounded(ctx)
		defer cancel()
		req.Etag = r.GetEtag()
		res, err := cl.rotations.RetireRotation(ctx, req)
		if err != nil {
			return err
		}
		a.showRotation(res.GetRotation())
		return nil
	})
	c.Flags().StringVar(&notBefore, "not-before", "", "bring forward to this `INSTANT` when old certificates may go; somebody else must have\napproved it: rotation approve --act retire-early")
	return c
}

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// wideCall is how long a call may take that looks at every task of a rotation, or
// writes to it.
const wideCall = 5 * time.Minute

// retryFlags is what "crossfade rotation retry" was told.
type retryFlags struct {
	filter, reason, requestID string
	tasks                     []string
}

func (a *app) rotationRetryCommand() *cobra.Command {
	var f retryFlags
	c := a.verb("retry", "Try the failed tasks of a rotation again", `  crossfade rotation retry 0198… --reason "the namespaces are back"
  crossfade rotation retry 0198… --filter 'reason = REASON_NO_ACCESS' --reason "keys were given"
  crossfade rotation retry 0198… --task 17 --task 23 --reason "mended by hand"`,
		func(ctx context.Context, cl *client, name string) error { return a.retry(ctx, cl, name, f) })
	c.Long = `Retry opens tasks again that failed, where they stood, with all their tries. A
rotation that had ended runs again. With --filter or --task also those are
retried that were in conflict or handed over; a target that is still not as it was
planned is in conflict again.`
	fl := c.Flags()
	fl.StringVar(&f.filter, "filter", "", "AIP-160 `FILTER` over outcome, phase, reason, tenant and host (default all that failed)")
	fl.StringSliceVar(&f.tasks, "task", nil, "only this `TASK`, by its name or its position in the plan; may be repeated")
	fl.StringVar(&f.reason, "reason", "", "why, for the record")
	fl.StringVar(&f.requestID, "request-id", "", "`UUID` of this request; the same one again completes it (default a new one)")
	_ = c.MarkFlagRequired("reason") // The flag exists: it was made above.
	return c
}

func (a *app) retry(ctx context.Context, cl *client, name string, f retryFlags) error {
	if f.filter != "" && len(f.tasks) > 0 {
		return usage("--filter and --task: only one of them can say which tasks")
	}
	if f.requestID == "" {
		f.requestID = uuid.NewString()
	}
	names, err := taskNames(name, f.tasks)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wideCall)
	defer cancel()
	res, err := cl.rotations.RetryRotationTasks(ctx, &crossfadev1.RetryRotationTasksRequest{
		Parent: name, Names: names, Filter: f.filter, Reason: f.reason, RequestId: f.requestID,
	})
	if err != nil {
		return err
	}
	if a.json {
		a.object("retry", map[string]any{"retried": res.GetRetried(), "rotation": asJSON(res.GetRotation())})
		return nil
	}
	fmt.Fprintf(a.out, "tried again: %s\n", amount(res.GetRetried(), "task"))
	a.showRotation(res.GetRotation())
	return nil
}

// taskNames returns the full names of tasks that are given by name or by position.
func taskNames(rotation string, args []string) ([]string, error) {
	names := make([]string, len(args))
	for i, arg := range args {
		short := arg[strings.LastIndex(arg, "/")+1:]
		ord, err := strconv.ParseUint(short, 10, 31)
		if err != nil {
			return nil, usage("--task %q: want the name of a task or its position in the plan", arg)
		}
		names[i] = fmt.Sprintf("%s/tasks/%06d", rotation, ord)
		if short != arg && !strings.HasPrefix("rotations/"+strings.TrimPrefix(arg, "rotations/"), rotation+"/") {
			return nil, usage("--task %q: is no task of %s", arg, rotation)
		}
	}
	return names, nil
}

// undoFlags is what "crossfade rotation undo" was told.
type undoFlags struct {
	all               bool
	tenants, tasks    []string
	wave              int32
	reason, requestID string
	dryRun            bool
}

func (a *app) rotationUndoCommand() *cobra.Command {
	var f undoFlags
	c := a.verb("undo", "Take a rotation back, or a part of it", `  crossfade rotation undo 0198… --all --reason "wrong certificate" --dry-run
  crossfade rotation undo 0198… --tenant contoso --reason "the customer asks for it"
  crossfade rotation undo 0198… --wave 3 --reason "its gate failed"`,
		func(ctx context.Context, cl *client, name string) error { return a.undo(ctx, cl, name, f) })
	c.Long = `Undo puts the old certificates back where the rotation removed them, exactly as
they stood, and then removes the new one where the rotation added it. What it did
not add is never touched. What was removed can be put back for as long as
"rotate --undo-window" said, 7 days by default.

The other target of a federated endpoint is always taken back too. While the undo
is under way nothing else of the rotation is worked on.`
	fl := c.Flags()
	f.scopeFlags(fl)
	fl.StringVar(&f.reason, "reason", "", "why, for the record")
	fl.BoolVar(&f.dryRun, "dry-run", false, "say how many tasks it would be, and change nothing")
	fl.StringVar(&f.requestID, "request-id", "", "`UUID` of this request; the same one again changes nothing more (default a new one)")
	_ = c.MarkFlagRequired("reason") // The flag exists: it was made above.
	return c
}

// scopeFlags adds those that say what is taken back.
func (f *undoFlags) scopeFlags(fl *pflag.FlagSet) {
	fl.BoolVar(&f.all, "all", false, "the whole rotation")
	fl.StringSliceVar(&f.tenants, "tenant", nil, "only what was done for this `TENANT`; may be repeated")
	fl.Int32Var(&f.wave, "wave", 0, "only the wave of this `NUMBER`, from 1")
	fl.StringSliceVar(&f.tasks, "task", nil, "only this `TASK`, by its name or its position in the plan; may be repeated")
}

func (a *app) undo(ctx context.Context, cl *client, name string, f undoFlags) error {
	scope, err := f.scope(name)
	if err != nil {
		return err
	}
	if f.requestID == "" {
		f.requestID = uuid.NewString()
	}
	ctx, cancel := context.WithTimeout(ctx, wideCall)
	defer cancel()
	res, err := cl.rotations.UndoRotation(ctx, &crossfadev1.UndoRotationRequest{
		Name: name, Scope: scope, Reason: f.reason, RequestId: f.requestID, ValidateOnly: f.dryRun,
	})
	if err != nil {
		return err
	}
	if a.json {
		a.object("undo", map[string]any{"covered": res.GetCovered(), "dry_run": f.dryRun, "rotation": asJSON(res.GetRotation())})
		return nil
	}
	if f.dryRun {
		fmt.Fprintf(a.out, "would be undone: %s; nothing was changed\n", amount(res.GetCovered(), "task"))
		return nil
	}
	fmt.Fprintf(a.out, "being undone: %s; to see it: crossfade rotation watch %s\n", amount(res.GetCovered(), "task"), name)
	a.showRotation(res.GetRotation())
	return nil
}

// scope reads which tasks are meant.
func (f undoFlags) scope(rotation string) (*crossfadev1.UndoScope, error) {
	given := 0
	for _, is := range []bool{f.all, len(f.tenants) > 0, f.wave != 0, len(f.tasks) > 0} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, usage("say what is to be undone with one of --all, --tenant, --wave and --task")
	}
	switch {
	case f.all:
		return &crossfadev1.UndoScope{Scope: &crossfadev1.UndoScope_All{All: true}}, nil
	case f.wave != 0:
		return &crossfadev1.UndoScope{Scope: &crossfadev1.UndoScope_Wave{Wave: f.wave}}, nil
	case len(f.tenants) > 0:
		names := make([]string, len(f.tenants))
		for i, t := range f.tenants {
			names[i] = "tenants/" + strings.TrimPrefix(t, "tenants/")
		}
		return &crossfadev1.UndoScope{Scope: &crossfadev1.UndoScope_Tenants{Tenants: &crossfadev1.TenantNames{Names: names}}}, nil
	default:
		names, err := taskNames(rotation, f.tasks)
		return &crossfadev1.UndoScope{Scope: &crossfadev1.UndoScope_Tasks{Tasks: &crossfadev1.TaskNames{Names: names}}}, err
	}
}

// undoText says how far an undo is: "all: 12 of 40 undone, 1 failed".
func undoText(r *crossfadev1.Rotation) string {
	u := r.GetUndo()
	if u == nil {
		return ""
	}
	what := "all"
	switch s := u.GetScope().GetScope().(type) {
	case *crossfadev1.UndoScope_Tenants:
		what = amount(len(s.Tenants.GetNames()), "tenant")
	case *crossfadev1.UndoScope_Wave:
		what = fmt.Sprintf("wave %d", s.Wave)
	case *crossfadev1.UndoScope_Tasks:
		what = amount(len(s.Tasks.GetNames()), "task")
	}
	text := fmt.Sprintf("%s: %d of %d undone", what, u.GetDone(), u.GetCovered())
	if u.GetCovered() == 0 && u.GetEndTime() == nil { // Its tasks are marked when nothing is in hand any more.
		text = what + ": about to begin"
	}
	if u.GetFailed() > 0 {
		text += fmt.Sprintf(", %d failed", u.GetFailed())
	}
	return text + ": " + u.GetReason()
}

// window reads --undo-window; absent: nothing.
func (f rotateFlags) window() (*durationpb.Duration, error) {
	if f.undoWindow == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(f.undoWindow)
	if days, ok := strings.CutSuffix(f.undoWindow, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < 0 {
		return nil, usage("--undo-window %q: want a time such as 36h, 7d or 0", f.undoWindow)
	}
	return durationpb.New(d), nil
}

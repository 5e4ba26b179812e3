package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/rollover"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// discoverFlags say whose endpoints are looked for.
type discoverFlags struct {
	tenants         []string
	selected        string
	requestID       string
	check, waitsFor bool
}

func (a *app) endpointsDiscoverCommand() *cobra.Command {
	var f discoverFlags
	c := &cobra.Command{
		Use: "discover", Short: "Look for service endpoints, and at what stands at their targets",
		Long: `Discover has the workers list the service endpoints of tenants and read which
certificates stand at their targets, as the planning of a rotation does. Nothing is
written there. "endpoints list" shows what was found, tenant by tenant as it comes.
The job goes on by itself; "endpoints discovery" shows how far it has come.`,
		Example: "  crossfade endpoints discover --wait\n  crossfade endpoints discover --select 'labels.tier = \"gold\"'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.selected != "" && len(f.tenants) > 0 {
				return usage("--select and --tenant: only one of them can say whose endpoints are looked for")
			}
			return a.with(func(cl *client) error { return a.discover(c.Context(), cl, f) })
		},
	}
	c.Flags().StringArrayVar(&f.tenants, "tenant", nil, "only this `TENANT`; may be repeated (default all)")
	c.Flags().StringVar(&f.selected, "select", "", "only the tenants that this AIP-160 `FILTER` selects now")
	c.Flags().StringVar(&f.requestID, "request-id", "", "a `UUID`: the same one again finds the same job (default a new one)")
	c.Flags().BoolVar(&f.check, "check", false, "check everything and start nothing")
	c.Flags().BoolVar(&f.waitsFor, "wait", false, "wait for the end, and show what could not be read")
	return c
}

func (a *app) endpointsDiscoveryCommand() *cobra.Command {
	var cancel, waits bool
	c := &cobra.Command{
		Use: "discovery JOB", Short: "Show how far a discovery has come, and what it could not read",
		Example: "  crossfade endpoints discovery inventoryJobs/0198…\n  crossfade endpoints discovery 0198… --cancel",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error { return a.discovery(c.Context(), cl, jobName(args[0]), cancel, waits) })
		},
	}
	c.Flags().BoolVar(&cancel, "cancel", false, "end it; what it found so far stays")
	c.Flags().BoolVar(&waits, "wait", false, "wait for the end")
	return c
}

func (a *app) discover(ctx context.Context, cl *client, f discoverFlags) error {
	req := &crossfadev1.DiscoverEndpointsRequest{Filter: f.selected, RequestId: f.requestID, ValidateOnly: f.check}
	for _, t := range f.tenants {
		req.Tenants = append(req.Tenants, "tenants/"+strings.TrimPrefix(t, "tenants/"))
	}
	if req.GetRequestId() == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("making a request id: %w", err)
		}
		req.RequestId = id.String()
	}
	pctx, cancel := bounded(ctx)
	defer cancel()
	res, err := cl.inventory.DiscoverEndpoints(pctx, req)
	if err != nil {
		return err
	}
	j := res.GetJob()
	if !f.waitsFor || f.check {
		a.showJob(j)
		return nil
	}
	if !a.json {
		fmt.Fprintf(a.out, "looking for the endpoints of %d tenants as %s …\n", j.GetExpectedRows(), j.GetName())
	}
	return a.awaitJob(ctx, cl, j.GetName())
}

func (a *app) discovery(ctx context.Context, cl *client, name string, cancels, waits bool) error {
	pctx, cancel := bounded(ctx)
	defer cancel()
	if cancels {
		res, err := cl.inventory.CancelInventoryJob(pctx, &crossfadev1.CancelInventoryJobRequest{Name: name})
		if err != nil {
			return err
		}
		a.showJob(res.GetJob())
		return nil
	}
	if waits {
		return a.awaitJob(ctx, cl, name)
	}
	res, err := cl.inventory.GetInventoryJob(pctx, &crossfadev1.GetInventoryJobRequest{Name: name})
	if err != nil {
		return err
	}
	a.showJob(res.GetJob())
	return a.jobErrors(ctx, cl, &crossfadev1.ListInventoryJobErrorsRequest{Parent: name})
}

// jobPause is the time between two looks at a job: a look sums up what was found.
const jobPause = time.Second

// awaitJob waits for the end of a job, through interruptions of the service, and shows
// what came of it.
func (a *app) awaitJob(ctx context.Context, cl *client, name string) error {
	var j *crossfadev1.InventoryJob
	for cuts := 0; j == nil || j.GetState() == crossfadev1.InventoryJob_STATE_RUNNING; {
		pctx, cancel := bounded(ctx)
		res, err := cl.inventory.GetInventoryJob(pctx, &crossfadev1.GetInventoryJobRequest{Name: name})
		cancel()
		pause := jobPause
		switch {
		case err == nil:
			j, cuts = res.GetJob(), 0
		case ctx.Err() != nil:
			return errStoppedWaiting
		case !worthRetrying(err), cuts == maxCuts:
			return err
		default:
			cuts++
			pause = rollover.Backoff(cuts, 0.5)
		}
		if j != nil && j.GetState() != crossfadev1.InventoryJob_STATE_RUNNING {
			break
		}
		select {
		case <-ctx.Done():
			return errStoppedWaiting
		case <-time.After(pause):
		}
	}
	a.showJob(j)
	if err := a.jobErrors(ctx, cl, &crossfadev1.ListInventoryJobErrorsRequest{Parent: name}); err != nil {
		return err
	}
	if j.GetState() == crossfadev1.InventoryJob_STATE_SUCCEEDED {
		return nil
	}
	return &exitError{code: exitFailures, err: fmt.Errorf("%s ended as %s", name, jobState(j))}
}

// errStoppedWaiting says that whoever waited did not want to any longer.
var errStoppedWaiting = errors.New("stopped waiting; the job goes on")

func (a *app) showDiscovery(j *crossfadev1.InventoryJob) {
	name := j.GetName()
	if name == "" {
		name = "nothing is started"
	}
	fmt.Fprintf(a.out, "%s: %s, %d of %d tenants looked at, %d not reached, %d endpoints, %d of %d targets read\n", name, jobState(j),
		j.GetRowCount(), j.GetExpectedRows(), j.GetFailedCount(), j.GetEndpointCount(), j.GetReadCount(), j.GetTargetCount())
	if j.GetDetail() != "" {
		fmt.Fprintln(a.out, "  "+j.GetDetail())
	}
}

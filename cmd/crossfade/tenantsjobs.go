package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) jobsCommand() *cobra.Command {
	var filter, errorFilter string
	list := &cobra.Command{
		Use: "list", Short: "List imports and discoveries, the latest first", Args: cobra.NoArgs,
		Example: "  crossfade tenants jobs list --filter 'state = STATE_PARTIALLY_SUCCEEDED'",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.listJobs(c.Context(), cl, filter) })
		},
	}
	list.Flags().StringVar(&filter, "filter", "", "AIP-160 `FILTER` over kind, state, creator, validate_only and create_time")
	show := &cobra.Command{
		Use: "show JOB", Short: "Show what became of an import or a discovery", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error {
				ctx, cancel := bounded(c.Context())
				defer cancel()
				res, err := cl.inventory.GetInventoryJob(ctx, &crossfadev1.GetInventoryJobRequest{Name: jobName(args[0])})
				if err == nil {
					a.showJob(res.GetJob())
				}
				return err
			})
		},
	}
	errs := &cobra.Command{
		Use: "errors JOB", Short: "List what is wrong with the rows of an import, or what a discovery did not read", Args: cobra.ExactArgs(1),
		Example: "  crossfade tenants jobs errors 0198… --filter 'field = \"name\"'",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error {
				return a.jobErrors(c.Context(), cl, &crossfadev1.ListInventoryJobErrorsRequest{Parent: jobName(args[0]), Filter: errorFilter})
			})
		},
	}
	errs.Flags().StringVar(&errorFilter, "filter", "", "AIP-160 `FILTER` over tenant, field and row")
	cancel := &cobra.Command{
		Use: "cancel JOB", Short: "End an import or a discovery that is running", Args: cobra.ExactArgs(1),
		Long: "Cancel ends an import or a discovery that is running. What it has stored stays.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error {
				ctx, cancel := bounded(c.Context())
				defer cancel()
				res, err := cl.inventory.CancelInventoryJob(ctx, &crossfadev1.CancelInventoryJobRequest{Name: jobName(args[0])})
				if err == nil {
					a.showJob(res.GetJob())
				}
				return err
			})
		},
	}
	return group("jobs", "Look at imports and discoveries, those under way and those that ended", list, show, errs, cancel)
}

// jobName is the name of a job that a person names by its id, or by its name.
func jobName(arg string) string {
	return "inventoryJobs/" + strings.ToLower(strings.TrimPrefix(arg, "inventoryJobs/"))
}

// jobState is a job's state as people read it.
func jobState(j *crossfadev1.InventoryJob) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(j.GetState().String(), "STATE_")), "_", " ")
}

// discovers reports whether a job looks for endpoints; others bring tenants in.
func discovers(j *crossfadev1.InventoryJob) bool {
	return j.GetKind() == crossfadev1.InventoryJob_KIND_DISCOVERY
}

func (a *app) listJobs(ctx context.Context, cl *client, filter string) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.inventory.ListInventoryJobs(pctx, &crossfadev1.ListInventoryJobsRequest{PageSize: 500, PageToken: token, Filter: filter})
		cancel()
		if err != nil {
			return err
		}
		for _, j := range res.GetJobs() {
			if a.json {
				a.message("job", j)
				continue
			}
			what := fmt.Sprintf("%d rows, %d refused", j.GetRowCount(), j.GetFailedCount())
			if discovers(j) {
				what = fmt.Sprintf("%d tenants looked at, %d not reached", j.GetRowCount(), j.GetFailedCount())
			}
			fmt.Fprintf(a.out, "%s  %-20s %s  %s, by %s\n", strings.TrimPrefix(j.GetName(), "inventoryJobs/"), jobState(j), instant(j.GetCreateTime()), what, j.GetCreator())
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func (a *app) showJob(j *crossfadev1.InventoryJob) {
	if a.json {
		a.message("job", j)
		return
	}
	if discovers(j) {
		a.showDiscovery(j)
		return
	}
	fmt.Fprintf(a.out, "job            %s\nstate          %s\n", j.GetName(), jobState(j))
	if j.GetDetail() != "" {
		fmt.Fprintf(a.out, "detail         %s\n", j.GetDetail())
	}
	if j.GetValidateOnly() {
		fmt.Fprintln(a.out, "check only     nothing is stored by it")
	}
	fmt.Fprintf(a.out, "rows           %d: %d new, %d changed, %d unchanged, %d refused\n", j.GetRowCount(), j.GetCreatedCount(), j.GetUpdatedCount(), j.GetUnchangedCount(), j.GetFailedCount())
	if j.GetExpectedRows() > 0 {
		fmt.Fprintf(a.out, "to come        %d in all\n", j.GetExpectedRows())
	}
	fmt.Fprintf(a.out, "by             %s\nbegan          %s\n", j.GetCreator(), instant(j.GetCreateTime()))
	if j.GetEndTime() != nil {
		fmt.Fprintf(a.out, "ended          %s\n", instant(j.GetEndTime()))
	}
}

// jobErrors shows all that a request for errors lists.
func (a *app) jobErrors(ctx context.Context, cl *client, req *crossfadev1.ListInventoryJobErrorsRequest) error {
	for req.PageSize = 1000; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.inventory.ListInventoryJobErrors(pctx, req)
		cancel()
		if err != nil {
			return err
		}
		for _, e := range res.GetErrors() {
			a.problem(e)
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			return nil
		}
	}
}

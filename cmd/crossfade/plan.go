package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// eachTask calls f for every task of a rotation that the filter lets through,
// page by page.
func (c *client) eachTask(ctx context.Context, rotation string, l listing, f func(*crossfadev1.RotationTask)) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := c.rotations.ListRotationTasks(pctx, &crossfadev1.ListRotationTasksRequest{
			Parent: rotation, PageSize: 1000, PageToken: token, Filter: l.filter, OrderBy: l.order,
		})
		cancel()
		if err != nil {
			return err
		}
		for _, k := range res.GetTasks() {
			f(k)
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

// showPlan shows what a rotation will do: where something is added, what is
// removed later, who must be asked, what is skipped and why, and the digest.
func (a *app) showPlan(ctx context.Context, cl *client, r *crossfadev1.Rotation) error {
	if a.json {
		if err := cl.eachTask(ctx, r.GetName(), listing{}, func(k *crossfadev1.RotationTask) { a.message("task", k) }); err != nil {
			return err
		}
		a.message("rotation", r)
		return nil
	}
	var add, present, asked, skipped, failed []*crossfadev1.RotationTask
	retire := map[string]int{}
	err := cl.eachTask(ctx, r.GetName(), listing{}, func(k *crossfadev1.RotationTask) {
		for _, c := range k.GetWillRetire() {
			retire[c.GetSha1Thumbprint()+"  "+c.GetSubject()]++
		}
		switch {
		case k.GetOutcome() == crossfadev1.RotationTask_OUTCOME_HANDED_OVER:
			asked = append(asked, k)
		case k.GetOutcome() == crossfadev1.RotationTask_OUTCOME_SKIPPED:
			skipped = append(skipped, k)
		case k.GetOutcome() == crossfadev1.RotationTask_OUTCOME_FAILED:
			failed = append(failed, k)
		case k.GetWillAdd():
			add = append(add, k)
		default:
			present = append(present, k)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "plan of %s: %s, %s\n", r.GetName(), amount(r.GetCounts().GetTotal(), "task"), amount(r.GetTenantCount(), "tenant"))
	fmt.Fprintf(a.out, "  new certificate   %s\n", strings.TrimPrefix(r.GetSpec().GetCertificate(), "certificates/"))
	a.section("will be added on", add)
	a.section("stands already on", present)
	a.section("its owner must be asked", asked)
	a.section("skipped", skipped)
	a.section("could not be planned", failed)
	a.retirements(r, retire)
	if rule := toleranceText(r); rule != "" {
		fmt.Fprintf(a.out, "  tolerance         %s\n", rule)
	}
	for _, line := range [][2]string{{"tenant tolerance", tenantToleranceText(r)}, {"order", orderText(r)}, {"gates", gatesText(r)}} {
		if line[1] != "" {
			fmt.Fprintf(a.out, "  %-17s %s\n", line[0], line[1])
		}
	}
	if waves := wavesText(r); waves != "" {
		fmt.Fprintf(a.out, "  waves             %s\n", waves)
	}
	for _, line := range [][2]string{
		{"schedule", scheduleText(r)}, {"open", openText(r)}, {"forecast", forecastText(r)}, {"deadline", deadlineText(r)},
		{"compromised", compromisedText(r)}, {"containment", containText(r)}, {"approval", approvalText(r)},
	} {
		if line[1] != "" {
			fmt.Fprintf(a.out, "  %-17s %s\n", line[0], line[1])
		}
	}
	fmt.Fprintf(a.out, "  plan digest       %s\n", r.GetPlanDigest())
	return nil
}

// planLines is how many targets of each sort a plan shows on a terminal; the
// others are counted, and "rotation tasks" lists them.
const planLines = 20

func (a *app) section(title string, ks []*crossfadev1.RotationTask) {
	if len(ks) == 0 {
		return
	}
	fmt.Fprintf(a.out, "  %s: %d\n", title, len(ks))
	for i, k := range ks {
		if i == planLines {
			fmt.Fprintf(a.out, "    … and %d more\n", len(ks)-i)
			return
		}
		fmt.Fprintf(a.out, "    %s\n", planLine(k))
	}
}

// planLine is one target of a plan: whose, where, and why not if not.
func planLine(k *crossfadev1.RotationTask) string {
	where := k.GetIdentity() + "@" + k.GetHost()
	if k.GetHost() == "" {
		where = "-"
		if e := k.GetEndpoints(); len(e) > 0 {
			where = "endpoint " + e[0].GetDisplayName()
		}
	}
	line := fmt.Sprintf("%-24s %s", strings.TrimPrefix(k.GetTenant(), "tenants/"), where)
	if k.GetReason() != crossfadev1.RotationTask_REASON_UNSPECIFIED {
		line += "  " + enumText(k.GetReason().String(), "REASON_")
	}
	if n := len(k.GetEndpoints()); n > 1 {
		line += fmt.Sprintf("  (%d endpoints)", n)
	}
	return line
}

// retirements shows which old certificates go, from how many targets, and when.
func (a *app) retirements(r *crossfadev1.Rotation, retire map[string]int) {
	if len(retire) == 0 {
		fmt.Fprintln(a.out, "  nothing will be removed")
		return
	}
	fmt.Fprintf(a.out, "  will be removed, not before %s (and five minutes more):\n", retireText(r))
	names := make([]string, 0, len(retire))
	for name := range retire {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(a.out, "    %s  from %s\n", name, amount(retire[name], "target"))
	}
}

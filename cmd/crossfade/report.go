package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/spf13/cobra"
)

func (a *app) rotationReportCommand() *cobra.Command {
	var dir string
	c := a.verb("report", "Write what became of every tenant", `  crossfade rotation report 0198… > report.md
  crossfade rotation report 0198… --dir reports`, func(ctx context.Context, cl *client, name string) error {
		rep, err := cl.report(ctx, name)
		if err != nil {
			return err
		}
		if dir != "" {
			return a.saveReport(rep, dir)
		}
		if a.json {
			for _, t := range rep.tenants() {
				a.object("tenant", t.fields())
			}
			a.message("rotation", rep.rotation)
			return nil
		}
		return rep.markdown(a.out)
	})
	c.Flags().StringVar(&dir, "dir", "", "write report.md, tasks.csv and tenants.jsonl into this `DIR` instead")
	return c
}

// report is a rotation with its tasks, grouped by tenant. A target that several
// tenants share is told to each of them.
type report struct {
	rotation *crossfadev1.Rotation
	byTenant map[string][]*crossfadev1.RotationTask
	tasks    []*crossfadev1.RotationTask
}

// report reads everything that a report tells.
func (c *client) report(ctx context.Context, name string) (*report, error) {
	r, err := c.rotation(ctx, name)
	if err != nil {
		return nil, err
	}
	rep := &report{rotation: r, byTenant: map[string][]*crossfadev1.RotationTask{}}
	err = c.eachTask(ctx, name, listing{}, func(k *crossfadev1.RotationTask) {
		rep.tasks = append(rep.tasks, k)
		for _, t := range tenantsOf(k) {
			rep.byTenant[t] = append(rep.byTenant[t], k)
		}
	})
	return rep, err
}

// tenantsOf returns the tenants whose endpoints stand behind a task.
func tenantsOf(k *crossfadev1.RotationTask) []string {
	seen := map[string]bool{strings.TrimPrefix(k.GetTenant(), "tenants/"): true}
	for _, e := range k.GetEndpoints() {
		if parts := strings.Split(e.GetName(), "/"); len(parts) == 4 {
			seen[parts[1]] = true
		}
	}
	out := make([]string, 0, len(seen))
	for t := range seen {
		out = append(out, t)
	}
	sort.Strings(out)
	return out
}

// tenantReport is what became of one tenant.
type tenantReport struct {
	id    string
	tasks []*crossfadev1.RotationTask
}

func (r *report) tenants() []tenantReport {
	out := make([]tenantReport, 0, len(r.byTenant))
	for id, ks := range r.byTenant {
		out = append(out, tenantReport{id, ks})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

// verdict is the tenant's case in a word: what is worst among its tasks.
func (t tenantReport) verdict() string {
	worst, rank := "done", 0
	for _, k := range t.tasks {
		word, n := "done", 0
		switch k.GetOutcome() {
		case crossfadev1.RotationTask_OUTCOME_FAILED:
			word, n = "failed", 6
		case crossfadev1.RotationTask_OUTCOME_CONFLICT:
			word, n = "conflict", 5
		case crossfadev1.RotationTask_OUTCOME_HANDED_OVER:
			word, n = "handed over", 4
		case crossfadev1.RotationTask_OUTCOME_OPEN:
			word, n = "not finished", 3
		case crossfadev1.RotationTask_OUTCOME_CANCELLED:
			word, n = "cancelled", 2
		case crossfadev1.RotationTask_OUTCOME_UNDONE:
			word, n = "undone", 2
		case crossfadev1.RotationTask_OUTCOME_SKIPPED:
			word, n = "done", 0
			if len(t.tasks) == 1 {
				word, n = "skipped", 1
			}
		}
		if n > rank {
			worst, rank = word, n
		}
	}
	return worst
}

func (t tenantReport) advised() bool {
	for _, k := range t.tasks {
		if len(k.GetAdvice()) > 0 {
			return true
		}
	}
	return false
}

func (t tenantReport) fields() map[string]any {
	ks := make([]any, len(t.tasks))
	for i, k := range t.tasks {
		ks[i] = asJSON(k)
	}
	return map[string]any{"tenant": t.id, "verdict": t.verdict(), "advised": t.advised(), "tasks": ks}
}

// markdown writes the report for people: first who must do something, then all.
func (r *report) markdown(w io.Writer) error {
	var b strings.Builder
	s := r.rotation.GetSpec()
	fmt.Fprintf(&b, "# %s\n\n", r.rotation.GetName())
	fmt.Fprintf(&b, "- state: %s\n- tasks: %s\n- new certificate: %s\n- plan digest: %s\n- created %s by %s, started %s, ended %s\n- nothing removed before %s\n",
		stateText(r.rotation), countsText(r.rotation.GetCounts()), strings.TrimPrefix(s.GetCertificate(), "certificates/"), r.rotation.GetPlanDigest(),
		instant(r.rotation.GetCreateTime()), r.rotation.GetCreator(), instant(r.rotation.GetStartTime()), instant(r.rotation.GetEndTime()), retireText(r.rotation))
	for _, line := range [][2]string{
		{"schedule", scheduleText(r.rotation)}, {"open", openText(r.rotation)}, {"forecast", forecastText(r.rotation)}, {"stage deadline", deadlineText(r.rotation)},
		{"undo", undoText(r.rotation)}, {"drift", checkText(r.rotation.GetCheck())},
		{"compromised", compromisedText(r.rotation)}, {"containment", containText(r.rotation)}, {"approval", approvalText(r.rotation)}, {"approvals", approvalsText(r.rotation)},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "- %s: %s\n", line[0], line[1])
		}
	}
	tenants := r.tenants()
	b.WriteString("\n## Tenants that need somebody\n\n")
	n := 0
	for _, t := range tenants {
		if v := t.verdict(); v != "done" && v != "skipped" && v != "undone" {
			n++
			t.section(&b)
		}
	}
	if n == 0 {
		b.WriteString("None.\n\n")
	}
	b.WriteString("## All tenants\n\n| tenant | verdict | targets | advice |\n|---|---|---|---|\n")
	for _, t := range tenants {
		advice := ""
		if t.advised() {
			advice = "move from ACS to SAS"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s |\n", t.id, t.verdict(), len(t.tasks), advice)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (t tenantReport) section(b *strings.Builder) {
	fmt.Fprintf(b, "### %s: %s\n\n", t.id, t.verdict())
	for _, k := range t.tasks {
		fmt.Fprintf(b, "- %s\n", taskLine(k))
		if k.GetHint() != "" {
			fmt.Fprintf(b, "  %s\n", k.GetHint())
		}
	}
	b.WriteString("\n")
}

// csv writes one row a task and endpoint, for spreadsheets.
func (r *report) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"tenant", "endpoint", "host", "identity", "phase", "outcome", "reason", "added_by_us", "removed", "evidence_time", "hint", "detail"}}
	for _, k := range r.tasks {
		for _, e := range k.GetEndpoints() {
			rows = append(rows, r.row(k, strings.TrimPrefix(e.GetName(), "tenants/")))
		}
		if len(k.GetEndpoints()) == 0 {
			rows = append(rows, r.row(k, strings.TrimPrefix(k.GetTenant(), "tenants/")+"/endpoints/"))
		}
	}
	if err := c.WriteAll(rows); err != nil {
		return fmt.Errorf("writing tasks: %w", err)
	}
	return nil
}

func (r *report) row(k *crossfadev1.RotationTask, endpoint string) []string {
	tenant, id, _ := strings.Cut(endpoint, "/endpoints/")
	cells := []string{
		tenant, id, k.GetHost(), k.GetIdentity(),
		enumText(k.GetPhase().String(), "PHASE_"), enumText(k.GetOutcome().String(), "OUTCOME_"), enumText(k.GetReason().String(), "REASON_"),
		fmt.Sprint(k.GetAddedByUs()), strings.Join(k.GetRemoved(), " "), instant(k.GetEvidence().GetTime()), k.GetHint(), k.GetDetail(),
	}
	return harmless(cells)
}

// harmless quotes the cells that a spreadsheet would take for a formula: customers
// choose names.
func harmless(cells []string) []string {
	for i, cell := range cells {
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) && cell != "-" {
			cells[i] = "'" + cell
		}
	}
	return cells
}

// saveReport writes the three files of a report.
func (a *app) saveReport(r *report, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // A report is for others to read and holds no secret.
		return fmt.Errorf("making the report's folder: %w", err)
	}
	files := []struct {
		name  string
		write func(io.Writer) error
	}{
		{"report.md", r.markdown},
		{"tasks.csv", r.csv},
		{"tenants.jsonl", func(w io.Writer) error {
			lines := app{out: w, errOut: a.errOut}
			for _, t := range r.tenants() {
				lines.object("tenant", t.fields())
			}
			return nil
		}},
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), f.write); err != nil {
			return err
		}
	}
	if a.json {
		a.object("report", map[string]any{"dir": dir, "tenants": len(r.byTenant), "tasks": len(r.tasks)})
	} else {
		fmt.Fprintf(a.out, "report of %s in %s\n", amount(len(r.byTenant), "tenant"), dir)
	}
	return nil
}

// writeFile makes a file and reports what closing it says too.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path) //nolint:gosec // The operator names the folder.
	if err != nil {
		return fmt.Errorf("making %s: %w", path, err)
	}
	if err := write(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

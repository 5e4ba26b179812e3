package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/rollover"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// demoSummary is what the demo shows in the end, and the last line of --json.
type demoSummary struct {
	tenants, endpoints, targets                   int
	counts                                        *crossfadev1.TaskCounts
	signIns, refused, refusedNotRotated, noAnswer int
	acsCalls                                      int64
	took                                          time.Duration
	unexpected                                    []string
	refusedCalls                                  int // of callers who may not; 0 where nobody proves who they are
}

// conclude shows the summary, and says whether the demo kept its promises.
func (d *demo) conclude() error {
	s := d.summary()
	if d.secure != nil {
		s.unexpected, s.refusedCalls = append(s.unexpected, d.secure.unexpected...), d.secure.refused
	}
	if d.json {
		d.object("summary", s.fields())
	} else {
		s.table(d)
	}
	for _, u := range s.unexpected {
		fmt.Fprintln(d.errOut, "unexpected:", u)
	}
	var wrong []string
	for _, c := range []struct {
		n    int64
		what string
	}{
		{int64(s.refused), "sign-ins refused where the rotation should have succeeded"},
		{s.counts.GetFailed(), "targets failed"}, {s.counts.GetConflict(), "targets in conflict"},
		{int64(len(s.unexpected)), "things happened other than seeded"},
	} {
		if c.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(wrong) > 0 {
		return &exitError{code: exitFailures, err: fmt.Errorf("the demo failed: %s", strings.Join(wrong, ", "))}
	}
	return nil
}

// summary adds up the world, the report and the sender.
func (d *demo) summary() demoSummary {
	w := d.cloud.World()
	s := demoSummary{
		tenants: len(w.Tenants), endpoints: w.Endpoints(), acsCalls: d.cloud.ACS().Counters().Calls,
		took: time.Since(d.begun), counts: &crossfadev1.TaskCounts{},
	}
	by := d.sender.sender.StatsBy(d.sender.class)
	for class, st := range by {
		s.signIns += st.SignIns
		s.noAnswer += st.Failed
		if class == emulator.ClassRotated {
			s.refused += st.Refused
		} else {
			s.refusedNotRotated += st.Refused
		}
	}
	if d.report == nil {
		return s
	}
	s.counts = d.report.rotation.GetCounts()
	for _, k := range d.report.tasks {
		if k.GetHost() != "" {
			s.targets++
		}
	}
	if d.f.certificate == "" {
		s.unexpected = d.compare(w)
	}
	return s
}

// compare says which targets ended other than the world was seeded for.
func (d *demo) compare(w *emulator.World) []string {
	got := map[string]string{} // tenant and host, or tenant and endpoint → ending
	for _, k := range d.report.tasks {
		ending := endingOf(k)
		for _, t := range tenantsOf(k) {
			got[t+" "+k.GetHost()+" "+k.GetIdentity()] = ending
			if k.GetHost() == "" {
				got[t] = ending
				for _, e := range k.GetEndpoints() {
					got[t+" "+e.GetName()[strings.LastIndex(e.GetName(), "/")+1:]] = ending
				}
			}
		}
	}
	var wrong []string
	for _, e := range w.Expected() {
		key := e.Tenant + " " + e.Host + " " + e.Identity
		if e.Host == "" {
			if key = e.Tenant; len(e.Endpoints) > 0 {
				key += " " + e.Endpoints[0]
			}
		}
		if got[key] != e.Ending {
			wrong = append(wrong, fmt.Sprintf("%s ended as %q, seeded as %q", key, got[key], e.Ending))
		}
	}
	sort.Strings(wrong)
	return wrong
}

// endingOf is a task's end as a world writes it.
func endingOf(k *crossfadev1.RotationTask) string {
	return emulator.Ending(
		rollover.Outcome(enumText(k.GetOutcome().String(), "OUTCOME_")),
		rollover.Reason(enumText(k.GetReason().String(), "REASON_")),
	)
}

func (s demoSummary) fields() map[string]any {
	return map[string]any{
		"tenants": s.tenants, "endpoints": s.endpoints, "targets": s.targets,
		"succeeded": s.counts.GetSucceeded(), "already_present": s.counts.GetAlreadyPresent(), "handed_over": s.counts.GetHandedOver(),
		"skipped": s.counts.GetSkipped(), "conflict": s.counts.GetConflict(), "failed": s.counts.GetFailed(),
		"advised": s.counts.GetAdvised(), "retired": s.counts.GetRetired(), "unexpected": len(s.unexpected),
		"sender": map[string]any{
			"sign_ins": s.signIns, "refused": s.refused, "refused_not_rotated": s.refusedNotRotated, "no_answer": s.noAnswer,
		},
		"refused_calls": s.refusedCalls, "acs_calls": s.acsCalls, "seconds": float64(s.took.Milliseconds()) / 1000,
	}
}

// table shows the summary to a person.
func (s demoSummary) table(d *demo) {
	c := s.counts
	rows := [][2]string{
		{"tenants", fmt.Sprint(s.tenants)}, {"service endpoints", fmt.Sprint(s.endpoints)}, {"targets", fmt.Sprint(s.targets)},
		{"  rotated", fmt.Sprintf("%d (%d held the new certificate before)", c.GetSucceeded(), c.GetAlreadyPresent())},
		{"  old certificate removed", fmt.Sprint(c.GetRetired())}, {"  handed over to their owners", fmt.Sprint(c.GetHandedOver())},
		{"  skipped", fmt.Sprint(c.GetSkipped())}, {"  in conflict", fmt.Sprint(c.GetConflict())}, {"  failed", fmt.Sprint(c.GetFailed())},
		{"  advised to move to SAS", fmt.Sprint(c.GetAdvised())},
		{"sender's sign-ins", fmt.Sprint(s.signIns)}, {"  refused where rotated", fmt.Sprint(s.refused)},
		{"  refused elsewhere", fmt.Sprint(s.refusedNotRotated)},
	}
	if d.secure != nil {
		rows = append(rows, [2]string{"calls refused as they must be", fmt.Sprint(s.refusedCalls)})
	}
	rows = append(rows, [2]string{"calls to ACS", fmt.Sprint(s.acsCalls)}, [2]string{"seconds", fmt.Sprintf("%.1f", s.took.Seconds())})
	fmt.Fprintln(d.out)
	for _, r := range rows {
		fmt.Fprintf(d.out, "  %-30s %s\n", r[0], r[1])
	}
	if d.report != nil {
		if r := d.report.rotation; r.GetStartTime() != nil && r.GetEndTime() != nil {
			fmt.Fprintf(d.out, "  %-30s %s\n", "by the demo's clock", r.GetEndTime().AsTime().Sub(r.GetStartTime().AsTime()).Round(time.Minute))
		}
		fmt.Fprintf(d.out, "\nreport: %s\n", d.path("report/report.md"))
	}
	fmt.Fprintf(d.out, "log:    %s\n", d.path("service.log"))
	if d.secure != nil {
		fmt.Fprintf(d.out, "what callers were answered: %s\ntraces of it all:           %s\nmetrics at the end:         %s\n", d.path("answers.jsonl"), d.path("traces.jsonl"), d.path("metrics.txt"))
	}
}

// Package rules reads the alert rules as Prometheus does, and tries each against numbers
// that must raise it and numbers that must not. It is a module of its own: nothing of
// Crossfade needs Prometheus.
//
//	go test . -rules ../../deploy/prometheus/alerts.yaml -scrape FILE
//
// FILE is what /metrics of a real process said: every metric and label that a rule reads
// has to be in it, and its names and helps have to be as Prometheus wants them.
package rules

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"go.yaml.in/yaml/v3"
)

var (
	rulesFile  = flag.String("rules", "../../deploy/prometheus/alerts.yaml", "`FILE` of the rules")
	scrapeFile = flag.String("scrape", "", "`FILE` with what /metrics of a real process said; nothing is compared without")
)

func all(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	out, err := read(*rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Each alert says what happened, how urgent it is, and where to read on.
func TestRules_EachHasWhatAPersonNeeds(t *testing.T) {
	for name, r := range all(t) {
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has severity %q, want page or ticket", name, s)
		}
		page := r.Annotations["runbook"]
		if _, err := os.Stat("../../" + page); page == "" || err != nil {
			t.Errorf("%s has the page %q: %v", name, page, err)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s does not say what happened", name)
		}
	}
}

// read returns the alerts of a file by name.
func read(path string) (map[string]rulefmt.Rule, error) {
	groups, errs := rulefmt.ParseFile(path, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	out := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || out[r.Alert].Alert != "" {
				return nil, fmt.Errorf("%s: rule %q%q has no name, or that of another", path, r.Record, r.Alert)
			}
			out[r.Alert] = r
		}
	}
	return out, nil
}

// trial is what raises an alert, and what does not.
type trial struct {
	Raises [][]string `yaml:"raises"` // series in the notation of Prometheus' own tests, a minute a value
	Quiet  [][]string `yaml:"quiet"`
}

func TestRules_EachIsRaisedByWhatItIsFor(t *testing.T) {
	b, err := os.ReadFile("tries.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var trials map[string]trial
	if err := yaml.Unmarshal(b, &trials); err != nil {
		t.Fatal(err)
	}
	rules := all(t)
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		c, ok := trials[name]
		if !ok || len(c.Raises) == 0 || len(c.Quiet) == 0 {
			t.Errorf("tries.yaml does not say what raises %s, and what does not", name)
			continue
		}
		for raises, cases := range map[bool][][]string{true: c.Raises, false: c.Quiet} {
			for _, series := range cases {
				got, err := raised(t, rules[name].Expr, series)
				if err != nil || got != raises {
					t.Errorf("%s: raised: %t, want %t, %v, with\n  %s", name, got, raises, err, strings.Join(series, "\n  "))
				}
			}
		}
	}
	for name := range trials {
		if _, ok := rules[name]; !ok {
			t.Errorf("tries.yaml has %s, and there is no such alert", name)
		}
	}
}

func TestRules_ReadWhatAProcessTells(t *testing.T) {
	if *scrapeFile == "" {
		return // The rules alone are read; .ci/run names the file.
	}
	n, err := compare(all(t), *scrapeFile)
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d metrics", n)
}

// raised evaluates an expression two hours after the series began.
func raised(t *testing.T, expr string, series []string) (bool, error) {
	t.Helper()
	store := promqltest.LoadedStorage(t, "load 1m\n  "+strings.Join(series, "\n  ")+"\n")
	engine := promqltest.NewTestEngineWithOpts(t, promql.EngineOpts{MaxSamples: 1e6, Timeout: 10 * time.Second, LookbackDelta: 5 * time.Minute})
	q, err := engine.NewInstantQuery(context.Background(), store, nil, expr, time.Unix(0, 0).Add(2*time.Hour))
	if err != nil {
		return false, err
	}
	defer q.Close()
	v, err := q.Exec(context.Background()).Vector()
	return len(v) > 0, err
}

// compare looks for all that alerts read in what a process said.
func compare(rules map[string]rulefmt.Rule, path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	parse := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parse.TextToMetricFamilies(f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	known := map[string]map[string]bool{"up": {"job": true, "instance": true}} // Prometheus' own.
	for name, family := range families {
		for _, suffix := range []string{"", "_count", "_sum", "_bucket"} {
			if suffix != "" && family.GetType() != dto.MetricType_HISTOGRAM {
				continue
			}
			have := map[string]bool{"instance": true, "job": true}
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					have[l.GetName()] = true
				}
			}
			known[name+suffix] = have
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(rules[name].Expr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
			s, ok := n.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			have, ok := known[s.Name]
			if !ok {
				errs = append(errs, fmt.Errorf("%s reads %s, which no process tells", name, s.Name))
			}
			for _, m := range s.LabelMatchers {
				if ok && m.Name != labels.MetricName && !have[m.Name] {
					errs = append(errs, fmt.Errorf("%s reads label %s of %s, which has none", name, m.Name, s.Name))
				}
			}
			return nil
		})
	}
	errs = append(errs, lint(path))
	return len(families), errors.Join(errs...)
}

// lint says what Prometheus' own linter says.
func lint(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	problems, err := promlint.New(f).Lint()
	errs := []error{err}
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s: %s", p.Metric, p.Text))
	}
	return errors.Join(errs...)
}

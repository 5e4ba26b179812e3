package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/services/edge"
)

// described takes in what is registered, and remembers the labels of each metric.
type described map[string][]string

var descText = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

func (d described) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc)
	go func() { defer close(ch); c.Describe(ch) }()
	for desc := range ch {
		m := descText.FindStringSubmatch(desc.String())
		if m == nil {
			return fmt.Errorf("%s is not understood", desc)
		}
		d[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' })
	}
	return nil
}

func (d described) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := d.Register(c); err != nil {
			panic(err)
		}
	}
}

func (d described) Unregister(prometheus.Collector) bool { return false }

// told returns every metric that a process with everything configured tells.
func told(t *testing.T) described {
	t.Helper()
	d := described{}
	daemon.NewMetrics(d)
	daemon.NewWebhooks(d, []string{"portal"}, []string{"failed"})
	daemon.ObserveIdentity(d, &daemon.ServerTLS{}, func() error { return nil })
	d.MustRegister(
		daemon.NewTasks(nil), daemon.NewDrifts(nil), daemon.NewIncidents(nil), daemon.NewDiscoveries(nil),
		daemon.NewQueues(func(context.Context) (jet.Gauges, error) { return jet.Gauges{}, nil }, nil),
	)
	edge.NewServer(edge.Config{Log: slog.New(slog.DiscardHandler), Metrics: d, Health: func(context.Context) error { return nil }})
	return d
}

// The page of metrics has each one with its labels, and no other.
func TestMetrics_AreAsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := told(t)
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)\\{([a-z_,]*)\\}` \\|").FindAllStringSubmatch(string(page), -1) {
		listed[m[1]] = true
		labels, ok := all[m[1]]
		if got := strings.Join(labels, ","); !ok || got != m[2] {
			t.Errorf("docs/metrics.md has %s{%s}, want {%s} (there is one: %t)", m[1], m[2], got, ok)
		}
	}
	for name := range all {
		if !listed[name] && !strings.HasPrefix(name, "grpc_server_") {
			t.Errorf("docs/metrics.md does not list %s", name)
		}
		if strings.HasPrefix(name, "grpc_server_") && !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/metrics.md does not name %s", name)
		}
	}
	for _, secret := range []string{"tenant", "host", "rotation", "caller", "subject"} {
		for name, labels := range all {
			if slices.Contains(labels, secret) {
				t.Errorf("%s has the label %s, and there is no bound to its values", name, secret)
			}
		}
	}
}

// promql finds the metrics of an expression, each with the labels that it asks for.
var (
	selector = regexp.MustCompile(`\b((?:crossfade|rotations?|target|grpc_server)(?:_[a-z_]+)?|rotations)\b(\{[^}]*\})?`)
	others   = regexp.MustCompile(`\b(?:up|(?:process|go)_[a-z_]+)\b(?:\{[^}]*\})?`) // told by every process in Go
	matched  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)"`)
)

// asked complains of what an expression asks for and no process tells.
func asked(t *testing.T, all described, where, expr string) {
	t.Helper()
	rest := others.ReplaceAllString(expr, "")
	found := selector.FindAllStringSubmatch(rest, -1)
	for _, m := range found {
		name := m[1]
		for _, suffix := range []string{"_count", "_sum", "_bucket"} {
			if _, ok := all[name]; !ok {
				name = strings.TrimSuffix(m[1], suffix)
			}
		}
		labels, ok := all[name]
		if !ok {
			t.Errorf("%s reads %s, which no process tells", where, m[1])
		}
		for _, l := range matched.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) {
				t.Errorf("%s reads the label %s of %s, which has %v", where, l[1], m[1], labels)
			}
		}
	}
	if len(found) == 0 && rest == expr {
		t.Errorf("%s reads no metric: %s", where, expr)
	}
}

type alertFile struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

// Every alert reads what there is, and has a page; every page belongs to something.
func TestMetrics_AlertsReadThemAndHavePages(t *testing.T) {
	b, err := os.ReadFile("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f alertFile
	if err := yaml.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile("../../docs/runbook/README.md")
	if err != nil {
		t.Fatal(err)
	}
	all, pages := told(t), map[string]bool{}
	n := 0
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			n++
			asked(t, all, r.Alert, r.Expr)
			page := strings.TrimPrefix(r.Annotations["runbook"], "docs/runbook/")
			pages[page] = true
			row := regexp.MustCompile("(?m)^\\|[^|]*`" + r.Alert + "`[^|]*\\| ([a-z, ]+) \\| \\[[a-z-]+\\]\\(([a-z-]+\\.md)\\) \\|$").FindStringSubmatch(string(index))
			if row == nil || row[2] != page || !strings.Contains(row[1], r.Labels["severity"]) {
				t.Errorf("docs/runbook/README.md has no row for %s (%s) with the page %s: %q", r.Alert, r.Labels["severity"], page, row)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d alerts are read, want all", n)
	}
	files, err := os.ReadDir("../../docs/runbook")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := file.Name(); name != "README.md" && !strings.Contains(string(index), "("+name+")") {
			t.Errorf("docs/runbook/%s belongs to nothing", name)
		}
		delete(pages, file.Name())
	}
	if len(pages) > 0 {
		t.Errorf("no page is %v", slices.Collect(maps.Keys(pages)))
	}
	for _, m := range regexp.MustCompile("`(Crossfade[A-Za-z]+)`").FindAllStringSubmatch(string(index), -1) {
		if !strings.Contains(string(b), "alert: "+m[1]+"\n") {
			t.Errorf("docs/runbook/README.md has %s, which is no alert", m[1])
		}
	}
}

// The alerts for the Prometheus operator are those for Prometheus.
func TestMetrics_AlertsAreTheSameEverywhere(t *testing.T) {
	read := func(path string) (v map[string]any) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = yaml.Unmarshal(b, &v)
		}
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	want := read("../../deploy/prometheus/alerts.yaml")["groups"]
	rule := read("../../deploy/kubernetes/components/monitoring/prometheusrule.yaml")
	spec, _ := rule["spec"].(map[string]any)
	if want == nil || !reflect.DeepEqual(spec["groups"], want) {
		t.Error("deploy/kubernetes/components/monitoring/prometheusrule.yaml has other groups than deploy/prometheus/alerts.yaml")
	}
}

// Every panel reads what there is.
func TestMetrics_TheDashboardReadsThem(t *testing.T) {
	b, err := os.ReadFile("../../deploy/grafana/crossfade.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	all, shown := told(t), map[string]bool{}
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			asked(t, all, "the panel "+p.Title, target.Expr)
			for _, m := range selector.FindAllStringSubmatch(target.Expr, -1) {
				shown[m[1]] = true
			}
		}
	}
	if len(shown) < 30 {
		t.Errorf("the dashboard shows %d metrics: the test sees little of it", len(shown))
	}
}

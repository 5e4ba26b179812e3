package daemon_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// collecting is a collector of traces over TLS: its address, the file of who signed its
// certificate, and the names of the spans that it took in.
func collecting(t *testing.T, answer func(*http.Request) int) (url, ca string, names func() []string) {
	t.Helper()
	got := make(chan string, 100)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := answer(r); code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Errorf("what came is not compressed: %v", err)
			return
		}
		b, err := io.ReadAll(z)
		var m collector.ExportTraceServiceRequest
		if err = errors.Join(err, proto.Unmarshal(b, &m)); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		for _, rs := range m.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, sp := range ss.GetSpans() {
					got <- sp.GetName()
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, ca, func() (out []string) {
		for {
			select {
			case n := <-got:
				out = append(out, n)
			default:
				return out
			}
		}
	}
}

// provider makes spans that go where c says, and returns what sends them.
func provider(t *testing.T, c daemon.Traces, log io.Writer) (trace.TracerProvider, func() error, *prometheus.Registry) {
	t.Helper()
	to, err := c.Exporter(func(context.Context) (secrets.Secret, error) { return secrets.NewSecret("Bearer of-spans"), nil })
	if err != nil || to == nil {
		t.Fatalf("Exporter = %v, %v", to, err)
	}
	reg := prometheus.NewRegistry()
	p, stop := daemon.Exporting{
		To: to, Ratio: c.Ratio, Always: func(m string) bool { return strings.Contains(m, "Create") }, Metrics: daemon.NewMetrics(reg),
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}.Provider()
	return p, func() error { return stop(context.Background()) }, reg
}

func TestTraces_AreSentToWhomTheConfigurationNames(t *testing.T) {
	url, ca, names := collecting(t, func(r *http.Request) int {
		if got := r.Header.Get("Authorization"); got != "Bearer of-spans" {
			t.Errorf("Authorization = %q, want the secret", got)
		}
		return http.StatusOK
	})
	var log bytes.Buffer
	p, stop, reg := provider(t, daemon.Traces{Endpoint: url, CA: ca, Authorization: "env:X", Ratio: 0}, &log)
	for _, name := range []string{"x/CreateRotation", "x/GetRotation"} {
		_, s := p.Tracer("t").Start(t.Context(), name)
		s.End()
	}
	_, s := p.Tracer("t").Start(spans.In(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "x/ListRotations")
	s.End()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(), " "); got != "x/CreateRotation x/ListRotations" {
		t.Errorf("sent %q, want the change, and the read whose caller asked for it", got)
	}
	const want = `# HELP crossfade_trace_spans_total Spans that ended and are to be sent, that were sent, and that could not be sent.
# TYPE crossfade_trace_spans_total counter
crossfade_trace_spans_total{result="ended"} 2
crossfade_trace_spans_total{result="failed"} 0
crossfade_trace_spans_total{result="sent"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "crossfade_trace_spans_total"); err != nil {
		t.Error(err)
	}
}

// A collector that refuses is told of once, counted, and in nobody's way.
func TestTraces_ThatCannotBeSentAreCounted(t *testing.T) {
	url, ca, _ := collecting(t, func(*http.Request) int { return http.StatusForbidden })
	var log bytes.Buffer
	p, stop, reg := provider(t, daemon.Traces{Endpoint: url, CA: ca}, &log)
	for range 3 {
		_, s := p.Tracer("t").Start(t.Context(), "x/CreateRotation")
		s.End()
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "traces cannot be sent"); n != 1 {
		t.Errorf("it was said %d times, want once:\n%s", n, log.String())
	}
	if strings.Contains(log.String(), "of-spans") {
		t.Error("the secret is in the log")
	}
	const want = `# HELP crossfade_trace_spans_total Spans that ended and are to be sent, that were sent, and that could not be sent.
# TYPE crossfade_trace_spans_total counter
crossfade_trace_spans_total{result="ended"} 3
crossfade_trace_spans_total{result="failed"} 3
crossfade_trace_spans_total{result="sent"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "crossfade_trace_spans_total"); err != nil {
		t.Error(err)
	}
}

func TestTraces_NoneWithoutAnEndpoint(t *testing.T) {
	if to, err := (daemon.Traces{Ratio: 1}).Exporter(nil); to != nil || err != nil {
		t.Errorf("Exporter = %v, %v, want none", to, err)
	}
}

func TestTraces_ConfigurationIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		"traces: {endpoint: \"http://collector:4318\"}":                               "traces.endpoint: want https",
		"traces: {endpoint: \"collector:4318\"}":                                      "traces.endpoint: want https://host:port",
		"traces: {endpoint: \"https://u:p@collector:4318\"}":                          "traces.endpoint: want https://host:port",
		"traces: {ca: a.pem}":                                                         "traces.ca: needs traces.endpoint",
		"traces: {authorization: \"env:CROSSFADE_SECRET_X\"}":                         "traces.authorization: needs traces.endpoint",
		"traces: {ratio: 1.5}":                                                        "traces.ratio: want 0 to 1",
		"traces: {ratio: .nan}":                                                       "traces.ratio",
		"traces: {endpoint: \"https://c:4318\", authorization: \"Bearer something\"}": "traces.authorization",
	} {
		_, _, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "something") {
			t.Errorf("%s: the value is told: %v", text, err)
		}
	}
	if _, _, err := load(t, "traces: {endpoint: \"http://127.0.0.1:4318\", ratio: 0}"); err != nil {
		t.Errorf("a collector on this machine: %v", err)
	}
}

// What is logged within a trace names it.
func TestNewLogger_NamesTheTrace(t *testing.T) {
	var b bytes.Buffer
	log := daemon.NewLogger(daemon.Log{Format: "json", Level: "info"}, &b).With("a", 1).WithGroup("g")
	log.InfoContext(t.Context(), "out")
	if strings.Contains(b.String(), "trace") {
		t.Errorf("outside of a trace: %s", b.String())
	}
	log.InfoContext(spans.In(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "in")
	if !strings.Contains(b.String(), `"trace":"4bf92f3577b34da6a3ce929d0e0e4736"`) {
		t.Errorf("within a trace: %s", b.String())
	}
}

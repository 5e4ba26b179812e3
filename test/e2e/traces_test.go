package e2e_test

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// exported is a span as a collector took it in.
type exported struct {
	*otlp.Span
	pid int64 // of the process that made it
}

// gathering is a collector of traces: its address, and the spans of a trace so far.
func gathering(t *testing.T) (url string, of func(trace string) map[string]exported) {
	t.Helper()
	var mu sync.Mutex
	var all []exported
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Errorf("what came is not compressed: %v", err)
			return
		}
		b, err := io.ReadAll(z)
		var m collector.ExportTraceServiceRequest
		if err = errors.Join(err, proto.Unmarshal(b, &m)); err != nil {
			t.Errorf("no export of traces: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range m.GetResourceSpans() {
			pid := int64(0)
			for _, a := range rs.GetResource().GetAttributes() {
				if a.GetKey() == "process.pid" {
					pid = a.GetValue().GetIntValue()
				}
			}
			for _, ss := range rs.GetScopeSpans() {
				for _, sp := range ss.GetSpans() {
					all = append(all, exported{sp, pid})
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func(trace string) map[string]exported {
		mu.Lock()
		defer mu.Unlock()
		out := map[string]exported{}
		for _, s := range all {
			if hex.EncodeToString(s.GetTraceId()) == trace {
				out[string(s.GetSpanId())] = s
			}
		}
		return out
	}
}

// One rotation is one trace: from the portal's call through the API, NATS, planners and
// rotators in processes of their own, to each call of ACS.
func TestTraces_OneRotationIsOneTrace(t *testing.T) {
	const trace, portal = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	f := newFleet(t, emulator.Config{Tenants: 12, Seed: 3})
	url, of := gathering(t)
	broker := freePort(t)
	serve := f.serve("--workers", "0", "--config", f.config("crossfade.yaml", func(c *daemon.Config) {
		c.NATS.Listen, c.Traces.Endpoint = broker, url
	}))
	works := make([]*process, 2)
	for i := range works {
		works[i] = start(t, crossfade, "work", "--config", f.config("work.yaml", func(c *daemon.Config) {
			c.NATS = daemon.NATS{URL: "nats://" + broker, Replicas: 1}
			c.Traces.Endpoint = url
		}))
		works[i].says(`msg=working`)
	}
	f.setUp()
	t.Setenv("TRACEPARENT", "00-"+trace+"-"+portal+"-01")
	watch := start(t, crossfade, append([]string{"--address", f.api, "--json"}, f.rotateFlags("--watch")...)...)
	name := watch.says(`"name":"(rotations/[^"/]+)"`)[1]
	watch.says(`PHASE_OVERLAP`)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	watch.ends()
	for _, p := range append(works, serve) { // Each sends what it has left.
		p.stop()
	}

	all := of(trace)
	chain := func(s exported) (names []string) {
		for len(names) < 10 {
			names = append(names, s.GetName())
			if hex.EncodeToString(s.GetParentSpanId()) == portal {
				return append(names, "portal")
			}
			next, ok := all[string(s.GetParentSpanId())]
			if !ok {
				return append(names, "nobody")
			}
			s = next
		}
		return names
	}
	want := map[string]int{
		"POST acs < stage < task < crossfade.v1.RotationService/CreateRotation < portal":     0,
		"GET acs < verify < task < crossfade.v1.RotationService/CreateRotation < portal":     0,
		"retire < task < crossfade.v1.RotationService/CreateRotation < portal":               0,
		"GET acs < plan tenant < crossfade.v1.RotationService/CreateRotation < portal":       0,
		"GET dataverse < plan tenant < crossfade.v1.RotationService/CreateRotation < portal": 0,
		"crossfade.v1.RotationService/StartRotation < portal":                                0,
		"crossfade.v1.RotationService/WatchRotation < portal":                                0,
		"POST entra < plan tenant < crossfade.v1.RotationService/CreateRotation < portal":    0,
		"POST acs < plan tenant < crossfade.v1.RotationService/CreateRotation < portal":      0,
	}
	pids := map[int64]string{}
	for _, s := range all {
		names := chain(s)
		if names[len(names)-1] != "portal" {
			t.Errorf("span %s is not connected: %s", s.GetName(), strings.Join(names, " < "))
		}
		verb, host, _ := strings.Cut(names[0], " ")
		switch {
		case strings.Contains(host, ".accesscontrol."):
			names[0] = verb + " acs"
		case strings.Contains(host, "dynamics"):
			names[0] = verb + " dataverse"
		case strings.HasPrefix(host, "login."):
			names[0] = verb + " entra"
		}
		if _, ok := want[strings.Join(names, " < ")]; ok {
			want[strings.Join(names, " < ")]++
		}
		switch {
		case strings.HasPrefix(names[0], "crossfade.v1."):
			pids[s.pid] = "serve"
		case names[0] == "task" || names[0] == "plan tenant":
			if pids[s.pid] == "serve" {
				t.Errorf("%s was made by the process that serves", names[0])
			}
			pids[s.pid] = "work"
		}
	}
	for line, n := range want {
		if n == 0 {
			t.Errorf("no span is %s", line)
		}
	}
	if len(pids) != 3 {
		t.Errorf("spans came from %v, want one process that serves and two that work", pids)
	}
	t.Logf("%s: %d spans of %d processes", name, len(all), len(pids))

	// The audit log names the trace, in records of the calls and of the tasks.
	acts := map[string]int{}
	out := f.ok("--json", "audit", "list", "--config", f.file("crossfade.yaml"), "--rotation", name)
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var o struct {
			Record audit.Record `json:"record"`
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("not a record: %s", line)
		}
		if o.Record.Trace == trace {
			acts[o.Record.Act]++
		}
	}
	for _, act := range []string{"RotationService/CreateRotation", "RotationService/StartRotation", "rotation", "task"} {
		if acts[act] == 0 {
			t.Errorf("no audit record of %s names the trace: %v", act, acts)
		}
	}
}

package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// serveOps serves o on a port of its own until the test ends, and returns its
// address.
func serveOps(t *testing.T, o daemon.Ops, host string) string {
	t.Helper()
	lis, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Serve(ctx, lis) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v, want nil after a stop that was asked for", err)
		}
	})
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	return "http://127.0.0.1:" + port
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestOps_ReadinessIsWhatTheProcessSays(t *testing.T) {
	answer := make(chan error, 1)
	url := serveOps(t, daemon.Ops{
		Metrics: daemon.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Ready: func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("readiness is asked without a deadline")
			}
			return <-answer
		},
	}, "127.0.0.1")
	answer <- nil
	if code, text := get(t, url+"/readyz"); code != http.StatusOK {
		t.Errorf("GET /readyz = %d %s, want 200", code, text)
	}
	answer <- errors.New("stream ROT has no leader")
	if code, text := get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "ROT") {
		t.Errorf("GET /readyz = %d %s, want 503 and the reason", code, text)
	}
	if code, text := get(t, url+"/healthz"); code != http.StatusOK {
		t.Errorf("GET /healthz = %d %s, want 200: the process lives", code, text)
	}
}

func TestOps_ProfilesAreForThisMachineOnly(t *testing.T) {
	o := daemon.Ops{Metrics: daemon.NewRegistry(), Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }}
	for host, want := range map[string]int{"127.0.0.1": http.StatusOK, "0.0.0.0": http.StatusNotFound} {
		if code, _ := get(t, serveOps(t, o, host)+"/debug/pprof/goroutine"); code != want {
			t.Errorf("GET /debug/pprof/goroutine of a listener on %s = %d, want %d", host, code, want)
		}
	}
}

func TestOps_AListenerThatBreaksIsAnError(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	o := daemon.Ops{Metrics: daemon.NewRegistry(), Log: slog.New(slog.DiscardHandler)}
	if err := o.Serve(t.Context(), lis); err == nil {
		t.Error("Serve on a closed listener = nil, want an error")
	}
}

func TestMetrics_CountByWhatCameOfIt(t *testing.T) {
	r := daemon.NewRegistry()
	m := daemon.NewMetrics(r)
	k := rollover.Task{Item: rollover.Item{Tenant: "contoso", Target: rollover.Target{Kind: "acs-x509", Host: "contoso.example"}}}
	m.Step(k, rollover.StepStage, time.Second, nil)
	m.Step(k, rollover.StepStage, time.Second, errors.New("again"))
	m.Step(k, rollover.StepRetire, time.Second, rollover.HandOver(rollover.NoAccess, errors.New("401")))
	m.Step(k, rollover.StepStage, time.Second, rollover.Throttled(rollover.ByHost, 0, errors.New("429")))
	m.Call("contoso.example", "list", 200, time.Second)
	m.Waited(true, time.Millisecond)
	url := serveOps(t, daemon.Ops{Metrics: r, Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }}, "127.0.0.1")
	if _, text := get(t, url+"/metrics"); !strings.Contains(text, "crossfade_pace_ratio 1\n") {
		t.Error("a process that never conducted does not tell full speed")
	}
	m.Conducting(daemon.Conducting{Leads: true, Urgent: 1, Bulk: 30, Hands: [3]int{16, 32, 4}, Slowed: 4, Open: 2, Pace: 0.5})
	_, text := get(t, url+"/metrics")
	for _, want := range []string{
		`rotation_step_seconds_count{kind="acs-x509",result="done",step="` + string(rollover.StepStage) + `"} 1`,
		`rotation_step_seconds_count{kind="acs-x509",result="again",step="` + string(rollover.StepStage) + `"} 1`,
		`rotation_step_seconds_count{kind="acs-x509",result="` + string(rollover.HandedOver) + `",step="` + string(rollover.StepRetire) + `"} 1`,
		`rotation_step_seconds_count{kind="acs-x509",result="throttled",step="` + string(rollover.StepStage) + `"} 1`,
		`target_call_seconds_count{op="list",status="200"} 1`,
		`crossfade_lane_wait_seconds_count{lane="urgent"} 1`, `crossfade_tasks_out{lane="bulk"} 30`,
		`crossfade_worker_hands{queue="plans"} 16`, `crossfade_worker_hands{queue="tasks"} 32`, `crossfade_worker_hands{queue="checks"} 4`,
		`crossfade_hosts_held{why="breaker"} 2`, `crossfade_hosts_held{why="throttled"} 4`, `crossfade_pace_ratio 0.5`,
		"go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("GET /metrics lacks %s", want)
		}
	}
	if strings.Contains(text, "contoso") {
		t.Error("a tenant or its host is a label")
	}
}

func TestNewLogger_WritesAsConfigured(t *testing.T) {
	var out bytes.Buffer
	l := daemon.NewLogger(daemon.Log{Format: "json", Level: "warn"}, &out)
	l.Info("quiet")
	l.Warn("loud", "rotation", "r1")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "loud" || line["rotation"] != "r1" {
		t.Errorf("the log is %q (%v), want one JSON line", out.String(), err)
	}
	out.Reset()
	daemon.NewLogger(daemon.Log{Format: "text", Level: "debug"}, &out).Debug("all")
	if !strings.Contains(out.String(), "msg=all") {
		t.Errorf("the log is %q, want text with level debug", out.String())
	}
}

func TestNewDrifts_SumsByKindAndTellsZeroes(t *testing.T) {
	var some rollover.Counts
	some.Drift.Add(rollover.CheckPart{Targets: []rollover.Drifted{{Drifts: []rollover.Drift{{Kind: rollover.DriftNewMissing}, {Kind: rollover.DriftForeignAdded}}}}}, 1)
	r := daemon.NewRegistry()
	r.MustRegister(daemon.NewDrifts(func() []daemon.Standing {
		return []daemon.Standing{{Kind: "acs-x509", Counts: some, Checking: true}, {Kind: "acs-x509", Counts: some}, {Kind: "other"}}
	}))
	url := serveOps(t, daemon.Ops{Metrics: r, Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }}, "127.0.0.1")
	_, text := get(t, url+"/metrics")
	for _, want := range []string{
		`rotation_drifts{drift="new_missing",kind="acs-x509"} 2`, `rotation_drifts{drift="foreign_added",kind="acs-x509"} 2`,
		`rotation_drifts{drift="unreadable",kind="acs-x509"} 0`, `rotation_drifts{drift="new_missing",kind="other"} 0`,
		`rotation_checks_running{kind="acs-x509"} 1`, `rotation_checks_running{kind="other"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("GET /metrics lacks %s", want)
		}
	}
}

func TestNewTasks_SumsByKindAndNothingElse(t *testing.T) {
	r := daemon.NewRegistry()
	r.MustRegister(daemon.NewTasks(func() []daemon.Standing {
		return []daemon.Standing{
			{Kind: "acs-x509", State: rollover.StateRunning, AtRisk: true, Counts: rollover.Counts{
				Phases: map[rollover.Phase]int{rollover.Staged: 2}, Outcomes: map[rollover.Outcome]int{rollover.HandedOver: 1}, Retrying: 1,
			}},
			{Kind: "acs-x509", State: rollover.StateRunning, Counts: rollover.Counts{
				Phases: map[rollover.Phase]int{rollover.Staged: 3, rollover.Planned: 4}, Outcomes: map[rollover.Outcome]int{rollover.HandedOver: 5},
			}},
		}
	}))
	url := serveOps(t, daemon.Ops{Metrics: r, Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }}, "127.0.0.1")
	_, text := get(t, url+"/metrics")
	for _, want := range []string{
		`rotations{kind="acs-x509",state="` + string(rollover.StateRunning) + `"} 2`,
		`rotation_tasks{kind="acs-x509",phase="` + string(rollover.Staged) + `"} 5`,
		`rotation_tasks{kind="acs-x509",phase="` + string(rollover.Planned) + `"} 4`,
		`rotation_tasks_ended{kind="acs-x509",outcome="` + string(rollover.HandedOver) + `"} 6`,
		`rotation_tasks_retrying{kind="acs-x509"} 1`,
		`crossfade_rotations_deadline_at_risk{kind="acs-x509"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("GET /metrics lacks %s", want)
		}
	}
}

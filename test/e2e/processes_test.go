package e2e_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// What the README shows: an emulator, a service without workers, two workers,
// an import, a plan, a rotation, a second watcher that goes on from a cursor,
// and a report.
func TestProcesses_AsTheReadmeShows(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 40, Seed: 2})
	tr := f.truth()
	broker := freePort(t)
	serve := f.serve("--workers", "0", "--config", f.config("crossfade.yaml", func(c *daemon.Config) { c.NATS.Listen = broker }))
	worker := f.config("worker.yaml", func(c *daemon.Config) { c.NATS.URL, c.NATS.Replicas = "nats://"+broker, 1 })
	for range 2 {
		start(t, crossfade, "work", "--config", worker).says("msg=working")
	}
	f.setUp()
	if out := f.ok("tenants", "import", f.file("tenants.yaml")); !strings.Contains(out, "40 unchanged") {
		t.Errorf("importing again said %q, want 40 unchanged", out)
	}

	plan := f.ok(f.rotateFlags("--plan-only")...)
	for _, want := range []string{"will be added on", "stands already on", "its owner must be asked", "skipped", "will be removed", "plan digest"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan does not say %q:\n%s", want, plan)
		}
	}
	tr.check(t)
	if n := f.cloud.ACS().Counters().Writes; n != 0 {
		t.Errorf("planning wrote %d times to ACS", n)
	}

	rotate := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	name := rotate.says(`plan of (rotations/\S+):`)[1]
	rotate.says(`running/overlap`)
	tr.check(t)

	first := start(t, crossfade, "--address", f.api, "--json", "rotation", "watch", name)
	// The cursors of a snapshot that is still being told lead back to its begin.
	cursor := first.says(`"cursor":"(t\.[^".]+\.[^"]{20,})"`)[1]
	first.kill()
	second := start(t, crossfade, "--address", f.api, "--json", "rotation", "watch", name, "--cursor", cursor)

	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if status := rotate.ends(); status != 0 || !strings.Contains(rotate.said(), "succeeded") {
		t.Errorf("rotate --watch ended with %d:\n%s", rotate.cmd.ProcessState.ExitCode(), rotate.said())
	}
	second.ends()
	retired := map[string]bool{}
	for _, o := range objects(t, second.said()) {
		if k, ok := o["task"].(map[string]any); ok && k["phase"] == "PHASE_RETIRED" {
			retired[k["name"].(string)] = true
		}
		if o["reset"] == true {
			t.Error("the watch that went on from a cursor began with a snapshot")
		}
	}
	if len(retired) == 0 {
		t.Errorf("the second watch was told of no retired task:\n%s", second.said())
	}
	tr.finished(t)
	ops := serve.says(`msg=serving .*ops=(\S+)`)[1]
	metric(t, ops, `rotations{kind="acs-x509",state="succeeded"} 1`)
	metric(t, ops, `grpc_server_handled_total{grpc_code="OK",grpc_method="StartRotation"`)

	dir := filepath.Join(t.TempDir(), "report")
	f.ok("rotation", "report", name, "--dir", dir)
	for _, file := range []string{"report.md", "tasks.csv", "tenants.jsonl"} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || len(b) < 100 {
			t.Errorf("the report's %s has %d bytes, %v", file, len(b), err)
		}
	}
	if took := serve.stop(); took > 10*time.Second {
		t.Errorf("the service took %s to stop, want at most 10 s", took)
	}
}

// Exit statuses: 2 for wrong use, 3 for a service that cannot be reached or
// refuses.
func TestProcesses_ExitStatuses(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 5})
	f.api = freePort(t)
	if out, status := f.run("rotation", "list"); status != 3 || !strings.Contains(out, "crossfade serve") {
		t.Errorf("without a service: exit status %d, want 3 and what to do:\n%s", status, out)
	}
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	for name, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"an unknown command":         {[]string{"rotate-all"}, 2, "unknown command"},
		"an unknown flag":            {[]string{"rotation", "list", "--colour"}, 2, "unknown flag"},
		"a missing argument":         {[]string{"rotation", "show"}, 2, "accepts 1 arg"},
		"a file that is not there":   {[]string{"certificate", "add", "nowhere.cer"}, 2, "nowhere.cer"},
		"tenants named twice over":   {[]string{"rotate", "--certificate", f.file("new.cer"), "--tenant", "a", "--select", "disabled"}, 2, "only one of them"},
		"a private key":              {[]string{"certificate", "add", f.privateKey()}, 2, "private key"},
		"an unknown rotation":        {[]string{"rotation", "show", "01a20571-09da-7539-af26-989a9a1b6c2b"}, 3, "NOT_FOUND"},
		"a selection of nobody":      {[]string{"rotate", "--certificate", f.file("new.cer"), "--select", `region = "crm99"`}, 3, "selects none"},
		"a tenant that is not there": {[]string{"rotate", "--certificate", f.file("new.cer"), "--tenant", "nobody"}, 3, "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			out, status := f.run(c.args...)
			if status != c.status || !strings.Contains(out, c.says) {
				t.Errorf("exit status %d, want %d and %q:\n%s", status, c.status, c.says, out)
			}
		})
	}
}

// privateKey returns one of the sender's files, which hold CRM's keys.
func (f *fleet) privateKey() string {
	f.t.Helper()
	files, err := filepath.Glob(f.file("sender/*"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), "PRIVATE KEY") {
			return name
		}
	}
	f.t.Fatalf("no private key among %q", files)
	return ""
}

// metric reads one line of a process's metrics.
func metric(t *testing.T, ops, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(b), line) {
		t.Errorf("the metrics have no %q, %v:\n%s", line, err, b)
	}
}

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// names returns the tasks of a rotation that fit a filter.
func (f *fleet) names(rotation, filter string) []string {
	f.t.Helper()
	var out []string
	for line := range strings.Lines(f.ok("--json", "rotation", "tasks", rotation, "--filter", filter)) {
		var k letterJSON
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			f.t.Fatalf("%q: %v", line, err)
		}
		out = append(out, k.Task.Name)
	}
	return out
}

// attempts returns how many records of tasks that ended so an exported log has, by task.
func attempts(t *testing.T, dir string) map[string]int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "records.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for line := range bytes.Lines(b) {
		line, _, _ := bytes.Cut(line, []byte("\t")) // Behind it are the texts that are sealed.
		var r struct {
			Act, Object, Outcome string
			Detail               map[string]string
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r.Act == "task" && r.Detail["outcome"] != "" {
			got[r.Object]++
		}
	}
	return got
}

// Everything is told, also by a process that is killed in the middle of it: each task
// that ended has a record that says so, and the log is whole and signed.
func TestAudit_TellsEverythingThroughKills(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 40, Seed: 21, Faults: "rough"})
	config := f.config("crossfade.yaml", func(c *daemon.Config) { c.Listen.GRPC = freePort(t) })
	serve := f.serve("--config", config)
	f.setUp()
	name, watch := f.watched()
	f.written(5)
	serve.kill()
	serve = f.serve("--config", config)
	watch.says(`PHASE_OVERLAP`)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	watch.ends()
	// While it runs: through the socket.
	if out := f.ok("audit", "verify", "--config", config); !strings.Contains(out, "audit verify OK") {
		t.Errorf("audit verify of a running service says %q", out)
	}
	succeeded := f.names(name, "outcome = OUTCOME_SUCCEEDED")
	serve.stop()
	exported := filepath.Join(t.TempDir(), "exported")
	f.ok("audit", "export", "--config", config, "--out", exported)
	told := attempts(t, exported)
	for _, k := range succeeded {
		if told[k] == 0 {
			t.Errorf("everything-told: %s succeeded, and the log does not say so", k)
		}
	}
	if len(succeeded) < 15 {
		t.Errorf("%d tasks succeeded: the test looks at little", len(succeeded))
	}
	out := f.ok("audit", "verify", "--config", config, "--checkpoint", filepath.Join(exported, "checkpoint.txt"))
	if !strings.Contains(out, "audit verify OK") {
		t.Errorf("audit verify of a stopped store says %q", out)
	}
}

// Whoever can write to the broker as they please can change the log, and is found: here
// the whole stream is made anew with one record altered.
func TestAudit_ABrokerThatLiesIsFound(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 10, Seed: 22})
	broker := freePort(t)
	config := f.config("crossfade.yaml", func(c *daemon.Config) { c.NATS.Listen = broker })
	serve := f.serve("--config", config)
	f.setUp()
	name, watch := f.watched()
	watch.says(`PHASE_OVERLAP`)
	var one letterJSON
	first, _, _ := strings.Cut(f.ok("--json", "rotation", "tasks", name, "--filter", "phase = PHASE_VERIFIED OR phase = PHASE_ACTIVATED"), "\n")
	if err := json.Unmarshal([]byte(first), &one); err != nil || len(one.Task.Endpoints) == 0 {
		t.Fatalf("no task is verified: %q, %v", first, err)
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(one.Task.Endpoints[0].Name, "tenants/"), "/")
	key := strings.TrimSpace(f.ok("audit", "key", "--config", config))
	evidence := filepath.Join(t.TempDir(), "evidence")
	// Signed within a few seconds: until then there is nothing to show.
	deadline := time.Now().Add(patience)
	for {
		out, status := f.run("audit", "evidence", "--config", config, "--key", key, "--tenant", tenant, "--out", evidence)
		if b, err := os.ReadFile(filepath.Join(evidence, "evidence.json")); status == 0 && err == nil && bytes.Contains(b, []byte("/tasks/")) {
			break
		}
		if err := os.RemoveAll(evidence); err != nil || time.Now().After(deadline) {
			t.Fatalf("there is no evidence after %s: %s, %v", patience, out, err)
		}
	}
	if out := f.ok("audit", "verify", "--evidence", filepath.Join(evidence, "evidence.json"), "--key", key); !strings.Contains(out, "audit verify OK") {
		t.Errorf("audit verify --evidence says %q", out)
	}
	page, err := os.ReadFile(filepath.Join(evidence, "evidence.html"))
	if err != nil || !bytes.Contains(page, []byte(tenant)) || bytes.Contains(page, []byte("<script")) {
		t.Errorf("evidence.html is %d bytes, %v", len(page), err)
	}
	// What was decided of the whole rotation is in it, without the words that go with it.
	said := f.ok("audit", "verify", "--evidence", filepath.Join(evidence, "evidence.json"), "--key", key)
	for _, act := range []string{"RotationService/CreateRotation  root", "RotationService/StartRotation  root", "rotation  service"} {
		if !strings.Contains(said, act) {
			t.Errorf("the evidence does not tell of %s:\n%s", act, said)
		}
	}
	// It can be held against a checkpoint that was kept, and only where it has the proof.
	exported := filepath.Join(t.TempDir(), "exported")
	f.ok("audit", "export", "--config", config, "--out", exported)
	kept := filepath.Join(exported, "checkpoint.txt")
	since := filepath.Join(t.TempDir(), "since")
	f.advance(time.Hour)
	f.ok("audit", "evidence", "--config", config, "--key", key, "--tenant", tenant, "--since", kept, "--out", since)
	if out := f.ok("audit", "verify", "--evidence", filepath.Join(since, "evidence.json"), "--checkpoint", kept, "--key", key); !strings.Contains(out, "continues the checkpoint") {
		t.Errorf("audit verify against a checkpoint that was kept says %q", out)
	}
	lie(t, broker)
	out, status := f.run("audit", "verify", "--config", config, "--key", key)
	if status != 1 || !strings.Contains(out, "audit: record 2 is not the one that was signed") {
		t.Errorf("audit verify of a changed log: exit status %d, want 1 and record 2 named:\n%s", status, out)
	}
	serve.kill()
}

// lie makes the audit stream anew with its second record altered.
func lie(t *testing.T, broker string) {
	t.Helper()
	nc, err := nats.Connect("nats://" + broker)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := js.Stream(ctx, "AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	// One record cannot be taken out or written over.
	if err := s.DeleteMsg(ctx, 2); err == nil {
		t.Error("the server deletes an audit record")
	}
	if err := s.Purge(ctx); err == nil {
		t.Error("the server purges the audit log")
	}
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Data)
	}
	all[1] = bytes.Replace(all[1], []byte(`"outcome":"done"`), []byte(`"outcome":"lied"`), 1)
	if err := js.DeleteStream(ctx, "AUDIT"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, info.Config); err != nil {
		t.Fatal(err)
	}
	for i, b := range all {
		if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "a.r", Data: b}, jetstream.WithMsgID(fmt.Sprint("lie-", i))); err != nil {
			t.Fatal(err)
		}
	}
}

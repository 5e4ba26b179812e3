package e2e_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// lost kills the service and takes its store away, and puts a back-up in its place. The
// key that signs the audit log, which no back-up has, is put back from where it was kept.
func (f *fleet) lost(serve *process, config, from string) *process {
	f.t.Helper()
	path := filepath.Join(f.file("data"), "audit.key")
	key, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	serve.kill()
	if err := os.RemoveAll(f.file("data")); err != nil {
		f.t.Fatal(err)
	}
	out := f.ok("store", "restore", "--config", config, "--from", from)
	if !strings.Contains(out, "restored: ") || !strings.Contains(out, "put "+path+" back") {
		f.t.Errorf("store restore said %q, want that it restored, and that the key is to be put back", out)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.serve("--config", config)
}

// audited waits until every record of the audit log is signed, and it is as it was signed.
func (f *fleet) audited(config, key string) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		out, status := f.run("audit", "verify", "--json", "--config", config, "--key", key)
		a, _ := objects(f.t, out)[0]["audit"].(map[string]any)
		if status != 0 {
			f.t.Fatalf("audit verify of the restored store ended with %d:\n%s", status, out)
		}
		if a["records"] == a["signed"] {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("after %s the audit log is not signed to its end:\n%s", patience, out)
		}
	}
}

// only returns the name of the only rotation.
func (f *fleet) only() string {
	f.t.Helper()
	list := objects(f.t, f.ok("rotation", "list", "--json"))
	r, _ := list[0]["rotation"].(map[string]any)
	name, _ := r["name"].(string)
	if name == "" {
		f.t.Fatalf("there is no rotation: %v", list)
	}
	return name
}

// A back-up is taken in the middle of a rotation, without a pause of it. The rotation
// goes on for a while; then the machine is lost with its store. Put back into an
// empty store, the rotation ends as it would have, each certificate stands once,
// and whoever watched is told anew.
func TestBackup_TheRestoredRotationEnds(t *testing.T) {
	t.Parallel() // It waits more than it works.
	for _, tt := range []struct {
		name string
		more int64 // writes between the back-up and the loss
	}{
		{"lost right after", 0},
		{"lost after more was staged", 25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, emulator.Config{Tenants: 80, Seed: 6, Latency: 25 * time.Millisecond})
			tr := f.truth()
			config := f.config("crossfade.yaml", func(c *daemon.Config) { c.Workers.TaskSlots = 1; c.Listen.GRPC = freePort(t) })
			serve := f.serve("--config", config)
			f.setUp()
			key := strings.TrimSpace(f.ok("audit", "key", "--config", config))
			rotate := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
			rotate.says("running/")
			f.written(8)
			name := f.only()
			watch := start(t, crossfade, "--address", f.api, "--json", "rotation", "watch", name)
			watch.says(`"kind"`)

			from := filepath.Join(t.TempDir(), "backup")
			out := f.ok("store", "backup", "--config", config, "--out", from)
			if !strings.Contains(out, "backed up: ") || !strings.Contains(out, "audit.key, which signs the audit log, is not in it") {
				t.Errorf("store backup said %q", out)
			}
			f.ok("store", "verify", from)
			if tt.more > 0 {
				f.written(tt.more)
			}
			f.lost(serve, config, from)
			watch.says(`"reset":true`) // A cursor of before is of another life of the store.
			watch.says(`"phase":"PHASE_OVERLAP"`)
			tr.check(t)
			f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
			if out, status := f.run("rotation", "watch", name); status != 0 {
				t.Errorf("rotation watch after the restore ended with %d:\n%s", status, out)
			}
			tr.finished(t)
			f.audited(config, key)
		})
	}
}

// The whole rotation had ended when the store was lost: restored, it looks at every
// target and finds what it did.
func TestBackup_OfARotationThatEndedSince(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 40, Seed: 8, Latency: 10 * time.Millisecond})
	tr := f.truth()
	config := f.config("crossfade.yaml", func(c *daemon.Config) { c.Workers.TaskSlots = 4; c.Listen.GRPC = freePort(t) })
	serve := f.serve("--config", config)
	f.setUp()
	rotate := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	rotate.says("running/")
	f.written(6)
	from := filepath.Join(t.TempDir(), "backup")
	f.ok("store", "backup", "--config", config, "--out", from)
	rotate.says("running/overlap")
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if status := rotate.ends(); status != 0 {
		t.Fatalf("the rotation ended with %d:\n%s", status, rotate.said())
	}
	tr.finished(t)
	writes := f.cloud.ACS().Counters().Writes
	f.lost(serve, config, from)
	if out, status := f.run("rotation", "watch", f.only()); status != 0 {
		t.Errorf("the restored rotation ended with %d:\n%s", status, out)
	}
	tr.check(t)
	tr.finished(t)
	if n := f.cloud.ACS().Counters().Writes - writes; n != 0 {
		t.Errorf("the restored rotation wrote %d times, want not once: all was done", n)
	}
}

// A log whose key is gone is signed by no other, which would end it for whoever has the
// key that verifies: the service says what is missing and works on.
func TestBackup_WithoutItsKeyTheAuditLogWaits(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 3, Seed: 2})
	config := f.config("crossfade.yaml", func(*daemon.Config) {})
	serve := f.serve("--config", config)
	f.setUp()
	key := strings.TrimSpace(f.ok("audit", "key", "--config", config))
	f.audited(config, key)
	serve.stop()
	path := filepath.Join(f.file("data"), "audit.key")
	aside := filepath.Join(t.TempDir(), "audit.key")
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	serve = f.serve("--config", config)
	serve.says("the audit log is not signed.*put audit.key back")
	f.setUp() // It works, and tells.
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is another %s: %v", path, err)
	}
	serve.stop()
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	f.serve("--config", config)
	f.audited(config, key)
}

// What is damaged, or was not written to its end, is refused before anything is done.
func TestBackup_DamagedIsRefused(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 5, Seed: 1})
	config := f.config("crossfade.yaml", func(*daemon.Config) {})
	serve := f.serve("--config", config)
	f.setUp()
	serve.stop()
	from := filepath.Join(t.TempDir(), "backup")
	f.ok("store", "backup", "--config", config, "--out", from) // Of a stopped store.
	if out, status := f.run("store", "backup", "--config", config, "--out", from); status == 0 {
		t.Errorf("a second back-up into the same folder: %s", out)
	}
	if out, status := f.run("store", "restore", "--config", config, "--from", from); status == 0 || !strings.Contains(out, "not empty") {
		t.Errorf("restoring over a store: exit status %d, want a refusal: %s", status, out)
	}
	for name, damage := range map[string]func(dir string) error{
		"a byte is flipped": func(dir string) error {
			path := filepath.Join(dir, "B_TENANTS.s2")
			b, err := os.ReadFile(path)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		},
		"a file is missing": func(dir string) error { return os.Remove(filepath.Join(dir, "STATE.s2")) },
		"a file is cut":     func(dir string) error { return os.Truncate(filepath.Join(dir, "ROT.s2"), 3) },
		"there is another file": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "B_OTHER.s2"), nil, 0o600)
		},
		"the manifest was changed": func(dir string) error {
			path := filepath.Join(dir, "manifest.json")
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				return err
			}
			m["made_at"] = "2020-01-01T00:00:00Z"
			if b, err = json.Marshal(m); err != nil {
				return err
			}
			return os.WriteFile(path, b, 0o600)
		},
		"the manifest is missing": func(dir string) error { return os.Remove(filepath.Join(dir, "manifest.json")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if out, status := f.run("store", "verify", dir); status == 0 || !strings.Contains(out, "damaged") {
				t.Errorf("store verify: exit status %d, want that it is damaged: %s", status, out)
			}
			if out, status := f.run("store", "restore", "--replace", "--config", config, "--from", dir); status == 0 || !strings.Contains(out, "damaged") {
				t.Errorf("store restore: exit status %d, want that it is damaged: %s", status, out)
			}
		})
	}
	f.serve("--config", config)
	if out := f.ok("tenants", "list"); len(strings.Split(strings.TrimSpace(out), "\n")) < 5 {
		t.Errorf("after refused restores the store has\n%s", out)
	}
}

// The same with three servers, whose disks are all lost: the back-up goes to three new
// ones.
func TestBackup_OfAClusterIntoAnother(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 60, Seed: 9, Latency: 15 * time.Millisecond})
	tr := f.truth()
	config := func(name, url string) string {
		return f.config(name, func(c *daemon.Config) { c.NATS.URL, c.NATS.Replicas, c.Workers.TaskSlots = url, 3, 4 })
	}
	nodes, url := f.cluster(0)
	all := []*process{
		f.serve("--workers", "0", "--config", config("api.yaml", url)),
		start(t, crossfade, "work", "--config", config("work.yaml", url)),
	}
	all[1].says("msg=working")
	f.setUp()
	rotate := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	rotate.says("running/")
	f.written(8)
	from := filepath.Join(t.TempDir(), "backup")
	f.ok("store", "backup", "--config", f.file("work.yaml"), "--out", from)
	f.written(10)
	for _, p := range append(all, nodes...) {
		p.kill()
	}
	rotate.kill()
	for _, name := range []string{"nats0", "nats1", "nats2"} {
		if err := os.RemoveAll(f.file(name)); err != nil {
			t.Fatal(err)
		}
	}
	_, url = f.cluster(0)
	f.ok("store", "restore", "--config", config("api.yaml", url), "--from", from)
	f.serve("--workers", "0", "--config", f.file("api.yaml"))
	start(t, crossfade, "work", "--config", config("work.yaml", url)).says("msg=working")
	watch := start(t, crossfade, "--address", f.api, "rotation", "watch", f.only())
	watch.says("running/overlap")
	tr.check(t)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if status := watch.ends(); status != 0 {
		t.Errorf("rotation watch ended with %d:\n%s", status, watch.said())
	}
	tr.finished(t)
}

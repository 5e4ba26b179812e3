package e2e_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// letterJSON is what the desk's commands say of a task as JSON.
type letterJSON struct {
	Task struct {
		Name, Tenant, Host, Outcome, Reason string
		Endpoints                           []struct{ Name string }
	}
	Retriable, Superseded bool
}

func (f *fleet) letters(args ...string) []letterJSON {
	f.t.Helper()
	var out []letterJSON
	for line := range strings.Lines(f.ok(append([]string{"--json", "desk", "list"}, args...)...)) {
		var l struct {
			Letter letterJSON `json:"dead_letter"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			f.t.Fatalf("%q: %v", line, err)
		}
		out = append(out, l.Letter)
	}
	return out
}

// The desk has exactly the tasks that failed or that only their owners can do, and
// the texts for these name exactly their namespaces. What is mended is tried again
// from the desk, and gone from it.
func TestDesk_HasWhatNeedsAPerson(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 60, Seed: 9})
	f.cloud.ACS().SetFaults(acs.Faults{Seed: 1, Rules: []acs.FaultRule{
		{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultInternal, Probability: 0.3},
	}})
	f.serve("--config", f.config("crossfade.yaml", func(*daemon.Config) {}))
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch", "--tolerate", "100%", "--max-tries", "1")...)...)
	name := watch.says(`plan of (rotations/\S+):`)[1]
	watch.says("running/overlap")

	var want []string
	hosts := map[string][]string{} // of each tenant in need
	for line := range strings.Lines(f.ok("--json", "rotation", "tasks", name, "--filter",
		"outcome = OUTCOME_FAILED OR outcome = OUTCOME_CONFLICT OR outcome = OUTCOME_HANDED_OVER")) {
		var k letterJSON
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want = append(want, k.Task.Name)
		whose := map[string]bool{}
		for _, e := range k.Task.Endpoints {
			tenant, _, _ := strings.Cut(e.Name, "/endpoints/")
			whose[tenant] = true
		}
		if len(whose) == 0 {
			whose[k.Task.Tenant] = true
		}
		for tenant := range whose {
			hosts[tenant] = append(hosts[tenant], k.Task.Host)
		}
	}
	letters := f.letters()
	var got []string
	for _, l := range letters {
		got = append(got, l.Task.Name)
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Fatalf("the desk has %d letters:\n%v\nthe rotation has %d tasks in need:\n%v", len(got), got, len(want), want)
	}
	failed := len(f.letters("--filter", "retriable"))
	if failed == 0 || failed == len(want) {
		t.Errorf("%d of %d letters can be tried again, want those that failed and no others", failed, len(want))
	}
	if out := f.ok("desk", "list", "--group"); !strings.Contains(out, "handed_over, no_access") || !strings.Contains(out, "failed, tries_used_up") {
		t.Errorf("desk list --group says\n%s", out)
	}
	rows, err := csv.NewReader(strings.NewReader(f.ok("desk", "list", "--csv"))).ReadAll()
	if err != nil || len(rows) != len(want)+1 || rows[0][0] != "task" || rows[1][0] != want[0] {
		t.Errorf("desk list --csv has %d rows, %v, want a header and %d", len(rows), err, len(want))
	}
	f.handedOver(name, hosts)

	f.cloud.ACS().SetFaults(acs.Faults{})
	if out := f.ok("desk", "requeue", "--reason", "mended", "--dry-run"); !strings.Contains(out, "would be tried again") || len(f.letters()) != len(want) {
		t.Errorf("desk requeue --dry-run says\n%s", out)
	}
	f.ok("desk", "requeue", "--reason", "ACS is back")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); len(f.letters()) != len(want)-failed; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after the requeue the desk has %d letters, want the %d that planning decided", len(f.letters()), len(want)-failed)
		}
	}
}

// handedOver has the texts written, and looks that each names its tenant's
// namespaces and nobody else's.
func (f *fleet) handedOver(name string, hosts map[string][]string) {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), "handover")
	f.ok("desk", "handover", name, "--out", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(files) != len(hosts) {
		f.t.Errorf("%d texts, %v, want one for each of %d tenants in need", len(files), err, len(hosts))
	}
	for tenant, own := range hosts {
		text, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(tenant, "tenants/")+".md"))
		if err != nil {
			f.t.Error(err)
			continue
		}
		for other, theirs := range hosts {
			for _, host := range theirs {
				if host == "" || slices.Contains(own, host) {
					continue
				}
				if strings.Contains(string(text), host) {
					f.t.Errorf("the text for %s names %s of %s", tenant, host, other)
				}
			}
		}
		for _, host := range own {
			if host != "" && !strings.Contains(string(text), host) {
				f.t.Errorf("the text for %s does not name %s", tenant, host)
			}
		}
	}
}

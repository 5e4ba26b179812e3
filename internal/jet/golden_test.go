package jet

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden checks that v is stored as in the file, and that the file still reads
// as v. Programs of the version before wrote such files.
func golden[T any](t *testing.T, name string, v T) {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode[T](file)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("decode(%s) = %+v, %v\nwant %+v", name, got, err, v)
	}
	if string(data)+"\n" != string(file) {
		t.Errorf("encode = %s\nwant %s of %s", data, file, name)
	}
}

func TestRecords_AreReadAsTheyWereWritten(t *testing.T) {
	at := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	c := rollover.Credential{SHA256: "ab12", SHA1: "CD34", Subject: "CN=crm.dynamics.com", NotBefore: at, NotAfter: at.AddDate(2, 0, 0)}
	target := rollover.Target{Kind: "acs-x509", Host: "contoso-sb.accesscontrol.windows.net", Identity: "crm.dynamics.com"}
	item := rollover.Item{
		Ord: 256, Tenant: "contoso", Target: target, Observed: "0f",
		Endpoints: []rollover.EndpointRef{{Tenant: "contoso", ID: "e1", Name: "orders", Federated: true}},
		Retire:    []rollover.Credential{c}, Siblings: []int{1}, Advice: []rollover.Advice{rollover.MoveToSAS},
	}
	golden(t, "rotation.json", rollover.Rotation{
		V: 1, ID: "0192f0c4-7a1e-7c3a-9f5e-2b1d7c8e9f00", DisplayName: "November", Labels: map[string]string{"change": "7"},
		Spec: rollover.Spec{
			Kind: "acs-x509", New: c, Replaces: []string{"cd34"}, AllTenants: true, RetireNotBefore: at.AddDate(0, 0, 4),
			RetirePolicy: rollover.RetireAutomatic, MaxInFlight: 64, MaxTries: 5,
		},
		State: rollover.StatePlanned, Tenants: 2, Digest: "77", Tasks: 300, RequestID: "q1", CreatedAt: at, PlannedAt: at, UpdatedAt: at,
	})
	golden(t, "progress.json", rollover.Progress{
		V: 1, Phase: rollover.Activated, Added: true, Tries: 1, Detail: "slow down", NextAt: at, UpdatedAt: at,
		Evidence: &rollover.Evidence{Kind: rollover.Listed, At: at, Detail: "key 7"},
	})
	golden(t, "finding.json", rollover.Finding{
		V: 1, Tenant: "contoso", Version: "8.2", Items: []rollover.Item{item},
		Endpoints: []rollover.Endpoint{{Tenant: "contoso", ID: "e1", Name: "orders", AuthType: "acs", Contract: "queue", Federated: true}},
	})
	golden(t, "check.json", rollover.CheckPart{V: 1, Check: 2, Looked: 64, At: at, Targets: []rollover.Drifted{{
		Ord: 7, Tenant: "contoso", Target: target,
		Drifts: []rollover.Drift{{Kind: rollover.DriftOldBack, SHA256: c.SHA256, SHA1: c.SHA1, Subject: c.Subject, Detail: "stands again", Since: at}},
	}}})
	golden(t, "checked.json", rollover.Rotation{
		V: 1, ID: "r1", Spec: rollover.Spec{
			Kind: "acs-x509", New: c, DriftedOf: "r0", MaxInFlight: 1, MaxTries: 1, Drift: rollover.DriftPolicy{Every: 24 * time.Hour, For: 48 * time.Hour},
		},
		State: rollover.StateSucceeded, CreatedAt: at, UpdatedAt: at,
		Check: rollover.Check{Number: 2, State: rollover.CheckStopped, Scheduled: true, RequestID: "q", StartedAt: at, EndedAt: at, Detail: "why"},
	})
	golden(t, "incident.json", rollover.Rotation{
		V: 1, ID: "r1", Spec: rollover.Spec{
			Kind: "acs-x509", New: c, RetireNotBefore: at.AddDate(0, 0, 1), MaxInFlight: 1, MaxTries: 1, Lane: rollover.Urgent,
			Incident: &rollover.Incident{
				Compromised:      []rollover.Compromised{{Sort: rollover.CompromisedKeyHash, Hash: "ab"}, {Sort: rollover.CompromisedSHA1, Hash: "cd"}},
				ShortenedOverlap: 15 * time.Minute, Summary: "key in a public repository",
			},
		},
		State: rollover.StateRunning, Phase: rollover.PhaseOverlap, Digest: "77", Creator: "alice", CreatedAt: at, UpdatedAt: at, OverlapAt: at,
		Approval: rollover.Approval{By: "bob", At: at, Reason: "seen", Digest: "77", RequestID: "q"},
	})
	golden(t, "plan.json", planRecord{V: 1, Items: []rollover.Item{item}})
	golden(t, "selection.json", selectionRecord{V: 1, Tenants: []string{"contoso", "fabrikam"}})
	golden(t, "nudge.json", nudgeRecord{V: 1, Nudge: rollover.Nudge{Rotation: "r1", Ord: 7}})
	golden(t, "lease.json", leaseRecord{V: 1, Owner: "conductor-1", Nonce: "N"})
}

func TestDecode_RefusesWhatANewerProgramWrote(t *testing.T) {
	data, err := json.Marshal(map[string]any{"v": rollover.LatestVersion + 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode[rollover.Progress](data); err == nil {
		t.Errorf("decode of version %d = nil, want an error", rollover.LatestVersion+1)
	}
}

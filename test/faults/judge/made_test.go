package judge_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/test/faults/judge"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// The certificates of made-up runs, and a key of others.
const (
	oldSHA = "0ld0000000000000000000000000000000000000000000000000000000000000"
	newSHA = "4e30000000000000000000000000000000000000000000000000000000000000"
	others = "07e5000000000000000000000000000000000000000000000000000000000000"
)

// The instants of made-up runs.
var (
	begin    = time.Date(2016, 10, 31, 18, 0, 0, 0, time.UTC)
	switchAt = time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
	real0    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// made is a run that nobody made: what would be in its folder.
type made struct {
	world   record.World
	writes  []record.Write
	signIns []record.SignIn
	watches []record.Watch
	calls   []record.Call
	faults  []record.Fault
	final   record.Final
	log     string
	secrets string
}

func cert(id int64, sha string) record.Key {
	return record.Key{ID: id, Type: "X509Certificate", Usage: "Signing", SHA256: sha, Start: begin.AddDate(-1, 0, 0), End: begin.AddDate(1, 0, 0), DisplayName: "CRM"}
}

func identity(host, tenant, endpoint, ending string, keys ...record.Key) record.Identity {
	return record.Identity{Host: host, Identity: "crm9.dynamics.com", Tenant: tenant, Endpoint: endpoint, Ending: ending, Keys: keys}
}

func added(at time.Time, host string) record.Write {
	return record.Write{At: at, Host: host, Identity: "crm9.dynamics.com", Op: "create", KeyID: 90, SHA256: newSHA, Status: 201, Applied: true}
}

func removed(at time.Time, host, sha string) record.Write {
	return record.Write{At: at, Host: host, Identity: "crm9.dynamics.com", Op: "delete", KeyID: 1, SHA256: sha, Status: 204, Applied: true}
}

func task(rotation string, ord, host, tenant, endpoint, phase, outcome string, revision int64) record.Task {
	return record.Task{
		Name: rotation + "/tasks/" + ord, Tenant: tenant, Endpoints: []string{endpoint}, Host: host, Identity: "crm9.dynamics.com",
		Phase: phase, Outcome: outcome, WillRetire: []string{oldSHA}, Revision: revision,
	}
}

// clean is a run in which every promise was kept: "bulk0" rotates a federated
// endpoint of two hosts, "undone0" is taken back, "cancelled0" is cancelled before
// it did anything but add to one, and "failing0" stops after three failures.
func clean() *made {
	end := switchAt.Add(20 * time.Minute)
	const bulk, undone, cancelled, failing = "rotations/b", "rotations/u", "rotations/c", "rotations/f"
	m := &made{
		world: record.World{
			Seed: 1, Profile: "short", Old: oldSHA, New: newSHA, SwitchAt: switchAt,
			Identities: []record.Identity{
				identity("a-sb", "t1", "tenants/t1/endpoints/e1", "rotated", cert(1, oldSHA), cert(2, others)),
				identity("a", "t1", "tenants/t1/endpoints/e1", "rotated", cert(1, oldSHA)),
				identity("u-sb", "t2", "tenants/t2/endpoints/e2", "rotated", cert(1, oldSHA)),
				identity("v-sb", "t3", "tenants/t3/endpoints/e3", "already_present", cert(1, oldSHA), cert(3, newSHA)),
				identity("c-sb", "t4", "tenants/t4/endpoints/e4", "rotated", cert(1, oldSHA)),
				identity("f-sb", "t5", "tenants/t5/endpoints/e5", "rotated", cert(1, oldSHA)),
				identity("z-sb", "t9", "tenants/t9/endpoints/e9", "rotated", cert(1, oldSHA)),
			},
			Rotations: []record.Intent{
				{Label: "bulk0", RequestID: "r-b", Name: bulk, Tenants: []string{"t1"}, RetireNotBefore: switchAt, Tolerance: -1, Ends: []string{"SUCCEEDED", "FAILED"}},
				{Label: "undone0", RequestID: "r-u", Name: undone, Tenants: []string{"t2", "t3"}, RetireNotBefore: switchAt, Tolerance: -1, Ends: []string{"UNDONE"}},
				{Label: "cancelled0", RequestID: "r-c", Name: cancelled, Tenants: []string{"t4"}, RetireNotBefore: switchAt, Tolerance: -1, Ends: []string{"CANCELLED"}},
				{Label: "failing0", RequestID: "r-f", Name: failing, Tenants: []string{"t5"}, RetireNotBefore: switchAt, Tolerance: 0, Ends: []string{"CANCELLED"}},
			},
		},
		writes: []record.Write{
			added(begin.Add(1*time.Minute), "a-sb"), added(begin.Add(2*time.Minute), "a"),
			added(begin.Add(3*time.Minute), "u-sb"), removed(begin.Add(4*time.Minute), "u-sb", newSHA),
			added(begin.Add(5*time.Minute), "c-sb"),
			{At: begin.Add(6 * time.Minute), Host: "f-sb", Identity: "crm9.dynamics.com", Op: "create", SHA256: newSHA, Status: 403},
			removed(end, "a-sb", oldSHA), removed(end, "a", oldSHA),
		},
		signIns: []record.SignIn{
			{At: begin.Add(time.Second), Tenant: "t1", Endpoint: "e1", Hosts: []string{"a-sb", "a"}, OK: true, Status: 200, Cert: "old"},
			{At: end.Add(time.Second), Tenant: "t1", Endpoint: "e1", Hosts: []string{"a-sb", "a"}, OK: true, Status: 200, Cert: "new"},
			{At: end.Add(time.Second), Tenant: "t9", Endpoint: "e9", Hosts: []string{"z-sb"}, Refused: true, Status: 401, Cert: "new"},
		},
		calls: []record.Call{
			{Verb: "CreateRotation", RequestID: "r-b", Label: "bulk0", Try: 1, Code: "Unavailable"},
			{Verb: "CreateRotation", RequestID: "r-b", Label: "bulk0", Try: 2, Code: "OK", Name: bulk},
			{Verb: "CreateRotation", RequestID: "r-b", Label: "bulk0", Try: 3, Code: "OK", Name: bulk},
			{Verb: "CreateRotation", RequestID: "r-u", Label: "undone0", Try: 1, Code: "OK", Name: undone},
			{Verb: "CreateRotation", RequestID: "r-c", Label: "cancelled0", Try: 1, Code: "OK", Name: cancelled},
			{Verb: "CreateRotation", RequestID: "r-f", Label: "failing0", Try: 1, Code: "OK", Name: failing},
		},
		faults:  []record.Fault{{Real: real0, At: begin, Kind: "kill", Victim: "worker2", For: time.Second}},
		log:     "level=INFO msg=conducting\n",
		secrets: "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----\nhunter2hunter2\n",
	}
	m.end(bulk, undone, cancelled, failing)
	for _, f := range m.final.Rotations {
		m.watch(f)
	}
	return m
}

// end makes the tables at the end.
func (m *made) end(bulk, undone, cancelled, failing string) {
	one := task(bulk, "0", "a-sb", "t1", "tenants/t1/endpoints/e1", "RETIRED", "SUCCEEDED", 21)
	two := task(bulk, "1", "a", "t1", "tenants/t1/endpoints/e1", "RETIRED", "SUCCEEDED", 22)
	one.Removed, one.AddedByUs, two.Removed, two.AddedByUs = []string{oldSHA}, true, []string{oldSHA}, true
	gone := task(undone, "0", "u-sb", "t2", "tenants/t2/endpoints/e2", "PLANNED", "UNDONE", 23)
	never := task(undone, "1", "v-sb", "t3", "tenants/t3/endpoints/e3", "PLANNED", "UNDONE", 24)
	stopped := task(cancelled, "0", "c-sb", "t4", "tenants/t4/endpoints/e4", "STAGED", "CANCELLED", 25)
	stopped.AddedByUs = true
	bad := task(failing, "0", "f-sb", "t5", "tenants/t5/endpoints/e5", "PLANNED", "FAILED", 26)
	state := func(name, label, state string, counts map[string]int64, ks ...record.Task) record.FinalRotation {
		return record.FinalRotation{RotationState: record.RotationState{Name: name, Label: label, State: state, PlanDigest: "d-" + label, Counts: counts}, Tasks: ks}
	}
	m.final = record.Final{
		Quiet: real0.Add(20 * time.Second), Settled: real0.Add(30 * time.Second),
		Rotations: []record.FinalRotation{
			state(failing, "failing0", "CANCELLED", map[string]int64{"failed": 1}, bad),
			state(cancelled, "cancelled0", "CANCELLED", map[string]int64{"cancelled": 1}, stopped),
			state(undone, "undone0", "UNDONE", map[string]int64{"undone": 2}, gone, never),
			state(bulk, "bulk0", "SUCCEEDED", map[string]int64{"succeeded": 2}, one, two),
		},
		Identities: []record.Identity{
			identity("a-sb", "t1", "tenants/t1/endpoints/e1", "rotated", cert(92, others), cert(90, newSHA)),
			identity("a", "t1", "tenants/t1/endpoints/e1", "rotated", cert(90, newSHA)),
			identity("u-sb", "t2", "tenants/t2/endpoints/e2", "rotated", cert(1, oldSHA)),
			identity("v-sb", "t3", "tenants/t3/endpoints/e3", "already_present", cert(1, oldSHA), cert(3, newSHA)),
			identity("c-sb", "t4", "tenants/t4/endpoints/e4", "rotated", cert(1, oldSHA), cert(90, newSHA)),
			identity("f-sb", "t5", "tenants/t5/endpoints/e5", "rotated", cert(1, oldSHA)),
			identity("z-sb", "t9", "tenants/t9/endpoints/e9", "rotated", cert(1, oldSHA)),
		},
	}
}

// watch lets one watcher hear of a rotation over two streams: first as it was
// begun, then how it ended.
func (m *made) watch(f record.FinalRotation) {
	first, last := f.RotationState, f.RotationState
	first.State, first.Counts = "RUNNING", map[string]int64{}
	var open []record.Task
	for _, k := range f.Tasks {
		k.Phase, k.Outcome, k.Removed, k.AddedByUs, k.Revision = "PLANNED", "OPEN", nil, false, k.Revision-10
		open = append(open, k)
	}
	line := func(kind, cursor string) record.Watch {
		return record.Watch{Watcher: f.Label + "-0", Rotation: f.Name, Real: real0.Add(time.Duration(len(m.watches)) * time.Second), Kind: kind, Cursor: cursor}
	}
	snapshot, tasks := line(record.WatchSnapshot, "0"), line(record.WatchTasks, "1")
	snapshot.State, tasks.Tasks = &first, open
	cut := line(record.WatchCut, "")
	cut.Code, cut.Detail = "Unavailable", "the connection was lost"
	told, changed := line(record.WatchRotation, "1"), line(record.WatchTasks, "2")
	told.State, changed.Tasks = &last, f.Tasks
	over := line(record.WatchCut, "")
	over.Code = "OK"
	m.watches = append(m.watches,
		line(record.WatchOpened, ""), snapshot, tasks, cut,
		line(record.WatchOpened, "1"), line(record.WatchCheckpoint, "1"), told, changed, over)
}

// judged writes the run down and has it judged.
func (m *made) judged(t interface {
	Helper()
	Fatalf(string, ...any)
}, dir string) judge.Report {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("writing a run down: %v", err)
		}
	}
	must(record.Save(dir, record.WorldFile, m.world))
	must(record.Save(dir, record.FinalFile, m.final))
	must(lines(dir, record.WritesFile, m.writes))
	must(lines(dir, record.SignInsFile, m.signIns))
	must(lines(dir, record.WatchesFile, m.watches))
	must(lines(dir, record.CallsFile, m.calls))
	must(lines(dir, record.FaultsFile, m.faults))
	for folder, text := range map[string]string{record.LogsDir: m.log, record.SecretsDir: m.secrets} {
		must(os.MkdirAll(filepath.Join(dir, folder), 0o700))
		must(os.WriteFile(filepath.Join(dir, folder, "api0"), []byte(text), 0o600))
	}
	report, err := judge.Run(dir)
	if err != nil {
		t.Fatalf("Run() = %v, want no error", err)
	}
	return report
}

func lines[T any](dir, name string, of []T) error {
	l, err := record.Create[T](dir, name)
	if err != nil {
		return err
	}
	if err := l.Add(of...); err != nil {
		return err
	}
	return l.Close()
}

func TestRun_FindsNothingInACleanRun(t *testing.T) {
	got := clean().judged(t, t.TempDir())
	for _, v := range got.Violations {
		t.Errorf("Run() of a clean run tells of %s", v)
	}
	f := got.Figures
	if f.Rotations != 4 || f.Tasks != 6 || f.Writes != 7 || f.Removed != 2 || f.SignIns != 3 || f.Calls != 6 || f.Repeats != 2 || f.Streams != 8 || f.Faults != 1 {
		t.Errorf("Run() counts %+v, want all that is there", f)
	}
}

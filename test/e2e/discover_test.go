package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// inventory returns a client of the service's inventory.
func (f *fleet) inventory() crossfadev1.InventoryServiceClient {
	f.t.Helper()
	conn, err := grpc.NewClient(f.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	return crossfadev1.NewInventoryServiceClient(conn)
}

// job waits until a job is as enough says. The service may be away meanwhile.
func (f *fleet) job(c crossfadev1.InventoryServiceClient, name, what string, enough func(*crossfadev1.InventoryJob) bool) *crossfadev1.InventoryJob {
	f.t.Helper()
	var j *crossfadev1.InventoryJob
	f.await(what, func() bool {
		res, err := c.GetInventoryJob(f.t.Context(), &crossfadev1.GetInventoryJobRequest{Name: name})
		if err == nil {
			j = res.GetJob()
		}
		return err == nil && enough(j)
	})
	return j
}

func jobEnded(j *crossfadev1.InventoryJob) bool {
	return j.GetState() != crossfadev1.InventoryJob_STATE_RUNNING
}

// seen returns what the service tells of endpoints, each as JSON. ACS may list the
// certificates of one identity in another order each time.
func (f *fleet) seen(args ...string) []string {
	f.t.Helper()
	said := strings.TrimSpace(f.ok(append([]string{"--json", "endpoints", "list"}, args...)...))
	if said == "" {
		return nil
	}
	var out []string
	for _, o := range objects(f.t, said) {
		targets, _ := o["endpoint"].(map[string]any)["targets"].([]any)
		for _, on := range targets {
			if cs, ok := on.(map[string]any)["certificates"].([]any); ok {
				slices.SortFunc(cs, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
		b, err := json.Marshal(o)
		if err != nil {
			f.t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}

// A service that has no secrets, and workers that have: what stands where is known
// without a rotation, although a worker and the service are killed in the middle, and it
// is what planning finds.
func TestDiscover_ThroughKillsWithoutARotation(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 60, Seed: 4, Latency: 10 * time.Millisecond})
	tr := f.truth()
	thumbprint, endpoints, _ := tr.carriers(t)
	broker, api := freePort(t), freePort(t)
	serveConfig := f.config("crossfade.yaml", func(c *daemon.Config) {
		c.NATS.Listen, c.Listen.GRPC, c.Secrets = broker, api, daemon.Secrets{}
	})
	workConfig := f.config("worker.yaml", func(c *daemon.Config) {
		c.NATS.URL, c.NATS.Replicas, c.Workers.PlanSlots = "nats://"+broker, 1, 2
	})
	work := func() *process {
		p := start(t, crossfade, "work", "--config", workConfig)
		p.says("msg=working")
		return p
	}
	serve := f.serve("--workers", "0", "--config", serveConfig)
	f.setUp()
	if got := f.seen(); len(got) != 0 {
		t.Fatalf("before anything was looked for, %d endpoints are told", len(got))
	}
	const request = "0190f3a2-7c1e-4b44-9d0a-2f5c8e6b1a37"
	c := f.inventory()
	begun := objects(t, f.ok("--json", "endpoints", "discover", "--request-id", request))[0]["job"].(map[string]any)
	name := begun["name"].(string)
	if begun["state"] != "STATE_RUNNING" || begun["expected_rows"] != "60" || begun["kind"] != "KIND_DISCOVERY" {
		t.Errorf("the job begins as %v", begun)
	}
	worker := work()
	some := func(n int64) func(*crossfadev1.InventoryJob) bool {
		return func(j *crossfadev1.InventoryJob) bool { return j.GetRowCount() >= n }
	}
	f.job(c, name, "some tenants to be looked at", some(5))
	worker.kill()
	if j := f.job(c, name, "the job", some(0)); jobEnded(j) {
		t.Fatal("the job had ended before the worker was killed: the test looks at nothing")
	}
	worker = work()
	f.job(c, name, "more tenants to be looked at", some(15))
	serve.kill()
	serve = f.serve("--workers", "0", "--config", serveConfig)
	if again := objects(t, f.ok("--json", "endpoints", "discover", "--request-id", request))[0]["job"].(map[string]any); again["name"] != name {
		t.Errorf("asked again with the same id: %v, want %s", again["name"], name)
	}
	j := f.job(c, name, "the end", jobEnded)
	if n := f.cloud.ACS().Counters().Writes; n != 0 {
		t.Errorf("%d writes to ACS, want none", n)
	}
	tr.check(t)

	found := f.seen()
	if j.GetRowCount() != 60 || j.GetEndpointCount() != int64(len(found)) || j.GetReadCount() == 0 || j.GetReadCount() > j.GetTargetCount() {
		t.Errorf("the job ended as %v, %d endpoints are told", j, len(found))
	}
	var carriers []string
	for _, o := range objects(t, strings.Join(f.seen("--filter", `thumbprint:"`+thumbprint+`"`), "\n")) {
		e := o["endpoint"].(map[string]any)["name"].(string)
		carriers = append(carriers, e[strings.LastIndex(e, "/")+1:])
	}
	slices.Sort(carriers)
	if !slices.Equal(carriers, endpoints) {
		t.Errorf("%s stands behind %q, want %q", thumbprint, carriers, endpoints)
	}
	if out := f.ok("rotation", "list"); strings.Contains(out, "planning") || strings.Contains(out, "succeeded") {
		t.Errorf("a discovery is listed as a rotation:\n%s", out)
	}
	if out, status := f.run("rotation", "show", strings.TrimPrefix(name, "inventoryJobs/")); status != 3 || !strings.Contains(out, "NOT_FOUND") {
		t.Errorf("a discovery shown as a rotation: exit status %d\n%s", status, out)
	}
	told := f.ok("audit", "list", "--config", serveConfig)
	for _, want := range []string{"InventoryService/DiscoverEndpoints", "discovery"} {
		if !strings.Contains(told, want) {
			t.Errorf("the audit log does not tell %q", want)
		}
	}

	metric(t, serve.says(`msg=serving .*ops=(\S+)`)[1], `crossfade_discoveries{state="succeeded"} 1`)

	// Planning finds the same.
	f.ok(f.rotateFlags("--plan-only")...)
	planned := f.seen()
	if len(planned) != len(found) {
		t.Errorf("planning found %d endpoints, the discovery %d", len(planned), len(found))
	}
	for i := range min(len(planned), len(found)) {
		if planned[i] != found[i] {
			t.Errorf("planning found %s\nthe discovery    %s", planned[i], found[i])
		}
	}
	if took := worker.stop(); took > 10*time.Second {
		t.Errorf("the worker took %s to stop", took)
	}
}

// Tenants that cannot be reached are named with the reason, the others are looked at, and
// a job can be cancelled.
func TestDiscover_UnreachableAndCancelled(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 12, Seed: 2, Latency: 5 * time.Millisecond})
	broker := freePort(t)
	f.serve("--workers", "0", "--config", f.config("crossfade.yaml", func(c *daemon.Config) { c.NATS.Listen, c.Secrets = broker, daemon.Secrets{} }))
	f.setUp()
	c := f.inventory()
	bad := &crossfadev1.Tenant{
		Name: "tenants/without-login", Organization: "https://without-login.crm4.dynamics.com", EntraTenant: "without-login.example.com",
		Login: &crossfadev1.Login{ClientId: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", Secret: "file:nobody-has-it"},
	}
	if _, err := c.ImportTenants(t.Context(), &crossfadev1.ImportTenantsRequest{Tenants: []*crossfadev1.Tenant{bad}}); err != nil {
		t.Fatal(err)
	}
	res, err := c.DiscoverEndpoints(t.Context(), &crossfadev1.DiscoverEndpointsRequest{}) // Nobody works yet.
	if err != nil {
		t.Fatal(err)
	}
	if out := f.ok("endpoints", "discovery", res.GetJob().GetName(), "--cancel"); !strings.Contains(out, "cancelled") {
		t.Errorf("cancelling said %q", out)
	}
	start(t, crossfade, "work", "--config", f.config("worker.yaml", func(c *daemon.Config) {
		c.NATS.URL, c.NATS.Replicas = "nats://"+broker, 1
	})).says("msg=working")
	out, status := f.run("endpoints", "discover", "--wait")
	if status != 1 || !strings.Contains(out, "partially succeeded") || !strings.Contains(out, "without-login: no_access") {
		t.Errorf("discover --wait: exit status %d\n%s", status, out)
	}
	jobs, err := c.ListInventoryJobs(t.Context(), &crossfadev1.ListInventoryJobsRequest{Filter: "kind = KIND_DISCOVERY", OrderBy: "create_time"})
	if err != nil || len(jobs.GetJobs()) != 2 {
		t.Fatalf("ListInventoryJobs = %v, %v, want two", jobs, err)
	}
	if j := jobs.GetJobs()[0]; j.GetState() != crossfadev1.InventoryJob_STATE_CANCELLED || j.GetRowCount() != 0 {
		t.Errorf("the cancelled job is %v", j)
	}
	if j := jobs.GetJobs()[1]; j.GetFailedCount() == 0 || !slices.Contains(j.GetUnreachable(), "tenants/without-login") || j.GetRowCount() != 13 {
		t.Errorf("the other job is %v", j)
	}
	if out, status := f.run("endpoints", "discover", "--tenant", "without-login", "--wait"); status != 1 || !strings.Contains(out, "no tenant could be reached") {
		t.Errorf("of a tenant that cannot be reached: exit status %d\n%s", status, out)
	}
	if out := f.ok("endpoints", "discover", "--check"); !strings.Contains(out, fmt.Sprintf("0 of %d tenants", 13)) {
		t.Errorf("--check said %q", out)
	}
}

package planner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/drivers"
	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/workers/planner"
)

// region is an emulated cloud with all that a planner needs to plan its tenants:
// the real client, the real driver, secrets in files.
type region struct {
	*rollovertest.Memory
	cloud   *emulator.Cloud
	secrets *secrets.Resolver
	crm     *dataverse.Client
	drivers *drivers.Set
	new     rollover.Credential

	ids     []string // of all tenants, in order
	tenants map[string]tenants.Tenant

	ahead atomic.Int64 // of the machine's clock, in nanoseconds

	mu        sync.Mutex // guards endpoints
	endpoints map[string]int
}

// now is a clock that planAll pushes on in place of waiting.
func (r *region) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

func newRegion(t *testing.T, c emulator.Config) *region {
	t.Helper()
	cloud, err := emulator.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	if err := cloud.WriteDir(dir); err != nil {
		t.Fatal(err)
	}
	r := &region{cloud: cloud, secrets: secrets.New(secrets.Config{Dir: filepath.Join(dir, "secrets")}), tenants: map[string]tenants.Tenant{}, endpoints: map[string]int{}}
	r.readTenants(t, filepath.Join(dir, "tenants.yaml"))
	if r.crm, err = dataverse.New(dataverse.Config{HTTP: cloud.Client(), Now: r.now, DisableInstanceDiscovery: true}); err != nil {
		t.Fatal(err)
	}
	r.drivers, err = drivers.Open(nil, kit.Kit{HTTP: cloud.Client(), Now: time.Now, Access: r.access})
	if err != nil {
		t.Fatal(err)
	}
	if r.new, err = rollover.FromDER(cloud.World().New.DER); err != nil {
		t.Fatal(err)
	}
	r.Memory = rollovertest.NewMemory(r.new)
	return r
}

func (r *region) readTenants(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	all, bad := tenants.Read("yaml", f)
	if len(bad) > 0 {
		t.Fatalf("reading tenants: %v", bad)
	}
	for _, tn := range all {
		r.tenants[tn.ID] = tn
		r.ids = append(r.ids, tn.ID)
	}
}

func (r *region) access(ctx context.Context, tenant, host string) (kit.Access, error) {
	n, ok := r.tenants[tenant].Namespace(host)
	if !ok {
		return kit.Access{}, kit.ErrNoAccess
	}
	s, err := r.secrets.Secret(ctx, n.Secret)
	return kit.Access{Account: n.Account, Secret: s}, err
}

func (r *region) Tenant(_ context.Context, id string) (tenants.Tenant, error) {
	tn, ok := r.tenants[id]
	if !ok {
		return tn, rollover.ErrNotFound
	}
	return tn, nil
}

func (r *region) SaveEndpoints(_ context.Context, tenant string, es []tenants.Seen) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endpoints[tenant] = len(es)
	return nil
}

func (r *region) Endpoints(context.Context, string) ([]tenants.Seen, error) {
	return nil, rollover.ErrNotFound
}

// planAll plans every tenant, some at once, nudging again as a conductor does.
func (r *region) planAll(t *testing.T) map[int]rollover.Finding {
	t.Helper()
	_, err := r.CreateRotation(t.Context(), rollover.Rotation{
		ID: rotation, State: rollover.StatePlanning, Tenants: len(r.ids),
		Spec: rollover.Spec{Kind: acsx509.Kind, New: r.new.Named(), ReplacesSubject: true, MaxInFlight: 1, MaxTries: 1},
	}, r.ids)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planner.New(planner.Config{
		Store: r, Tenants: r, Secrets: r.secrets, Organisations: r.crm, Driver: r.drivers.Driver, Now: r.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(8)
	for ord := range r.ids {
		g.Go(func() error {
			for range 20 {
				err := p.Plan(t.Context(), nudge(ord))
				var again *rollover.StepError
				if err == nil || !errors.As(err, &again) {
					return err
				}
				r.ahead.Add(int64(again.After))
			}
			return errors.New("planning does not end")
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("Plan: %v", err)
	}
	fs, err := r.Findings(t.Context(), rotation)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// line is what a plan and the emulator's expectation have in common.
type line struct {
	host, identity, endpoints, ending string
	advised                           bool
}

func TestPlan_FindsWhatTheEmulatedWorldHolds(t *testing.T) {
	for name, c := range map[string]emulator.Config{
		"smooth": {Tenants: 60, Seed: 7, PageSize: 20},
		"rough":  {Tenants: 60, Seed: 3, PageSize: 20, Faults: "rough"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, c)
			found := r.planAll(t)
			for ord, id := range r.ids {
				r.check(t, id, found[ord])
			}
			r.noSecretIn(t, found)
		})
	}
}

// noSecretIn looks for every secret of the world in all that was found.
func (r *region) noSecretIn(t *testing.T, found map[int]rollover.Finding) {
	t.Helper()
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, tn := range r.cloud.World().Tenants {
		all := []emulator.Secret{tn.ClientSecret}
		for _, n := range tn.Namespaces {
			all = append(all, n.Secret)
		}
		for _, s := range all {
			if s == "" {
				continue
			}
			looked++
			if bytes.Contains(text, []byte(string(s))) {
				t.Errorf("a secret of %s is in a finding", tn.ID)
			}
		}
	}
	if looked == 0 {
		t.Error("the world has no secrets; nothing was looked for")
	}
}

// check compares a finding with what the emulated world expects of the tenant.
func (r *region) check(t *testing.T, id string, f rollover.Finding) {
	t.Helper()
	tn, ok := r.cloud.World().Tenant(id)
	if !ok {
		t.Fatalf("no tenant %s in the world", id)
	}
	var got, want []line
	for _, it := range f.Items {
		got = append(got, lineOf(it))
	}
	for _, x := range tn.Expected {
		want = append(want, lineFor(x))
	}
	for _, ls := range [][]line{got, want} {
		slices.SortFunc(ls, func(a, b line) int { return strings.Compare(a.host+a.endpoints, b.host+b.endpoints) })
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s, %s:\n got %+v\nwant %+v\n%+v", id, tn.Scenario, got, want, f.Items)
	}
	if tn.Disabled {
		return
	}
	if f.Version != tn.Version || len(f.Endpoints) != len(tn.Endpoints) || r.endpoints[id] != len(tn.Endpoints) {
		t.Errorf("%s: version %s, %d endpoints, %d in the inventory; want %s, %d",
			id, f.Version, len(f.Endpoints), r.endpoints[id], tn.Version, len(tn.Endpoints))
	}
}

// lineOf says how a planned item will end, as far as planning knows: the rest is
// done when the plan runs.
func lineOf(it rollover.Item) line {
	l := line{host: it.Target.Host, identity: it.Target.Identity, advised: slices.Contains(it.Advice, rollover.MoveToSAS)}
	var ids []string
	for _, e := range it.Endpoints {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	l.endpoints = strings.Join(ids, " ")
	switch {
	case it.Outcome != rollover.Open:
		l.ending = emulator.Ending(it.Outcome, it.Reason)
	case it.Present:
		l.ending = string(rollover.AlreadyPresent)
	case len(it.Retire) == 1 && it.Observed != "":
		l.ending = string(rollover.Rotated)
	}
	return l
}

func lineFor(x emulator.Expected) line {
	ids := slices.Clone(x.Endpoints)
	slices.Sort(ids)
	l := line{host: x.Host, identity: x.Identity, endpoints: strings.Join(ids, " "), ending: x.Ending, advised: x.Advised}
	if x.Ending == string(rollover.RotatedOldKept) { // Known only when the sibling has ended.
		l.ending = string(rollover.Rotated)
	}
	return l
}

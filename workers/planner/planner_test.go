package planner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/workers/planner"
)

const rotation = "0192f0c1-0000-7000-8000-000000000001"

// house is all that a planner is handed, each part of which can be broken.
type house struct {
	*rollovertest.Memory
	t        *testing.T
	old, new rollover.Credential
	fault    func(what string) error // store and inventory; nil: none

	mu        sync.Mutex // guards all below
	tenants   map[string]tenants.Tenant
	endpoints map[string][]rollover.Endpoint
	lists     int
	logins    []dataverse.Login
	list      func(ctx context.Context) (dataverse.Org, error)
	secret    func(ref secrets.Ref) (secrets.Secret, error)
	looked    map[string]int // host → observations
	look      func(ctx context.Context, w rollover.Work) (rollover.Observation, error)
}

// newHouse has one rotation of one tenant, whose targets hold the old
// credential.
func newHouse(t *testing.T) *house {
	from := rollovertest.Epoch
	old, _ := rollovertest.Certificate(t, "CN=crm4.dynamics.com", from.Add(-time.Hour), from.Add(time.Hour))
	fresh, _ := rollovertest.Certificate(t, "CN=crm4.dynamics.com", from, from.Add(2*time.Hour))
	h := &house{
		Memory: rollovertest.NewMemory(fresh), t: t, old: old, new: fresh,
		tenants: map[string]tenants.Tenant{"contoso": {
			ID: "contoso", Organization: "https://contoso.crm4.dynamics.com", EntraTenant: "dir",
			Login: tenants.Login{ClientID: "app", Secret: "env:CONTOSO"},
		}},
		endpoints: map[string][]rollover.Endpoint{}, looked: map[string]int{},
		secret: func(secrets.Ref) (secrets.Secret, error) { return secrets.NewSecret("s"), nil },
	}
	h.look = func(context.Context, rollover.Work) (rollover.Observation, error) { return h.standing(h.old), nil }
	h.rows(row(1, "contoso"))
	h.create("contoso")
	return h
}

func (h *house) standing(cs ...rollover.Credential) rollover.Observation {
	var o rollover.Observation
	for _, c := range cs {
		o.Standing = append(o.Standing, rollovertest.Stand(c))
	}
	return o
}

func (h *house) create(ids ...string) {
	h.t.Helper()
	r := rollover.Rotation{
		ID: rotation, State: rollover.StatePlanning, Tenants: len(ids),
		Spec: rollover.Spec{Kind: rollovertest.Kind, New: h.new.Named(), ReplacesSubject: true, MaxInFlight: 1, MaxTries: 1},
	}
	if _, err := h.CreateRotation(h.t.Context(), r, ids); err != nil {
		h.t.Fatal(err)
	}
}

// rows makes the organisation answer with these, sorted by id as it does.
func (h *house) rows(rows ...dataverse.Row) {
	h.list = func(context.Context) (dataverse.Org, error) {
		return dataverse.Org{
			Version: "9.2.24011.165", At: dataverse.Version{Major: 9, Minor: 2}, Cloud: dataverse.Commercial, Endpoints: rows,
		}, nil
	}
}

// row is an endpoint that signs in through ACS.
func row(n int, namespace string, change ...func(*dataverse.Row)) dataverse.Row {
	r := dataverse.Row{
		ID: fmt.Sprintf("aaaaaaaa-0000-0000-0000-%012d", n), Name: fmt.Sprint("endpoint ", n), AuthType: 1, Connection: 1,
		Contract: 2, Format: 2, Address: "sb://" + namespace + ".servicebus.windows.net/", Path: "orders",
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func federated(r *dataverse.Row) { r.Connection = 2 }
func sas(r *dataverse.Row)       { r.AuthType = 2 }

func (h *house) broken(what string) error {
	if h.fault == nil {
		return nil
	}
	return h.fault(what)
}

func (h *house) Rotation(ctx context.Context, id string) (rollover.Rotation, error) {
	if err := h.broken("rotation"); err != nil {
		return rollover.Rotation{}, err
	}
	return h.Memory.Rotation(ctx, id)
}

func (h *house) SelectedTenants(ctx context.Context, id string) ([]string, error) {
	if err := h.broken("selection"); err != nil {
		return nil, err
	}
	return h.Memory.SelectedTenants(ctx, id)
}

func (h *house) SaveFinding(ctx context.Context, id string, ord int, f rollover.Finding) error {
	if err := h.broken("finding"); err != nil {
		return err
	}
	return h.Memory.SaveFinding(ctx, id, ord, f)
}

func (h *house) Tenant(_ context.Context, id string) (tenants.Tenant, error) {
	if err := h.broken("tenant"); err != nil {
		return tenants.Tenant{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.tenants[id]
	if !ok {
		return t, fmt.Errorf("tenant %s: %w", id, rollover.ErrNotFound)
	}
	return t, nil
}

func (h *house) SaveEndpoints(_ context.Context, tenant string, es []rollover.Endpoint) error {
	if err := h.broken("endpoints"); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[tenant] = slices.Clone(es)
	return nil
}

func (h *house) Secret(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return h.secret(ref)
}

func (h *house) Organisation(ctx context.Context, l dataverse.Login) (dataverse.Org, error) {
	if _, ok := ctx.Deadline(); !ok {
		h.t.Error("the organisation is read without a deadline")
	}
	h.mu.Lock()
	h.lists++
	h.logins = append(h.logins, l)
	h.mu.Unlock()
	return h.list(ctx)
}

// driver observes by h.look and fails the test on everything that writes.
type driver struct {
	rollover.Driver // nil: any other method would panic
	h               *house
}

func (d driver) Observe(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
	if _, ok := ctx.Deadline(); !ok {
		d.h.t.Error("a target is read without a deadline")
	}
	if w.Tenant == "" || w.Rotation != rotation || w.Target.Kind != rollovertest.Kind || w.New.SHA256 != d.h.new.SHA256 || w.Now.IsZero() {
		d.h.t.Errorf("Observe of incomplete work: %+v", w)
	}
	d.h.mu.Lock()
	d.h.looked[w.Target.Host]++
	d.h.mu.Unlock()
	return d.h.look(ctx, w)
}

func (h *house) planner(change ...func(*planner.Config)) *planner.Planner {
	h.t.Helper()
	c := planner.Config{
		Store: h, Tenants: h, Secrets: h, Organisations: h,
		Driver: func(kind string) (rollover.Driver, error) {
			if kind != rollovertest.Kind {
				return nil, fmt.Errorf("no driver %q", kind)
			}
			return driver{h: h}, nil
		},
		Now: func() time.Time { return rollovertest.Epoch },
	}
	for _, f := range change {
		f(&c)
	}
	p, err := planner.New(c)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func nudge(ord int) rollover.Nudge { return rollover.Nudge{Rotation: rotation, Ord: ord} }

// finding returns what was saved, and whether anything was.
func (h *house) finding(ord int) (rollover.Finding, bool) {
	h.t.Helper()
	fs, err := h.Findings(h.t.Context(), rotation)
	if err != nil {
		h.t.Fatal(err)
	}
	f, ok := fs[ord]
	return f, ok
}

// plan plans the first tenant and returns its finding.
func (h *house) plan(p *planner.Planner) rollover.Finding {
	h.t.Helper()
	if err := p.Plan(h.t.Context(), nudge(0)); err != nil {
		h.t.Fatalf("Plan: %v", err)
	}
	f, ok := h.finding(0)
	if !ok {
		h.t.Fatal("Plan: no error and no finding")
	}
	return f
}

// brief writes items as one line each: host, how it ended, endpoints.
func brief(items []rollover.Item) []string {
	var out []string
	for _, it := range items {
		var ids []string
		for _, e := range it.Endpoints {
			ids = append(ids, strings.TrimLeft(e.ID[24:], "0"))
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s/%s %s", it.Target.Host, it.Outcome, it.Reason, strings.Join(ids, ","))))
	}
	return out
}

func (h *house) wantItems(f rollover.Finding, want ...string) {
	h.t.Helper()
	if got := brief(f.Items); !slices.Equal(got, want) {
		h.t.Errorf("items =\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	for _, it := range f.Items {
		if it.Tenant != f.Tenant || it.Target.Kind != rollovertest.Kind {
			h.t.Errorf("item of tenant %q, kind %q in the finding of %q", it.Tenant, it.Target.Kind, f.Tenant)
		}
		if it.Outcome != rollover.Open && it.Detail == "" {
			h.t.Errorf("%s ended as %s without a word", it.Target, it.Outcome)
		}
	}
}

// again checks that the nudge is to come again and nothing was saved yet.
func (h *house) again(err error, ord int) time.Duration {
	h.t.Helper()
	var s *rollover.StepError
	if err == nil || errors.As(err, &s) && s.Outcome != rollover.Open {
		h.t.Fatalf("Plan = %v, want an error that brings the nudge back", err)
	}
	if f, ok := h.finding(ord); ok {
		h.t.Fatalf("Plan = %v, and yet there is a finding: %v", err, brief(f.Items))
	}
	if s == nil {
		return 0
	}
	return s.After
}

func TestPlan_MakesTargetsOfEndpoints(t *testing.T) {
	h := newHouse(t)
	other, _ := rollovertest.Certificate(t, "CN=somebody", rollovertest.Epoch, rollovertest.Epoch.Add(time.Hour))
	h.rows(
		row(1, "alpha"), row(2, "beta", federated), row(3, "alpha"), row(4, "alpha", sas), row(5, "gamma"),
		row(6, "x", func(r *dataverse.Row) { r.Address = "sb://evil.example/" }), row(7, "beta"),
	)
	h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		if w.Target.Identity != "crm4.dynamics.com" {
			t.Errorf("identity %q, want the region's", w.Target.Identity)
		}
		if strings.HasPrefix(w.Target.Host, "gamma") {
			return h.standing(h.new, other), nil
		}
		return h.standing(other, h.old), nil
	}
	f := h.plan(h.planner())
	h.wantItems(f,
		"alpha-sb.accesscontrol.windows.net / 1,3",
		"beta-sb.accesscontrol.windows.net / 2,7",
		"beta.accesscontrol.windows.net / 2",
		"skipped/not_acs 4",
		"gamma-sb.accesscontrol.windows.net / 5",
		"handed_over/namespace_unknown 6",
	)
	if f.Version != "9.2.24011.165" || f.V != rollover.RecordVersion || f.Tenant != "contoso" || len(f.Endpoints) != 7 {
		t.Errorf("finding of %q: V %d, version %q, %d endpoints", f.Tenant, f.V, f.Version, len(f.Endpoints))
	}
	if got := h.endpoints["contoso"]; !slices.Equal(got, f.Endpoints) {
		t.Errorf("inventory has %d endpoints, finding %d", len(got), len(f.Endpoints))
	}
	alpha, gamma := f.Items[0], f.Items[4]
	if want := h.standing(other, h.old).Digest(h.new.SHA256); alpha.Present || alpha.Observed != want {
		t.Errorf("alpha: present %v, observed %s; want false, %s", alpha.Present, alpha.Observed, want)
	}
	if len(alpha.Retire) != 1 || alpha.Retire[0].SHA256 != h.old.SHA256 || len(alpha.Retire[0].DER) != 0 {
		t.Errorf("alpha retires %v, want the old one by name only", alpha.Retire)
	}
	if want := h.standing(other).Digest(""); !gamma.Present || gamma.Observed != want || len(gamma.Retire) != 0 {
		t.Errorf("gamma: present %v, observed %s, retires %d; want true, %s, 0", gamma.Present, gamma.Observed, len(gamma.Retire), want)
	}
	for _, it := range f.Items {
		if advised := slices.Contains(it.Advice, rollover.MoveToSAS); advised != (it.Reason != rollover.NotACS) {
			t.Errorf("%s %s is advised: %v", it.Target, it.Reason, advised)
		}
	}
	if e := f.Items[2].Endpoints[0]; !e.Federated || e.Tenant != "contoso" || e.Name != "endpoint 2" {
		t.Errorf("endpoint behind the plain host = %+v", e)
	}
	if got := h.logins; len(got) != 1 || got[0].ClientID != "app" || got[0].EntraTenant != "dir" || got[0].Secret.Reveal() != "s" {
		t.Errorf("logins = %+v", got)
	}
}

func TestPlan_IdentityIsTheRequestsOrTheTenants(t *testing.T) {
	for _, tt := range []struct{ request, tenant, host, want string }{
		{"", "", "https://contoso.crm9.dynamics.com", "crm9.dynamics.com"},
		{"", "own", "https://contoso.crm9.dynamics.com", "own"},
		{"asked", "own", "https://contoso.crm9.dynamics.com", "asked"},
		{"", "", "https://contoso.example", ""},
	} {
		h := newHouse(t)
		tn := h.tenants["contoso"]
		tn.Identity, tn.Organization = tt.tenant, tt.host
		h.tenants["contoso"] = tn
		r, err := h.Memory.Rotation(t.Context(), rotation)
		if err != nil {
			t.Fatal(err)
		}
		r.Spec.Identity = tt.request
		if _, err := h.SaveRotation(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		f := h.plan(h.planner())
		if got := f.Items[0].Target.Identity; got != tt.want {
			t.Errorf("identity for %+v = %q", tt, got)
		}
		if tt.want == "" {
			h.wantItems(f, "contoso-sb.accesscontrol.windows.net handed_over/identity_missing 1")
		}
	}
}

func TestPlan_BareNamesAreWhereTheTenantGaveAccess(t *testing.T) {
	h := newHouse(t)
	tn := h.tenants["contoso"]
	tn.Namespaces = []tenants.Namespace{{Host: "contoso-sb.accesscontrol.usgovcloudapi.net"}}
	h.tenants["contoso"] = tn
	h.rows(row(1, "", func(r *dataverse.Row) { r.Format, r.Address, r.Namespace = 1, "", "contoso" }))
	h.wantItems(h.plan(h.planner()), "contoso-sb.accesscontrol.usgovcloudapi.net / 1")
}

func TestPlan_TellsOfTenantsWithoutTargets(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(h *house)
		want   string
		lists  int
	}{
		{"disabled", func(h *house) { h.tenants["contoso"] = tenants.Tenant{ID: "contoso", Disabled: true} }, "skipped/disabled", 0},
		{"gone", func(h *house) { delete(h.tenants, "contoso") }, "handed_over/no_access", 0},
		{"no endpoints", func(h *house) { h.rows() }, "skipped/nothing_to_do", 1},
		{"no secret there", func(h *house) {
			h.secret = func(secrets.Ref) (secrets.Secret, error) { return secrets.Secret{}, secrets.ErrMissing }
		}, "handed_over/no_access", 0},
		{"secret forbidden", func(h *house) {
			h.secret = func(secrets.Ref) (secrets.Secret, error) { return secrets.Secret{}, secrets.ErrForbidden }
		}, "handed_over/no_access", 0},
		{"login refused", func(h *house) {
			h.list = func(context.Context) (dataverse.Org, error) {
				return dataverse.Org{}, fmt.Errorf("reading: %w", rollover.HandOver(rollover.NoAccess, errors.New("AADSTS700016")))
			}
		}, "handed_over/no_access", 1},
		{"unreadable", func(h *house) {
			h.list = func(context.Context) (dataverse.Org, error) {
				return dataverse.Org{}, rollover.Permanent(rollover.InventoryUnreadable, errors.New("answer 405"))
			}
		}, "failed/inventory_unreadable", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.endpoints["contoso"] = []rollover.Endpoint{{ID: "as last seen"}}
			tt.change(h)
			f := h.plan(h.planner())
			h.wantItems(f, tt.want)
			if h.lists != tt.lists || len(h.looked) != 0 {
				t.Errorf("%d lists and %d observations, want %d and 0", h.lists, len(h.looked), tt.lists)
			}
			if kept := len(h.endpoints["contoso"]) == 1; kept != (tt.name != "no endpoints") {
				t.Errorf("inventory kept what was last seen: %v", kept)
			}
		})
	}
}

func TestPlan_NothingToDo(t *testing.T) {
	for name, n := range map[string]rollover.Nudge{
		"no such rotation": {Rotation: "other"}, "beyond the selection": nudge(1), "before it": nudge(-1),
	} {
		h := newHouse(t)
		if err := h.planner().Plan(t.Context(), n); err != nil {
			t.Errorf("%s: Plan = %v, want nil", name, err)
		}
		if h.lists != 0 {
			t.Errorf("%s: the organisation was asked", name)
		}
	}
	h := newHouse(t)
	r, err := h.Memory.Rotation(t.Context(), rotation)
	if err != nil {
		t.Fatal(err)
	}
	r.State = rollover.StateCancelled
	if _, err := h.SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := h.planner().Plan(t.Context(), nudge(0)); err != nil || h.lists != 0 {
		t.Errorf("cancelled: Plan = %v after %d lists, want nil after none", err, h.lists)
	}
}

func TestPlan_SecondNudgeFindsNothingToDo(t *testing.T) {
	h := newHouse(t)
	p := h.planner()
	first := h.plan(p)
	h.rows(row(9, "changed"))
	second := h.plan(p)
	if h.lists != 1 || !slices.Equal(brief(first.Items), brief(second.Items)) {
		t.Errorf("second nudge: %d lists, %v; want 1, %v", h.lists, brief(second.Items), brief(first.Items))
	}
	// Another process has no memory of it; the store keeps the first finding.
	third := h.plan(h.planner())
	if !slices.Equal(brief(first.Items), brief(third.Items)) {
		t.Errorf("nudge in another process: %v, want %v", brief(third.Items), brief(first.Items))
	}
}

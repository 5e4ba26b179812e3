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
	now, real time.Time  // the two clocks
	tenants   map[string]tenants.Tenant
	endpoints map[string][]tenants.Seen
	lists     int
	logins    []dataverse.Login
	list      func(ctx context.Context) (dataverse.Org, error)
	secret    func(ref secrets.Ref) (secrets.Secret, error)
	anew      func(ref secrets.Ref, refused secrets.Secret) (secrets.Secret, bool, error)
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
		now: from, real: from.Add(10 * 365 * 24 * time.Hour),
		Memory: rollovertest.NewMemory(fresh), t: t, old: old, new: fresh,
		tenants: map[string]tenants.Tenant{"contoso": {
			ID: "contoso", Organization: "https://contoso.crm4.dynamics.com", EntraTenant: "dir",
			Login: tenants.Login{ClientID: "app", Secret: "env:CONTOSO"},
		}},
		endpoints: map[string][]tenants.Seen{}, looked: map[string]int{},
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

func (h *house) SaveEndpoints(_ context.Context, tenant string, es []tenants.Seen) error {
	if err := h.broken("endpoints"); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[tenant] = slices.Clone(es)
	return nil
}

func (h *house) Endpoints(_ context.Context, tenant string) ([]tenants.Seen, error) {
	if err := h.broken("seen"); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	es, ok := h.endpoints[tenant]
	if !ok {
		return nil, rollover.ErrNotFound
	}
	return slices.Clone(es), nil
}

func (h *house) Secret(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return h.secret(ref)
}

// Anew says that there is another secret if a test has one.
func (h *house) Anew(_ context.Context, ref secrets.Ref, refused secrets.Secret) (secrets.Secret, bool, error) {
	if h.anew == nil {
		return secrets.Secret{}, false, nil
	}
	return h.anew(ref, refused)
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
		Now: func() time.Time { return h.clock(&h.now) }, Real: func() time.Time { return h.clock(&h.real) },
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

func (h *house) clock(c *time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return *c
}

func (h *house) pass(c *time.Time, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*c = c.Add(d)
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

// again checks that the nudge is to come again and nothing was saved yet, and
// lets the time pass that it is to wait.
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
	h.pass(&h.now, s.After)
	return s.After
}

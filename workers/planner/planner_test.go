package planner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

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
	var saved []rollover.Endpoint
	for _, e := range h.endpoints["contoso"] {
		saved = append(saved, e.Endpoint)
	}
	if !slices.Equal(saved, f.Endpoints) {
		t.Errorf("inventory has %d endpoints, finding %d", len(saved), len(f.Endpoints))
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
		{"login refused, and another secret refused too", func(h *house) {
			h.list = func(context.Context) (dataverse.Org, error) {
				return dataverse.Org{}, fmt.Errorf("reading: %w", rollover.HandOver(rollover.NoAccess, errors.New("AADSTS700016")))
			}
			h.anew = func(secrets.Ref, secrets.Secret) (secrets.Secret, bool, error) {
				return secrets.NewSecret("x"), true, nil
			}
		}, "handed_over/no_access", 2},
		{"unreadable", func(h *house) {
			h.list = func(context.Context) (dataverse.Org, error) {
				return dataverse.Org{}, rollover.Permanent(rollover.InventoryUnreadable, errors.New("answer 405"))
			}
		}, "failed/inventory_unreadable", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.endpoints["contoso"] = []tenants.Seen{{Version: "as last seen"}}
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

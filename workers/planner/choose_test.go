package planner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	"github.com/crossfade-project/crossfade/workers/planner"
)

// selecting has contoso's rotation say more of what it is for.
func (h *house) selecting(change func(*rollover.Spec)) {
	h.t.Helper()
	r, err := h.Memory.Rotation(h.t.Context(), rotation)
	if err != nil {
		h.t.Fatal(err)
	}
	change(&r.Spec)
	if _, err := h.SaveRotation(h.t.Context(), r); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) endpointFilter(text string) {
	h.t.Helper()
	h.selecting(func(s *rollover.Spec) { s.EndpointFilter = text })
}

func TestPlan_EndpointFilterLeavesTheOthersOut(t *testing.T) {
	const alpha, beta, betaPlain, gamma = "alpha-sb.accesscontrol.windows.net", "beta-sb.accesscontrol.windows.net", "beta.accesscontrol.windows.net", "gamma-sb.accesscontrol.windows.net"
	out := " skipped/not_selected"
	for name, tt := range map[string]struct {
		filter string
		want   []string
		looked []string // hosts that were read
	}{
		"by name": {
			`name = "endpoint 1"`,
			[]string{alpha + " / 1", beta + out + " 2", betaPlain + out + " 2", "skipped/not_selected 3", gamma + out + " 4"},
			[]string{alpha},
		},
		"both halves of a federated one": {
			`federated`,
			[]string{alpha + out + " 1", beta + " / 2", betaPlain + " / 2", "skipped/not_selected 3", gamma + out + " 4"},
			[]string{beta, betaPlain},
		},
		"carriers, on one of two hosts": {
			`thumbprint:"OLD"`,
			// The endpoint that has no target carries nothing.
			[]string{alpha + out + " 1", beta + " / 2", betaPlain + " / 2", "skipped/not_selected 3", gamma + out + " 4"},
			[]string{alpha, beta, betaPlain, gamma},
		},
		"those without": {
			`NOT thumbprint:"OLD" AND auth_type = "acs"`,
			[]string{alpha + " / 1", beta + out + " 2", betaPlain + out + " 2", "skipped/not_selected 3", gamma + " / 4"},
			[]string{alpha, beta, betaPlain, gamma},
		},
		"nothing of the tenant": {`region = "crm9"`, []string{"skipped/not_selected"}, nil},
		"what has the new one":  {`has_new`, []string{alpha + out + " 1", beta + out + " 2", betaPlain + out + " 2", "skipped/not_selected 3", gamma + " / 4"}, []string{alpha, beta, betaPlain, gamma}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.rows(row(1, "alpha"), row(2, "beta", federated), row(3, "sas", sas), row(4, "gamma"))
			h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
				switch w.Target.Host {
				case betaPlain:
					return h.standing(h.old), nil
				case gamma:
					return h.standing(h.new), nil
				default:
					return h.standing(), nil
				}
			}
			h.endpointFilter(strings.ReplaceAll(tt.filter, "OLD", h.old.SHA1))
			f := h.plan(h.planner())
			h.wantItems(f, tt.want...)
			var looked []string
			for host := range h.looked {
				looked = append(looked, host)
			}
			slices.Sort(looked)
			slices.Sort(tt.looked)
			if !slices.Equal(looked, tt.looked) {
				t.Errorf("read %q, want %q", looked, tt.looked)
			}
			for _, it := range f.Items {
				if it.Reason == rollover.NotSelected && (it.Present || it.Observed != "" || len(it.Retire) > 0) {
					t.Errorf("%s is left out and the plan says what to do there: %+v", it.Target, it)
				}
			}
			if name == "nothing of the tenant" && h.lists != 0 {
				t.Errorf("the organisation was asked %d times, want 0", h.lists)
			}
		})
	}
}

// What cannot be read is told as that, and not as left out; what depends on it is
// not touched.
func TestPlan_EndpointFilterThatCannotBeDecidedTouchesNothing(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha", federated), row(2, "beta"))
	h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		if w.Target.Host != "alpha-sb.accesscontrol.windows.net" {
			return rollover.Observation{}, rollover.HandOver(rollover.NoAccess, errors.New("nobody gave us a key"))
		}
		return h.standing(h.new), nil
	}
	h.endpointFilter(`thumbprint:"` + h.old.SHA256 + `"`)
	h.wantItems(h.plan(h.planner()),
		"alpha-sb.accesscontrol.windows.net skipped/not_selected 1",
		"alpha.accesscontrol.windows.net handed_over/no_access 1",
		"beta-sb.accesscontrol.windows.net handed_over/no_access 2",
	)
}

func TestPlan_EndpointFilterOfAnotherVersionFails(t *testing.T) {
	h := newHouse(t)
	h.endpointFilter(`colour = "red"`)
	h.wantItems(h.plan(h.planner()), "failed/refused")
}

func TestPlan_RemembersWhatStoodThereLast(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha"), row(2, "beta"))
	h.plan(h.planner())
	check := func(when string, sha1 ...string) {
		t.Helper()
		for i, e := range h.endpoints["contoso"] {
			if len(e.Targets) != 1 || !e.Targets[0].Observed || e.Version != "9.2.24011.165" {
				t.Fatalf("%s: endpoint %d is kept as %+v", when, i, e)
			}
			if c := e.Targets[0].Carries; len(c) != 1 || c[0].SHA1 != sha1[i] || len(c[0].KeyHash) != 64 || c[0].NotAfter.IsZero() {
				t.Errorf("%s: endpoint %d carries %+v, want %s", when, i, c, sha1[i])
			}
		}
	}
	check("planned once", h.old.SHA1, h.old.SHA1)

	// Alpha is left out by the next rotation, so that only beta is read anew.
	h.look = func(context.Context, rollover.Work) (rollover.Observation, error) { return h.standing(h.new), nil }
	h.endpointFilter(`name = "endpoint 2"`)
	if err := h.planner().Plan(t.Context(), nudge(0)); err != nil { // The first finding stays; the inventory is told.
		t.Fatal(err)
	}
	check("planned in part", h.old.SHA1, h.new.SHA1)
}

// listed returns a store with the set "listed" and the spec that is for it.
func listed(t *testing.T, rows ...targetset.Row) (*targetset.Store, func(*rollover.Spec)) {
	t.Helper()
	s := targetset.NewStore(tenantstest.NewBucket(), tenantstest.NewBucket())
	if _, err := s.Create(t.Context(), targetset.Set{ID: "listed", Expected: len(rows)}, ""); err != nil {
		t.Fatal(err)
	}
	set, err := s.Add(t.Context(), "listed", 0, rows)
	if err != nil || !set.Ready() {
		t.Fatalf("Add = %+v, %v", set, err)
	}
	return s, func(spec *rollover.Spec) { spec.TargetSet, spec.TargetSetDigest = set.ID, set.Digest }
}

func TestPlan_TargetSetNamesEndpoints(t *testing.T) {
	id := func(n int) string { return row(n, "x").ID }
	for name, tt := range map[string]struct {
		rows []targetset.Row
		want []string
	}{
		"one of two, and one that is not there": {
			[]targetset.Row{{Tenant: "contoso", Endpoint: id(2)}, {Tenant: "contoso", Endpoint: id(9)}},
			[]string{"alpha-sb.accesscontrol.windows.net skipped/not_selected 1", "beta-sb.accesscontrol.windows.net / 2", "skipped/nothing_to_do 9"},
		},
		"the tenant, and one of its endpoints": {
			[]targetset.Row{{Tenant: "contoso", Endpoint: id(2)}, {Tenant: "contoso"}},
			[]string{"alpha-sb.accesscontrol.windows.net / 1", "beta-sb.accesscontrol.windows.net / 2"},
		},
		"another tenant": {[]targetset.Row{{Tenant: "fabrikam"}}, []string{"skipped/not_selected"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.rows(row(1, "alpha"), row(2, "beta"))
			s, change := listed(t, tt.rows...)
			h.selecting(change)
			h.wantItems(h.plan(h.planner(func(c *planner.Config) { c.Sets = s })), tt.want...)
		})
	}
}

func TestPlan_TargetSetThatIsAnotherNowPlansNothing(t *testing.T) {
	h := newHouse(t)
	s, change := listed(t, targetset.Row{Tenant: "contoso"})
	h.selecting(change)
	h.selecting(func(spec *rollover.Spec) { spec.TargetSetDigest = strings.Repeat("0", 64) })
	h.wantItems(h.plan(h.planner(func(c *planner.Config) { c.Sets = s })), "failed/refused")

	h = newHouse(t) // And where nobody handed in a store.
	h.selecting(change)
	h.wantItems(h.plan(h.planner()), "failed/refused")
}

// Whatever is selected: each target is there once, worked on or left out with its
// reason, and a federated endpoint is worked on on both hosts or on none.
func TestPlan_SelectedAndLeftOutAreAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouse(t)
		n := rapid.IntRange(1, 8).Draw(rt, "endpoints")
		var rows []dataverse.Row
		for i := range n {
			var change []func(*dataverse.Row)
			if rapid.Bool().Draw(rt, "federated") {
				change = append(change, federated)
			}
			rows = append(rows, row(i+1, fmt.Sprintf("ns%d", rapid.IntRange(1, 4).Draw(rt, "namespace")), change...))
		}
		h.rows(rows...)
		carries := map[string]bool{}
		h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if carries[w.Target.Host] {
				return h.standing(h.old), nil
			}
			return h.standing(), nil
		}
		for i := range 4 {
			for _, host := range []string{"ns%d-sb.accesscontrol.windows.net", "ns%d.accesscontrol.windows.net"} {
				carries[fmt.Sprintf(host, i+1)] = rapid.Bool().Draw(rt, "carries")
			}
		}
		all := brief(h.plan(h.planner()).Items)

		h.endpointFilter(rapid.SampledFrom([]string{
			`thumbprint:"` + h.old.SHA1 + `"`, `NOT thumbprint:"` + h.old.SHA1 + `"`, `federated`, `keys = 0`, `name = "endpoint 1"`,
		}).Draw(rt, "filter"))
		f := h.fresh() // A finding stays as it was first saved.
		if got := brief(f.Items); len(got) != len(all) {
			rt.Fatalf("%d lines, want the %d of a plan without a filter:\n%q\n%q", len(got), len(all), got, all)
		}
		for _, it := range f.Items {
			if (it.Outcome == rollover.Open) == (it.Reason == rollover.NotSelected) {
				rt.Errorf("%s ended as %s/%s, want open or left out", it.Target, it.Outcome, it.Reason)
			}
		}
		for i, it := range f.Items { // A plain host is there for a federated endpoint, with its other half.
			if strings.Contains(it.Target.Host, "-sb.") {
				continue
			}
			half := f.Items[i-1]
			if strings.Replace(half.Target.Host, "-sb.", ".", 1) == it.Target.Host && it.Outcome == rollover.Open && half.Outcome != rollover.Open {
				rt.Errorf("%s is worked on and %s is not", it.Target, half.Target)
			}
		}
	})
}

// fresh plans the tenant into a store of its own.
func (h *house) fresh() rollover.Finding {
	h.t.Helper()
	r, err := h.Memory.Rotation(h.t.Context(), rotation)
	if err != nil {
		h.t.Fatal(err)
	}
	own := newHouse(h.t)
	own.old, own.new, own.look, own.list = h.old, h.new, h.look, h.list
	own.Memory = rollovertest.NewMemory(h.new)
	own.create("contoso")
	own.selecting(func(s *rollover.Spec) { *s = r.Spec })
	return own.plan(own.planner())
}

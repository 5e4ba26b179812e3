package planner_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/workers/planner"
)

// census is other tenants, and what was seen of them.
type census struct {
	list []tenants.Tenant
	seen map[string][]tenants.Seen
	err  error
}

func (c census) List(context.Context) ([]tenants.Tenant, error) { return c.list, c.err }

func (c census) AllEndpoints(context.Context) (map[string][]tenants.Seen, error) {
	return c.seen, c.err
}

// within makes the rotation one of a creator with rights to some tenants.
func (h *house) within(filters ...string) {
	h.t.Helper()
	r, err := h.Memory.Rotation(h.t.Context(), rotation)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Within = filters
	if _, err := h.SaveRotation(h.t.Context(), r); err != nil {
		h.t.Fatal(err)
	}
}

func sees(host, identity string) tenants.Seen {
	return tenants.Seen{Targets: []tenants.SeenTarget{{Host: host, Identity: identity}}}
}

// A target that somebody else uses is theirs too, and is not changed by who has no
// rights to them.
func TestPlan_ATargetThatOthersUse(t *testing.T) {
	const alpha, beta, gamma, delta = "alpha-sb.accesscontrol.windows.net", "beta-sb.accesscontrol.windows.net", "gamma-sb.accesscontrol.windows.net", "delta-sb.accesscontrol.windows.net"
	c := census{
		list: []tenants.Tenant{
			{ID: "contoso", Organization: "https://contoso.crm4.dynamics.com", Namespaces: []tenants.Namespace{{Host: gamma}}},
			{ID: "adatum", Organization: "https://adatum.crm4.dynamics.com", Namespaces: []tenants.Namespace{{Host: "Beta-sb.accesscontrol.windows.net"}}},
			{ID: "fabrikam", Organization: "https://fabrikam.crm4.dynamics.com"},
		},
		seen: map[string][]tenants.Seen{
			"contoso": {sees(gamma, "crm4.dynamics.com")}, "fabrikam": {sees(alpha, "CRM4.dynamics.com"), sees(delta, "another")},
		},
	}
	for name, tt := range map[string]struct {
		within []string
		want   map[string]bool // hosts that are left alone
	}{
		"rights to all":       {nil, map[string]bool{}},
		"rights to one":       {[]string{`id = "contoso"`}, map[string]bool{alpha: true, beta: true}},
		"rights to two":       {[]string{`id = "contoso"`, `id = "adatum"`}, map[string]bool{alpha: true}},
		"rights to all three": {[]string{`id = "contoso" OR id = "adatum" OR id = "fabrikam"`}, map[string]bool{}},
	} {
		h := newHouse(t)
		h.rows(row(1, "alpha"), row(2, "beta"), row(3, "gamma"), row(4, "delta"))
		h.within(tt.within...)
		f := h.plan(h.planner(func(pc *planner.Config) { pc.Census = c }))
		var want []string
		for i, host := range []string{alpha, beta, gamma, delta} {
			how := "/"
			if tt.want[host] {
				how = "handed_over/out_of_reach"
			}
			want = append(want, host+" "+how+" "+string(rune('1'+i)))
			if (h.looked[host] == 0) != tt.want[host] {
				t.Errorf("%s: %s was looked at %d times", name, host, h.looked[host])
			}
		}
		if got := brief(f.Items); !slices.Equal(got, want) {
			t.Errorf("%s: items = %q, want %q", name, got, want)
		}
		if f.Cloud != "commercial" {
			t.Errorf("%s: it was planned in the cloud %q", name, f.Cloud)
		}
	}
}

// Where nobody can say who else uses a target, nothing is planned.
func TestPlan_WithoutWordOfOthersThereIsNoFinding(t *testing.T) {
	for name, change := range map[string]func(*planner.Config){
		"nobody":    func(*planner.Config) {},
		"no answer": func(c *planner.Config) { c.Census = census{err: rollover.ErrUnavailable} },
	} {
		h := newHouse(t)
		h.within(`id = "contoso"`)
		if err := h.planner(change).Plan(t.Context(), nudge(0)); !errors.Is(err, rollover.ErrUnavailable) {
			t.Errorf("%s: Plan = %v, want that it comes again", name, err)
		}
	}
}

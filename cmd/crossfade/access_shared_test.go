package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/workers/planner"
)

// organisations have one endpoint each, in the namespace that all share, and one in their
// own.
type organisations struct{}

func (organisations) Organisation(_ context.Context, l dataverse.Login) (dataverse.Org, error) {
	row := func(id, namespace string) dataverse.Row {
		return dataverse.Row{
			ID: "aaaaaaaa-0000-0000-0000-00000000000" + id, Name: "orders", AuthType: 1, Connection: 1, Contract: 2, Format: 2,
			Address: "sb://" + namespace + ".servicebus.windows.net/", Path: "orders",
		}
	}
	own, _, _ := strings.Cut(strings.TrimPrefix(l.Organization, "https://"), ".")
	return dataverse.Org{
		Version: "9.2", At: dataverse.Version{Major: 9, Minor: 2}, Cloud: dataverse.Commercial, Endpoints: []dataverse.Row{row("1", "shared"), row("2", own)},
	}, nil
}

type oneSecret struct{}

func (oneSecret) Secret(context.Context, secrets.Ref) (secrets.Secret, error) {
	return secrets.NewSecret("s"), nil
}

func (oneSecret) Anew(context.Context, secrets.Ref, secrets.Secret) (secrets.Secret, bool, error) {
	return secrets.Secret{}, false, nil
}

// empty is a driver of targets on which nothing stands; it changes none.
type empty struct{ rollover.Driver }

func (empty) Observe(context.Context, rollover.Work) (rollover.Observation, error) {
	return rollover.Observation{}, nil
}

// Whoever has rights to one tenant changes no identity that another's endpoints sign in
// with, and does not learn whose they are.
func TestAccess_ASharedTargetOfOthersIsHandedOver(t *testing.T) {
	e := openEstate(t)
	p, err := planner.New(planner.Config{
		Store: e.node.broker, Tenants: e.node.inventory, Census: e.node.inventory, Secrets: oneSecret{}, Organisations: organisations{},
		Driver: func(string) (rollover.Driver, error) { return empty{}, nil }, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	const shared = "shared-sb.accesscontrol.windows.net"
	plan := func(ctx context.Context, ids ...string) map[string]rollover.Item {
		t.Helper()
		r, err := e.rotate(ctx, named(ids...))
		if err != nil {
			t.Fatal(err)
		}
		id := strings.TrimPrefix(r.GetName(), "rotations/")
		items := map[string]rollover.Item{}
		for ord := range ids {
			if err := p.Plan(t.Context(), rollover.Nudge{Rotation: id, Ord: ord}); err != nil {
				t.Fatal(err)
			}
		}
		found, err := e.node.broker.Findings(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			for _, it := range f.Items {
				items[it.Target.Host] = it
			}
		}
		return items
	}
	if got := plan(e.emea, "emea-1")[shared]; got.Outcome != rollover.Open {
		t.Errorf("a target of which nobody was seen to use it = %+v, want it rotated", got)
	}
	if got := plan(e.admin, "apac-1")[shared]; got.Outcome != rollover.Open {
		t.Errorf("a target that others use too, for who has rights to all = %+v, want it rotated", got)
	}
	items := plan(e.emea, "emea-1", "emea-2")
	got := items[shared]
	if got.Outcome != rollover.HandedOver || got.Reason != rollover.OutOfReach || strings.Contains(got.Detail, "apac") {
		t.Errorf("a target that others use too = %+v, want it handed over without a word of whose it is", got)
	}
	if own := items["emea-1-sb.accesscontrol.windows.net"]; own.Outcome != rollover.Open {
		t.Errorf("a target of their own = %+v, want it rotated", own)
	}
	if err := e.node.inventory.SaveEndpoints(t.Context(), "apac-1", []tenants.Seen{}); err != nil {
		t.Fatal(err)
	}
	if got := plan(e.emea, "emea-1", "emea-2")[shared]; got.Outcome != rollover.Open {
		t.Errorf("a target of which the others are gone = %+v, want it rotated", got)
	}
}

package rollover_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// list is a block list that answers as it is told.
type list struct {
	why   string
	err   error
	asked []rollover.Credential
}

func (l *list) Blocked(_ context.Context, c rollover.Credential) (rollover.BlockedWhy, bool, error) {
	l.asked = append(l.asked, c)
	return rollover.BlockedWhy{Entry: l.why, Full: l.why + ", says ada of apac-1"}, l.why != "", l.err
}

// guarded is an engine of w with a block list.
func (w *world) guarded(l *list) *rollover.Engine {
	return rollover.NewEngine(rollover.Config{
		Store: w.store, Driver: func(string) (rollover.Driver, error) { return w.cloud, nil },
		Now: func() time.Time { return w.now }, Blocks: l,
	})
}

func TestAdvance_BlockedIsNotPutInPlace(t *testing.T) {
	w := newWorld(t)
	l := &list{why: "the key was found in a public repository"}
	for _, it := range w.plan {
		k, err := w.guarded(l).Advance(t.Context(), rollover.TaskID{Rotation: rotationID, Ord: it.Ord})
		check(t, err)
		if k.Outcome != rollover.Failed || k.Reason != rollover.Blocked || !strings.Contains(k.Detail, l.why) || strings.Contains(k.Detail, "ada") || k.Reason.Hint() == "" {
			t.Errorf("%s ended as %s/%s: %q, want failed/blocked and why, and not who said it", it.Target, k.Outcome, k.Reason, k.Detail)
		}
	}
	if n := len(w.cloud.Journal()); n != 0 {
		t.Errorf("%d writes, want none", n)
	}
	for _, c := range l.asked {
		if len(c.DER) == 0 {
			t.Error("the block list was asked without the bytes")
		}
	}
	w.ledger.Check(t, rotationID)
}

// Blocked when it stands already: it is not made the only one.
func TestAdvance_BlockedKeepsTheOld(t *testing.T) {
	w := newWorld(t)
	w.stageAll(t)
	w.openRetirePhase(t)
	w.now = switchAt.Add(time.Hour)
	before := len(w.cloud.Journal())
	for _, it := range w.plan {
		k, err := w.guarded(&list{why: "leaked"}).Advance(t.Context(), rollover.TaskID{Rotation: rotationID, Ord: it.Ord})
		check(t, err)
		if k.Outcome != rollover.Failed || k.Reason != rollover.Blocked || len(k.Removed) != 0 {
			t.Errorf("%s ended as %s/%s and removed %d, want failed/blocked and nothing", it.Target, k.Outcome, k.Reason, len(k.Removed))
		}
	}
	if n := len(w.cloud.Journal()) - before; n != 0 {
		t.Errorf("%d writes after it was blocked, want none", n)
	}
	w.ledger.Check(t, rotationID)
}

func TestAdvance_BlockListThatCannotBeReadDoesNothing(t *testing.T) {
	w := newWorld(t)
	away := errors.New("the store is away")
	id := rollover.TaskID{Rotation: rotationID}
	if _, err := w.guarded(&list{err: away}).Advance(t.Context(), id); !errors.Is(err, away) {
		t.Errorf("Advance = %v, want that the block list cannot be read", err)
	}
	k, err := w.store.Task(t.Context(), id)
	check(t, err)
	if k.Rev != 0 || k.Tries != 0 || len(w.cloud.Journal()) != 0 {
		t.Errorf("task at revision %d with %d tries, %d writes; want it untouched", k.Rev, k.Tries, len(w.cloud.Journal()))
	}
	if k, err = w.guarded(&list{}).Advance(t.Context(), id); err != nil || k.Phase != rollover.Activated {
		t.Errorf("Advance with nothing blocked = %s, %v, want activated", k.Phase, err)
	}
}

// A target of which one tenant's endpoints are selected and another's are not is
// worked on, or told as what it is, whoever comes first.
func TestAssemble_SelectedWinsOverLeftOut(t *testing.T) {
	target := rollover.Target{Kind: "k", Host: "h", Identity: "i"}
	item := func(tenant string, o rollover.Outcome, r rollover.Reason) rollover.Finding {
		return rollover.Finding{Tenant: tenant, Items: []rollover.Item{{
			Tenant: tenant, Target: target, Outcome: o, Reason: r, Endpoints: []rollover.EndpointRef{{Tenant: tenant, ID: "e"}},
		}}}
	}
	left := item("left", rollover.Skipped, rollover.NotSelected)
	for _, other := range []rollover.Finding{
		item("other", rollover.Open, rollover.NoReason), item("other", rollover.HandedOver, rollover.NoAccess), item("other", rollover.Failed, rollover.TriesUsedUp),
	} {
		for _, fs := range [][]rollover.Finding{{left, other}, {other, left}} {
			plan := rollover.Assemble(fs)
			want := other.Items[0]
			if len(plan) != 1 || plan[0].Outcome != want.Outcome || plan[0].Reason != want.Reason || plan[0].Tenant != "other" || len(plan[0].Endpoints) != 2 {
				t.Errorf("Assemble(%s, %s) = %+v, want %s/%s with both endpoints", fs[0].Tenant, fs[1].Tenant, plan, want.Outcome, want.Reason)
			}
		}
	}
}

// A request that uses none of it has the digest that it had before.
func TestDigest_SelectionIsInItOnlyWhereItIsUsed(t *testing.T) {
	plain := rollover.Spec{Kind: "acs-x509", MaxInFlight: 1, MaxTries: 1}
	seen := map[string]bool{rollover.Digest(plain, nil): true}
	for name, s := range map[string]rollover.Spec{
		"endpoint filter": {Kind: "acs-x509", MaxInFlight: 1, MaxTries: 1, EndpointFilter: "federated"},
		"target set":      {Kind: "acs-x509", MaxInFlight: 1, MaxTries: 1, TargetSet: "x", TargetSetDigest: "1"},
		"its rows":        {Kind: "acs-x509", MaxInFlight: 1, MaxTries: 1, TargetSet: "x", TargetSetDigest: "2"},
	} {
		d := rollover.Digest(s, nil)
		if seen[d] {
			t.Errorf("%s does not change the digest", name)
		}
		seen[d] = true
	}
}

// What was blocked since is not put back, not even by an undo; while the list cannot
// be read nothing is, and no try is used up.
func TestUndo_PutsNothingBlockedBack(t *testing.T) {
	w := newWorld(t)
	w.finish(t)
	w.now = w.now.Add(time.Minute)
	writes := len(w.cloud.Journal())
	w.beginUndo(t, rollover.UndoScope{All: true})
	id := w.tasks(t)[0].ID
	for _, c := range []struct {
		list list
		want rollover.Outcome
	}{
		{list{err: errors.New("the store is away")}, rollover.Open},
		{list{why: "the key leaked"}, rollover.Failed},
	} {
		l := c.list
		e := rollover.NewEngine(rollover.Config{
			Store: w.store, Driver: func(string) (rollover.Driver, error) { return w.cloud, nil },
			Now: func() time.Time { return w.now }, Archive: &w.vault, Blocks: &l,
		})
		k, err := e.Advance(t.Context(), id)
		check(t, err)
		if k.Outcome != c.want || k.Tries != 0 || (c.want == rollover.Failed && k.Reason != rollover.Blocked) {
			t.Errorf("with a list that says %q, %v: %s/%s after %d tries: %s; want %q", l.why, l.err, k.Outcome, k.Reason, k.Tries, k.Detail, c.want)
		}
		w.now = w.now.Add(time.Minute)
	}
	if n := len(w.cloud.Journal()); n != writes {
		t.Errorf("%d writes, want none", n-writes)
	}
}

// That others use a target holds for all tenants that found it, in whatever order.
func TestAssemble_OutOfReachWinsOverAll(t *testing.T) {
	at := rollover.Target{Kind: "k", Host: "h", Identity: "i"}
	line := func(tenant string, o rollover.Outcome, why rollover.Reason) rollover.Finding {
		return rollover.Finding{Tenant: tenant, Items: []rollover.Item{{Tenant: tenant, Target: at, Outcome: o, Reason: why}}}
	}
	left := line("a", rollover.HandedOver, rollover.OutOfReach)
	for name, other := range map[string]rollover.Finding{
		"open": line("b", rollover.Open, ""), "no access": line("b", rollover.HandedOver, rollover.NoAccess), "not selected": line("b", rollover.Skipped, rollover.NotSelected),
	} {
		for _, findings := range [][]rollover.Finding{{left, other}, {other, left}} {
			if plan := rollover.Assemble(findings); len(plan) != 1 || plan[0].Reason != rollover.OutOfReach {
				t.Errorf("%s: Assemble = %+v, want it left to others", name, plan)
			}
		}
	}
}

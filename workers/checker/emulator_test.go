package checker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers"
	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/workers/checker"
)

// region is an emulated ACS with the real driver.
type region struct {
	t      *testing.T
	cloud  *emulator.Cloud
	driver rollover.Driver
}

func newRegion(t *testing.T) *region {
	t.Helper()
	cloud, err := emulator.Start(emulator.Config{Tenants: 8, Uniform: 1, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	access := func(_ context.Context, tenant, host string) (kit.Access, error) {
		tn, _ := cloud.World().Tenant(tenant)
		for _, n := range tn.Namespaces {
			if n.Host == host {
				return kit.Access{Account: n.Account, Secret: secrets.NewSecret(string(n.Secret))}, nil
			}
		}
		return kit.Access{}, kit.ErrNoAccess
	}
	set, err := drivers.Open(nil, kit.Kit{HTTP: cloud.Client(), Now: time.Now, Access: access})
	if err != nil {
		t.Fatal(err)
	}
	d, err := set.Driver(acsx509.Kind)
	if err != nil {
		t.Fatal(err)
	}
	return &region{t: t, cloud: cloud, driver: d}
}

// edit changes the certificates of a target as another client of ACS would.
func (r *region) edit(target rollover.Target, change func([]acs.Key) []acs.Key) {
	r.t.Helper()
	if err := r.cloud.ACS().SetKeys(target.Host, target.Identity, change(r.cloud.ACS().Identity(target.Host, target.Identity))); err != nil {
		r.t.Fatal(err)
	}
}

// Every drift is made on the emulated ACS, by a driver with a mark of its own or by
// hand, and read back by the real driver over the wire.
func TestCheck_SeesEveryDriftOnTheEmulator(t *testing.T) {
	r := newRegion(t)
	fresh, err := rollover.FromDER(r.cloud.World().New.DER)
	if err != nil {
		t.Fatal(err)
	}
	old, err := rollover.FromDER(r.cloud.World().Old.DER)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := rollovertest.Certificate(t, "CN=foreign", time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(time.Hour).Truncate(time.Second))
	now := time.Now()
	m := rollovertest.NewMemory(fresh)
	rot, err := m.CreateRotation(t.Context(), rollovertest.NewRotation(rotation, fresh, now), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	var plan []rollover.Item
	work := func(it rollover.Item, mark string, c rollover.Credential) rollover.Work {
		return rollover.Work{Rotation: mark, Tenant: it.Tenant, Target: it.Target, New: c, Now: now}
	}
	for _, e := range r.cloud.World().Expected() {
		it := rollover.Item{Ord: len(plan), Tenant: e.Tenant, Target: rollover.Target{Kind: acsx509.Kind, Host: e.Host, Identity: e.Identity}}
		o, err := r.driver.Observe(t.Context(), work(it, rotation, fresh))
		if err != nil {
			t.Fatal(err)
		}
		it.Observed, it.Retire = o.Digest(fresh.SHA256), []rollover.Credential{old.Named()}
		if _, err := r.driver.Stage(t.Context(), work(it, rotation, fresh)); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, it)
	}
	if len(plan) != 8 {
		t.Fatalf("the world has %d targets, want 8", len(plan))
	}
	if rot, err = rot.Freeze(plan, now); err != nil {
		t.Fatal(err)
	}
	rot.State, rot.Phase, rot.StartedAt = rollover.StateRunning, rollover.PhaseOverlap, now
	rot.Check = rollover.Check{Number: 1, State: rollover.CheckRunning, StartedAt: now}
	if _, err := m.FreezePlan(t.Context(), rot, plan); err != nil {
		t.Fatal(err)
	}
	for ord := range plan {
		k, err := m.Task(t.Context(), rollover.TaskID{Rotation: rotation, Ord: ord})
		if err != nil {
			t.Fatal(err)
		}
		k.Phase = rollover.Activated
		if ord == 2 { // By its record the old one was removed, and it stands.
			k.Phase, k.Outcome, k.Removed = rollover.Retired, rollover.Succeeded, []string{old.SHA256}
		}
		if _, err := m.SaveTask(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}

	is := func(c rollover.Credential) func(acs.Key) bool {
		return func(k acs.Key) bool { return string(k.Value) == string(c.DER) }
	}
	if err := r.driver.Undo(t.Context(), work(plan[1], rotation, fresh)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.driver.Stage(t.Context(), work(plan[3], "somebody", foreign)); err != nil {
		t.Fatal(err)
	}
	r.edit(plan[4].Target, func(ks []acs.Key) []acs.Key {
		for i := range ks {
			if is(fresh)(ks[i]) {
				ks[i].Start = ks[i].Start.Add(time.Hour)
			}
		}
		return ks
	})
	r.edit(plan[5].Target, func(ks []acs.Key) []acs.Key { return slices.DeleteFunc(ks, is(old)) })
	r.cloud.ACS().RemoveNamespace(plan[6].Target.Host)
	writes := len(r.cloud.ACS().Journal())

	k, err := checker.New(checker.Config{
		Store: m, Driver: func(string) (rollover.Driver, error) { return r.driver, nil }, Now: func() time.Time { return now },
		Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Check(t.Context(), rollover.Nudge{Rotation: rotation}); err != nil {
		t.Fatal(err)
	}
	p, _, err := m.CheckPart(t.Context(), rotation, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1 new_missing", "2 old_back", "3 foreign_added", "4 new_altered", "5 old_missing_early", "6 unreadable"}
	if got := found(p); !slices.Equal(got, want) || p.Looked != 8 {
		t.Errorf("found %v of %d\nwant  %v of 8", got, p.Looked, want)
	}
	if n := len(r.cloud.ACS().Journal()); n != writes {
		t.Errorf("the check wrote %d times", n-writes)
	}
}

package rollover_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func discovery(tenants int) rollover.Rotation {
	return rollover.Rotation{V: 1, ID: "d", State: rollover.StatePlanning, Tenants: tenants, Spec: rollover.Spec{Purpose: rollover.ToDiscover}}
}

func TestFinding_DiscoveryKeepsCountsAndWhatWasNotRead(t *testing.T) {
	on := func(host string, o rollover.Outcome, r rollover.Reason) rollover.Item {
		return rollover.Item{
			Tenant: "a", Target: rollover.Target{Kind: "k", Host: host, Identity: "i"}, Outcome: o, Reason: r, Detail: "why", Observed: "0123",
			Endpoints: []rollover.EndpointRef{{Tenant: "a", ID: "e"}}, Retire: []rollover.Credential{{SHA256: "ab"}},
		}
	}
	f := rollover.Finding{V: 1, Tenant: "a", Version: "9", Endpoints: make([]rollover.Endpoint, 3), Items: []rollover.Item{
		on("h1", rollover.Open, ""), on("h2", rollover.Failed, rollover.TriesUsedUp), on("h3", rollover.HandedOver, rollover.NoAccess),
		on("", rollover.Skipped, rollover.NotACS), on("", rollover.HandedOver, rollover.NamespaceUnknown),
	}}
	got := f.Discovery()
	if want := (rollover.Tally{Tenants: 1, Endpoints: 3, Targets: 3, Read: 1, Failed: 1}); *got.Discovered != want {
		t.Errorf("counted %+v, want %+v", *got.Discovered, want)
	}
	var kept []string
	for _, it := range got.Items {
		kept = append(kept, fmt.Sprint(it.Target.Host, it.Reason, it.Detail))
		if len(it.Endpoints)+len(it.Retire) > 0 || it.Observed != "" {
			t.Errorf("%s is kept with what is in the inventory: %+v", it.Target, it)
		}
	}
	if want := []string{"h2tries_used_upwhy", "h3no_accesswhy", "namespace_unknownwhy"}; !reflect.DeepEqual(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
	if len(got.Endpoints) != 0 {
		t.Errorf("%d endpoints are kept beside the inventory", len(got.Endpoints))
	}
	many := rollover.Finding{Tenant: "a"}
	for i := range 3 * rollover.MaxUnread {
		many.Items = append(many.Items, on(fmt.Sprint("h", i), rollover.Failed, rollover.TriesUsedUp))
	}
	if got := many.Discovery(); len(got.Items) != rollover.MaxUnread || got.Discovered.Failed != 3*rollover.MaxUnread {
		t.Errorf("of %d that were not read %d are kept and %d counted", len(many.Items), len(got.Items), got.Discovered.Failed)
	}
}

func TestConclude_SaysWhatCameOfIt(t *testing.T) {
	now := time.Unix(1000, 0)
	found := map[int]rollover.Finding{}
	for i := range 3 * rollover.MaxUnreachable {
		f := rollover.Finding{Tenant: fmt.Sprintf("t%03d", i), Endpoints: make([]rollover.Endpoint, 1)}
		if i%2 == 0 {
			f.Endpoints, f.Items = nil, []rollover.Item{{Outcome: rollover.HandedOver, Reason: rollover.NoAccess}}
		}
		found[i] = f.Discovery()
	}
	all := rollover.Tallied(found)
	if all.Tenants != 300 || all.Unreached != 150 || all.Endpoints != 150 || len(all.Unreachable) != rollover.MaxUnreachable || all.Unreachable[1] != "t002" {
		t.Errorf("Tallied = %+v", all)
	}
	for name, tt := range map[string]struct {
		found rollover.Discovered
		was   rollover.RotationState
		want  rollover.RotationState
	}{
		"some reached":  {all, rollover.StatePlanning, rollover.StateSucceeded},
		"none reached":  {rollover.Discovered{Tally: rollover.Tally{Tenants: 2, Unreached: 2}}, rollover.StatePlanning, rollover.StateFailed},
		"was cancelled": {rollover.Discovered{}, rollover.StateCancelled, rollover.StateCancelled},
	} {
		r := discovery(2)
		r.State = tt.was
		r, err := r.Conclude(tt.found, now)
		if err != nil || r.State != tt.want || r.Discovered == nil || r.State != rollover.StateCancelled && r.EndedAt != now {
			t.Errorf("%s: Conclude = %+v, %v, want %s", name, r, err, tt.want)
		}
		if _, err := r.Conclude(tt.found, now); !errors.Is(err, rollover.ErrState) {
			t.Errorf("%s: Conclude again = %v, want ErrState", name, err)
		}
	}
	if _, err := (rollover.Rotation{State: rollover.StatePlanning}).Conclude(all, now); !errors.Is(err, rollover.ErrState) {
		t.Errorf("Conclude of a rotation = %v, want ErrState", err)
	}
	if _, err := discovery(1).Freeze(nil, now); !errors.Is(err, rollover.ErrState) {
		t.Errorf("Freeze of a discovery = %v, want ErrState: nothing of it can be started", err)
	}
}

// However many there are, what is kept is bounded, and a repeat finds the first for a day.
func TestExpiredDiscoveries_AreBounded(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	var all []rollover.Rotation
	for i := range rollover.MaxDiscoveries + 20 {
		r := discovery(1)
		r.ID, r.State, r.EndedAt = fmt.Sprintf("d%03d", i), rollover.StateSucceeded, now.Add(-time.Duration(i)*10*time.Hour)
		all = append(all, r)
	}
	live, other := discovery(1), rollover.Rotation{ID: "r", State: rollover.StateSucceeded, EndedAt: now.AddDate(-1, 0, 0)}
	all = append(all, live, other)
	got := rollover.ExpiredDiscoveries(all, now)
	if len(got) != 20 || got[0] != "d069" || got[19] != "d050" {
		t.Errorf("expired are %d: %v, want the 20 that ended first, the first first", len(got), got)
	}
	for i := range all {
		if all[i].Discovers() {
			all[i].EndedAt = now.Add(-time.Hour)
		}
	}
	if got := rollover.ExpiredDiscoveries(all, now); len(got) != 0 {
		t.Errorf("expired within a day: %v", got)
	}
	if got := rollover.ExpiredDiscoveries(all, now.Add(rollover.DiscoveryFor)); len(got) != len(all)-2 {
		t.Errorf("after %s %d expired, want all that ended", rollover.DiscoveryFor, len(got))
	}
}

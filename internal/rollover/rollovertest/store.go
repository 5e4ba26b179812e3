package rollovertest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// NewRotation returns a rotation in state PLANNING, made at now, that replaces
// by subject.
func NewRotation(id string, c rollover.Credential, now time.Time) rollover.Rotation {
	return rollover.Rotation{
		V: rollover.RecordVersion, ID: id, State: rollover.StatePlanning, CreatedAt: now, UpdatedAt: now, Tenants: 2,
		Spec: rollover.Spec{
			Kind: "acs-x509", New: c.Named(), ReplacesSubject: true, RetireNotBefore: c.NotBefore.Add(time.Hour),
			RetirePolicy: rollover.RetireAutomatic, MaxInFlight: 10, MaxTries: 5,
		},
	}
}

// Plan returns n items on hosts of their own, each retiring one credential.
func Plan(n int) []rollover.Item {
	plan := make([]rollover.Item, n)
	for i := range plan {
		plan[i] = rollover.Item{
			Ord: i, Tenant: fmt.Sprintf("tenant-%d", i),
			Target:    rollover.Target{Kind: "acs-x509", Host: fmt.Sprintf("ns%06d-sb.accesscontrol.windows.net", i), Identity: "crm.dynamics.com"},
			Endpoints: []rollover.EndpointRef{{Tenant: fmt.Sprintf("tenant-%d", i), ID: fmt.Sprintf("e%d", i), Name: "orders"}},
			Observed:  "0123",
			Retire:    []rollover.Credential{{SHA256: "ab", SHA1: "AB", Subject: "CN=old"}},
		}
	}
	return plan
}

// TestStore checks what a [rollover.Store] owes. open returns an empty store
// that knows the credential c; it is called once for each case.
func TestStore(t *testing.T, c rollover.Credential, open func(t *testing.T) rollover.Store) {
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	cases := map[string]func(t *testing.T, s rollover.Store){
		"a rotation is created once": func(t *testing.T, s rollover.Store) {
			r := must(s.CreateRotation(t.Context(), NewRotation("r1", c, now), []string{"a", "b"}))(t)
			if r.Rev == 0 {
				t.Errorf("CreateRotation gave Rev 0, want the stored version")
			}
			if _, err := s.CreateRotation(t.Context(), NewRotation("r1", c, now), []string{"z"}); !errors.Is(err, rollover.ErrExists) {
				t.Errorf("CreateRotation again = %v, want ErrExists", err)
			}
			got := must(s.Rotation(t.Context(), "r1"))(t)
			if !reflect.DeepEqual(got, r) {
				t.Errorf("Rotation = %+v\nwant %+v", got, r)
			}
			if ids := must(s.SelectedTenants(t.Context(), "r1"))(t); !reflect.DeepEqual(ids, []string{"a", "b"}) {
				t.Errorf("SelectedTenants = %q, want a and b", ids)
			}
			if _, err := s.Rotation(t.Context(), "r2"); !errors.Is(err, rollover.ErrNotFound) {
				t.Errorf("Rotation of an unknown id = %v, want ErrNotFound", err)
			}
		},
		"a rotation is saved by who read it last": func(t *testing.T, s rollover.Store) {
			r := must(s.CreateRotation(t.Context(), NewRotation("r1", c, now), []string{"a"}))(t)
			first, second := r, r
			first.DisplayName, second.DisplayName = "first", "second"
			won := must(s.SaveRotation(t.Context(), first))(t)
			if _, err := s.SaveRotation(t.Context(), second); !errors.Is(err, rollover.ErrConflict) {
				t.Errorf("SaveRotation of a stale version = %v, want ErrConflict", err)
			}
			if got := must(s.Rotation(t.Context(), "r1"))(t); got.DisplayName != "first" || got.Rev != won.Rev {
				t.Errorf("Rotation = %q at %d, want first at %d", got.DisplayName, got.Rev, won.Rev)
			}
		},
		"the first finding stays": func(t *testing.T, s rollover.Store) {
			must(s.CreateRotation(t.Context(), NewRotation("r1", c, now), []string{"a", "b"}))(t)
			f := rollover.Finding{V: 1, Tenant: "b", Version: "8.2", Items: Plan(3)}
			big := rollover.Finding{V: 1, Tenant: "a", Items: Plan(4000)}
			for _, err := range []error{
				s.SaveFinding(t.Context(), "r1", 1, f),
				s.SaveFinding(t.Context(), "r1", 1, rollover.Finding{V: 1, Tenant: "b", Version: "9.9"}),
				s.SaveFinding(t.Context(), "r1", 0, big),
			} {
				if err != nil {
					t.Fatalf("SaveFinding = %v", err)
				}
			}
			got := must(s.Findings(t.Context(), "r1"))(t)
			if len(got) != 2 || !reflect.DeepEqual(got[1], f) || !reflect.DeepEqual(got[0], big) {
				t.Errorf("Findings = %d of them, version %q, want both as first saved", len(got), got[1].Version)
			}
		},
		"a plan is frozen with its rotation or not at all": func(t *testing.T, s rollover.Store) {
			stale := must(s.CreateRotation(t.Context(), NewRotation("r1", c, now), []string{"a"}))(t)
			r := must(s.SaveRotation(t.Context(), stale))(t)
			plan := Plan(700)
			if _, err := s.FreezePlan(t.Context(), stale, plan); !errors.Is(err, rollover.ErrConflict) {
				t.Errorf("FreezePlan of a stale version = %v, want ErrConflict", err)
			}
			if _, err := s.Plan(t.Context(), "r1", 0, 1); !errors.Is(err, rollover.ErrNotFound) {
				t.Errorf("Plan after a refused freeze = %v, want ErrNotFound", err)
			}
			frozen := must(r.Freeze(plan, now))(t)
			frozen = must(s.FreezePlan(t.Context(), frozen, plan))(t)
			if got := must(s.Rotation(t.Context(), "r1"))(t); !reflect.DeepEqual(got, frozen) {
				t.Errorf("Rotation = %+v\nwant %+v", got, frozen)
			}
			for _, part := range [][2]int{{0, 700}, {250, 260}, {690, 900}, {700, 701}} {
				got := must(s.Plan(t.Context(), "r1", part[0], part[1]))(t)
				want := plan[part[0]:min(part[1], 700)]
				if len(got) != len(want) || (len(got) > 0 && !reflect.DeepEqual(got, want)) {
					t.Errorf("Plan(%d, %d) gave %d items, want %d equal ones", part[0], part[1], len(got), len(want))
				}
			}
		},
		"a task is as planned until it is saved": func(t *testing.T, s rollover.Store) {
			r := frozen(t, s, c, now)
			id := rollover.TaskID{Rotation: r.ID, Ord: 2}
			k := must(s.Task(t.Context(), id))(t)
			if k.Rev != 0 || k.Phase != rollover.Planned || !k.Orders.Hold || string(k.Orders.New.DER) != string(c.DER) {
				t.Errorf("Task = rev %d phase %q hold %v, %d bytes of certificate", k.Rev, k.Phase, k.Orders.Hold, len(k.Orders.New.DER))
			}
			other := k
			k.Phase, k.Added, k.UpdatedAt = rollover.Staged, true, now
			k = must(s.SaveTask(t.Context(), k))(t)
			if _, err := s.SaveTask(t.Context(), other); !errors.Is(err, rollover.ErrConflict) {
				t.Errorf("SaveTask of a stale version = %v, want ErrConflict", err)
			}
			k.Phase = rollover.Verified
			k = must(s.SaveTask(t.Context(), k))(t)
			if got := must(s.Task(t.Context(), id))(t); !reflect.DeepEqual(got, k) {
				t.Errorf("Task = %+v\nwant %+v", got, k)
			}
			if _, err := s.Task(t.Context(), rollover.TaskID{Rotation: r.ID, Ord: 99}); !errors.Is(err, rollover.ErrNotFound) {
				t.Errorf("Task beyond the plan = %v, want ErrNotFound", err)
			}
		},
		"orders follow the rotation": func(t *testing.T, s rollover.Store) {
			r := frozen(t, s, c, now)
			r = must(r.Start(r.Digest, now))(t)
			must(s.SaveRotation(t.Context(), r))(t)
			k := must(s.Task(t.Context(), rollover.TaskID{Rotation: r.ID}))(t)
			if k.Orders.Hold || k.Orders.Retire || !k.Orders.RetireNotBefore.Equal(r.Spec.RetireNotBefore) {
				t.Errorf("Orders = %+v, want no hold, no retire, not before %s", k.Orders, r.Spec.RetireNotBefore)
			}
		},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

// frozen stores a rotation with a plan of three.
func frozen(t *testing.T, s rollover.Store, c rollover.Credential, now time.Time) rollover.Rotation {
	t.Helper()
	r := must(s.CreateRotation(t.Context(), NewRotation("r1", c, now), []string{"a"}))(t)
	r = must(r.Freeze(Plan(3), now))(t)
	return must(s.FreezePlan(t.Context(), r, Plan(3)))(t)
}

// must returns a function that ends the test on err and else gives v.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

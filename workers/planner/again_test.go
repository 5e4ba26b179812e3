package planner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/workers/planner"
)

func TestPlan_ListIsTriedABoundedNumberOfTimes(t *testing.T) {
	for name, change := range map[string]func(h *house){
		"organisation": func(h *house) {
			h.list = func(context.Context) (dataverse.Org, error) { return dataverse.Org{}, errors.New("answer 503") }
		},
		"secrets": func(h *house) {
			h.secret = func(secrets.Ref) (secrets.Secret, error) { return secrets.Secret{}, errors.New("disk broken") }
		},
	} {
		h := newHouse(t)
		change(h)
		p := h.planner()
		for n := 1; n < 5; n++ {
			got := h.again(p.Plan(t.Context(), nudge(0)), 0)
			if want := time.Second << (n - 1); got != want {
				t.Errorf("%s: wait after try %d = %s, want %s", name, n, got, want)
			}
		}
		f := h.plan(p)
		h.wantItems(f, "failed/inventory_unreadable")
		if !strings.Contains(f.Items[0].Detail, "after 5 tries") {
			t.Errorf("%s: detail %q", name, f.Items[0].Detail)
		}
	}
}

func TestPlan_AListThatWorksStartsTheCountAnew(t *testing.T) {
	h := newHouse(t)
	good := h.list
	bad := func(context.Context) (dataverse.Org, error) { return dataverse.Org{}, errors.New("answer 503") }
	h.look = func(context.Context, rollover.Work) (rollover.Observation, error) {
		return rollover.Observation{}, errors.New("answer 500")
	}
	p := h.planner()
	for _, list := range []func(context.Context) (dataverse.Org, error){bad, bad, bad, good, bad, bad, bad, bad} {
		h.list = list
		h.again(p.Plan(t.Context(), nudge(0)), 0)
	}
}

func TestPlan_WaitsAsLongAsItIsAsked(t *testing.T) {
	h := newHouse(t)
	asked := rollover.RetryAfter(7*time.Minute, errors.New("answer 429"))
	h.list = func(context.Context) (dataverse.Org, error) { return dataverse.Org{}, fmt.Errorf("listing: %w", asked) }
	p := h.planner()
	if got := h.again(p.Plan(t.Context(), nudge(0)), 0); got != 7*time.Minute {
		t.Errorf("wait = %s, want 7m", got)
	}
	// Coming back too early is no failure of the organisation, however often.
	h.list = func(context.Context) (dataverse.Org, error) {
		return dataverse.Org{}, rollover.RetryAfter(time.Minute, dataverse.ErrPaused)
	}
	for range 20 {
		if got := h.again(p.Plan(t.Context(), nudge(0)), 0); got != time.Minute {
			t.Errorf("wait within the pause = %s, want 1m", got)
		}
	}
}

func TestPlan_EarlyNudgesAskNobody(t *testing.T) {
	h := newHouse(t)
	h.list = func(context.Context) (dataverse.Org, error) {
		return dataverse.Org{}, rollover.RetryAfter(time.Minute, errors.New("answer 429"))
	}
	p := h.planner()
	early := func(want time.Duration) {
		t.Helper()
		var s *rollover.StepError
		if err := p.Plan(t.Context(), nudge(0)); !errors.As(err, &s) || s.After != want {
			t.Errorf("Plan too early = %v, want again after %s", err, want)
		}
	}
	lists := func(want int) {
		t.Helper()
		if h.lists != want {
			t.Errorf("%d lists, want %d", h.lists, want)
		}
	}
	early(time.Minute) // The first is none: it is what asks to wait.
	lists(1)
	h.pass(&h.now, 20*time.Second)
	h.pass(&h.real, 59*time.Second)
	early(time.Second)
	lists(1)
	h.pass(&h.real, time.Second) // A test clock that stands still holds nothing up.
	early(time.Minute)
	lists(2)
	h.pass(&h.now, time.Minute) // Nor does one that runs fast wait for the machine's.
	early(time.Minute)
	lists(3)
}

func TestPlan_TargetsThatWereReadAreNotReadAgain(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha"), row(2, "beta"), row(3, "gamma"))
	fails := 3
	h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case strings.HasPrefix(w.Target.Host, "alpha"):
			return rollover.Observation{}, rollover.RetryAfter(30*time.Second, errors.New("answer 429"))
		case strings.HasPrefix(w.Target.Host, "beta") && fails > 0:
			fails--
			return rollover.Observation{}, errors.New("answer 500")
		}
		return h.standing(h.old), nil
	}
	p := h.planner()
	for n := range 4 {
		if got := h.again(p.Plan(t.Context(), nudge(0)), 0); got != 30*time.Second {
			t.Errorf("wait after pass %d = %s, want the longest of all, 30s", n+1, got)
		}
	}
	f := h.plan(p)
	h.wantItems(f,
		"alpha-sb.accesscontrol.windows.net failed/tries_used_up 1",
		"beta-sb.accesscontrol.windows.net / 2",
		"gamma-sb.accesscontrol.windows.net / 3",
	)
	for host, want := range map[string]int{"alpha": 5, "beta": 4, "gamma": 1} {
		if got := h.looked[host+"-sb.accesscontrol.windows.net"]; got != want {
			t.Errorf("%s was read %d times, want %d", host, got, want)
		}
	}
	if f.Items[2].Observed == "" || len(f.Items[2].Retire) != 1 {
		t.Errorf("what was read of gamma is lost: %+v", f.Items[2])
	}
}

func TestPlan_ADriversWordEndsTheTarget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		sb     string
		plain  string
		detail string
	}{
		{"namespace unknown", rollover.HandOver(rollover.NamespaceUnknown, errors.New("no such host")), "handed_over/namespace_unknown", "handed_over/federated_half_missing", "no such host"},
		{"no access", rollover.HandOver(rollover.NoAccess, errors.New("answer 401")), "handed_over/no_access", "handed_over/no_access", "answer 401"},
		{"wrapped", fmt.Errorf("reading: %w", rollover.HandOver(rollover.IdentityMissing, errors.New("none"))), "handed_over/identity_missing", "handed_over/identity_missing", "reading: identity_missing: none"},
		{"ambiguous", rollover.HandOver(rollover.IdentityAmbiguous, errors.New("two")), "handed_over/identity_ambiguous", "handed_over/identity_ambiguous", "two"},
		{"refused", rollover.Permanent(rollover.Refused, errors.New("answer 400")), "failed/refused", "failed/refused", "answer 400"},
		{"changed", rollover.Changed(rollover.ChangedSincePlan, errors.New("moved")), "conflict/changed_since_plan", "conflict/changed_since_plan", "moved"},
		{"long", rollover.Permanent(rollover.Refused, errors.New(strings.Repeat("x", 2000))), "failed/refused", "failed/refused", strings.Repeat("x", 499) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.rows(row(1, "contoso", federated))
			h.look = func(context.Context, rollover.Work) (rollover.Observation, error) {
				return rollover.Observation{}, tt.err
			}
			f := h.plan(h.planner())
			h.wantItems(f, "contoso-sb.accesscontrol.windows.net "+tt.sb+" 1", "contoso.accesscontrol.windows.net "+tt.plain+" 1")
			if got := f.Items[0].Detail; got != tt.detail {
				t.Errorf("detail = %q, want %q", got, tt.detail)
			}
		})
	}
}

func TestPlan_UnknownKindIsRefused(t *testing.T) {
	h := newHouse(t)
	p := h.planner(func(c *planner.Config) {
		c.Driver = func(string) (rollover.Driver, error) { return nil, errors.New("unknown kind") }
	})
	h.wantItems(h.plan(p), "contoso-sb.accesscontrol.windows.net failed/refused 1")
}

func TestPlan_APanicOfTheDriverIsAFailedTry(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha"), row(2, "beta"))
	h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		if strings.HasPrefix(w.Target.Host, "alpha") {
			panic("poison")
		}
		return h.standing(h.old), nil
	}
	p := h.planner(func(c *planner.Config) { c.Attempts = 2 })
	h.again(p.Plan(t.Context(), nudge(0)), 0)
	h.wantItems(h.plan(p), "alpha-sb.accesscontrol.windows.net failed/tries_used_up 1", "beta-sb.accesscontrol.windows.net / 2")
}

func TestPlan_StoppingIsNoFailure(t *testing.T) {
	h := newHouse(t)
	p := h.planner(func(c *planner.Config) { c.Attempts = 1 })
	ctx, stop := context.WithCancel(t.Context())
	good := h.list
	h.list = func(ctx context.Context) (dataverse.Org, error) {
		stop()
		<-ctx.Done()
		return dataverse.Org{}, ctx.Err()
	}
	h.again(p.Plan(ctx, nudge(0)), 0)

	ctx, stop = context.WithCancel(t.Context())
	h.list = good
	h.look = func(ctx context.Context, _ rollover.Work) (rollover.Observation, error) {
		stop()
		<-ctx.Done()
		return rollover.Observation{}, ctx.Err()
	}
	if err := p.Plan(ctx, nudge(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Plan while stopping = %v, want %v", err, context.Canceled)
	}
	h.look = func(context.Context, rollover.Work) (rollover.Observation, error) { return h.standing(h.old), nil }
	h.wantItems(h.plan(p), "contoso-sb.accesscontrol.windows.net / 1")
}

func TestPlan_SlownessEnds(t *testing.T) {
	h := newHouse(t)
	h.look = func(ctx context.Context, _ rollover.Work) (rollover.Observation, error) {
		<-ctx.Done()
		return rollover.Observation{}, ctx.Err()
	}
	p := h.planner(func(c *planner.Config) { c.ObserveTimeout, c.Attempts = time.Millisecond, 1 })
	h.wantItems(h.plan(p), "contoso-sb.accesscontrol.windows.net failed/tries_used_up 1")

	h = newHouse(t)
	h.list = func(ctx context.Context) (dataverse.Org, error) {
		<-ctx.Done()
		return dataverse.Org{}, ctx.Err()
	}
	p = h.planner(func(c *planner.Config) { c.ListTimeout, c.Attempts = time.Millisecond, 1 })
	h.wantItems(h.plan(p), "failed/inventory_unreadable")
}

func TestPlan_StoreFailuresAreNotTheTenants(t *testing.T) {
	for _, what := range []string{"rotation", "selection", "tenant", "endpoints", "finding"} {
		t.Run(what, func(t *testing.T) {
			h := newHouse(t)
			h.fault = func(at string) error {
				if at == what {
					return rollover.ErrUnavailable
				}
				return nil
			}
			p := h.planner(func(c *planner.Config) { c.Attempts = 2 })
			for range 5 {
				err := p.Plan(t.Context(), nudge(0))
				h.again(err, 0)
				if !errors.Is(err, rollover.ErrUnavailable) {
					t.Errorf("Plan = %v, want %v", err, rollover.ErrUnavailable)
				}
			}
			h.fault = nil
			h.wantItems(h.plan(p), "contoso-sb.accesscontrol.windows.net / 1")
			if got := h.looked["contoso-sb.accesscontrol.windows.net"]; got != 1 {
				t.Errorf("the target was read %d times, want 1", got)
			}
		})
	}
}

func TestPlan_OneTenantIsPlannedOnceAtATime(t *testing.T) {
	h := newHouse(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	h.look = func(context.Context, rollover.Work) (rollover.Observation, error) {
		close(begun)
		<-finish
		return h.standing(h.old), nil
	}
	p := h.planner()
	first := make(chan error, 1)
	go func() { first <- p.Plan(t.Context(), nudge(0)) }()
	<-begun
	if got := h.again(p.Plan(t.Context(), nudge(0)), 0); got <= 0 {
		t.Errorf("wait for the other call = %s, want some", got)
	}
	close(finish)
	if err := <-first; err != nil {
		t.Errorf("Plan: %v", err)
	}
	h.plan(p)
	if h.lists != 1 {
		t.Errorf("%d lists, want 1", h.lists)
	}
}

func TestPlan_ReadsSeveralTargetsAtOnceAndNoMore(t *testing.T) {
	h := newHouse(t)
	var rows []dataverse.Row
	for i := range 12 {
		rows = append(rows, row(i, fmt.Sprintf("bus%02d", i)))
	}
	h.rows(rows...)
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Int32
		one := make(chan struct{})
		h.look = func(context.Context, rollover.Work) (rollover.Observation, error) {
			now.Add(1)
			defer now.Add(-1)
			<-one
			return h.standing(h.old), nil
		}
		p := h.planner()
		planned := make(chan error, 1)
		go func() { planned <- p.Plan(t.Context(), nudge(0)) }()
		for left := 12; left > 0; left-- {
			synctest.Wait() // Everything that could begin has begun.
			if got, want := int(now.Load()), min(4, left); got != want {
				t.Errorf("%d targets are read at once with %d left, want %d", got, left, want)
			}
			one <- struct{}{}
		}
		if err := <-planned; err != nil {
			t.Errorf("Plan: %v", err)
		}
	})
}

func TestPlan_ForgettingStartsAnew(t *testing.T) {
	h := newHouse(t)
	h.tenants["other"] = h.tenants["contoso"]
	p := h.planner(func(c *planner.Config) { c.Remember, c.Attempts = 1, 2 })
	h.list = func(context.Context) (dataverse.Org, error) { return dataverse.Org{}, errors.New("answer 503") }
	h.again(p.Plan(t.Context(), nudge(0)), 0)
	if err := p.Plan(t.Context(), nudge(7)); err != nil { // Takes the only place.
		t.Fatal(err)
	}
	h.again(p.Plan(t.Context(), nudge(0)), 0)
	h.wantItems(h.plan(p), "failed/inventory_unreadable")
}

func TestNew_NamesNoDefaultForWhatItNeeds(t *testing.T) {
	if _, err := planner.New(planner.Config{}); err == nil {
		t.Error("New of an empty Config: no error")
	}
}

// A target whose host wants fewer calls is waited for, without a failed try, for
// ten minutes; one that was not asked, since it is known to be down, as well.
func TestPlan_AThrottledTargetUsesNoTry(t *testing.T) {
	h := newHouse(t)
	h.look = func(context.Context, rollover.Work) (rollover.Observation, error) {
		return rollover.Observation{}, rollover.Throttled(rollover.ByHost, time.Minute, errors.New("answer 429"))
	}
	p := h.planner()
	for n, want := range []time.Duration{1, 2, 4, 8} {
		if got := h.again(p.Plan(t.Context(), nudge(0)), 0); got != want*time.Minute {
			t.Errorf("wait after refusal %d = %s, want %s", n+1, got, want*time.Minute)
		}
	}
	for range 4 {
		h.again(p.Plan(t.Context(), nudge(0)), 0)
	}
	f := h.plan(p)
	if got := f.Items[0]; got.Outcome != rollover.Failed || got.Reason != rollover.TriesUsedUp || !strings.Contains(got.Detail, "after 5 tries") {
		t.Errorf("after a quarter of an hour of refusals and five more: %s (%s) %q, want it failed after 5 tries", got.Outcome, got.Reason, got.Detail)
	}
}

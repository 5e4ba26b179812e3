package planner_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// emergency makes the rotation one that gets rid of the old credential.
func (h *house) emergency(sort rollover.CompromisedSort, hash string, more ...func(*rollover.Spec)) {
	h.t.Helper()
	h.selecting(func(s *rollover.Spec) {
		s.ReplacesSubject = false
		s.Incident = &rollover.Incident{Compromised: []rollover.Compromised{
			{Sort: rollover.CompromisedSHA256, Hash: "ab"}, {Sort: sort, Hash: hash},
		}}
		for _, f := range more {
			f(s)
		}
	})
}

func (h *house) oldKey() string {
	h.t.Helper()
	key, err := rollover.KeyHash(h.old.DER)
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

const (
	alpha     = "alpha-sb.accesscontrol.windows.net"
	alphaHalf = "alpha.accesscontrol.windows.net"
	beta      = "beta-sb.accesscontrol.windows.net"
	betaHalf  = "beta.accesscontrol.windows.net"
	gamma     = "gamma-sb.accesscontrol.windows.net"
	leftOut   = " skipped/not_selected"
)

func TestPlan_IncidentIsForTheCarriers(t *testing.T) {
	other, _ := rollovertest.Certificate(t, "CN=crm4.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	for _, sort := range []rollover.CompromisedSort{rollover.CompromisedSHA256, rollover.CompromisedKeyHash} {
		h := newHouse(t)
		h.rows(row(1, "alpha"), row(2, "beta", federated), row(3, "sas", sas), row(4, "gamma"))
		h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
			switch w.Target.Host {
			case alpha:
				return h.standing(h.old, other), nil
			case betaHalf:
				return h.standing(h.new, h.old), nil
			default:
				return h.standing(other), nil
			}
		}
		hash := h.old.SHA256
		if sort == rollover.CompromisedKeyHash {
			hash = h.oldKey()
		}
		h.emergency(sort, hash)
		f := h.plan(h.planner())
		// The other half of the federated endpoint needs the new one too.
		h.wantItems(f, alpha+" / 1", beta+" / 2", betaHalf+" / 2", "skipped/not_selected 3", gamma+leftOut+" 4")
		for _, it := range f.Items {
			carries := it.Target.Host == alpha || it.Target.Host == betaHalf
			var got []string
			for _, c := range it.Retire {
				got = append(got, c.SHA256)
			}
			if carries && !slices.Equal(got, []string{h.old.SHA256}) || !carries && len(got) > 0 {
				t.Errorf("%s: %s is to lose %q", sort, it.Target, got)
			}
		}
	}
}

func TestPlan_IncidentWithAnEndpointFilterIsForThoseInBoth(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha"), row(2, "beta"), row(4, "gamma"))
	h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		if w.Target.Host == gamma {
			return h.standing(h.new), nil
		}
		return h.standing(h.old), nil
	}
	h.emergency(rollover.CompromisedSHA256, h.old.SHA256, func(s *rollover.Spec) { s.EndpointFilter = `name = "endpoint 2" OR name = "endpoint 4"` })
	h.wantItems(h.plan(h.planner()), alpha+leftOut+" 1", beta+" / 2", gamma+leftOut+" 4")
}

// What could not be read stays what it is, so that it is counted as what may carry
// it; its other half is not touched without reason, but what carries it is.
func TestPlan_IncidentTellsWhatItCouldNotRead(t *testing.T) {
	h := newHouse(t)
	h.rows(row(1, "alpha", federated), row(2, "beta", federated), row(4, "gamma"))
	h.look = func(_ context.Context, w rollover.Work) (rollover.Observation, error) {
		switch w.Target.Host {
		case alpha:
			return h.standing(h.new), nil
		case beta:
			return h.standing(h.old), nil
		default:
			return rollover.Observation{}, rollover.HandOver(rollover.NoAccess, errors.New("nobody gave us a key"))
		}
	}
	h.emergency(rollover.CompromisedSHA256, h.old.SHA256)
	f := h.plan(h.planner())
	h.wantItems(f, alpha+leftOut+" 1", alphaHalf+" handed_over/no_access 1", beta+" / 2", betaHalf+" handed_over/no_access 2", gamma+" handed_over/no_access 4")
	c := rollover.NewBoard(rollover.Assemble([]rollover.Finding{f})).Counts().Carriers
	if c.All != 1 || c.Dark != 3 {
		t.Errorf("%d carriers and %d that could not be read, want 1 and 3", c.All, c.Dark)
	}
}

// A certificate that cannot be read has a key that nobody knows: its target is not
// left out as if it were clean.
func TestPlan_IncidentByKeyDoubtsWhatCannotBeRead(t *testing.T) {
	h := newHouse(t)
	h.look = func(context.Context, rollover.Work) (rollover.Observation, error) {
		o := h.standing(h.old)
		o.Standing[0].DER = []byte("no certificate")
		return o, nil
	}
	h.emergency(rollover.CompromisedKeyHash, h.oldKey())
	f := h.plan(h.planner())
	h.wantItems(f, "contoso-sb.accesscontrol.windows.net failed/refused 1")
	if c := rollover.NewBoard(f.Items).Counts().Carriers; c.Contained() {
		t.Errorf("carriers = %+v, contained", c)
	}
}

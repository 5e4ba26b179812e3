package conductor_test

import (
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// emergency plans and starts a rotation of alice's that gets rid of the old
// credential, after the new one has become valid. It is in the overlap then.
func (h *house) emergency(id string, shortened time.Duration) {
	h.t.Helper()
	h.advance(switchAt.Sub(h.clock.Now()) + time.Hour)
	h.create(id, func(s *rollover.Spec) {
		s.ReplacesSubject, s.RetireNotBefore, s.RetirePolicy = false, h.clock.Now().Add(24*time.Hour), rollover.RetireAutomatic
		s.Incident = &rollover.Incident{
			Compromised:      []rollover.Compromised{{Sort: rollover.CompromisedSHA256, Hash: h.ledger.Old.SHA256}},
			ShortenedOverlap: shortened,
		}
		s.Lane = rollover.Urgent
	})
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) { r.Creator = "alice"; return r, nil })
	h.until(id, "planned", state(rollover.StatePlanned))
	h.start(id)
}

func (h *house) approve(id string) {
	h.t.Helper()
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.Approve(rollover.Approval{By: "bob", At: h.clock.Now(), Reason: "seen", Digest: r.Digest}, rollover.People{})
	})
}

// still checks for half a second of real time, which is many turns, that nothing is
// removed.
func (h *house) still(id, when string) {
	h.t.Helper()
	begun := h.clock.Now()
	h.waits(10*time.Second, "half a second to pass", func() bool { return h.clock.Now().Sub(begun) > 500*time.Millisecond })
	v, err := h.mirror.Rotation(h.t.Context(), id)
	if err != nil || v.Counts.Retired != 0 || v.Rotation.Phase == rollover.PhaseRetire {
		h.t.Fatalf("%s: %d retired in phase %s, %v, want none", when, v.Counts.Retired, v.Rotation.Phase, err)
	}
}

func TestConductor_IncidentWaitsTheWholeOverlapWithoutApproval(t *testing.T) {
	h := newHouse(t, 6)
	h.conduct("c1")
	h.rotate()
	h.plan()
	h.emergency("r1", 0)
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.advance(23 * time.Hour)
	h.still("r1", "an hour before retire-not-before")
	h.advance(time.Hour + rollover.Margin)
	v := h.until("r1", "succeeded", state(rollover.StateSucceeded))
	c := v.Rotation.Containment(v.Counts, h.clock.Now())
	if c.All != 6 || c.Rid != 6 || c.Elapsed < 24*time.Hour || c.Elapsed > 25*time.Hour {
		t.Errorf("containment = %+v, want six after a day", c)
	}
	h.ledger.Check(t, "r1")
}

func TestConductor_IncidentApprovedRetiresAfterTheShortenedOverlap(t *testing.T) {
	h := newHouse(t, 6)
	h.conduct("c1")
	h.rotate()
	h.plan()
	h.emergency("r1", 15*time.Minute)
	v := h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	if v.Rotation.OverlapAt.IsZero() {
		t.Error("it is not noted when the overlap began")
	}
	h.approve("r1")
	h.advance(15*time.Minute + rollover.Margin - 30*time.Second)
	h.still("r1", "half a minute before the end of the shortened overlap")
	h.advance(30 * time.Second)
	v = h.until("r1", "succeeded", state(rollover.StateSucceeded))
	c := v.Rotation.Containment(v.Counts, h.clock.Now())
	if c.Rid != 6 || c.At.IsZero() || c.Elapsed < 20*time.Minute || c.Elapsed > time.Hour || c.Approval.By != "bob" {
		t.Errorf("containment = %+v, want all six in about 20 minutes", c)
	}
	for _, target := range h.hosts {
		if _, stands := h.cloud.Standing(target).Find(h.ledger.Old.SHA256); stands {
			t.Errorf("the compromised one stands on %s", target)
		}
	}
	h.ledger.Check(t, "r1")
}

// However early it is approved, nothing is removed while one target is not verified.
func TestConductor_IncidentApprovedWaitsUntilAllIsVerified(t *testing.T) {
	h := newHouse(t, 4)
	h.conduct("c1")
	h.plan()
	h.emergency("r1", 0) // Nobody works yet.
	h.approve("r1")
	h.advance(2 * time.Hour)
	h.still("r1", "before anybody works")
	h.rotate()
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.still("r1", "within the margin after all was verified")
	h.advance(rollover.Margin)
	v := h.until("r1", "succeeded", func(v mirror.View) bool { return v.Rotation.State.Ended() })
	if v.Rotation.State != rollover.StateSucceeded || v.Counts.Retired != 4 {
		t.Errorf("ended as %s with %d retired, want all four", v.Rotation.State, v.Counts.Retired)
	}
	h.ledger.Check(t, "r1")
}

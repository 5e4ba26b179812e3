package conductor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// corrupting is a cloud that stores what it is given and reads back other bytes.
type corrupting struct{ *rollovertest.Cloud }

func (c corrupting) Verify(context.Context, rollover.Work) (rollover.Evidence, error) {
	return rollover.Evidence{}, rollover.Permanent(rollover.VerificationFailed, errors.New("what was read back is not what was written"))
}

// byDefault is what a request without wishes gets.
func byDefault(s *rollover.Spec) {
	s.Tolerance = rollover.Tolerance{Mode: rollover.Strict, Limit: 10, Percent: true}
	s.Strategy = rollover.Strategy{Start: rollover.SlowStart}
	s.MaxInFlight = 256
}

// A certificate that is stored corrupted everywhere, sent at 200 targets with the
// defaults, reaches exactly one.
func TestConductor_ABadCertificateReachesOneTarget(t *testing.T) {
	h := newHouse(t, 200)
	h.driver = corrupting{h.cloud}
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.rotate()
	h.create("r1", byDefault)
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	v := h.until("r1", "stopped", state(rollover.StatePaused))
	if n := len(h.cloud.Journal()); n != 1 || v.Counts.Broken != 1 || !strings.Contains(v.Rotation.Detail, "wave 1 of 8: 1 of 1 tasks failed, 0 are tolerated") {
		t.Errorf("%d targets were written to, %d failed, %q; want 1", n, v.Counts.Broken, v.Rotation.Detail)
	}
	h.ledger.Check(t, "r1")
}

// Waves are begun one after the other, each after its bake time, and all targets
// are reached.
func TestConductor_WavesFollowOneAnother(t *testing.T) {
	h := newHouse(t, 12)
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.create("r1", byDefault, func(s *rollover.Spec) {
		s.Strategy.Waves, s.Strategy.Bake = []rollover.WaveSize{{Size: 3}}, time.Hour
	})
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	for i, want := range []int{1, 3, 6} { // And then all: waves of 1, 2, 3 and 6.
		h.until("r1", "baking", func(v mirror.View) bool {
			return !v.Rotation.BakeUntil.IsZero() && v.Rotation.WaveNumber == []int{0, 2, 3}[i]
		})
		if n := len(h.cloud.Journal()); n != want {
			t.Errorf("after wave %d: %d targets were written to, want %d", i+1, n, want)
		}
		h.advance(time.Hour)
	}
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	if n := len(h.cloud.Journal()); n != 12 {
		t.Errorf("in the end %d targets were written to, want 12", n)
	}
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	h.until("r1", "succeeded", state(rollover.StateSucceeded))
	h.ledger.Check(t, "r1")
}

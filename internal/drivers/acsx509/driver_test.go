package acsx509_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// scene is a driver on a fake.
type scene struct {
	certificates
	fake *acsx509.Fake
	d    *acsx509.Driver
	now  time.Time
}

func newScene(t *testing.T, standing ...func(certificates) rollover.Standing) *scene {
	t.Helper()
	s := &scene{certificates: newCertificates(t), now: begin().AddDate(0, 0, -3)}
	clock := func() time.Time { return s.now }
	s.fake = acsx509.NewFake(clock, t.Errorf)
	var all []rollover.Standing
	for _, f := range standing {
		all = append(all, f(s.certificates))
	}
	s.fake.Put(host, identity, all...)
	s.d = acsx509.New(s.fake, clock)
	return s
}

func (s *scene) at(w rollover.Work) rollover.Work {
	s.now = w.Now
	return w
}

func (s *scene) count(sha string) (n int) {
	for _, k := range s.fake.Standing(host, identity) {
		if k.SHA256 == sha {
			n++
		}
	}
	return n
}

func old(c certificates) rollover.Standing {
	s := rollovertest.Stand(c.old)
	s.Name, s.Usage = "CRM's key", "Signing"
	return s
}

func foreign(c certificates) rollover.Standing { return rollovertest.Stand(c.foreign) }
func theirs(c certificates) rollover.Standing  { return rollovertest.Stand(c.next) }
func ours(c certificates) rollover.Standing {
	s := rollovertest.Stand(c.next)
	s.Mark = c.work().Rotation
	return s
}

func TestDriver_KeepsTheContractOnAFake(t *testing.T) {
	rollovertest.TestDriver(t, func(t *testing.T) rollovertest.Fixture {
		s := newScene(t, old)
		return rollovertest.Fixture{
			Driver: s.d, Second: acsx509.New(s.fake, func() time.Time { return s.now }), Work: s.work(), Foreign: foreign(s.certificates),
			Standing: func() rollover.Observation {
				return rollover.Observation{Standing: s.fake.Standing(host, identity)}
			},
			Edit: func(change func([]rollover.Standing) []rollover.Standing) { s.fake.Edit(host, identity, change) },
			Break: func(call string, m rollovertest.Mode) {
				if call == "write" {
					s.fake.Break("add", m == rollovertest.DoneLost)
					call = "delete"
				}
				s.fake.Break(call, m == rollovertest.DoneLost)
			},
			SetNow: func(now time.Time) { s.now = now },
		}
	})
}

// wantEnd checks how a task would end by err.
func wantEnd(t *testing.T, call string, err error, o rollover.Outcome, r rollover.Reason) {
	t.Helper()
	var s *rollover.StepError
	if !errors.As(err, &s) || s.Outcome != o || s.Reason != r {
		t.Errorf("%s = %v, want an error that ends the task as %s: %s", call, err, o, r)
	}
}

func TestStage_NeedsThreeCallsWithItsVerify(t *testing.T) {
	s := newScene(t, old)
	if _, err := s.d.Stage(t.Context(), s.work()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.d.Verify(t.Context(), s.work()); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(s.fake.Calls(), " "), "read add read"; got != want {
		t.Errorf("Stage and Verify made the calls %q, want %q", got, want)
	}
}

func TestStage_FindsOutAtOnceWhatALostAnswerDid(t *testing.T) {
	s := newScene(t, old)
	s.fake.Break("add", true)
	if added, err := s.d.Stage(t.Context(), s.work()); err != nil || !added {
		t.Errorf("Stage whose answer was lost = %v, %v, want true", added, err)
	}
	// A stale reading shows nothing; the look of the next call does.
	s = newScene(t, old)
	s.fake.Break("add", true)
	s.fake.Stale(1)
	if added, err := s.d.Stage(t.Context(), s.work()); err != nil && added {
		t.Errorf("Stage = %v, %v", added, err)
	}
	if added, err := s.d.Stage(t.Context(), s.work()); err != nil || !added || s.count(s.next.SHA256) != 1 {
		t.Errorf("Stage again = %v, %v with %d copies, want true and one", added, err, s.count(s.next.SHA256))
	}
}

func TestStage_SurvivesRenumbering(t *testing.T) {
	s := newScene(t, old)
	if _, err := s.d.Observe(t.Context(), s.work()); err != nil {
		t.Fatal(err)
	}
	s.fake.Renumber()
	if added, err := s.d.Stage(t.Context(), s.work()); err != nil || !added {
		t.Errorf("Stage after renumbering = %v, %v, want true", added, err)
	}
	s.fake.Renumber()
	if removed, err := s.d.Retire(t.Context(), s.at(s.retiring())); err != nil || len(removed) != 1 {
		t.Errorf("Retire after renumbering = %v, %v, want one", removed, err)
	}
}

func TestVerify_WaitsForAStaleReading(t *testing.T) {
	s := newScene(t, old)
	if _, err := s.d.Stage(t.Context(), s.work()); err != nil {
		t.Fatal(err)
	}
	s.fake.Stale(1)
	var step *rollover.StepError
	if _, err := s.d.Verify(t.Context(), s.work()); !errors.Is(err, rollover.ErrNoEvidence) || errors.As(err, &step) {
		t.Errorf("Verify of a stale reading = %v, want an unmarked error: no evidence", err)
	}
	if _, err := s.d.Verify(t.Context(), s.work()); err != nil {
		t.Errorf("Verify of a fresh reading = %v", err)
	}
}

func TestVerify_RefusesOtherDatesUnlessAGoodCopyStands(t *testing.T) {
	clipped := func(c certificates) rollover.Standing {
		s := rollovertest.Stand(c.next)
		s.End = s.Start.AddDate(1, 0, 0)
		return s
	}
	s := newScene(t, old, clipped)
	_, err := s.d.Verify(t.Context(), s.work())
	wantEnd(t, "Verify with clipped dates", err, rollover.Failed, rollover.VerificationFailed)
	if added, err := s.d.Stage(t.Context(), s.work()); err != nil || added || s.count(s.next.SHA256) != 1 {
		t.Errorf("Stage where a clipped copy stands = %v, %v with %d copies, want no write", added, err, s.count(s.next.SHA256))
	}
	_, err = s.d.Retire(t.Context(), s.at(s.retiring()))
	wantEnd(t, "Retire beside a clipped copy, though it is valid now", err, rollover.Failed, rollover.VerificationFailed)
	s = newScene(t, old, clipped, theirs)
	if ev, err := s.d.Verify(t.Context(), s.work()); err != nil || !strings.HasPrefix(ev.Detail, "key 1") || strings.Contains(ev.Detail, "and") {
		t.Errorf("Verify with a good copy = %+v, %v, want evidence of one key", ev, err)
	}
}

func TestVerify_LetsTheOldOneBeGoneOnceItMayBe(t *testing.T) {
	s := newScene(t, foreign, ours)
	_, err := s.d.Verify(t.Context(), s.work())
	wantEnd(t, "Verify before the old one may go", err, rollover.Conflict, rollover.ChangedSincePlan)
	if _, err := s.d.Verify(t.Context(), s.at(s.retiring())); err != nil {
		t.Errorf("Verify after an earlier Retire = %v, want evidence", err)
	}
}

func TestRetire_TakesAllCopiesAndSurvivesAnEdit(t *testing.T) {
	s := newScene(t, old, ours, old, foreign)
	edited := &editing{Fake: s.fake, edits: 1}
	d := acsx509.New(edited, func() time.Time { return s.now })
	removed, err := d.Retire(t.Context(), s.at(s.retiring()))
	if err != nil || !slices.Equal(removed, []string{s.old.SHA256}) || s.count(s.old.SHA256) != 0 || s.count(s.foreign.SHA256) != 1 {
		t.Errorf("Retire = %v, %v, old stands %d times", removed, err, s.count(s.old.SHA256))
	}
	// Someone who edits for ever is not waited for.
	s = newScene(t, old, ours)
	d = acsx509.New(&editing{Fake: s.fake, edits: 1000}, func() time.Time { return s.now })
	var step *rollover.StepError
	if removed, err := d.Retire(t.Context(), s.at(s.retiring())); err == nil || errors.As(err, &step) || len(removed) != 0 {
		t.Errorf("Retire under steady edits = %v, %v, want nothing and an unmarked error", removed, err)
	}
}

func TestRetire_KeepsWhatItMust(t *testing.T) {
	reserved := func(c certificates) rollover.Standing {
		s := rollovertest.Stand(c.old)
		s.Reserved = true
		return s
	}
	s := newScene(t, reserved, ours)
	_, err := s.d.Retire(t.Context(), s.at(s.retiring()))
	wantEnd(t, "Retire of a reserved key", err, rollover.Failed, rollover.Refused)

	s = newScene(t, old)
	_, err = s.d.Retire(t.Context(), s.at(s.retiring()))
	wantEnd(t, "Retire without the new key", err, rollover.Conflict, rollover.NewMissing)

	s = newScene(t, old, ours)
	w := s.at(s.retiring())
	w.Old = append(w.Old, s.next.Named())
	_, err = s.d.Retire(t.Context(), w)
	wantEnd(t, "Retire that names the new key", err, rollover.Failed, rollover.Refused)
	if s.count(s.old.SHA256) != 1 || s.count(s.next.SHA256) != 1 {
		t.Error("a refused Retire removed something")
	}
}

func TestRetire_AsksNobodyWhenItIsTooEarly(t *testing.T) {
	s := newScene(t, old, ours)
	if _, err := s.d.Retire(t.Context(), s.work()); !errors.Is(err, rollover.ErrTooEarly) || len(s.fake.Calls()) != 0 {
		t.Errorf("Retire too early = %v after %v, want %v after no call", err, s.fake.Calls(), rollover.ErrTooEarly)
	}
}

func TestRetire_WaitsForTheNewOneToBeValid(t *testing.T) {
	s := newScene(t, old, ours)
	w := s.work()
	w.RetireNotBefore = w.Now.Add(-w.Margin)
	_, err := s.d.Retire(t.Context(), w)
	var step *rollover.StepError
	if !errors.As(err, &step) || step.Outcome != rollover.Open || step.After != begin().Sub(w.Now) || !errors.Is(err, rollover.ErrTooEarly) {
		t.Errorf("Retire before the new one is valid = %v, want to come again in %s", err, begin().Sub(w.Now))
	}
}

func TestUndo_TakesOursAndLeavesTheirCopy(t *testing.T) {
	s := newScene(t, old, ours, theirs)
	if err := s.d.Undo(t.Context(), s.work()); err != nil || s.count(s.next.SHA256) != 1 {
		t.Errorf("Undo = %v with %d copies left, want theirs", err, s.count(s.next.SHA256))
	}
}

func TestUndo_RefusesWithoutARotation(t *testing.T) {
	s := newScene(t, old, theirs)
	w := s.work()
	w.Rotation = ""
	if err := s.d.Undo(t.Context(), w); err == nil || s.count(s.next.SHA256) != 1 {
		t.Errorf("Undo without a rotation's id = %v with %d copies left, want an error and one", err, s.count(s.next.SHA256))
	}
}

func TestObserve_HandsOverWhatIsNotThere(t *testing.T) {
	s := newScene(t, old)
	w := s.work()
	w.Target.Identity = "crm4.dynamics.com"
	_, err := s.d.Observe(t.Context(), w)
	wantEnd(t, "Observe", err, rollover.HandedOver, rollover.IdentityMissing)
	s.fake.Put(host, identity)
	_, err = s.d.Stage(t.Context(), s.work())
	wantEnd(t, "Stage", err, rollover.HandedOver, rollover.IdentityAmbiguous)
}

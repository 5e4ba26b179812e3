package rollover_test

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestNext(t *testing.T) {
	now := rollovertest.Epoch
	fresh := &rollover.Evidence{Kind: rollover.Listed, At: now.Add(-time.Minute)}
	stale := &rollover.Evidence{Kind: rollover.Listed, At: now.Add(-2 * time.Hour)}
	due := rollover.Orders{
		Retire: true, RetireNotBefore: now.Add(-rollover.Margin), Margin: rollover.Margin, EvidenceMaxAge: time.Hour, MaxTries: 5,
	}
	early := due
	early.RetireNotBefore = now.Add(time.Second - rollover.Margin)
	kept := due
	kept.UndoWindow = time.Hour
	notOpened := due
	notOpened.Retire = false
	cases := []struct {
		name   string
		p      rollover.Progress
		orders rollover.Orders
		want   rollover.Step
	}{
		{"planned", rollover.Progress{Phase: rollover.Planned}, due, rollover.StepStage},
		{"staged", rollover.Progress{Phase: rollover.Staged}, due, rollover.StepVerify},
		{"verified", rollover.Progress{Phase: rollover.Verified}, due, rollover.StepActivate},
		{"in the overlap, and it is time", rollover.Progress{Phase: rollover.Activated, Evidence: fresh}, due, rollover.StepRetire},
		{"in the overlap, a second too early", rollover.Progress{Phase: rollover.Activated, Evidence: fresh}, early, rollover.StepWait},
		{"in the overlap, phase not opened", rollover.Progress{Phase: rollover.Activated, Evidence: fresh}, notOpened, rollover.StepWait},
		{"in the overlap, nothing to retire", rollover.Progress{Phase: rollover.Activated, Evidence: fresh}, rollover.Orders{Retire: true}, rollover.StepWait},
		{"in the overlap, evidence too old", rollover.Progress{Phase: rollover.Activated, Evidence: stale}, due, rollover.StepVerify},
		{"in the overlap, no evidence", rollover.Progress{Phase: rollover.Activated}, due, rollover.StepVerify},
		{"retired", rollover.Progress{Phase: rollover.Retired}, due, rollover.StepNothing},
		{"ended", rollover.Progress{Phase: rollover.Planned, Outcome: rollover.HandedOver}, due, rollover.StepNothing},
		{"held", rollover.Progress{Phase: rollover.Planned}, rollover.Orders{Hold: true}, rollover.StepWait},
		{"not due yet", rollover.Progress{Phase: rollover.Planned, NextAt: now.Add(time.Second)}, due, rollover.StepWait},
		{"due now", rollover.Progress{Phase: rollover.Planned, NextAt: now}, due, rollover.StepStage},
		{"in the overlap, not archived", rollover.Progress{Phase: rollover.Activated, Evidence: fresh}, kept, rollover.StepArchive},
		{"in the overlap, archived", rollover.Progress{Phase: rollover.Activated, Evidence: fresh, Archive: &rollover.Archive{Ready: true}}, kept, rollover.StepRetire},
		{"in the overlap, archived before a failed try", rollover.Progress{Phase: rollover.Activated, Evidence: fresh, Archive: &rollover.Archive{}}, kept, rollover.StepArchive},
		{"to be undone", rollover.Progress{Phase: rollover.Verified, Undo: 1}, rollover.Orders{Undo: 1}, rollover.StepUndo},
		{"to be undone, retired", rollover.Progress{Phase: rollover.Retired, Undo: 1, Archive: &rollover.Archive{}}, rollover.Orders{Undo: 1}, rollover.StepRestore},
		{"to be undone, and the undo is paused", rollover.Progress{Phase: rollover.Verified, Undo: 1}, rollover.Orders{Undo: 1, Hold: true}, rollover.StepWait},
		{"to be undone, and no undo is under way", rollover.Progress{Phase: rollover.Planned, Undo: 1}, due, rollover.StepWait},
		{"not of the undo that is under way", rollover.Progress{Phase: rollover.Planned}, rollover.Orders{Undo: 1}, rollover.StepWait},
		{"of the undo before", rollover.Progress{Phase: rollover.Verified, Undo: 1}, rollover.Orders{Undo: 2}, rollover.StepWait},
		{"a phase of a later version", rollover.Progress{Phase: "polished"}, due, rollover.StepNothing},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := rollover.Next(rollover.Task{Progress: c.p, Orders: c.orders}, now); got != c.want {
				t.Errorf("Next = %s, want %s", got, c.want)
			}
		})
	}
}

func TestBackoff_DoublesToAMinute(t *testing.T) {
	for n, want := range []time.Duration{1, 1, 2, 4, 8, 16, 32, 60, 60} {
		if got := rollover.Backoff(n, 0); got != want*time.Second {
			t.Errorf("Backoff(%d, 0) = %s, want %s", n, got, want*time.Second)
		}
		if got := rollover.Backoff(n, 0.999); got < want*time.Second/2 || got > want*time.Second {
			t.Errorf("Backoff(%d, 0.999) = %s, want between half of %s and it", n, got, want*time.Second)
		}
	}
}

func TestReason_EveryOneThatNeedsAPersonHasAHint(t *testing.T) {
	silent := map[rollover.Reason]bool{
		rollover.Rotated: true, rollover.AlreadyPresent: true, rollover.NoTarget: true, rollover.ByRequest: true,
	}
	for _, r := range rollover.Reasons() {
		if (r.Hint() == "") != silent[r] {
			t.Errorf("Hint of %s = %q", r, r.Hint())
		}
	}
}

func TestAssemble_OneItemForATargetOfTwoTenants(t *testing.T) {
	target := rollover.Target{Kind: "acs-x509", Host: "shared-sb.accesscontrol.windows.net", Identity: "crm.dynamics.com"}
	none := rollover.Target{Kind: "acs-x509"}
	a := rollover.Finding{Tenant: "a", Items: []rollover.Item{
		{Tenant: "a", Target: target, Outcome: rollover.HandedOver, Reason: rollover.NoAccess, Endpoints: []rollover.EndpointRef{{Tenant: "a", ID: "1"}}},
		{Tenant: "a", Target: none, Outcome: rollover.Skipped, Reason: rollover.NotACS, Endpoints: []rollover.EndpointRef{{Tenant: "a", ID: "2"}}},
	}}
	b := rollover.Finding{Tenant: "b", Items: []rollover.Item{
		{Tenant: "b", Target: target, Advice: []rollover.Advice{rollover.MoveToSAS}, Endpoints: []rollover.EndpointRef{{Tenant: "b", ID: "1"}}},
		{Tenant: "b", Target: none, Outcome: rollover.Skipped, Reason: rollover.NotACS, Endpoints: []rollover.EndpointRef{{Tenant: "b", ID: "2"}}},
	}}
	plan := rollover.Assemble([]rollover.Finding{a, b})
	if len(plan) != 3 {
		t.Fatalf("Assemble gave %d items, want the shared target once and two skipped endpoints", len(plan))
	}
	// It is b's first line, and comes after a's first.
	if it := plan[1]; it.Tenant != "b" || it.Outcome != rollover.Open || len(it.Endpoints) != 2 || len(it.Advice) != 1 {
		t.Errorf("the shared item is %+v, want b's access, both endpoints and the advice", it)
	}
	for i, it := range plan {
		if it.Ord != i {
			t.Errorf("item %d has position %d", i, it.Ord)
		}
	}
}

func TestAssemble_SiblingsShareAnEndpoint(t *testing.T) {
	host := func(h string) rollover.Target { return rollover.Target{Kind: "k", Host: h, Identity: "i"} }
	e := func(ids ...string) (out []rollover.EndpointRef) {
		for _, id := range ids {
			out = append(out, rollover.EndpointRef{Tenant: "a", ID: id})
		}
		return out
	}
	plan := rollover.Assemble([]rollover.Finding{{Tenant: "a", Items: []rollover.Item{
		{Tenant: "a", Target: host("x-sb"), Endpoints: e("1", "2")},
		{Tenant: "a", Target: host("x"), Endpoints: e("2")},
		{Tenant: "a", Target: host("y-sb"), Endpoints: e("3")},
	}}})
	got := [][]int{plan[0].Siblings, plan[1].Siblings, plan[2].Siblings}
	if want := [][]int{{1}, {0}, nil}; !reflect.DeepEqual(got, want) {
		t.Errorf("Siblings = %v, want %v", got, want)
	}
}

func TestDigest_ChangesWithEveryField(t *testing.T) {
	plan := rollovertest.Plan(2)
	base := rollover.Digest(rollover.Spec{Kind: "acs-x509"}, plan)
	if again := rollover.Digest(rollover.Spec{Kind: "acs-x509"}, rollovertest.Plan(2)); again != base {
		t.Errorf("Digest of an equal plan = %s, want %s", again, base)
	}
	changes := map[string]func(*rollover.Spec, []rollover.Item){
		"the request":        func(s *rollover.Spec, _ []rollover.Item) { s.RetireNotBefore = rollovertest.Epoch },
		"a host":             func(_ *rollover.Spec, p []rollover.Item) { p[1].Target.Host = "other" },
		"what was observed":  func(_ *rollover.Spec, p []rollover.Item) { p[0].Observed = "4567" },
		"what is retired":    func(_ *rollover.Spec, p []rollover.Item) { p[0].Retire = nil },
		"an endpoint behind": func(_ *rollover.Spec, p []rollover.Item) { p[0].Endpoints[0].ID = "x" },
		"an outcome":         func(_ *rollover.Spec, p []rollover.Item) { p[1].Outcome = rollover.Skipped },
	}
	for name, change := range changes {
		s, p := rollover.Spec{Kind: "acs-x509"}, rollovertest.Plan(2)
		change(&s, p)
		if rollover.Digest(s, p) == base {
			t.Errorf("Digest is the same although %s changed", name)
		}
	}
}

func TestToRetire(t *testing.T) {
	e := rollovertest.Epoch
	old, _ := rollovertest.Certificate(t, "CN=crm", e, e.AddDate(1, 0, 0))
	fresh, _ := rollovertest.Certificate(t, "CN=crm", e, e.AddDate(2, 0, 0))
	other, _ := rollovertest.Certificate(t, "CN=other", e, e.AddDate(2, 0, 0))
	reserved := rollovertest.Stand(old)
	reserved.Reserved = true
	o := rollover.Observation{Standing: []rollover.Standing{
		rollovertest.Stand(other), rollovertest.Stand(old), rollovertest.Stand(old), rollovertest.Stand(fresh),
	}}
	cases := []struct {
		name string
		spec rollover.Spec
		o    rollover.Observation
		want []string
	}{
		{"nothing named", rollover.Spec{New: fresh}, o, nil},
		{"by subject: once, never the new one", rollover.Spec{New: fresh, ReplacesSubject: true}, o, []string{old.SHA256}},
		{"by SHA-256", rollover.Spec{New: fresh, Replaces: []string{other.SHA256}}, o, []string{other.SHA256}},
		{"by SHA-1", rollover.Spec{New: fresh, Replaces: []string{lower(old.SHA1)}}, o, []string{old.SHA256}},
		{"the new one named by mistake", rollover.Spec{New: fresh, Replaces: []string{fresh.SHA256}}, o, nil},
		{"reserved", rollover.Spec{New: fresh, ReplacesSubject: true}, rollover.Observation{Standing: []rollover.Standing{reserved}}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, r := range c.spec.ToRetire(c.o) {
				got = append(got, r.SHA256)
				if r.DER != nil {
					t.Errorf("the plan would carry %d bytes of certificate, want none", len(r.DER))
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("ToRetire = %v, want %v", got, c.want)
			}
		})
	}
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func TestRotation_Transitions(t *testing.T) {
	now := rollovertest.Epoch
	with := func(s rollover.RotationState, p rollover.RotationPhase) rollover.Rotation {
		return rollover.Rotation{State: s, Phase: p, Digest: "d", Tasks: 1, Spec: rollover.Spec{ReplacesSubject: true, RetireNotBefore: now.Add(-time.Hour)}}
	}
	start := func(d string) func(rollover.Rotation) (rollover.Rotation, error) {
		return func(r rollover.Rotation) (rollover.Rotation, error) { return r.Start(d, now) }
	}
	cancel := func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("why", now) }
	retire := func(r rollover.Rotation) (rollover.Rotation, error) { return r.BeginRetire(now) }
	cases := []struct {
		name string
		from rollover.Rotation
		do   func(rollover.Rotation) (rollover.Rotation, error)
		want rollover.RotationState
		err  error
	}{
		{"start a planned one", with(rollover.StatePlanned, ""), start("d"), rollover.StateRunning, nil},
		{"start it again", with(rollover.StateRunning, rollover.PhaseOverlap), start("d"), rollover.StateRunning, nil},
		{"start with another digest", with(rollover.StatePlanned, ""), start("x"), rollover.StatePlanned, rollover.ErrStalePlan},
		{"start while planning", with(rollover.StatePlanning, ""), start("d"), rollover.StatePlanning, rollover.ErrState},
		{"start an ended one", with(rollover.StateSucceeded, ""), start("d"), rollover.StateSucceeded, rollover.ErrState},
		{"cancel while planning", with(rollover.StatePlanning, ""), cancel, rollover.StateCancelled, nil},
		{"cancel a planned one", with(rollover.StatePlanned, ""), cancel, rollover.StateCancelling, nil},
		{"cancel a running one", with(rollover.StateRunning, rollover.PhaseStage), cancel, rollover.StateCancelling, nil},
		{"cancel twice", with(rollover.StateCancelling, ""), cancel, rollover.StateCancelling, nil},
		{"cancel a failed one", with(rollover.StateFailed, ""), cancel, rollover.StateFailed, rollover.ErrState},
		{"retire in the overlap", with(rollover.StateRunning, rollover.PhaseOverlap), retire, rollover.StateRunning, nil},
		{"retire while staging", with(rollover.StateRunning, rollover.PhaseStage), retire, rollover.StateRunning, rollover.ErrState},
		{"retire what was cancelled", with(rollover.StateCancelled, ""), retire, rollover.StateCancelled, rollover.ErrState},
		{"retire nothing", rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseOverlap}, retire, rollover.StateRunning, rollover.ErrState},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.do(c.from)
			if got.State != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("state %s, error %v; want %s, %v", got.State, err, c.want, c.err)
			}
		})
	}
}

// The counts that Apply keeps moving are those that one would count.
func TestBoard_CountsAreTheFold(t *testing.T) {
	phases := []rollover.Phase{rollover.Planned, rollover.Staged, rollover.Verified, rollover.Activated, rollover.Retired}
	outcomes := append(rollover.Outcomes(), rollover.Open, rollover.Open, rollover.Open)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "tasks")
		plan := rollovertest.Plan(n)
		b, latest := rollover.NewBoard(plan), make([]rollover.Row, n)
		for i := range latest {
			latest[i] = rollover.Row{Progress: plan[i].Start()}
		}
		for range rapid.IntRange(0, 40).Draw(rt, "changes") {
			ord, seq := rapid.IntRange(-1, n).Draw(rt, "task"), rapid.Uint64Range(1, 20).Draw(rt, "version")
			p := rollover.Progress{
				Phase: rapid.SampledFrom(phases).Draw(rt, "phase"), Outcome: rapid.SampledFrom(outcomes).Draw(rt, "outcome"),
				Tries: rapid.IntRange(0, 2).Draw(rt, "tries"), Removed: rapid.SliceOfN(rapid.Just("x"), 0, 1).Draw(rt, "removed"),
				Undo: rapid.IntRange(0, 2).Draw(rt, "undo"), Retried: rapid.IntRange(0, 2).Draw(rt, "retried"),
			}
			news := b.Apply(ord, p, seq)
			if ord < 0 || ord >= n || seq <= latest[ord].Seq {
				if news {
					rt.Fatalf("Apply(%d, …, %d) = true, want false", ord, seq)
				}
				continue
			}
			latest[ord] = rollover.Row{Progress: p, Seq: seq}
			running := rollover.Rotation{State: rollover.StateRunning}
			var due []int
			for i, r := range latest {
				if s := rollover.Next(rollover.Task{Progress: r.Progress}, rollovertest.Epoch); s != rollover.StepWait && s != rollover.StepNothing {
					due = append(due, i)
				}
			}
			if got := b.Releasable(running, n, rollovertest.Epoch); !slices.Equal(got, due) {
				rt.Fatalf("Releasable = %v, want %v", got, due)
			}
		}
		want := rollover.Counts{Total: n, Workable: n, Phases: map[rollover.Phase]int{}, Outcomes: map[rollover.Outcome]int{}, Undos: map[int]rollover.UndoCounts{}}
		want.Carriers.All = n
		for _, r := range latest {
			want.Retried += r.Retried
			countUndo(want.Undos, r)
			switch {
			case r.Outcome == rollover.Undone:
				want.Carriers.Lost++
			case len(r.Removed) > 0:
				want.Carriers.Rid++
			case r.Outcome != rollover.Open:
				want.Carriers.Lost++
			}
			if len(r.Removed) > 0 {
				want.Retired++
			}
			if r.Outcome != rollover.Open {
				want.Outcomes[r.Outcome]++
				if r.Outcome == rollover.Failed && r.Undo == 0 {
					want.Broken++
				}
				continue
			}
			want.OpenTasks++
			want.Phases[r.Phase]++
			if r.Tries > 0 {
				want.Retrying++
			}
		}
		got := b.Counts()
		maps.DeleteFunc(got.Phases, func(_ rollover.Phase, n int) bool { return n == 0 })
		maps.DeleteFunc(got.Outcomes, func(_ rollover.Outcome, n int) bool { return n == 0 })
		if !reflect.DeepEqual(got, want) {
			rt.Fatalf("Counts = %+v\nwant %+v", got, want)
		}
	})
}

func countUndo(all map[int]rollover.UndoCounts, r rollover.Row) {
	if r.Undo == 0 {
		return
	}
	u := all[r.Undo]
	u.Covered++
	switch r.Outcome {
	case rollover.Open:
		u.Open++
	case rollover.Undone:
		u.Undone++
	case rollover.Failed, rollover.Conflict:
		u.Failed++
	}
	all[r.Undo] = u
}

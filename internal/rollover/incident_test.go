package rollover_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func keyHash(t *testing.T, c rollover.Credential) string {
	t.Helper()
	h, err := rollover.KeyHash(c.DER)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestToRetire_OfAnIncidentIsWhatIsCompromised(t *testing.T) {
	e := rollovertest.Epoch
	cert := func(subject string) rollover.Credential {
		c, _ := rollovertest.Certificate(t, subject, e.AddDate(-1, 0, 0), e.AddDate(1, 0, 0))
		return c
	}
	leaked, other, fresh := cert("CN=crm.dynamics.com"), cert("CN=crm.dynamics.com"), cert("CN=crm.dynamics.com")
	reserved := rollovertest.Stand(leaked)
	reserved.Reserved = true
	broken := rollovertest.Stand(other)
	broken.DER, broken.SHA256 = []byte("no certificate"), strings.Repeat("b", 64)
	for _, tt := range []struct {
		name  string
		sort  rollover.CompromisedSort
		hash  string
		stand []rollover.Standing
		want  []string
	}{
		{"by SHA-256", rollover.CompromisedSHA256, leaked.SHA256, []rollover.Standing{rollovertest.Stand(leaked), rollovertest.Stand(other)}, []string{leaked.SHA256}},
		{"by SHA-1", rollover.CompromisedSHA1, strings.ToLower(leaked.SHA1), []rollover.Standing{rollovertest.Stand(leaked), rollovertest.Stand(other)}, []string{leaked.SHA256}},
		{"by its key", rollover.CompromisedKeyHash, keyHash(t, leaked), []rollover.Standing{rollovertest.Stand(other), rollovertest.Stand(leaked)}, []string{leaked.SHA256}},
		{"a thumbprint is no key", rollover.CompromisedKeyHash, leaked.SHA256, []rollover.Standing{rollovertest.Stand(leaked)}, nil},
		{"a key is no thumbprint", rollover.CompromisedSHA256, keyHash(t, leaked), []rollover.Standing{rollovertest.Stand(leaked)}, nil},
		{"not the new one", rollover.CompromisedSHA256, fresh.SHA256, []rollover.Standing{rollovertest.Stand(fresh)}, nil},
		{"not a reserved one", rollover.CompromisedSHA256, leaked.SHA256, []rollover.Standing{reserved}, nil},
		{"not one that cannot be read", rollover.CompromisedKeyHash, keyHash(t, other), []rollover.Standing{broken}, nil},
		{"one that cannot be read, by its thumbprint", rollover.CompromisedSHA256, broken.SHA256, []rollover.Standing{broken}, []string{broken.SHA256}},
	} {
		s := rollover.Spec{New: fresh, Incident: &rollover.Incident{Compromised: []rollover.Compromised{{Sort: tt.sort, Hash: tt.hash}}}}
		var got []string
		for _, c := range s.ToRetire(rollover.Observation{Standing: tt.stand}) {
			got = append(got, c.SHA256)
			if len(c.DER) > 0 {
				t.Errorf("%s: the plan would hold bytes", tt.name)
			}
		}
		if strings.Join(got, " ") != strings.Join(tt.want, " ") {
			t.Errorf("%s: ToRetire = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// incident is a rotation of alice's that is planned.
func incident(t *testing.T) rollover.Rotation {
	t.Helper()
	e := rollovertest.Epoch
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", e.AddDate(0, 0, -1), e.AddDate(1, 0, 0))
	r := rollovertest.NewRotation("r1", c, e)
	r.Spec.ReplacesSubject = false
	r.Spec.RetireNotBefore = e.Add(24 * time.Hour)
	r.Spec.Incident = &rollover.Incident{
		Compromised:      []rollover.Compromised{{Sort: rollover.CompromisedSHA256, Hash: strings.Repeat("a", 64)}},
		ShortenedOverlap: 15 * time.Minute,
	}
	r.Creator = "alice"
	r.State, r.Digest, r.Tasks = rollover.StatePlanned, strings.Repeat("d", 64), 1
	return r
}

func approval(r rollover.Rotation, by string, at time.Time) rollover.Approval {
	return rollover.Approval{By: by, At: at, Reason: "seen", Digest: r.Digest}
}

func TestApprove(t *testing.T) {
	at := rollovertest.Epoch.Add(time.Hour)
	for _, tt := range []struct {
		name   string
		by     string
		digest string
		change func(*rollover.Rotation)
		want   error
	}{
		{name: "a second person", by: "bob"},
		{name: "the creator", by: "alice", want: rollover.ErrSecondPerson},
		{name: "the creator in capitals", by: " ALICE ", want: rollover.ErrSecondPerson},
		{name: "nobody", by: "anonymous", want: rollover.ErrSecondPerson},
		{name: "no name", by: " ", want: rollover.ErrSecondPerson},
		{name: "of nobody's rotation", by: "bob", change: func(r *rollover.Rotation) { r.Creator = "anonymous" }, want: rollover.ErrSecondPerson},
		{name: "another plan", by: "bob", digest: strings.Repeat("e", 64), want: rollover.ErrStalePlan},
		{name: "no incident", by: "bob", change: func(r *rollover.Rotation) { r.Spec.Incident = nil }, want: rollover.ErrState},
		{name: "before the plan", by: "bob", change: func(r *rollover.Rotation) { r.State = rollover.StatePlanning }, want: rollover.ErrState},
		{name: "running", by: "bob", change: func(r *rollover.Rotation) { r.State = rollover.StateRunning }},
		{name: "paused", by: "bob", change: func(r *rollover.Rotation) { r.State = rollover.StatePaused }},
		{name: "cancelling", by: "bob", change: func(r *rollover.Rotation) { r.State = rollover.StateCancelling }, want: rollover.ErrState},
		{name: "ended", by: "bob", change: func(r *rollover.Rotation) { r.State = rollover.StateSucceeded }, want: rollover.ErrState},
	} {
		r := incident(t)
		if tt.change != nil {
			tt.change(&r)
		}
		a := approval(r, tt.by, at)
		if tt.digest != "" {
			a.Digest = tt.digest
		}
		got, err := r.Approve(a, rollover.People{})
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: Approve = %v, want %v", tt.name, err, tt.want)
		}
		if (got.Approval == a) != (tt.want == nil) || (got.UpdatedAt.Equal(at)) != (tt.want == nil) {
			t.Errorf("%s: the approval is %+v", tt.name, got.Approval)
		}
	}
}

func TestApprove_AgainChangesNothing(t *testing.T) {
	at := rollovertest.Epoch
	r := incident(t)
	once, err := r.Approve(approval(r, "bob", at), rollover.People{})
	check(t, err)
	again, err := once.Approve(approval(once, "carol", at.Add(time.Hour)), rollover.People{})
	if err != nil || again.Approval.By != "bob" || !again.Approval.At.Equal(at) {
		t.Errorf("Approve again = %+v, %v, want bob's approval as it was", again.Approval, err)
	}
}

// Who started an incident's rotation a month after its approval has no approval: the
// plan was looked at then. What runs keeps what it was started with.
func TestApprove_TheWordsForAContainmentEnd(t *testing.T) {
	at := rollovertest.Epoch
	r := incident(t)
	r.Spec.RetireNotBefore = at.AddDate(0, 2, 0)
	a := approval(r, "bob", at)
	a.Until = at.Add(24 * time.Hour)
	r, err := r.Approve(a, rollover.People{})
	check(t, err)
	for _, tt := range []struct {
		name  string
		until time.Time
		start time.Time
		holds bool
	}{
		{"in time", a.Until, a.Until.Add(-time.Second), true},
		{"at its end", a.Until, a.Until, false},
		{"a month later", a.Until, at.AddDate(0, 1, 0), false},
		{"of before there was an end, in a day", time.Time{}, at.Add(23 * time.Hour), true},
		{"of before there was an end, a month later", time.Time{}, at.AddDate(0, 1, 0), false},
	} {
		r := r
		r.Approval.Until = tt.until
		if shown := r.Containment(rollover.Counts{}, tt.start).Approval; shown.At.IsZero() == tt.holds {
			t.Errorf("%s: a planned one shows the approval %+v", tt.name, shown)
		}
		began, err := r.Start(r.Digest, tt.start)
		check(t, err)
		if got := began.Approval.At.IsZero(); got == tt.holds {
			t.Errorf("%s: begun with the approval %+v, want one: %t", tt.name, began.Approval, tt.holds)
		}
		later := began.Enter(rollover.PhaseOverlap, tt.start).RetireNotBefore()
		if early := later.Before(r.Spec.RetireNotBefore); early != tt.holds {
			t.Errorf("%s: nothing goes before %s, want it brought forward: %t", tt.name, later, tt.holds)
		}
		if again, err := began.Start(r.Digest, tt.start.AddDate(0, 1, 0)); err != nil || again.Approval != began.Approval {
			t.Errorf("%s: a running one that is started again has %+v, %v, want what it had", tt.name, again.Approval, err)
		}
	}
	fresh := approval(r, "carol", a.Until)
	if got, err := r.Approve(fresh, rollover.People{}); err != nil || got.Approval.By != "carol" {
		t.Errorf("Approve after the first has ended = %+v, %v, want carol's", got.Approval, err)
	}
	r.State = rollover.StateRunning
	if got, err := r.Approve(fresh, rollover.People{}); err != nil || got.Approval.By != "bob" {
		t.Errorf("Approve of a running one = %+v, %v, want bob's, which it runs with", got.Approval, err)
	}
}

// Without a valid approval the instant is that of the request. With one it is never
// later than that, nor before the approval, the overlap's begin, or the new
// credential's own.
func TestRetireNotBefore_IsBroughtForwardByASecondPersonOnly(t *testing.T) {
	base := incident(t)
	e := rollovertest.Epoch
	rapid.Check(t, func(rt *rapid.T) {
		minutes := func(name string) time.Duration {
			return time.Duration(rapid.IntRange(0, 3000).Draw(rt, name)) * time.Minute
		}
		r := base
		i := *base.Spec.Incident
		i.ShortenedOverlap = minutes("shortened")
		r.Spec.Incident = &i
		r.Spec.New.NotBefore = e.Add(minutes("valid from"))
		r.Spec.RetireNotBefore = e.Add(minutes("spec"))
		r.State, r.Phase = rollover.StateRunning, rollover.PhaseVerify
		if rapid.Bool().Draw(rt, "in the overlap") {
			r = r.Enter(rollover.PhaseOverlap, e.Add(minutes("overlap")))
		}
		by, digest := "bob", r.Digest
		if rapid.Bool().Draw(rt, "not as it should be") {
			by = rapid.SampledFrom([]string{"", "anonymous", "alice", "Alice", "bob"}).Draw(rt, "by")
			digest = rapid.SampledFrom([]string{r.Digest, "", strings.Repeat("e", 64)}).Draw(rt, "digest")
		}
		a := rollover.Approval{By: by, At: e.Add(minutes("approved")), Digest: digest}
		if rapid.Bool().Draw(rt, "through the rule") {
			r, _ = r.Approve(a, rollover.People{})
		} else {
			r.Approval = a // As a record that somebody wrote might be.
		}
		got := r.RetireNotBefore()
		if by != "bob" || digest != r.Digest {
			if !got.Equal(r.Spec.RetireNotBefore) {
				rt.Fatalf("RetireNotBefore = %s without a second person, want %s", got, r.Spec.RetireNotBefore)
			}
			return
		}
		if got.After(r.Spec.RetireNotBefore) {
			rt.Fatalf("RetireNotBefore = %s, later than asked for: %s", got, r.Spec.RetireNotBefore)
		}
		if got.Equal(r.Spec.RetireNotBefore) {
			return
		}
		for what, earliest := range map[string]time.Time{
			"the approval and the overlap":   a.At.Add(i.ShortenedOverlap),
			"all being verified and overlap": r.OverlapAt.Add(i.ShortenedOverlap),
			"the new one being valid":        r.Spec.New.NotBefore,
		} {
			if got.Before(earliest) {
				rt.Fatalf("RetireNotBefore = %s, before %s: %s", got, what, earliest)
			}
		}
		if o := r.Orders(r.Spec.New); !o.RetireNotBefore.Equal(got) {
			rt.Fatalf("Orders say %s, the rotation %s", o.RetireNotBefore, got)
		}
	})
}

func TestBeginRetire_ApprovedIsEarlierButNotBeforeAllIsVerified(t *testing.T) {
	e := rollovertest.Epoch
	r := incident(t)
	r.State, r.Phase = rollover.StateRunning, rollover.PhaseVerify
	at := e.Add(15*time.Minute + rollover.Margin)
	if _, err := r.Enter(rollover.PhaseOverlap, e).BeginRetire(at); !errors.Is(err, rollover.ErrTooEarly) {
		t.Errorf("BeginRetire without approval = %v, want too early", err)
	}
	r, err := r.Approve(approval(r, "bob", e), rollover.People{})
	check(t, err)
	if _, err := r.BeginRetire(at); !errors.Is(err, rollover.ErrState) {
		t.Errorf("BeginRetire while verifying = %v, want that the state does not allow it", err)
	}
	late := r.Enter(rollover.PhaseOverlap, e.Add(10*time.Minute))
	if _, err := late.BeginRetire(at); !errors.Is(err, rollover.ErrTooEarly) {
		t.Errorf("BeginRetire 10 minutes into the overlap = %v, want too early", err)
	}
	if got, err := late.BeginRetire(at.Add(10 * time.Minute)); err != nil || got.Phase != rollover.PhaseRetire {
		t.Errorf("BeginRetire after the shortened overlap = %s, %v, want the retire phase", got.Phase, err)
	}
}

func TestContainment_IsTheFoldOfTheCarriers(t *testing.T) {
	e := rollovertest.Epoch
	r := incident(t)
	r.CreatedAt, r.Tasks = e, 4
	item := func(ord int, old ...rollover.Credential) rollover.Item {
		return rollover.Item{Ord: ord, Tenant: "t", Target: rollover.Target{Kind: "k", Host: string(rune('a' + ord))}, Retire: old}
	}
	leaked := rollover.Credential{SHA256: strings.Repeat("a", 64)}
	also := rollover.Credential{SHA256: strings.Repeat("b", 64)}
	left := item(3)
	left.Outcome, left.Reason = rollover.Skipped, rollover.NotSelected
	plan := []rollover.Item{item(0, leaked), item(1, leaked, also), item(2), left}
	b := rollover.NewBoard(plan)
	want := func(when string, all, rid, lost, dark int, contained time.Duration) {
		t.Helper()
		c := r.Containment(b.Counts(), e.Add(time.Hour))
		if c.All != all || c.Rid != rid || c.Lost != lost || c.Dark != dark {
			t.Errorf("%s: %+v, want %d carriers, %d rid, %d lost, %d dark", when, c.Carriers, all, rid, lost, dark)
		}
		switch {
		case contained == 0 && (!c.At.IsZero() || c.Elapsed != time.Hour):
			t.Errorf("%s: contained at %s after %s, want not yet and an hour", when, c.At, c.Elapsed)
		case contained > 0 && (!c.At.Equal(e.Add(contained)) || c.Elapsed != contained):
			t.Errorf("%s: contained at %s after %s, want after %s", when, c.At, c.Elapsed, contained)
		}
	}
	done := func(ord, seq, minute int, o rollover.Outcome, removed ...string) {
		b.Apply(ord, rollover.Progress{Phase: rollover.Retired, Outcome: o, Removed: removed, UpdatedAt: e.Add(time.Duration(minute) * time.Minute)}, uint64(seq)) //nolint:gosec // Small.
	}
	want("planned", 2, 0, 0, 0, 0)
	done(0, 1, 7, rollover.Succeeded, leaked.SHA256)
	want("one is rid of it", 2, 1, 0, 0, 0)
	done(1, 2, 8, rollover.Failed, leaked.SHA256)
	want("the other of one of two", 2, 1, 1, 0, 0)
	done(1, 3, 9, rollover.Succeeded, leaked.SHA256, also.SHA256)
	want("all are rid of it", 2, 2, 0, 0, 9*time.Minute)
	done(0, 4, 20, rollover.Undone, leaked.SHA256)
	want("one was taken back", 2, 1, 1, 0, 0)

	dark := item(3)
	dark.Outcome, dark.Reason = rollover.HandedOver, rollover.NoAccess
	b = rollover.NewBoard([]rollover.Item{item(0, leaked), item(1), item(2), dark})
	done(0, 1, 7, rollover.Succeeded, leaked.SHA256)
	want("one could not be read", 1, 1, 0, 1, 0)
}

// A request that is no incident's has the digest that it had before.
func TestDigest_IncidentIsInIt(t *testing.T) {
	plain := rollover.Spec{Kind: "acs-x509", MaxInFlight: 1, MaxTries: 1}
	with := plain
	with.Incident = &rollover.Incident{Compromised: []rollover.Compromised{{Sort: rollover.CompromisedSHA1, Hash: "x"}}}
	if rollover.Digest(plain, nil) == rollover.Digest(with, nil) {
		t.Error("an incident does not change the digest")
	}
}

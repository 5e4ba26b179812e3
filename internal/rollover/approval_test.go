package rollover_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestApprovalPolicy_WhoIsNeeded(t *testing.T) {
	p := rollover.ApprovalPolicy{Rules: []rollover.ApprovalRule{
		{Acts: []rollover.Act{rollover.ActStart}, MinTargets: 100, Approvers: 1},
		{MinTargets: 1000, Approvers: 2},
		{Clouds: []string{"us_government"}, Approvers: 2},
		{Incident: true, Approvers: 3, Acts: []rollover.Act{rollover.ActContain}},
		{Acts: []rollover.Act{rollover.ActUndo}, Retired: true, Approvers: 1},
	}}
	type c = rollover.ApprovalCase
	for _, tt := range []struct {
		of   c
		want int
	}{
		{c{Act: rollover.ActStart, Targets: 99}, 0},
		{c{Act: rollover.ActStart, Targets: 100}, 1},
		{c{Act: rollover.ActStart, Targets: 999}, 1},
		{c{Act: rollover.ActStart, Targets: 1000}, 2},
		{c{Act: rollover.ActStart, Targets: 1, Clouds: []string{"commercial", "us_government"}}, 2},
		{c{Act: rollover.ActStart, Targets: 1, Clouds: []string{"commercial"}}, 0},
		{c{Act: rollover.ActStart, Targets: 1, Incident: true}, 0},
		{c{Act: rollover.ActContain, Targets: 1, Incident: true}, 3},
		{c{Act: rollover.ActContain, Targets: 1}, 1}, // Somebody else, by any policy.
		{c{Act: rollover.ActRetireEarly, Targets: 1}, 1},
		{c{Act: rollover.ActUndo, Targets: 1}, 0},
		{c{Act: rollover.ActUndo, Targets: 1, Retired: true}, 1},
		{c{Act: rollover.ActUndo, Targets: 1000}, 2},
	} {
		if got := p.Needed(tt.of); got != tt.want {
			t.Errorf("Needed(%+v) = %d, want %d", tt.of, got, tt.want)
		}
	}
	none := rollover.ApprovalPolicy{}
	if got := none.Needed(c{Act: rollover.ActStart, Targets: 1 << 20, Incident: true}); got != 0 {
		t.Errorf("the zero policy needs %d", got)
	}
	if got := none.Needed(c{Act: rollover.ActRetireEarly}); got != 1 {
		t.Errorf("the zero policy needs %d for an early removal, want 1", got)
	}
}

func planned() rollover.Rotation {
	return rollover.Rotation{ID: "r1", State: rollover.StatePlanned, Digest: "d1", Creator: "corp:ann"}
}

func consent(by string, at time.Time) rollover.Approval {
	return rollover.Approval{By: by, At: at, Reason: "seen", Digest: "d1", Act: rollover.ActStart, Until: at.Add(time.Hour)}
}

// acting is people who are known by their names, one of whom acts.
func acting(name string) rollover.People {
	return rollover.People{Actor: rollover.Someone{Name: name}}
}

func TestConsent_WhoMayApproveWhat(t *testing.T) {
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		r    func(*rollover.Rotation)
		a    func(*rollover.Approval)
		want error
	}{
		"another":          {nil, nil, nil},
		"the creator":      {nil, func(a *rollover.Approval) { a.By = "corp:ann" }, rollover.ErrSecondPerson},
		"the creator, big": {nil, func(a *rollover.Approval) { a.By = " CORP:Ann " }, rollover.ErrSecondPerson},
		"nobody":           {nil, func(a *rollover.Approval) { a.By = "" }, rollover.ErrSecondPerson},
		"of nobody's":      {func(r *rollover.Rotation) { r.Creator = "anonymous" }, nil, rollover.ErrSecondPerson},
		"another plan":     {nil, func(a *rollover.Approval) { a.Digest = "d2" }, rollover.ErrStalePlan},
		"no plan yet":      {func(r *rollover.Rotation) { r.State, r.Digest = rollover.StatePlanning, "" }, nil, rollover.ErrState},
		"begun":            {func(r *rollover.Rotation) { r.State = rollover.StateRunning }, nil, rollover.ErrState},
		"undo of nothing":  {nil, func(a *rollover.Approval) { a.Act = rollover.ActUndo }, rollover.ErrState},
		"undo of an end":   {func(r *rollover.Rotation) { r.State = rollover.StateSucceeded }, func(a *rollover.Approval) { a.Act = rollover.ActUndo }, nil},
		"too late":         {func(r *rollover.Rotation) { r.State = rollover.StateSucceeded }, func(a *rollover.Approval) { a.Act = rollover.ActRetireEarly }, rollover.ErrState},
	} {
		r, a := planned(), consent("corp:bob", now)
		if tt.r != nil {
			tt.r(&r)
		}
		if tt.a != nil {
			tt.a(&a)
		}
		got, err := r.Consent(a, rollover.People{})
		if !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) || len(got.Approvals) != map[bool]int{true: 1, false: 0}[tt.want == nil] {
			t.Errorf("%s: Consent = %d approvals, %v, want %v", name, len(got.Approvals), err, tt.want)
		}
	}
}

func TestApproved_WhatVoidsAnApproval(t *testing.T) {
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	r, err := planned().Consent(consent("corp:bob", now), rollover.People{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Approved(rollover.ActStart, "", 1, now.Add(59*time.Minute), acting("corp:ann")); err != nil {
		t.Errorf("Approved = %v", err)
	}
	for name, tt := range map[string]struct {
		change  func(*rollover.Rotation)
		act     rollover.Act
		subject string
		actor   string
		need    int
		at      time.Time
	}{
		"it has ended":           {nil, rollover.ActStart, "", "corp:ann", 1, now.Add(time.Hour)},
		"the plan changed":       {func(r *rollover.Rotation) { r.Digest = "d2" }, rollover.ActStart, "", "corp:ann", 1, now},
		"another act":            {nil, rollover.ActUndo, "", "corp:ann", 1, now},
		"another subject":        {nil, rollover.ActStart, "x", "corp:ann", 1, now},
		"the approver acts":      {nil, rollover.ActStart, "", "Corp:Bob", 1, now},
		"two are needed":         {nil, rollover.ActStart, "", "corp:ann", 2, now},
		"it is of the future":    {nil, rollover.ActStart, "", "corp:ann", 1, now.Add(-time.Minute)},
		"the approver's is ours": {func(r *rollover.Rotation) { r.Creator = "corp:bob" }, rollover.ActStart, "", "corp:ann", 1, now},
	} {
		r := r
		r.Approvals = slices.Clone(r.Approvals)
		if tt.change != nil {
			tt.change(&r)
		}
		err := r.Approved(tt.act, tt.subject, tt.need, tt.at, acting(tt.actor))
		var missing *rollover.ApprovalsError
		if !errors.As(err, &missing) || missing.Need != tt.need {
			t.Errorf("%s: Approved = %v, want that somebody is missing", name, err)
		}
	}
}

// However often whoever approves, k distinct others are needed, and the creator and who
// acts are never among them.
func TestApproved_CountsPeopleOnce(t *testing.T) {
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		r := planned()
		people := rapid.SliceOfN(rapid.IntRange(0, 6), 0, 100).Draw(t, "people")
		distinct := map[int]bool{}
		for i, n := range people {
			name := fmt.Sprintf("corp:p%d", n)
			if n == 0 {
				name = "corp:ann"
			}
			next, err := r.Consent(consent(name, now.Add(time.Duration(i)*time.Second)), rollover.People{})
			if (err == nil) != (n != 0) {
				t.Fatalf("Consent by %s = %v", name, err)
			}
			if r = next; n != 0 && n != 1 { // p1 acts.
				distinct[n] = true
			}
		}
		need := rapid.IntRange(1, 6).Draw(t, "need")
		err := r.Approved(rollover.ActStart, "", need, now.Add(2*time.Minute), acting("corp:p1"))
		if (err == nil) != (len(distinct) >= need) {
			t.Fatalf("Approved by %d others, %d are needed: %v", len(distinct), need, err)
		}
		if len(r.Approvals) > 6 {
			t.Fatalf("%d approvals of six people are kept", len(r.Approvals))
		}
	})
}

// The rights change between what two people did: it was one person all the same.
func TestApproved_PeopleThatTheRightsJoinOrRename(t *testing.T) {
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	joined := func(names map[string]string) rollover.People {
		return rollover.People{Person: func(s string) string {
			if p, ok := names[s]; ok {
				return p
			}
			return s
		}}
	}
	jane := map[string]string{"cert:jane": "person:jane", "corp:jane": "person:jane"}
	renamed := map[string]string{"cert:jane": "person:jdoe", "corp:jane": "person:jdoe"}
	by := func(name, proven string) rollover.Approval {
		a := consent(name, now)
		a.Proven = proven
		return a
	}
	for name, tt := range map[string]struct {
		creator, proven string
		a               rollover.Approval
		people          rollover.People
		other           bool
	}{
		"joined since":                       {"cert:jane", "cert:jane", by("person:jane", "corp:jane"), joined(jane), false},
		"joined since, of an older record":   {"cert:jane", "", by("person:jane", "corp:jane"), joined(jane), false},
		"renamed since":                      {"person:jane", "corp:jane", by("person:jdoe", "cert:jane"), joined(renamed), false},
		"taken apart since, the same proof":  {"person:jane", "corp:jane", by("corp:jane", "corp:jane"), joined(nil), false},
		"another, whatever the people are":   {"person:jane", "corp:jane", by("corp:bob", "corp:bob"), joined(jane), true},
		"another of the same table, renamed": {"person:jane", "corp:jane", by("corp:bob", "corp:bob"), joined(renamed), true},
	} {
		r := planned()
		r.Creator, r.CreatorProven = tt.creator, tt.proven
		got, err := r.Consent(tt.a, tt.people)
		if (err == nil) != tt.other || err != nil && !errors.Is(err, rollover.ErrSecondPerson) {
			t.Errorf("%s: Consent = %v, want another person: %t", name, err, tt.other)
		}
		r.Approvals = []rollover.Approval{tt.a} // As it was given under the rights of before.
		if n := len(r.Consents(rollover.ActStart, "", now, tt.people)); (n == 1) != tt.other {
			t.Errorf("%s: %d words of others count, want another person: %t", name, n, tt.other)
		}
		if n := len(got.Approvals); (n == 1) != tt.other {
			t.Errorf("%s: %d words are kept", name, n)
		}
	}
	r := planned()
	r.Approvals = []rollover.Approval{by("person:jane", "cert:jane"), by("person:jdoe", "corp:jane")}
	if n := len(r.Consents(rollover.ActStart, "", now, joined(renamed))); n != 1 {
		t.Errorf("who was renamed counts %d times, want once", n)
	}
	if r, err := r.Consent(by("person:jdoe", "cert:jane"), joined(renamed)); err != nil || len(r.Approvals) != 1 {
		t.Errorf("who was renamed has %d words kept, %v, want the last", len(r.Approvals), err)
	}
	p := joined(renamed)
	p.Actor = rollover.Someone{Name: "corp:jane", Subject: "corp:jane"}
	if n := len(r.Consents(rollover.ActStart, "", now, p)); n != 0 {
		t.Errorf("%d of the actor's own words count", n)
	}
	p.Actor, p.Counts = rollover.Someone{}, func(a rollover.Approval) bool { return a.Proven != "corp:jane" }
	if n := len(r.Consents(rollover.ActStart, "", now, p)); n != 1 {
		t.Errorf("%d words count where one of two may approve no more", n)
	}
}

func TestReconsider_AnApprovalThatIsNobodyElsesAnyMore(t *testing.T) {
	r := planned()
	r.Creator, r.CreatorProven = "cert:jane", "cert:jane"
	r.Spec.Incident = &rollover.Incident{}
	r.Approval = consent("corp:jane", time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC))
	r.Approval.Proven = "corp:jane"
	jane := func(s string) string { return "person:" + s[len("cert:"):] }
	if got := r.Reconsider(rollover.People{}); got.Approval != r.Approval {
		t.Errorf("Reconsider of another's = %+v", got.Approval)
	}
	for name, p := range map[string]rollover.People{
		"joined since": {Person: jane}, "may approve no more": {Counts: func(rollover.Approval) bool { return false }},
	} {
		if got := r.Reconsider(p); !got.Approval.At.IsZero() {
			t.Errorf("%s: Reconsider = %+v, want none", name, got.Approval)
		}
		r := r
		r.State = rollover.StateRunning
		if got := r.Reconsider(p); got.Approval != r.Approval {
			t.Errorf("%s: Reconsider of what runs = %+v, want what it was started with", name, got.Approval)
		}
	}
}

func TestSubject_IsAnotherForAnythingElse(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range []string{
		rollover.Subject(), rollover.Subject(""), rollover.Subject("a"), rollover.Subject("a", "b"), rollover.Subject("ab"), rollover.Subject([]string{"a", "b"}),
		rollover.Subject(1), rollover.Subject("1"),
	} {
		if seen[s] {
			t.Errorf("the subject %s is there twice", s)
		}
		seen[s] = true
	}
}

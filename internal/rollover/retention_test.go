package rollover_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

var judged = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// endedAgo returns a rotation that ended so long ago.
func endedAgo(id string, ago time.Duration, change ...func(*rollover.Kept)) rollover.Kept {
	at := judged.Add(-ago)
	k := rollover.Kept{Rotation: rollover.Rotation{ID: id, State: rollover.StateSucceeded, StartedAt: at, EndedAt: at, UpdatedAt: at}}
	for _, f := range change {
		f(&k)
	}
	return k
}

func TestRetention_WhatIsNotOverIsKept(t *testing.T) {
	const day = 24 * time.Hour
	aged := rollover.Retention{For: 30 * day}
	old := endedAgo("b", 100*day)
	live := func(id string, s rollover.Spec) rollover.Kept {
		return rollover.Kept{Rotation: rollover.Rotation{ID: id, State: rollover.StatePlanning, Spec: s}}
	}
	for _, tc := range []struct {
		name string
		p    rollover.Retention
		all  []rollover.Kept
		want []string
	}{
		{"no retention", rollover.Retention{}, []rollover.Kept{old}, nil},
		{"over", aged, []rollover.Kept{old}, []string{"b"}},
		{"too young", aged, []rollover.Kept{endedAgo("b", 29*day)}, nil},
		{"not ended", aged, []rollover.Kept{live("b", rollover.Spec{})}, nil},
		{"too many, the first to end goes first", rollover.Retention{Max: 1}, []rollover.Kept{endedAgo("b", 2*day), endedAgo("a", 4*day), endedAgo("c", 3*day)}, []string{"a", "c"}},
		{"too many, within a day", rollover.Retention{Max: 1}, []rollover.Kept{endedAgo("b", 2*time.Hour), endedAgo("a", 4*time.Hour)}, nil},
		{"within its undo window", aged, []rollover.Kept{endedAgo("b", 100*day, func(k *rollover.Kept) {
			k.Rotation.Spec.ReplacesSubject, k.Rotation.Spec.UndoWindow = true, 101*day
		})}, nil},
		{"behind its undo window", aged, []rollover.Kept{endedAgo("b", 100*day, func(k *rollover.Kept) {
			k.Rotation.Spec.ReplacesSubject, k.Rotation.Spec.UndoWindow = true, 99*day
		})}, []string{"b"}},
		{"a check runs", aged, []rollover.Kept{endedAgo("b", 100*day, func(k *rollover.Kept) { k.Rotation.Check.State = rollover.CheckRunning })}, nil},
		{"checks are to come", aged, []rollover.Kept{endedAgo("b", 100*day, func(k *rollover.Kept) {
			k.Rotation.Spec.Drift = rollover.DriftPolicy{Every: day, For: 101 * day}
		})}, nil},
		{"tasks are open", aged, []rollover.Kept{endedAgo("b", 100*day, func(k *rollover.Kept) { k.Counts.OpenTasks = 1 })}, nil},
		{"the plan is not read", aged, []rollover.Kept{endedAgo("b", 100*day, func(k *rollover.Kept) { k.Rotation.Tasks = 1 })}, nil},
		{"another is made of its failures", aged, []rollover.Kept{old, live("c", rollover.Spec{FailedOf: "b"})}, nil},
		{"another is made of its drifts", aged, []rollover.Kept{old, live("c", rollover.Spec{DriftedOf: "b"})}, nil},
		{"an older one works yet", aged, []rollover.Kept{old, {Rotation: rollover.Rotation{ID: "a", State: rollover.StateRunning, StartedAt: judged}}}, nil},
		{"a later one works", aged, []rollover.Kept{old, {Rotation: rollover.Rotation{ID: "c", State: rollover.StateRunning, StartedAt: judged}}}, []string{"b"}},
	} {
		if got := tc.p.Expired(tc.all, judged); !slices.Equal(got, tc.want) {
			t.Errorf("%s: Expired = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestRetention_DeletesNoMoreThanItMay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rollover.Retention{
			For: time.Duration(rapid.IntRange(0, 100).Draw(t, "hours")) * time.Hour,
			Max: rapid.IntRange(0, 10).Draw(t, "max"),
		}
		var all []rollover.Kept
		for i := range rapid.IntRange(0, 20).Draw(t, "rotations") {
			all = append(all, endedAgo(fmt.Sprint(i), time.Duration(rapid.IntRange(0, 200).Draw(t, "age"))*time.Hour))
		}
		got := p.Expired(all, judged)
		for _, k := range all {
			age := judged.Sub(k.Rotation.EndedAt)
			if gone := slices.Contains(got, k.Rotation.ID); gone && (age <= rollover.MinKept || (p.Max == 0 && age < p.For)) {
				t.Fatalf("%+v.Expired names one that ended %s ago", p, age)
			}
		}
		if left := len(all) - len(got); p.For == 0 && p.Max > 0 && len(got) > 0 && left < p.Max {
			t.Fatalf("%+v.Expired leaves %d", p, left)
		}
	})
}

func TestForget_KeepsOnlyThatThereWasOne(t *testing.T) {
	r := endedAgo("b", time.Hour).Rotation
	r.Rev, r.Creator, r.Spec.Reason = 7, "who", "why"
	got, err := r.Forget(judged)
	if err != nil || got.Rev != 7 || got.Gone != judged || got.Creator != "" || got.Spec.Reason != "" || !got.State.Ended() {
		t.Errorf("Forget = %+v, %v", got, err)
	}
	r.State = rollover.StateRunning
	if _, err := r.Forget(judged); err == nil {
		t.Error("Forget of a running rotation = nil error")
	}
}

func TestNoRoom_EndsTheRotationAndSaysWhy(t *testing.T) {
	r := rollover.Rotation{ID: "b", State: rollover.StatePlanned, Digest: "d", Tasks: 7, PlannedAt: judged, Rev: 3}
	got := r.NoRoom(errors.New("no bytes left"), judged)
	if got.State != rollover.StateFailed || got.Digest != "" || got.Tasks != 0 || got.EndedAt != judged || got.Rev != 3 ||
		!strings.Contains(got.Detail, "7 tasks") || !strings.Contains(got.Detail, "no bytes left") {
		t.Errorf("NoRoom = %+v", got)
	}
}

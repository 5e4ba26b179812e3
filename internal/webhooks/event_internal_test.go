package webhooks

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

var day = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// follow returns what is told of a rotation that is looked at in these states, one
// after the other.
func follow(views ...sight) []string {
	var t told
	var out []string
	for _, v := range views {
		for {
			s, next, ok := t.next(v)
			if !ok {
				break
			}
			t = next
			kind := strings.TrimPrefix(s.kind, "rotation.")
			if s.why != "" {
				kind += ":" + s.why
			}
			out = append(out, kind)
		}
	}
	return out
}

// word is somebody's approval of the start of the plan "d".
func word(by string) rollover.Approval {
	return rollover.Approval{By: by, At: day, Until: day.Add(24 * time.Hour), Digest: "d", Act: rollover.ActStart}
}

// at returns a rotation in a state.
func at(change func(*rollover.Rotation)) sight {
	r := rollover.Rotation{ID: "r1", CreatedAt: day, PlannedAt: day.Add(time.Minute), StartedAt: day.Add(2 * time.Minute), State: rollover.StateRunning, Phase: rollover.PhaseStage, UpdatedAt: day.Add(time.Hour)}
	change(&r)
	return sight{View: mirror.View{Rotation: r, Counts: rollover.Counts{Outcomes: map[rollover.Outcome]int{}}}}
}

// A record of before plans were noted with the approval that was told says nothing anew.
func TestNext_AnOldRecordIsNotToldAgain(t *testing.T) {
	v := at(func(r *rollover.Rotation) {
		r.StartedAt, r.State, r.Digest = time.Time{}, rollover.StatePlanned, "d"
	})
	v.approvers = 1
	old := told{Created: true, Planned: true, Approval: true, State: rollover.StatePlanned}
	if s, _, ok := old.next(v); ok {
		t.Errorf("next of an old record = %s, want nothing", s.kind)
	}
}

func TestNext_TellsWhatHappenedInItsOrder(t *testing.T) {
	planning := at(func(r *rollover.Rotation) {
		r.PlannedAt, r.StartedAt, r.State, r.Phase = time.Time{}, time.Time{}, rollover.StatePlanning, rollover.PhaseNone
	})
	planned := at(func(r *rollover.Rotation) {
		r.StartedAt, r.State, r.Phase = time.Time{}, rollover.StatePlanned, rollover.PhaseNone
	})
	running := at(func(*rollover.Rotation) {})
	paused := at(func(r *rollover.Rotation) { r.State = rollover.StatePaused })
	exceeded := at(func(r *rollover.Rotation) { r.State, r.Exceeded = rollover.StatePaused, true })
	gate := at(func(r *rollover.Rotation) { r.State, r.Gate.Result = rollover.StatePaused, rollover.GateFail })
	risk := at(func(r *rollover.Rotation) { r.AtRiskSince = day.Add(3 * time.Minute) })
	overlap := at(func(r *rollover.Rotation) { r.Phase = rollover.PhaseOverlap })
	retire := at(func(r *rollover.Rotation) { r.Phase = rollover.PhaseRetire })
	ended := at(func(r *rollover.Rotation) {
		r.State, r.Phase, r.EndedAt = rollover.StateSucceeded, rollover.PhaseRetire, day.Add(time.Hour)
	})
	ending := ended
	ending.Counts.OpenTasks = 1
	undoing := at(func(r *rollover.Rotation) { r.State, r.Phase = rollover.StateUndoing, rollover.PhaseRetire })
	undone := at(func(r *rollover.Rotation) {
		r.State, r.Phase, r.EndedAt = rollover.StateUndone, rollover.PhaseRetire, day.Add(2*time.Hour)
	})
	incident := at(func(r *rollover.Rotation) {
		r.StartedAt, r.State, r.Phase, r.Digest = time.Time{}, rollover.StatePlanned, rollover.PhaseNone, "d"
		r.Spec.Incident = &rollover.Incident{}
	})
	ruled := planned
	ruled.Rotation.Digest, ruled.approvers = "d", 2
	half, whole, other := ruled, ruled, ruled
	half.Rotation.Approvals = []rollover.Approval{word("maria")}
	whole.Rotation.Approvals = []rollover.Approval{word("maria"), word("jane")}
	other.Rotation.Digest = "e"
	begun := running
	begun.Rotation.Digest = "d"
	gone := at(func(r *rollover.Rotation) {
		r.PlannedAt, r.StartedAt, r.State, r.EndedAt = time.Time{}, time.Time{}, rollover.StateCancelled, day.Add(time.Minute)
	})
	for _, tt := range []struct {
		name  string
		views []sight
		want  string
	}{
		{"each state is seen", []sight{planning, planned, running, overlap, retire, ended}, "created planned started overlap_begun retiring ended"},
		{"only the end is seen", []sight{ended}, "created planned started overlap_begun retiring ended"},
		{"the same is seen twice", []sight{running, running, overlap, overlap}, "created planned started overlap_begun"},
		{"paused by a person and resumed", []sight{running, paused, running, paused}, "created planned started paused:requested resumed paused:requested"},
		{"paused by the tolerance", []sight{running, exceeded, running}, "created planned started paused:tolerance_exceeded resumed"},
		{"another reason while it is paused", []sight{running, paused, gate}, "created planned started paused:requested paused:gate_failed"},
		{"at risk once", []sight{running, risk, risk, overlap}, "created planned started deadline_at_risk overlap_begun"},
		{"not ended while tasks are open", []sight{retire, ending, ended, ended}, "created planned started overlap_begun retiring ended"},
		{"undone after its end", []sight{ended, undoing, undone}, "created planned started overlap_begun retiring ended undoing ended"},
		{"retried after its end", []sight{ended, retire}, "created planned started overlap_begun retiring ended resumed"},
		{"an incident", []sight{incident}, "created planned needs_approval"},
		{"a start that the rules want approved", []sight{planning, ruled, ruled, half, whole, begun}, "created planned needs_approval started"},
		{"a start that one of two has approved", []sight{half}, "created planned needs_approval"},
		{"a start that enough have approved", []sight{whole}, "created planned"},
		{"another plan, whose approval is waited for anew", []sight{ruled, other, other}, "created planned needs_approval needs_approval"},
		{"a start that the rules leave to one", []sight{planned}, "created planned"},
		{"cancelled before it was planned", []sight{planning, gone}, "created ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(follow(tt.views...), " "); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
		})
	}
}

// Whatever is seen, the telling of it ends, nothing that happens once is told twice,
// and who has caught up is told nothing of what was.
func TestNext_EndsAndTellsOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var views []sight
		for range rapid.IntRange(1, 6).Draw(rt, "views") {
			views = append(views, at(func(r *rollover.Rotation) {
				r.State = rapid.SampledFrom([]rollover.RotationState{
					rollover.StatePlanning, rollover.StatePlanned, rollover.StateRunning, rollover.StatePaused, rollover.StateCancelling,
					rollover.StateCancelled, rollover.StateSucceeded, rollover.StateFailed, rollover.StateUndoing, rollover.StateUndone,
				}).Draw(rt, "state")
				r.Phase = rapid.SampledFrom([]rollover.RotationPhase{"", rollover.PhaseStage, rollover.PhaseVerify, rollover.PhaseOverlap, rollover.PhaseRetire}).Draw(rt, "phase")
				r.Exceeded = rapid.Bool().Draw(rt, "exceeded")
				if r.State.Ended() {
					r.EndedAt = day.Add(time.Duration(rapid.IntRange(1, 3).Draw(rt, "end")) * time.Hour)
				}
			}))
		}
		kinds := follow(views...)
		for _, once := range []string{"created", "planned", "started", "overlap_begun", "retiring", "deadline_at_risk"} {
			if first, last := slices.Index(kinds, once), len(kinds)-1-slices.Index(reversed(kinds), once); first >= 0 && first != last {
				rt.Errorf("%s was told twice: %v", once, kinds)
			}
		}
		for _, v := range views {
			if s, _, ok := caughtUp(v).next(v); ok {
				rt.Errorf("who has caught up is told %s", s.kind)
			}
		}
	})
}

func reversed(s []string) []string {
	out := slices.Clone(s)
	slices.Reverse(out)
	return out
}

// What people wrote and whose targets these are stays here.
func TestBody_HasCountsAndNoTenant(t *testing.T) {
	v := at(func(r *rollover.Rotation) {
		r.DisplayName, r.Detail, r.Creator = "November", "contoso complains", "alice"
		r.Spec.Reason = "contoso asked for it"
		r.Labels = map[string]string{"customer": "contoso"}
	})
	v.Counts.Total, v.Counts.HeldTenants, v.Counts.Outcomes = 7, []string{"contoso"}, map[rollover.Outcome]int{rollover.Failed: 2, rollover.Open: 5}
	b, err := step{kind: Paused, at: day, why: "requested"}.body(v.View)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "contoso") || strings.Contains(string(b), "alice") {
		t.Errorf("the body tells of a tenant or a person: %s", b)
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil || m.Type != Paused || m.Data.Rotation != "rotations/r1" || m.Data.DisplayName != "November" || m.Data.Targets != 7 || m.Data.Outcomes["failed"] != 2 || len(m.Data.Outcomes) != 1 {
		t.Errorf("body = %s, %v", b, err)
	}
}

func TestPauseAfter_DoublesUpToAnHour(t *testing.T) {
	for tries, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 5: 80 * time.Second, 11: time.Hour, 500: time.Hour} {
		if got := pauseAfter(tries, 0); got != want {
			t.Errorf("pauseAfter(%d, 0) = %s, want %s", tries, got, want)
		}
		if got := pauseAfter(tries, 1); got != want/2 {
			t.Errorf("pauseAfter(%d, 1) = %s, want %s", tries, got, want/2)
		}
	}
}

func TestMadeAt_IsInTheID(t *testing.T) {
	if got, want := madeAt("019ac0de-0000-7000-8000-000000000000"), time.UnixMilli(0x019ac0de0000); !got.Equal(want) {
		t.Errorf("madeAt = %s, want %s", got, want)
	}
	if got := madeAt("r1"); !got.IsZero() {
		t.Errorf("madeAt of no UUID = %s, want the zero time", got)
	}
}

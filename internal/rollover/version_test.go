package rollover_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// first are the fields of records that the first build had; every later one must
// stand in one of the other two lists, so that nobody adds a field without asking
// what an older process does that drops it.
var (
	first = map[string][]string{
		"Rotation": {
			"V", "ID", "DisplayName", "Labels", "Spec", "State", "Phase", "Detail", "Tenants", "Digest", "Tasks", "Creator", "RequestID", "RequestHash",
			"Exceeded", "Accepted", "WaveNumber", "WaveBase", "BakeUntil", "PauseID", "ResumeID", "CreatedAt", "PlannedAt", "StartedAt", "EndedAt", "UpdatedAt", "Rev",
		},
		"Spec": {
			"Kind", "New", "Replaces", "ReplacesSubject", "AllTenants", "Filter", "Identity", "RetireNotBefore", "RetirePolicy",
			"MaxInFlight", "MaxTries", "Tolerance", "Strategy", "Reason",
		},
		"Strategy": {"Start", "Waves", "Bake"},
		"Progress": {"V", "Phase", "Outcome", "Reason", "Detail", "Added", "Removed", "Tries", "NextAt", "Evidence", "UpdatedAt"},
	}
	// harmless are those without which a rotation keeps all promises: times and
	// words for people, what is made again, what makes a later change be refused,
	// and what concerns rotations that have ended, which no conductor writes.
	harmless = map[string][]string{
		"Rotation": {"Trace", "WaveAt", "AtRiskSince", "RetryReason", "Changes", "Check", "Gone", "Discovered"},
		"Spec":     {"StageDeadline", "Lane", "Drift", "UndoWindow"},
		"Strategy": {},
		"Progress": {"Throttle", "Throttled", "ThrottledAt", "Archive", "Doubted", "Looks"},
	}
)

// fill sets v to something that is not zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0)))
			return
		}
		fill(t, v.Field(0))
	default:
		t.Fatalf("a field of kind %s: teach this test", v.Kind())
	}
}

func TestVersion_EveryFieldIsJudged(t *testing.T) {
	check := func(kind string, typ reflect.Type, version func(field int) int) {
		for i := range typ.NumField() {
			name, want := typ.Field(i).Name, rollover.LatestVersion
			for _, list := range []map[string][]string{first, harmless} {
				for _, n := range list[kind] {
					if n == name {
						want = rollover.RecordVersion
					}
				}
			}
			if name == "V" || name == "Spec" || name == "Strategy" {
				continue // Looked at by itself.
			}
			if got := version(i); got != want {
				t.Errorf("Version() of a %s with %s = %d, want %d (is the field in the right list of this test?)", kind, name, got, want)
			}
		}
	}
	check("Rotation", reflect.TypeFor[rollover.Rotation](), func(i int) int {
		var r rollover.Rotation
		fill(t, reflect.ValueOf(&r).Elem().Field(i))
		return r.Version()
	})
	check("Spec", reflect.TypeFor[rollover.Spec](), func(i int) int {
		var r rollover.Rotation
		fill(t, reflect.ValueOf(&r.Spec).Elem().Field(i))
		return r.Version()
	})
	check("Strategy", reflect.TypeFor[rollover.Strategy](), func(i int) int {
		var r rollover.Rotation
		fill(t, reflect.ValueOf(&r.Spec.Strategy).Elem().Field(i))
		return r.Version()
	})
	check("Progress", reflect.TypeFor[rollover.Progress](), func(i int) int {
		var p rollover.Progress
		fill(t, reflect.ValueOf(&p).Elem().Field(i))
		return p.Version()
	})
}

func TestVersion_NeverFallsAndKnowsNewStates(t *testing.T) {
	for state, want := range map[rollover.RotationState]int{
		rollover.StateRunning: 1, rollover.StatePaused: 1, rollover.StateCancelling: 1, rollover.StateSucceeded: 1,
		rollover.StateUndoing: 2, rollover.StateUndone: 2,
	} {
		if got := (rollover.Rotation{V: 1, State: state}).Version(); got != want {
			t.Errorf("Version() of a rotation that is %s = %d, want %d", state, got, want)
		}
	}
	if got := (rollover.Rotation{V: 2}).Version(); got != 2 {
		t.Errorf("Version() of a rotation read with 2 = %d, want 2", got)
	}
	if got := (rollover.Progress{V: 2}).Version(); got != 2 {
		t.Errorf("Version() of a progress read with 2 = %d, want 2", got)
	}
}

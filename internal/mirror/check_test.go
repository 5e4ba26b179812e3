package mirror_test

import (
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// What a mirror knows of checks is the same whether it saw the parts being written,
// some of them twice, or reads what is stored.
func TestMirror_ChecksAreFoldedFromTheirParts(t *testing.T) {
	s, live, r := open(t, 3*rollover.CheckChunk)
	revs := map[int]uint64{}
	put := func(part, check int, kinds ...rollover.DriftKind) {
		t.Helper()
		p := rollover.CheckPart{Check: check, Looked: 10}
		for i, k := range kinds {
			p.Targets = append(p.Targets, rollover.Drifted{Ord: part*rollover.CheckChunk + i, Drifts: []rollover.Drift{{Kind: k}}})
		}
		var err error
		if revs[part], err = s.SaveCheckPart(t.Context(), r.ID, part, p, revs[part]); err != nil {
			t.Fatal(err)
		}
	}
	r.Check = rollover.Check{Number: 2, State: rollover.CheckRunning}
	r, err := s.SaveRotation(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	w, err := live.Watch(r.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	put(2, 1, rollover.DriftNewMissing, rollover.DriftUnreadable)
	put(0, 1, rollover.DriftOldBack)
	put(2, 2, rollover.DriftForeignAdded)
	for { // The watch is told, so the live mirror has it all.
		b, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b.View != nil && b.View.Counts.Drift.Looked(2) == 10 {
			break
		}
	}
	for name, m := range map[string]*mirror.Mirror{"live": live, "later": follow(t, s)} {
		v, err := m.Rotation(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		d := v.Counts.Drift
		if d.Drifted != 2 || d.Unreadable != 0 || d.Parts(2) != 1 || d.Parts(1) != 1 || d.Kinds[rollover.DriftNewMissing] != 0 {
			t.Errorf("%s: counts %+v, want what stands in parts 0 and 2", name, d)
		}
		var got []int
		for _, x := range m.Drifts(r.ID) {
			got = append(got, x.Ord)
		}
		if want := []int{0, 2 * rollover.CheckChunk}; !slices.Equal(got, want) {
			t.Errorf("%s: drifts of %v, want %v", name, got, want)
		}
		if got := m.Unchecked(r, 10); !slices.Equal(got, []int{0, 1}) {
			t.Errorf("%s: unchecked %v, want parts 0 and 1", name, got)
		}
		if got := m.Unchecked(r, 1); !slices.Equal(got, []int{0}) {
			t.Errorf("%s: unchecked, at most one, %v, want part 0", name, got)
		}
		for part, want := range []bool{false, false, true} {
			if got := m.CheckedPart(rollover.TaskID{Rotation: r.ID, Ord: part}, 2); got != want {
				t.Errorf("%s: CheckedPart(%d) = %v, want %v", name, part, got, want)
			}
		}
	}
}

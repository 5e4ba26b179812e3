package rollovertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func retireCases() []driverCase {
	cases := []driverCase{
		{"retire too early is refused", func(t *testing.T, b *bench) {
			b.stage(t, true)
			early := b.w
			early.Now = b.w.RetireNotBefore.Add(b.w.Margin - time.Nanosecond)
			b.wantRefused(t, early, rollover.ErrTooEarly, 1)
			never := b.retiring()
			never.RetireNotBefore = time.Time{}
			b.wantRefused(t, never, rollover.ErrTooEarly, 1)
		}},
		{"retire without the new credential is refused", func(t *testing.T, b *bench) {
			b.wantRefused(t, b.retiring(), rollover.ErrNoEvidence, 0)
			b.SetNow(b.w.Now)
			b.stage(t, true)
			b.dropNew()
			b.wantRefused(t, b.retiring(), rollover.ErrNoEvidence, 0)
		}},
		{"retire before the new credential is valid is refused", func(t *testing.T, b *bench) {
			b.stage(t, true)
			w := b.w
			w.Now = b.w.New.NotBefore.Add(-time.Second)
			w.RetireNotBefore = w.Now.Add(-w.Margin)
			b.wantRefused(t, w, rollover.ErrNoEvidence, 1)
		}},
		{"retire where the new credential is kept with other dates is refused", func(t *testing.T, b *bench) {
			over := Stand(b.w.New)
			over.End = b.w.RetireNotBefore
			b.Edit(func(s []rollover.Standing) []rollover.Standing { return append(s, over) })
			b.wantRefused(t, b.retiring(), rollover.ErrNoEvidence, 1)
		}},
		{"retire removes what is named and nothing else, however often it is called", func(t *testing.T, b *bench) {
			b.stage(t, true)
			w := b.retiring()
			for _, d := range []rollover.Driver{b.Driver, b.Driver, b.Second} {
				removed, err := d.Retire(t.Context(), w)
				if err != nil || len(removed) != len(w.Old) || removed[0] != w.Old[0].SHA256 {
					t.Errorf("Retire = %v, %v, want %s", removed, err, w.Old[0].SHA256)
				}
				b.wantCount(t, "Retire", 1, 0)
			}
			if n, want := len(b.Standing().Standing), len(b.begin.Standing)+1-len(w.Old); n != want {
				t.Errorf("after Retire %d credentials stand, want %d", n, want)
			}
		}},
		{"retire removes nothing where nothing is named", func(t *testing.T, b *bench) {
			b.stage(t, true)
			w := b.retiring()
			w.Old = nil
			if removed, err := b.Driver.Retire(t.Context(), w); err != nil || len(removed) != 0 {
				t.Errorf("Retire with nothing named = %v, %v, want nothing", removed, err)
			}
			b.wantCount(t, "Retire", 1, 1)
		}},
	}
	for _, m := range []Mode{Lost, DoneLost} {
		cases = append(cases, driverCase{fmt.Sprintf("retire whose write was %s is repeated to one effect", m), func(t *testing.T, b *bench) {
			b.stage(t, true)
			w := b.retiring()
			b.Break("write", m)
			if _, err := b.Driver.Retire(t.Context(), w); err == nil {
				t.Fatalf("Retire with its write %s = nil, want an error", m)
			}
			if removed, err := b.Second.Retire(t.Context(), w); err != nil || !slices.Contains(removed, w.Old[0].SHA256) {
				t.Errorf("Retire again = %v, %v, want %s", removed, err, w.Old[0].SHA256)
			}
			b.wantCount(t, "both", 1, 0)
		}})
	}
	return cases
}

func undoCases() []driverCase {
	cases := []driverCase{
		{"undo removes what this rotation added, however often it is called", func(t *testing.T, b *bench) {
			b.stage(t, true)
			for _, d := range []rollover.Driver{b.Driver, b.Driver, b.Second} {
				if err := d.Undo(t.Context(), b.w); err != nil {
					t.Errorf("Undo = %v", err)
				}
				b.wantCount(t, "Undo", 0, 1)
			}
			if got := b.Standing().Digest(""); got != b.begin.Digest("") {
				t.Error("Undo left another target than there was before Stage")
			}
		}},
		{"undo keeps what somebody else added", func(t *testing.T, b *bench) {
			b.Edit(func(s []rollover.Standing) []rollover.Standing { return append(s, Stand(b.w.New)) })
			if err := b.Driver.Undo(t.Context(), b.w); err != nil {
				t.Errorf("Undo = %v", err)
			}
			b.wantCount(t, "Undo", 1, 1)
		}},
		{"undo keeps what another rotation added", func(t *testing.T, b *bench) {
			b.stage(t, true)
			w := b.w
			w.Rotation += "-another"
			if err := b.Driver.Undo(t.Context(), w); err != nil {
				t.Errorf("Undo by another rotation = %v", err)
			}
			b.wantCount(t, "Undo", 1, 1)
		}},
		{"undo keeps the last valid credential", func(t *testing.T, b *bench) {
			b.stage(t, true)
			b.allGot = true
			b.Edit(func(s []rollover.Standing) []rollover.Standing {
				return slices.DeleteFunc(s, func(x rollover.Standing) bool { return x.SHA256 != b.w.New.SHA256 })
			})
			if err := b.Driver.Undo(t.Context(), b.retiring()); err == nil {
				t.Error("Undo of the last valid credential = nil, want an error")
			}
			b.wantCount(t, "Undo", 1, 0)
		}},
	}
	for _, m := range []Mode{Lost, DoneLost} {
		cases = append(cases, driverCase{fmt.Sprintf("undo whose write was %s is repeated to one effect", m), func(t *testing.T, b *bench) {
			b.stage(t, true)
			b.Break("write", m)
			if err := b.Driver.Undo(t.Context(), b.w); err == nil {
				t.Fatalf("Undo with its write %s = nil, want an error", m)
			}
			if err := b.Second.Undo(t.Context(), b.w); err != nil {
				t.Errorf("Undo again = %v", err)
			}
			b.wantCount(t, "both", 0, 1)
		}})
	}
	return cases
}

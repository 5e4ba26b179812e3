package rollovertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func restoreCases() []driverCase {
	cases := []driverCase{
		{"restore after retire, and undo, give what stood before, however often they are called", func(t *testing.T, b *bench) {
			w := b.retired(t)
			for _, d := range []rollover.Driver{b.Driver, b.Driver, b.Second} {
				if err := d.Restore(t.Context(), w); err != nil {
					t.Errorf("Restore = %v", err)
				}
				b.wantCount(t, "Restore", 1, 1)
			}
			for _, d := range []rollover.Driver{b.Driver, b.Second} {
				if err := d.Undo(t.Context(), w); err != nil {
					t.Errorf("Undo = %v", err)
				}
			}
			b.wantBegin(t)
		}},
		{"restore counts what somebody else has put back", func(t *testing.T, b *bench) {
			w := b.retired(t)
			theirs := w.Restore[0]
			theirs.End, theirs.Name = theirs.End.Add(-time.Hour), "put back by hand"
			b.Edit(func(s []rollover.Standing) []rollover.Standing { return append(s, theirs) })
			if err := b.Driver.Restore(t.Context(), w); err != nil {
				t.Errorf("Restore = %v", err)
			}
			b.wantCount(t, "Restore", 1, 1)
		}},
		{"restore of two copies gives two, each as it was", func(t *testing.T, b *bench) {
			if b.OneCopy {
				return
			}
			second := b.begin.Standing[0]
			for _, s := range b.begin.Standing {
				if s.SHA256 == b.w.Old[0].SHA256 {
					second = s
				}
			}
			second.Name, second.End = "the second", second.End.Add(-time.Hour)
			b.Edit(func(s []rollover.Standing) []rollover.Standing { return append(s, second) })
			b.begin = b.Standing()
			b.w.Observed = b.begin.Digest(b.w.New.SHA256)
			w := b.retired(t)
			if err := b.Driver.Restore(t.Context(), w); err != nil {
				t.Errorf("Restore = %v", err)
			}
			b.wantCount(t, "Restore", 1, 2)
			if err := b.Driver.Undo(t.Context(), w); err != nil {
				t.Errorf("Undo = %v", err)
			}
			b.wantBegin(t)
		}},
		{"restore where nothing that was old is valid any more writes nothing", func(t *testing.T, b *bench) {
			w := b.retired(t)
			w.Now = w.Restore[0].NotAfter.Add(time.Hour)
			b.SetNow(w.Now)
			b.wantNoOld(t, b.Driver.Restore(t.Context(), w))
		}},
		{"undo keeps the new credential where no old one stands", func(t *testing.T, b *bench) {
			w := b.retired(t)
			b.wantNoOld(t, b.Driver.Undo(t.Context(), w))
		}},
		{"undo that names no old one keeps the new one when the sender's is gone", func(t *testing.T, b *bench) {
			w := b.retired(t)
			w.Old = nil
			b.wantNoOld(t, b.Driver.Undo(t.Context(), w))
		}},
		{"undo that names no old one removes the new one while all is as planned", func(t *testing.T, b *bench) {
			b.stage(t, true)
			w := b.w
			w.Old = nil
			if err := b.Driver.Undo(t.Context(), w); err != nil {
				t.Errorf("Undo = %v", err)
			}
			b.wantBegin(t)
		}},
		{"restore without bytes is refused", func(t *testing.T, b *bench) {
			w := b.retired(t)
			w.Restore = slices.Clone(w.Restore)
			w.Restore[0].DER = nil
			if err := b.Driver.Restore(t.Context(), w); err == nil {
				t.Error("Restore without bytes = nil, want an error")
			}
			b.wantCount(t, "Restore", 1, 0)
		}},
	}
	for _, m := range []Mode{Lost, DoneLost} {
		for _, call := range []string{"read", "write"} {
			cases = append(cases, driverCase{fmt.Sprintf("restore whose %s was %s is repeated to one effect", call, m), func(t *testing.T, b *bench) {
				w := b.retired(t)
				b.Break(call, m)
				// It may have found out by itself what came of it.
				if err := b.Driver.Restore(t.Context(), w); err != nil {
					if err := b.Second.Restore(t.Context(), w); err != nil {
						t.Errorf("Restore again = %v", err)
					}
				}
				b.wantCount(t, "both", 1, 1)
			}})
		}
	}
	return cases
}

// retired stages and retires, and returns the work to take that back.
func (b *bench) retired(t *testing.T) rollover.Work {
	t.Helper()
	b.stage(t, true)
	w := b.retiring()
	o, err := b.Driver.Observe(t.Context(), w)
	if err != nil {
		t.Fatalf("Observe = %v", err)
	}
	for _, s := range o.Standing {
		if slices.ContainsFunc(w.Old, func(c rollover.Credential) bool { return c.SHA256 == s.SHA256 }) {
			w.Restore = append(w.Restore, s)
		}
	}
	if _, err := b.Driver.Retire(t.Context(), w); err != nil {
		t.Fatalf("Retire = %v", err)
	}
	b.wantCount(t, "Retire", 1, 0)
	return w
}

// wantBegin checks that the target holds what it held at the beginning.
func (b *bench) wantBegin(t *testing.T) {
	t.Helper()
	if got := b.Standing(); !sameStanding(got.Standing, b.begin.Standing) {
		t.Errorf("the target holds\n%+v\nwant what it held\n%+v", got.Standing, b.begin.Standing)
	}
}

// wantNoOld checks that a call was refused for good, and wrote nothing.
func (b *bench) wantNoOld(t *testing.T, err error) {
	t.Helper()
	var s *rollover.StepError
	if !errors.As(err, &s) || s.Outcome != rollover.Failed {
		t.Errorf("got %v, want it refused for good", err)
	}
	b.wantCount(t, "a refused call", 1, 0)
}

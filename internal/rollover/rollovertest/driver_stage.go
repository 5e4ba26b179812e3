package rollovertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func observeCases() []driverCase {
	return []driverCase{
		{"observe tells what stands", func(t *testing.T, b *bench) {
			o, err := b.Driver.Observe(t.Context(), b.w)
			if err != nil || o.Digest("") != b.begin.Digest("") || len(o.Standing) != len(b.begin.Standing) {
				t.Errorf("Observe = %d credentials, %v, want the %d that stand", len(o.Standing), err, len(b.begin.Standing))
			}
			for _, s := range b.begin.Standing {
				if got, ok := o.Find(s.SHA256); !ok || string(got.DER) != string(s.DER) {
					t.Errorf("Observe gives %s with other bytes", s.SHA1)
				}
			}
		}},
		{"a failed read is an error in every step and nothing is written", func(t *testing.T, b *bench) {
			for _, m := range []Mode{Lost, DoneLost} {
				for name, call := range steps() {
					w := b.retiring()
					b.Break("read", m)
					if err := call(t.Context(), b.Driver, w); err == nil {
						t.Errorf("%s with its reading %s = nil, want an error", name, m)
					} else if o, _ := outcome(err); o != rollover.Open {
						t.Errorf("%s with its reading %s ends the task as %s: %v, want another try", name, m, o, err)
					}
					b.wantCount(t, name, 0, 1)
				}
			}
		}},
		{"after its context ended no step writes", func(t *testing.T, b *bench) {
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if added, err := b.Driver.Stage(ended, b.w); err == nil {
				t.Errorf("Stage after the end of its context = %v, nil, want an error", added)
			}
			b.wantCount(t, "Stage", 0, 1)
			b.stage(t, true)
			w := b.retiring()
			if _, err := b.Driver.Retire(ended, w); err == nil {
				t.Error("Retire after the end of its context = nil, want an error")
			}
			if err := b.Driver.Undo(ended, w); err == nil {
				t.Error("Undo after the end of its context = nil, want an error")
			}
			b.wantCount(t, "Retire and Undo", 1, 1)
		}},
	}
}

func stageCases() []driverCase {
	cases := []driverCase{
		{"stage adds once, however often it is called", func(t *testing.T, b *bench) {
			for range 3 {
				b.stage(t, true)
				b.wantCount(t, "Stage", 1, 1)
			}
			if added, err := b.Second.Stage(t.Context(), b.w); err != nil || !added {
				t.Errorf("Stage in another process = %v, %v, want true: it is this rotation's doing", added, err)
			}
			b.wantCount(t, "Stage in another process", 1, 1)
		}},
		{"what stage adds is the credential with its dates and our mark", func(t *testing.T, b *bench) {
			b.stage(t, true)
			s, _ := b.Standing().Find(b.w.New.SHA256)
			if string(s.DER) != string(b.w.New.DER) || !s.Start.Equal(b.w.New.NotBefore) || !s.End.Equal(b.w.New.NotAfter) || s.Mark != b.w.Rotation {
				t.Errorf("Stage added %s from %s to %s, mark %q", s.SHA256, s.Start, s.End, s.Mark)
			}
		}},
		{"stage leaves what somebody else added", func(t *testing.T, b *bench) {
			b.Edit(func(s []rollover.Standing) []rollover.Standing { return append(s, Stand(b.w.New)) })
			b.stage(t, false)
			b.wantCount(t, "Stage", 1, 1)
		}},
		{"stage writes nothing where a credential was added since the plan", func(t *testing.T, b *bench) {
			b.Edit(func(s []rollover.Standing) []rollover.Standing {
				return slices.DeleteFunc(s, func(x rollover.Standing) bool { return x.SHA256 == b.Foreign.SHA256 })
			})
			b.wantConflict(t)
			b.Edit(func(s []rollover.Standing) []rollover.Standing { return append(s, b.Foreign) })
			b.stage(t, true)
		}},
		{"stage writes nothing where the old credential went since the plan", func(t *testing.T, b *bench) {
			b.Edit(func(s []rollover.Standing) []rollover.Standing {
				return slices.DeleteFunc(s, func(x rollover.Standing) bool { return x.SHA256 == b.w.Old[0].SHA256 })
			})
			b.wantConflict(t)
			b.wantCount(t, "Stage", 0, 0)
		}},
		{"two that stage at once remove nothing and then find what stands", func(t *testing.T, b *bench) {
			var both sync.WaitGroup
			for _, d := range []rollover.Driver{b.Driver, b.Second} {
				both.Go(func() {
					if _, err := d.Stage(t.Context(), b.w); err != nil {
						t.Errorf("Stage beside another: %v", err)
					}
				})
			}
			both.Wait()
			n := b.count(b.w.New.SHA256)
			if n < 1 || n > 2 {
				t.Errorf("after two Stages at once the new credential stands %d times, want 1, at worst 2", n)
			}
			b.stage(t, true)
			b.wantCount(t, "another Stage", n, 1)
		}},
	}
	for _, m := range []Mode{Lost, DoneLost} {
		cases = append(cases, driverCase{fmt.Sprintf("stage whose write was %s is repeated to one effect", m), func(t *testing.T, b *bench) {
			b.Break("write", m)
			// A driver may find out by itself that it was done. It may not say so of
			// what was lost.
			if added, err := b.Driver.Stage(t.Context(), b.w); err == nil && (m == Lost || !added) {
				t.Fatalf("Stage with its write %s = %v, nil, want an error", m, added)
			} else if o, _ := outcome(err); o != rollover.Open {
				t.Fatalf("Stage with its write %s ends the task as %s: %v", m, o, err)
			}
			if added, err := b.Second.Stage(t.Context(), b.w); err != nil || !added {
				t.Errorf("Stage again = %v, %v, want true", added, err)
			}
			b.wantCount(t, "both", 1, 1)
		}})
	}
	return cases
}

// wantConflict stages and wants to hear that the target changed.
func (b *bench) wantConflict(t *testing.T) {
	t.Helper()
	added, err := b.Driver.Stage(t.Context(), b.w)
	if o, r := outcome(err); added || o != rollover.Conflict || r != rollover.ChangedSincePlan {
		t.Errorf("Stage on a changed target = %v, %v (%s, %s), want a conflict: changed since plan", added, err, o, r)
	}
	if n := b.count(b.w.New.SHA256); n != 0 {
		t.Errorf("Stage on a changed target wrote: the new credential stands %d times", n)
	}
}

func verifyCases() []driverCase {
	return []driverCase{
		{"verify gives no evidence before the new credential stands", func(t *testing.T, b *bench) {
			if ev, err := b.Driver.Verify(t.Context(), b.w); err == nil || ev != (rollover.Evidence{}) {
				t.Errorf("Verify = %+v, %v, want no evidence and an error", ev, err)
			}
		}},
		{"verify gives evidence of what was staged, and writes nothing", func(t *testing.T, b *bench) {
			b.stage(t, true)
			ev, err := b.Second.Verify(t.Context(), b.w)
			if err != nil || (ev.Kind != rollover.Listed && ev.Kind != rollover.Tried) || ev.At.IsZero() {
				t.Errorf("Verify = %+v, %v, want evidence with its time", ev, err)
			}
			if err := b.Driver.Activate(t.Context(), b.w); err != nil {
				t.Errorf("Activate = %v", err)
			}
			b.wantCount(t, "Verify", 1, 1)
		}},
		{"verify reads anew", func(t *testing.T, b *bench) {
			b.stage(t, true)
			if _, err := b.Driver.Verify(t.Context(), b.w); err != nil {
				t.Fatalf("Verify: %v", err)
			}
			b.dropNew()
			if ev, err := b.Driver.Verify(t.Context(), b.w); err == nil {
				t.Errorf("Verify after the new credential went = %+v, nil, want an error", ev)
			}
		}},
		{"verify reports a conflict where the old credential is gone", func(t *testing.T, b *bench) {
			b.stage(t, true)
			b.Edit(func(s []rollover.Standing) []rollover.Standing {
				return slices.DeleteFunc(s, func(x rollover.Standing) bool { return x.SHA256 == b.w.Old[0].SHA256 })
			})
			_, err := b.Driver.Verify(t.Context(), b.w)
			if o, r := outcome(err); o != rollover.Conflict || r != rollover.ChangedSincePlan {
				t.Errorf("Verify = %v (%s, %s), want a conflict: changed since plan", err, o, r)
			}
		}},
	}
}

// dropNew takes the new credential away, as the target's owner would.
func (b *bench) dropNew() {
	b.Edit(func(s []rollover.Standing) []rollover.Standing {
		return slices.DeleteFunc(s, func(x rollover.Standing) bool { return x.SHA256 == b.w.New.SHA256 })
	})
}

// wantRefused retires and wants an error that is want, with nothing removed.
func (b *bench) wantRefused(t *testing.T, w rollover.Work, want error, wantNew int) {
	t.Helper()
	b.SetNow(w.Now)
	removed, err := b.Driver.Retire(t.Context(), w)
	if !errors.Is(err, want) || len(removed) != 0 {
		t.Errorf("Retire at %s = %v, %v, want nothing and %v", w.Now.Format(time.RFC3339), removed, err, want)
	}
	b.wantCount(t, "a refused Retire", wantNew, 1)
}

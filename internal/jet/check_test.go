package jet_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestCheckParts_AreStoredUnderCompareAndSwapAndTold(t *testing.T) {
	c := config(t)
	b := open(t, c)
	p := rollover.CheckPart{V: 1, Check: 3, Looked: 64, At: rollovertest.Epoch, Targets: []rollover.Drifted{{
		Ord: 65, Tenant: "contoso", Target: rollover.Target{Kind: "acs-x509", Host: "h", Identity: "i"},
		Drifts: []rollover.Drift{{Kind: rollover.DriftNewMissing, SHA256: "ab", Since: rollovertest.Epoch}},
	}}}
	if got, rev, err := b.CheckPart(t.Context(), "r.1", 1); err != nil || rev != 0 || got.Check != 0 {
		t.Errorf("CheckPart of none = %+v, %d, %v, want nothing", got, rev, err)
	}
	rev, err := b.SaveCheckPart(t.Context(), "r.1", 1, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	p2 := p
	p2.Check = 4
	for _, stale := range []uint64{0, rev + 1} {
		if _, err := b.SaveCheckPart(t.Context(), "r.1", 1, p2, stale); !errors.Is(err, rollover.ErrConflict) {
			t.Errorf("SaveCheckPart over version %d = %v, want a conflict", stale, err)
		}
	}
	if _, err := b.SaveCheckPart(t.Context(), "r", 1, p2, 0); err != nil {
		t.Fatal(err) // Another rotation's.
	}
	shut(t, b) // What was stored outlives the process.
	b, err = jet.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, b) })
	if got, at, err := b.CheckPart(t.Context(), "r.1", 1); err != nil || at != rev || !reflect.DeepEqual(got, p) {
		t.Errorf("CheckPart = %+v, %d, %v, want %+v, %d", got, at, err, p, rev)
	}
	all, err := b.CheckParts(t.Context(), "r.1")
	if err != nil || !reflect.DeepEqual(all, map[int]rollover.CheckPart{1: p}) {
		t.Errorf("CheckParts = %+v, %v, want the one", all, err)
	}
	told := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := b.Tail(ctx, func(c rollover.Change) {
		switch {
		case c.Check != nil:
			told[c.Check.Rotation] = c.Check.Result.Check
		case c.CaughtUp:
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Tail = %v", err)
	}
	if told["r.1"] != 3 || told["r"] != 4 {
		t.Errorf("Tail told %v, want check 3 of r.1 and 4 of r", told)
	}
}

// A part has a slot of its own: tasks of a host are not held up by it.
func TestNudgeCheck_HasASlotForEachPart(t *testing.T) {
	b := open(t, config(t))
	for ord := range 2 {
		if err := b.NudgeCheck(t.Context(), rollover.Nudge{Rotation: "r1", Ord: ord}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.NudgeCheck(t.Context(), rollover.Nudge{Rotation: "r1", Ord: 1}); !errors.Is(err, jet.ErrBusy) {
		t.Errorf("a second nudge = %v, want busy", err)
	}
	if err := b.NudgeTask(t.Context(), "r1/1", rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Errorf("NudgeTask = %v, want that checks take no task's slot", err)
	}
	got := make(chan rollover.Nudge, 2)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, jet.Checks, 2, func(ctx context.Context, d *jet.Delivery) {
			if err := d.Done(ctx); err != nil {
				t.Errorf("Done = %v", err)
			}
			got <- d.Nudge
		})
	}()
	if a, b := <-got, <-got; a.Ord+b.Ord != 1 {
		t.Errorf("consumed %v and %v, want both parts", a, b)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Consume = %v, want the end of its context", err)
	}
}

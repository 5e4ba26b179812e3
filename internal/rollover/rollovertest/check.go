package rollovertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Ledger is what the checker compares a finished or interrupted rotation with:
// the cloud's own journal and what stood there before.
type Ledger struct {
	Cloud  *Cloud
	Store  rollover.Store
	Before map[rollover.Target]rollover.Observation
	New    rollover.Credential
	Old    rollover.Credential
	// RetireNotBefore is the instant in the plan, without margin.
	RetireNotBefore time.Time
	// Undone says that an undo was asked for: what was removed may be put back, and
	// then what was added be removed.
	Undone bool
}

// Check looks at everything that must hold at any time, whatever crashed: it
// replays the journal and compares what stands with what stood. It shares no
// code with the engine.
func (l Ledger) Check(t testing.TB, rotation string) {
	t.Helper()
	planned := map[rollover.Target]rollover.Item{}
	items, err := l.Store.Plan(context.Background(), rotation, 0, 1<<20)
	if err != nil {
		t.Fatalf("reading the plan: %v", err)
	}
	for _, it := range items {
		planned[it.Target] = it
	}
	copies, olds := map[rollover.Target]int{}, map[rollover.Target]int{} // of both credentials, as the replay goes on
	for target, o := range l.Before {
		copies[target], olds[target] = holds(o.Standing, l.New.SHA256), holds(o.Standing, l.Old.SHA256)
	}
	for i, w := range l.Cloud.Journal() {
		it, ok := planned[w.Target]
		if !ok || it.Outcome != rollover.Open {
			t.Errorf("frozen-plan: write %d, %s on %s, is not in the plan", i, w.Op, w.Target)
		}
		switch {
		case w.Op == "add" && l.Undone && w.SHA256 == l.Old.SHA256:
			olds[w.Target]++
			l.checkPutBack(t, w, it)
		case w.Op == "add":
			l.checkAdd(t, w)
			copies[w.Target]++
		case l.Undone && w.SHA256 == l.New.SHA256:
			l.checkTakenBack(t, w, it, rotation)
			copies[w.Target]--
			for _, ord := range it.Siblings {
				if sibling := items[ord].Target; olds[sibling] < holds(l.Before[sibling].Standing, l.Old.SHA256) {
					t.Errorf("never-both-gone: took the new credential from %s while %s had not its old one", w.Target, sibling)
				}
			}
		default:
			l.checkDelete(t, w, it)
			olds[w.Target]--
			for _, ord := range it.Siblings {
				if sibling := items[ord].Target; copies[sibling] == 0 {
					t.Errorf("evidence: deleted the old credential from %s while %s had no new one", w.Target, sibling)
				}
			}
		}
	}
	for target := range l.Before {
		l.checkStanding(t, target)
	}
	l.checkRecords(t, rotation, items)
}

func (l Ledger) checkAdd(t testing.TB, w Write) {
	t.Helper()
	if w.SHA256 != l.New.SHA256 {
		t.Errorf("add-only: added %s to %s, which nobody asked for", w.SHA256, w.Target)
	}
	if holds(w.Before, l.New.SHA256) > 0 {
		t.Errorf("one-effect: added the new credential to %s, where it stood", w.Target)
	}
}

func (l Ledger) checkDelete(t testing.TB, w Write, it rollover.Item) {
	t.Helper()
	if !slices.ContainsFunc(it.Retire, func(c rollover.Credential) bool { return c.SHA256 == w.SHA256 }) {
		t.Errorf("add-only: deleted %s from %s, which the plan does not name", w.SHA256, w.Target)
	}
	// The engine's clock may be five minutes ahead, so five minutes are its due.
	if w.At.Before(l.RetireNotBefore) {
		t.Errorf("not-before: deleted from %s at %s, allowed from %s", w.Target, w.At, l.RetireNotBefore)
	}
	if holds(w.Before, l.New.SHA256) == 0 || !l.New.ValidAt(w.At) {
		t.Errorf("evidence, never-both-gone: deleted the old credential from %s while the new one could not be used", w.Target)
	}
}

// checkPutBack looks at an old credential that is put back: it was ours to remove,
// it is as it was, and it is not there.
func (l Ledger) checkPutBack(t testing.TB, w Write, it rollover.Item) {
	t.Helper()
	if !slices.ContainsFunc(it.Retire, func(c rollover.Credential) bool { return c.SHA256 == w.SHA256 }) {
		t.Errorf("add-only: put %s back on %s, which the plan did not remove", w.SHA256, w.Target)
	}
	if holds(w.Before, w.SHA256) >= holds(l.Before[w.Target].Standing, w.SHA256) {
		t.Errorf("one-effect: put %s back on %s, where it stood", w.SHA256, w.Target)
	}
}

// checkTakenBack looks at a new credential that is removed: this rotation added it,
// and the old one stays and is valid.
func (l Ledger) checkTakenBack(t testing.TB, w Write, it rollover.Item, rotation string) {
	t.Helper()
	if i := slices.IndexFunc(w.Before, func(s rollover.Standing) bool { return s.SHA256 == w.SHA256 }); i < 0 || w.Before[i].Mark != rotation {
		t.Errorf("add-only: took back %s from %s, which this rotation did not add", w.SHA256, w.Target)
	}
	if len(it.Retire) > 0 && (holds(w.Before, l.Old.SHA256) == 0 || !l.Old.ValidAt(w.At)) {
		t.Errorf("never-both-gone: took the new credential from %s while the old one could not be used", w.Target)
	}
}

// checkStanding compares a target with what stood there before.
func (l Ledger) checkStanding(t testing.TB, target rollover.Target) {
	t.Helper()
	now := l.Cloud.Standing(target).Standing
	if n := holds(now, l.New.SHA256); n > 1 {
		t.Errorf("one-effect: the new credential stands on %s %d times", target, n)
	}
	if holds(now, l.New.SHA256)+holds(now, l.Old.SHA256) == 0 && holds(l.Before[target].Standing, l.Old.SHA256) > 0 {
		t.Errorf("never-both-gone: neither credential stands on %s", target)
	}
	if n := holds(now, l.Old.SHA256); n > max(1, holds(l.Before[target].Standing, l.Old.SHA256)) {
		t.Errorf("one-effect: the old credential stands on %s %d times", target, n)
	}
	for _, s := range l.Before[target].Standing {
		if s.SHA256 == l.Old.SHA256 || s.SHA256 == l.New.SHA256 {
			continue
		}
		i := slices.IndexFunc(now, func(o rollover.Standing) bool { return o.SHA256 == s.SHA256 })
		if i < 0 || string(now[i].DER) != string(s.DER) || !now[i].Start.Equal(s.Start) || !now[i].End.Equal(s.End) {
			t.Errorf("add-only: the foreign credential %s on %s is gone or changed", s.SHA1, target)
		}
	}
}

// checkRecords compares what the records say with what stands.
func (l Ledger) checkRecords(t testing.TB, rotation string, items []rollover.Item) {
	t.Helper()
	for _, it := range items {
		k, err := l.Store.Task(context.Background(), rollover.TaskID{Rotation: rotation, Ord: it.Ord})
		if err != nil {
			t.Fatalf("reading task %d: %v", it.Ord, err)
		}
		now := l.Cloud.Standing(it.Target).Standing
		if k.Outcome == rollover.Succeeded && holds(now, l.New.SHA256) != 1 {
			t.Errorf("task %d says succeeded, but the new credential does not stand once on %s", it.Ord, it.Target)
		}
		if k.Outcome == rollover.Cancelled && k.Undo == 0 && k.Reason == rollover.ByRequest {
			if stands := holds(now, l.New.SHA256) > 0; stands != (k.Added || it.Present) {
				t.Errorf("task %d says cancelled in %s, added %t, present %t, but that the new credential stands on %s is %t", it.Ord, k.Phase, k.Added, it.Present, it.Target, stands)
			}
			if stands := holds(now, l.Old.SHA256) > 0; stands == (len(k.Removed) > 0) {
				t.Errorf("task %d says cancelled in %s, removed %d, but that the old credential stands on %s is %t", it.Ord, k.Phase, len(k.Removed), it.Target, stands)
			}
		}
		if k.Outcome == rollover.Undone && !sameStanding(now, l.Before[it.Target].Standing) {
			t.Errorf("task %d says undone, but %s holds other credentials than before", it.Ord, it.Target)
		}
		if k.Undo == 0 && k.Phase == rollover.Retired && (k.Evidence == nil || holds(now, l.Old.SHA256) > 0) {
			t.Errorf("evidence: task %d says retired, evidence %v, old still stands %d times", it.Ord, k.Evidence, holds(now, l.Old.SHA256))
		}
	}
}

// holds counts the copies of a credential.
func holds(s []rollover.Standing, sha string) int {
	n := 0
	for _, c := range s {
		if c.SHA256 == sha {
			n++
		}
	}
	return n
}

// sameStanding reports whether two lists hold the same credentials, kept alike.
func sameStanding(a, b []rollover.Standing) bool {
	rest := slices.Clone(b)
	for _, s := range a {
		i := slices.IndexFunc(rest, func(o rollover.Standing) bool {
			return o.SHA256 == s.SHA256 && string(o.DER) == string(s.DER) && o.Start.Equal(s.Start) && o.End.Equal(s.End) &&
				o.Name == s.Name && o.Usage == s.Usage && o.Mark == s.Mark
		})
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return len(rest) == 0
}

package rollovertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Fixture is one driver with one target, as [TestDriver] wants it.
type Fixture struct {
	// Driver is what is tested. Second is the same as another process would have
	// it, with no memory shared.
	Driver, Second rollover.Driver
	// Work is for a target that is ready: Old stands on it and is valid during the
	// whole test, New does not stand on it and is valid from an instant between
	// Now and RetireNotBefore, for long. Observed is left empty.
	Work rollover.Work
	// Foreign is a credential of somebody else that does not stand on the target.
	Foreign rollover.Standing
	// Standing returns what stands on the target, asked of the other side itself
	// and not through the driver.
	Standing func() rollover.Observation
	// Edit changes what stands on the target, as its owner would.
	Edit func(change func([]rollover.Standing) []rollover.Standing)
	// Break breaks the next call of "read" (a listing) or "write" (adding or
	// deleting) that any driver of the fixture makes.
	Break func(call string, m Mode)
	// SetNow sets every clock: the drivers' and the other side's.
	SetNow func(time.Time)
	// OneCopy says that the target refuses a second copy of a credential.
	OneCopy bool
	// Secrets are texts that no error may hold.
	Secrets []string
}

// TestDriver checks what a [rollover.Driver] owes: that it adds once, removes
// what it may and nothing else, and finds what an earlier call did whose answer
// was lost. open returns a new fixture; it is called once for each case.
func TestDriver(t *testing.T, open func(t *testing.T) Fixture) {
	for _, group := range [][]driverCase{observeCases(), stageCases(), verifyCases(), activateCases(), retireCases(), undoCases(), restoreCases()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				b := newBench(t, open(t))
				c.run(t, b)
				b.untouched(t)
			})
		}
	}
}

type driverCase struct {
	name string
	run  func(t *testing.T, b *bench)
}

// bench is a fixture on whose target a foreign credential stands from the
// beginning, planned as it then was.
type bench struct {
	Fixture
	w      rollover.Work
	begin  rollover.Observation
	allGot bool // the case took even the foreign credential away
}

func newBench(t *testing.T, f Fixture) *bench {
	t.Helper()
	f.Driver, f.Second = discreet{f.Driver, t, f.Secrets}, discreet{f.Second, t, f.Secrets}
	f.Edit(func(s []rollover.Standing) []rollover.Standing { return append(s, f.Foreign) })
	b := &bench{Fixture: f, w: f.Work, begin: f.Standing()}
	if n := holds(b.begin.Standing, f.Work.New.SHA256); n != 0 || len(f.Work.Old) == 0 || f.Work.Rotation == "" {
		t.Fatalf("the fixture is not ready: new stands %d times, %d old, rotation %q", n, len(f.Work.Old), f.Work.Rotation)
	}
	b.w.Observed = b.begin.Digest(b.w.New.SHA256)
	return b
}

// retiring returns the work at the first instant at which Old may go, and sets
// the clocks to it.
func (b *bench) retiring() rollover.Work {
	w := b.w
	w.Now = w.RetireNotBefore.Add(w.Margin)
	b.SetNow(w.Now)
	return w
}

// count returns how often a credential stands on the target.
func (b *bench) count(sha string) int { return holds(b.Standing().Standing, sha) }

// wantCount checks how often New and the first of Old stand.
func (b *bench) wantCount(t *testing.T, after string, wantNew, wantOld int) {
	t.Helper()
	if n, o := b.count(b.w.New.SHA256), b.count(b.w.Old[0].SHA256); n != wantNew || o != wantOld {
		t.Errorf("after %s the new credential stands %d times and the old %d, want %d and %d", after, n, o, wantNew, wantOld)
	}
}

// untouched checks that everything that is neither New nor Old is as it was.
func (b *bench) untouched(t *testing.T) {
	t.Helper()
	if b.allGot {
		return
	}
	now := b.Standing()
	for _, s := range b.begin.Standing {
		if slices.ContainsFunc(b.w.Old, func(c rollover.Credential) bool { return c.SHA256 == s.SHA256 }) {
			continue
		}
		got, ok := now.Find(s.SHA256)
		if !ok || string(got.DER) != string(s.DER) || !got.Start.Equal(s.Start) || !got.End.Equal(s.End) || got.Mark != s.Mark {
			t.Errorf("add-only: the foreign credential %s is gone or changed: %+v", s.SHA1, got)
		}
	}
}

// stage stages and fails the test unless it reports the wanted.
func (b *bench) stage(t *testing.T, wantAdded bool) {
	t.Helper()
	added, err := b.Driver.Stage(t.Context(), b.w)
	if err != nil || added != wantAdded {
		t.Fatalf("Stage = %v, %v, want %v", added, err, wantAdded)
	}
}

// outcome returns how a task would end by err; Open where it is tried again.
func outcome(err error) (rollover.Outcome, rollover.Reason) {
	var s *rollover.StepError
	if !errors.As(err, &s) {
		return rollover.Open, rollover.NoReason
	}
	return s.Outcome, s.Reason
}

// steps calls every method that asks the target.
func steps() map[string]func(ctx context.Context, d rollover.Driver, w rollover.Work) error {
	return map[string]func(context.Context, rollover.Driver, rollover.Work) error{
		"Observe": func(ctx context.Context, d rollover.Driver, w rollover.Work) error {
			_, err := d.Observe(ctx, w)
			return err
		},
		"Stage": func(ctx context.Context, d rollover.Driver, w rollover.Work) error {
			_, err := d.Stage(ctx, w)
			return err
		},
		"Verify": func(ctx context.Context, d rollover.Driver, w rollover.Work) error {
			_, err := d.Verify(ctx, w)
			return err
		},
		"Retire": func(ctx context.Context, d rollover.Driver, w rollover.Work) error {
			_, err := d.Retire(ctx, w)
			return err
		},
		"Undo": func(ctx context.Context, d rollover.Driver, w rollover.Work) error {
			return d.Undo(ctx, w)
		},
	}
}

// discreet passes calls on and looks at every error for secrets.
type discreet struct {
	rollover.Driver
	t       testing.TB
	secrets []string
}

func (d discreet) check(op string, err error) {
	d.t.Helper()
	for _, s := range d.secrets {
		if err != nil && strings.Contains(err.Error(), s) {
			d.t.Errorf("no-secret-out: the error of %s holds a secret", op)
		}
	}
}

func (d discreet) Observe(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
	o, err := d.Driver.Observe(ctx, w)
	d.check("Observe", err)
	return o, err
}

func (d discreet) Stage(ctx context.Context, w rollover.Work) (bool, error) {
	added, err := d.Driver.Stage(ctx, w)
	d.check("Stage", err)
	return added, err
}

func (d discreet) Verify(ctx context.Context, w rollover.Work) (rollover.Evidence, error) {
	ev, err := d.Driver.Verify(ctx, w)
	d.check("Verify", err)
	return ev, err
}

func (d discreet) Retire(ctx context.Context, w rollover.Work) ([]string, error) {
	removed, err := d.Driver.Retire(ctx, w)
	d.check("Retire", err)
	return removed, err
}

func (d discreet) Undo(ctx context.Context, w rollover.Work) error {
	err := d.Driver.Undo(ctx, w)
	d.check("Undo", err)
	return err
}

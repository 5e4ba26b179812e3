package conductor

import (
	"context"
	"sync"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Gates asks a check by its name. It takes a minute at most, and whatever goes
// wrong is an inconclusive answer.
type Gates interface {
	Ask(ctx context.Context, name string, q rollover.GateQuestion) (rollover.GateResult, string)
}

// asked names a gate of a rotation, and one time that it is waited for.
type asked struct {
	rotation    string
	wave, index int
	since       int64 // when the wait began, in Unix nanoseconds
}

// asker asks checks in goroutines of its own, one for each gate that is waited for.
type asker struct {
	checks  Gates
	wake    chan struct{} // receives after an answer
	wg      sync.WaitGroup
	mu      sync.Mutex
	answers map[asked]*rollover.GateAnswer // nil: still out
}

func newAsker(c Gates) *asker {
	return &asker{checks: c, wake: make(chan struct{}, 1), answers: map[asked]*rollover.GateAnswer{}}
}

// answer returns what the check said, and asks it if that was not done yet. A
// conductor that follows asks again: only what is saved counts.
func (a *asker) answer(ctx context.Context, k asked, name string, q rollover.GateQuestion) (rollover.GateAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if got, ok := a.answers[k]; ok {
		if got == nil {
			return rollover.GateAnswer{}, false
		}
		return *got, true
	}
	for old := range a.answers { // Of a rotation there is one question at a time.
		if old.rotation == k.rotation && a.answers[old] != nil {
			delete(a.answers, old)
		}
	}
	a.answers[k] = nil
	a.wg.Go(func() {
		got := rollover.GateAnswer{Wave: k.wave, Index: k.index, By: rollover.ByCheck, Result: rollover.GateInconclusive, Reason: "this server asks no checks"}
		if a.checks != nil {
			got.Result, got.Reason = a.checks.Ask(ctx, name, q)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if ctx.Err() != nil { // The lease is lost: it is our end and not the check's.
			delete(a.answers, k)
			return
		}
		a.answers[k] = &got
		select {
		case a.wake <- struct{}{}:
		default:
		}
	})
	return rollover.GateAnswer{}, false
}

// askGate returns the rotation as the check at its gate has decided, if it waits for
// one and that has answered.
func (t *turn) askGate(ctx context.Context, v mirror.View) (rollover.Rotation, bool) {
	r, c := v.Rotation, v.Counts
	g, ok := r.Waiting()
	if !ok || g.Kind == rollover.ManualGate {
		return r, false
	}
	w, _ := r.Wave(c)
	k := asked{rotation: r.ID, wave: r.Gate.Wave, index: r.Gate.Index, since: r.Gate.At.UnixNano()}
	a, ok := t.asker.answer(ctx, k, g.Check, rollover.GateQuestion{
		Rotation: "rotations/" + r.ID, DisplayName: r.DisplayName, Wave: r.Gate.Wave, Waves: w.Of,
		Tasks: c.Workable, Done: c.Workable - c.Phases[rollover.Planned] - c.Phases[rollover.Staged] - c.Phases[rollover.Verified],
		Failed: c.Broken,
	})
	if !ok {
		return r, false
	}
	next, err := r.Decide(a, t.Now())
	return next, err == nil
}

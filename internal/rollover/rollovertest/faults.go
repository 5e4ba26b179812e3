package rollovertest

import (
	"context"
	"errors"
	"sync"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Mode is how a call breaks. Every outside call is broken both ways.
type Mode int

// The ways to break.
const (
	Lost     Mode = iota // it never arrived
	DoneLost             // it was done, but the answer was lost
)

// String names the mode.
func (m Mode) String() string { return [...]string{"lost", "done but the answer was lost"}[m] }

// ErrInjected is what a broken call returns.
var ErrInjected = errors.New("injected fault")

// Faults breaks chosen calls, counted over everything that shares it. A nil
// Faults breaks none.
type Faults struct {
	// Break says whether call n (from 0), of this name, breaks and how.
	Break func(n int, call string) (Mode, bool)
	// Crash is called when a call broke, before its error is returned. A test
	// uses it to let the process "die" there.
	Crash func()

	mu    sync.Mutex // guards the rest
	calls []string
}

// Calls returns the names of all calls made so far.
func (f *Faults) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// Call does a call, or breaks it.
func (f *Faults) Call(ctx context.Context, name string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f == nil {
		return do()
	}
	f.mu.Lock()
	n := len(f.calls)
	f.calls = append(f.calls, name)
	f.mu.Unlock()
	mode, broken := Lost, false
	if f.Break != nil {
		mode, broken = f.Break(n, name)
	}
	if !broken {
		return do()
	}
	if mode == DoneLost {
		_ = do() // Its answer, good or bad, is what gets lost.
	}
	if f.Crash != nil {
		f.Crash()
	}
	return ErrInjected
}

// FaultyStore is a store whose Task and SaveTask break as Faults says.
type FaultyStore struct {
	rollover.Store
	Faults *Faults
}

// Task implements [rollover.Store].
func (s FaultyStore) Task(ctx context.Context, id rollover.TaskID) (k rollover.Task, err error) {
	ferr := s.Faults.Call(ctx, "task", func() error { k, err = s.Store.Task(ctx, id); return err })
	return k, ferr
}

// SaveTask implements [rollover.Store].
func (s FaultyStore) SaveTask(ctx context.Context, k rollover.Task) (saved rollover.Task, err error) {
	ferr := s.Faults.Call(ctx, "save", func() error { saved, err = s.Store.SaveTask(ctx, k); return err })
	return saved, ferr
}

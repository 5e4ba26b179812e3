package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stopGrace is for what OnStop runs to return after its context ended, and what a
// member gets at least when those before it used up all the time.
const stopGrace = 300 * time.Millisecond

// ErrStuck says that something did not end in its time when the process stopped.
var ErrStuck = errors.New("did not end in time")

// Group runs named long-running things and stops them in the reverse of the
// order in which they were added: what takes in work comes last and stops first,
// what others need comes first and stops last. Make it as &Group{}, add, and
// call Run once.
type Group struct {
	// Log is told what stopped and why. Default: nothing is told.
	Log *slog.Logger
	// StopTimeout is how long all together may take to end after the first was told
	// to. Default 8 s, which leaves a process manager's ten with something to spare.
	StopTimeout time.Duration

	members []*member
	until   time.Time // when all must have ended; set before the first is told to
}

// member is one long-running thing.
type member struct {
	name   string
	run    func(ctx context.Context) error
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
	err    error         // set before done is closed
}

// Add adds something that runs until its context ends. If it returns sooner, the
// whole group stops: a process is whole or gone.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.members = append(g.members, &member{name: name, run: run, done: make(chan struct{})})
}

// OnStop adds something that is only done when its turn to stop comes, such as
// closing what those after it used. ctx ends with its time.
func (g *Group) OnStop(name string, stop func(ctx context.Context) error) {
	g.Add(name, func(ctx context.Context) error {
		<-ctx.Done()
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.left())
		defer cancel()
		return stop(sctx)
	})
}

// Run starts everything and returns when all has ended: after ctx ended, or
// after one of them did. It returns what failed, each by its name; an end that
// was asked for is no failure. What does not end in its time is named as
// [ErrStuck] and left behind, so that the process can go.
func (g *Group) Run(ctx context.Context) error {
	log := g.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ended := make(chan *member, len(g.members))
	for _, m := range g.members {
		// Each has a context of its own, so that the end of ctx does not end all at
		// once.
		mctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		m.cancel = cancel
		go func() {
			m.err = m.run(mctx)
			close(m.done)
			ended <- m
		}()
	}
	var errs []error
	select {
	case <-ctx.Done():
		log.Info("stopping", "why", context.Cause(ctx))
	case m := <-ended:
		if m.err == nil || errors.Is(m.err, context.Canceled) {
			m.err = errors.New("ended by itself")
		}
		log.Error("stopping", "part", m.name, "err", m.err)
	}
	g.until = time.Now().Add(g.stopTimeout())
	for i := len(g.members) - 1; i >= 0; i-- {
		m := g.members[i]
		if err := g.stop(m); err != nil {
			log.Warn("stopped badly", "part", m.name, "err", err)
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	return errors.Join(errs...)
}

// stop ends one member, waits for it, and returns what went wrong with it.
func (g *Group) stop(m *member) error {
	m.cancel()
	t := time.NewTimer(g.left() + stopGrace)
	defer t.Stop()
	select {
	case <-m.done:
	case <-t.C:
		return ErrStuck
	}
	if errors.Is(m.err, context.Canceled) {
		return nil
	}
	return m.err
}

func (g *Group) stopTimeout() time.Duration {
	if g.StopTimeout > 0 {
		return g.StopTimeout
	}
	return 8 * time.Second
}

// left is the time that is left for whoever stops now.
func (g *Group) left() time.Duration { return max(stopGrace, time.Until(g.until)) }

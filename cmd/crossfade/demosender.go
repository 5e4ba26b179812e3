package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/sender"
)

// demoSender signs in to every endpoint, round after round, and moves the
// demo's clock on where nothing else has to happen. It does that between two
// rounds, so that no sign-in is under way while the time leaps.
type demoSender struct {
	clock     *clock.Clock
	sender    *sender.Sender
	class     func(sender.Endpoint) string
	endpoints int

	mu     sync.Mutex
	target time.Time     // skip to this instant
	rounds int           // ended so far
	ended  chan struct{} // closed and made anew when a round ends
	latest time.Time     // when the last whole round began
}

// leap is the most that the clock skips between two rounds: the sender signs in
// at least once a day of the overlap.
const leap = 24 * time.Hour

func (d *demo) newSender() (*demoSender, error) {
	w := d.cloud.World()
	endpoints := w.SenderEndpoints()
	s, err := sender.New(sender.Config{
		HTTP: d.cloud.Client(), Now: d.clock.Now, Old: w.Old, New: d.newPair(w), Endpoints: endpoints, Parallel: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("making the sender: %w", err)
	}
	return &demoSender{clock: d.clock, sender: s, class: w.Class(), endpoints: len(endpoints), ended: make(chan struct{})}, nil
}

// newPair is what the sender switches to: CRM's new certificate, or, where
// another one is rolled out whose key is not here, the old one still.
func (d *demo) newPair(w *emulator.World) sender.Pair {
	if d.f.certificate != "" {
		return w.Old
	}
	return w.New
}

// run signs in until ctx ends.
func (s *demoSender) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.round(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if err := s.skip(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// round signs in to every endpoint once.
func (s *demoSender) round(ctx context.Context) error {
	begun := s.clock.Now()
	if _, err := s.sender.Round(ctx); err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds++
	s.latest = begun
	close(s.ended)
	s.ended = make(chan struct{})
	return nil
}

// skipTo lets the clock skip to t, a leap after each round.
func (s *demoSender) skipTo(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.After(s.target) {
		s.target = t
	}
}

// skip moves the clock on by one leap, if it may.
func (s *demoSender) skip() error {
	s.mu.Lock()
	target := s.target
	s.mu.Unlock()
	if ahead := target.Sub(s.clock.Now()); ahead > 0 {
		if err := s.clock.Advance(min(ahead, leap)); err != nil {
			return fmt.Errorf("moving the clock on: %w", err)
		}
	}
	return nil
}

// waitFor waits until n whole rounds have begun at or after t.
func (s *demoSender) waitFor(ctx context.Context, t time.Time, n int) error {
	for {
		s.mu.Lock()
		if !s.latest.Before(t) {
			if n--; n <= 0 {
				s.mu.Unlock()
				return nil
			}
		}
		ended := s.ended
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
		}
	}
}

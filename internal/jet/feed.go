package jet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// tailIdle is how long a quiet stream is listened to before the reader looks
// whether it is still being told anything.
const tailIdle = 6 * heartbeat

// tailQueue bounds what has been read and not yet been told.
const tailQueue = 1024

// Tail tells fn all that is stored, rotations first, then once that it is caught
// up, then every change as it comes, from one goroutine. Of changes that came
// close together it may tell the last only. It goes on by itself after the
// connection, a leader or the server was lost, without a gap. It returns when
// ctx ends, when the broker is closed, or when a record cannot be read.
//
// A slow fn slows only itself.
func (b *Broker) Tail(ctx context.Context, fn func(rollover.Change)) error {
	if !b.begin() {
		return errClosed()
	}
	defer b.wg.Done()
	ctx, cancel := b.both(ctx)
	defer cancel()
	out := make(chan rollover.Change, tailQueue)
	fail := make(chan error, 2)
	rotations := make(chan struct{}) // closed when all stored rotations are told
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	readers.Add(2)
	go func() {
		defer readers.Done()
		r := &reader{b: b, stream: streamRotations, filters: []string{recordPrefix + ".*.*"}}
		fail <- b.follow(ctx, r, out, func() error { close(rotations); return nil })
	}()
	go func() {
		defer readers.Done()
		select {
		case <-rotations:
		case <-ctx.Done():
			return
		}
		r := &reader{b: b, stream: streamState, filters: []string{statePrefix + ".*.*.*", findingPrefix + ".*.*.*", checkPrefix + ".*.*.*"}}
		fail <- b.follow(ctx, r, out, func() error { return send(ctx, out, rollover.Change{CaughtUp: true}) })
	}()
	for {
		select {
		case c := <-out:
			fn(c)
		case err := <-fail:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow sends what r reads until ctx ends, and calls caughtUp once when it has
// sent what the leader had at the beginning.
func (b *Broker) follow(ctx context.Context, r *reader, out chan<- rollover.Change, caughtUp func() error) error {
	defer r.close()
	end, err := r.awaitEnd(ctx)
	if err != nil {
		return err
	}
	for told := false; ; {
		if !told && r.seen >= end {
			told = true
			if err := caughtUp(); err != nil {
				return err
			}
		}
		e, ok, err := r.next(ctx, tailIdle)
		if err != nil {
			return err
		}
		if !ok && !told { // The last one may have been removed meanwhile.
			if end, err = r.awaitEnd(ctx); err != nil {
				return err
			}
		}
		if !ok {
			continue
		}
		c, err := change(e)
		if err != nil {
			return fmt.Errorf("reading %s: %w", e.subject, err)
		}
		if err := send(ctx, out, c); err != nil {
			return err
		}
	}
}

// awaitEnd asks the leader where the stream ends until it answers: a feed that is
// begun while there is no leader begins when there is one.
func (r *reader) awaitEnd(ctx context.Context) (uint64, error) {
	for {
		end, err := r.end(ctx)
		if !errors.Is(err, rollover.ErrUnavailable) {
			return end, err
		}
		r.b.c.Log.WarnContext(ctx, "the feed waits for its stream's leader", "stream", r.stream, "err", err)
		if pause(ctx, time.Second) != nil {
			return 0, context.Cause(ctx)
		}
	}
}

func send(ctx context.Context, out chan<- rollover.Change, c rollover.Change) error {
	select {
	case out <- c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// change says what a message of ROT or STATE tells.
func change(e event) (rollover.Change, error) {
	c := rollover.Change{Seq: e.seq, Time: e.at.UTC()}
	a, err := parseAddress(e.subject)
	if err != nil {
		return c, err
	}
	switch a.prefix {
	case recordPrefix:
		r, err := decode[rollover.Rotation](e.data)
		r.Rev = e.seq
		c.Rotation = &r
		return c, err
	case statePrefix:
		p, err := decode[rollover.Progress](e.data)
		c.Task = &rollover.TaskChange{ID: rollover.TaskID{Rotation: a.rotation, Ord: a.n}, Progress: p}
		return c, err
	case findingPrefix:
		c.Finding = &rollover.FindingChange{Rotation: a.rotation, Tenant: a.n}
		return c, nil
	case checkPrefix:
		p, err := decode[rollover.CheckPart](e.data)
		c.Check = &rollover.CheckChange{Rotation: a.rotation, Part: a.n, Result: p}
		return c, err
	default:
		return c, fmt.Errorf("nothing is kept under %q", a.prefix)
	}
}

package jet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// minLease is the shortest life that the server gives a message.
const minLease = time.Second

// leaseRecord is a lease as stored.
type leaseRecord struct {
	V     int    `json:"v"`
	Owner string `json:"owner"`
	Nonce string `json:"nonce"` // of the call that took it
}

// Lease is a right that one holder has at a time, as long as it is renewed. It
// renews itself until it is released or lost.
//
// Its holder believes in it for six tenths of its time after the last renewal,
// the server for all of it, so two holders do not believe at once unless clocks
// run at different speeds.
type Lease struct {
	b    *Broker
	key  string
	ttl  time.Duration
	data []byte

	stop    context.CancelFunc
	stopped chan struct{} // closed when nothing renews it any more
	done    chan struct{} // closed when it is lost or released

	mu    sync.Mutex // guards below
	rev   uint64
	good  time.Time // when the last renewal that worked was sent; real time
	ended bool
}

// Lease takes the lease on key if nobody has it; else [ErrBusy]. ttl is at least
// 1 s; the server counts in whole seconds. owner is for people who look.
func (b *Broker) Lease(ctx context.Context, key, owner string, ttl time.Duration) (*Lease, error) {
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	if ttl < minLease {
		return nil, fmt.Errorf("lease %q for %s: at least %s", key, ttl, minLease)
	}
	data, err := encode(leaseRecord{V: rollover.RecordVersion, Owner: owner, Nonce: rand.Text()})
	if err != nil {
		return nil, err
	}
	l := &Lease{b: b, key: key, ttl: ttl, data: data, stopped: make(chan struct{}), done: make(chan struct{})}
	tctx, cancel := context.WithTimeout(ctx, min(2*attemptTimeout, l.trust()))
	defer cancel()
	err = l.renew(tctx)
	// The leases of a server that was started again are gone. It answers nobody then, so
	// that the time of tctx may be used up by now.
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, rollover.ErrUnavailable) && tctx.Err() == nil {
		ectx, cancel := context.WithTimeout(ctx, callBudget)
		defer cancel()
		if err = b.ensureVolatile(ectx); err == nil {
			err = l.renew(ectx)
		}
	}
	if errors.Is(err, rollover.ErrConflict) {
		return nil, fmt.Errorf("lease %q: %w", key, ErrBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("lease %q: %w", key, err)
	}
	if !b.begin() {
		return nil, errClosed()
	}
	lctx, stop := context.WithCancel(b.ctx)
	l.stop = stop
	go func() { defer b.wg.Done(); l.keep(lctx) }()
	return l, nil
}

// trust is how long the holder believes in a renewal.
func (l *Lease) trust() time.Duration { return l.ttl * 6 / 10 }

// Held reports whether the lease may still be relied on.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended && time.Since(l.good) < l.trust()
}

// Done is closed when the lease is not held any more.
func (l *Lease) Done() <-chan struct{} { return l.done }

// Release gives the lease back. Only what this call took is given back; it is
// harmless after a loss.
func (l *Lease) Release(ctx context.Context) error {
	l.stop()
	<-l.stopped
	l.mu.Lock()
	rev := l.rev
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	// By sequence: whoever took it after us has another one. A raw request,
	// because the client gives the server's answer as text only.
	ask, err := encode(map[string]any{"seq": rev, "no_erase": true})
	if err != nil {
		return err
	}
	resp, err := l.b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.DELETE."+streamLeases, ask)
	if err != nil {
		return fmt.Errorf("releasing lease %q: %w", l.key, explain(unclear, err))
	}
	var a answer
	if err := json.Unmarshal(resp.Data, &a); err != nil {
		return fmt.Errorf("releasing lease %q: %w", l.key, err)
	}
	if a.Error != nil && a.Error.ErrorCode != codeNoSuchSequence && a.Error.ErrorCode != codeNoStream {
		return fmt.Errorf("releasing lease %q: %w", l.key, explain(judge(a.Error), a.Error))
	}
	return nil
}

// renew writes the lease once more, with its whole time ahead. It is a raw
// publish: the key-value client's update would make it live for ever.
func (l *Lease) renew(ctx context.Context) error {
	l.mu.Lock()
	rev := l.rev
	l.mu.Unlock()
	sent := time.Now()
	w := write{
		stream: streamLeases, subject: lease(l.key), data: l.data, expect: rev,
		ttl: (l.ttl + time.Second - 1).Truncate(time.Second),
	}
	seq, err := l.b.swap(ctx, w)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.rev, l.good = seq, sent
	l.mu.Unlock()
	return nil
}

// keep renews each third of the lease's time, and ends when that could not be
// done for six tenths of it, when another holds it, or when it is released.
func (l *Lease) keep(ctx context.Context) {
	defer close(l.stopped)
	defer func() {
		l.mu.Lock()
		l.ended = true
		l.mu.Unlock()
		close(l.done)
	}()
	wait := l.ttl / 3
	for {
		l.mu.Lock()
		end := l.good.Add(l.trust())
		l.mu.Unlock()
		t := time.NewTimer(min(wait, time.Until(end)))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		rctx, cancel := context.WithDeadline(ctx, end)
		err := l.renew(rctx)
		cancel()
		switch {
		case err == nil:
			wait = l.ttl / 3
		case !time.Now().Before(end), errors.Is(err, rollover.ErrConflict):
			return
		default:
			wait = l.ttl / 20
		}
	}
}

// Elect runs lead while this process holds the lease on key, one process at a
// time; the others wait, and take over within about four thirds of ttl. lead's
// context ends when the lease is lost: it must return soon then. When lead
// returns by itself the lease is given back and another may lead. Elect returns
// when ctx ends.
func (b *Broker) Elect(ctx context.Context, key, owner string, ttl time.Duration, lead func(ctx context.Context)) error {
	if ttl < minLease {
		return fmt.Errorf("lease %q for %s: at least %s", key, ttl, minLease)
	}
	ctx, cancel := b.both(ctx)
	defer cancel()
	for ctx.Err() == nil {
		l, err := b.Lease(ctx, key, owner, ttl)
		if err == nil {
			b.lead(ctx, l, lead)
		} else if !errors.Is(err, ErrBusy) && ctx.Err() == nil {
			b.c.Log.WarnContext(ctx, "no lease", "key", key, "err", err)
		}
		if pause(ctx, ttl/3) != nil {
			break
		}
	}
	return context.Cause(ctx)
}

// lead runs f until it returns, with a context that ends with the lease.
func (b *Broker) lead(ctx context.Context, l *Lease, f func(context.Context)) {
	lctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-l.Done():
			cancel()
		case <-lctx.Done():
		}
	}()
	f(lctx)
	cancel()
	<-over
	rctx, stop := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer stop()
	if err := l.Release(rctx); err != nil {
		b.c.Log.DebugContext(ctx, "lease was not given back", "key", l.key, "err", err)
	}
}

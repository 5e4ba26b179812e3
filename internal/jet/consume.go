package jet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// pullExpiry is how long one pull request stands at the server.
const pullExpiry = 10 * time.Second

// hurriedTries is up to which delivery Again asks for the next one at once.
// After that the nudge rests for AckWait, so that a worker that can do nothing
// with it does not spin.
const hurriedTries = 3

// Delivery is a nudge in a worker's hands. It must be settled by exactly one of
// Done, Again and Drop; one that is not comes again after AckWait.
type Delivery struct {
	Nudge     rollover.Nudge
	Slot      string // ACS host or tenant
	Delivered int    // how often it was handed out, this time included
	// Waited is how long the nudge waited for a hand since it was sent, by the
	// clocks of the server and of this machine.
	Waited time.Duration

	m       jetstream.Msg
	settled atomic.Bool
	late    atomic.Bool // another worker may have it
}

// Done says that the nudge has been seen to, and frees its slot. The server
// confirms it; after an error the nudge may come again. It does so also when ctx
// has ended, since what was done was done; but not when the nudge could not be
// kept from others, because then the slot may be another worker's.
func (d *Delivery) Done(ctx context.Context) error {
	if d.late.Load() {
		return fmt.Errorf("acknowledging: %w: %w", rollover.ErrUnavailable, errLate)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	if err := d.m.DoubleAck(ctx); err != nil {
		return fmt.Errorf("acknowledging: %w", explain(judge(err), err))
	}
	d.settled.Store(true)
	return nil
}

// Again asks for the nudge to be handed out again: at once the first times, and
// when its AckWait is over from then on. It never asks for a delay: delayed
// messages count as handed out, and enough of them stop everyone.
func (d *Delivery) Again(context.Context) error {
	d.settled.Store(true)
	if d.Delivered > hurriedTries {
		return nil
	}
	if err := d.m.Nak(); err != nil {
		return fmt.Errorf("handing back: %w", explain(judge(err), err))
	}
	return nil
}

// Drop takes the nudge out of the queue although it was not seen to: it makes no
// sense, and would make none to others.
func (d *Delivery) Drop() error {
	d.settled.Store(true)
	if err := d.m.Term(); err != nil {
		return fmt.Errorf("dropping: %w", explain(judge(err), err))
	}
	return nil
}

// Consume hands the queue's nudges to handle, at most slots at once and a few
// urgent ones more, until ctx ends; then it takes no more and waits for what is in
// hand. All processes share one consumer, so each nudge goes to one of them at a
// time. Nudges for which no hand is free wait here, up to a bound, so that an
// urgent one behind them is seen; see [hands].
//
// While handle runs its nudge is kept from others. The context of handle ends
// when that could not be renewed for two thirds of AckWait: it must not write any
// more, because another worker may be about to. It also ends with ctx. It is of the
// trace that the nudge was sent in.
func (b *Broker) Consume(ctx context.Context, q Queue, slots int, handle func(ctx context.Context, d *Delivery)) error {
	if !q.valid() || slots < 1 {
		return fmt.Errorf("consuming queue %q with %d slots: not possible", q, slots)
	}
	if !b.begin() {
		return errClosed()
	}
	defer b.wg.Done()
	ctx, cancel := b.both(ctx)
	defer cancel()
	h := newHands(slots)
	w := &worker{b: b, q: q, handle: handle, free: make(chan struct{}, h.all()), hand: h, over: make(chan struct{})}
	for range h.all() {
		w.free <- struct{}{}
	}
	var dog sync.WaitGroup
	dog.Go(func() { b.watchdog(q).run(ctx) })
	dog.Go(func() { b.beat(ctx, q, h.Room) })
	wait := 20 * time.Millisecond
	for ctx.Err() == nil {
		err := w.pull(ctx)
		if err == nil {
			wait = 20 * time.Millisecond
			continue
		}
		if ctx.Err() == nil {
			b.c.Log.DebugContext(ctx, "pulling work", "queue", q.durable(), "err", err)
		}
		if pause(ctx, wait) != nil {
			break
		}
		wait = min(2*wait, time.Second)
	}
	w.giveBack()
	w.hands.Wait()
	dog.Wait()
	return context.Cause(ctx)
}

// unheard is how long the client library may take after the end of a batch until it
// has said that it listens no more: it ends the batch first, and tells nobody of the
// second. nats.go 1.55.0, jetstream/pull.go.
const unheard = 100 * time.Millisecond

// giveBack gives back what came and will not be begun. Before that the server has to
// know that nobody listens to our last request any more, or it would hand these out to
// us again, where they would lie for AckWait.
func (w *worker) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	_ = pause(ctx, unheard)          // ctx ends later.
	_ = w.b.nc.FlushWithContext(ctx) // Without it they come again after AckWait at the latest.
	for _, m := range w.unbegun {
		_ = m.Nak() // Lost, it comes again after AckWait.
	}
	close(w.over)
}

// worker is one call of Consume.
type worker struct {
	b      *Broker
	q      Queue
	handle func(context.Context, *Delivery)
	free   chan struct{}      // a token for each nudge that may be taken, to be worked on or to wait
	hand   *hands             // who may work
	hands  sync.WaitGroup     // the handles that run
	cons   jetstream.Consumer // nil: to be looked up; owned by the loop of Consume, as unbegun is

	unbegun []jetstream.Msg // what came after the end
	over    chan struct{}   // closed when nothing is asked for any more, and the server knows
}

// pull waits for free slots and asks for as many nudges. A nudge that lay in a
// buffer would lose its AckWait there.
func (w *worker) pull(ctx context.Context) error {
	n, err := w.takeFree(ctx)
	if err != nil {
		return err
	}
	used := 0
	defer func() {
		for range n - used {
			w.free <- struct{}{}
		}
	}()
	if w.cons == nil {
		octx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		if w.cons, err = w.b.consumer(octx, w.q); err != nil {
			w.cons = nil
			if judge(err) == unclear { // Its server may have restarted.
				err = errors.Join(err, w.b.ensureVolatile(octx))
			}
			return err
		}
	}
	fctx, cancel := context.WithTimeout(ctx, pullExpiry)
	defer cancel()
	batch, err := w.cons.Fetch(n, jetstream.FetchContext(fctx), jetstream.FetchHeartbeat(time.Second))
	if err != nil {
		w.cons = nil
		return fmt.Errorf("pulling: %w", err)
	}
	for m := range batch.Messages() {
		if ctx.Err() != nil {
			w.unbegun = append(w.unbegun, m)
			continue
		}
		if used == n {
			_ = m.Nak() // Lost, it comes again after AckWait.
			continue
		}
		used++
		w.hands.Add(1)
		go func() {
			defer w.hands.Done()
			defer func() { w.free <- struct{}{} }()
			w.run(ctx, m)
		}()
	}
	if err := batch.Error(); err != nil && fctx.Err() == nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, jetstream.ErrNoMessages) {
		w.cons = nil
		return fmt.Errorf("pulling: %w", err)
	}
	return nil
}

// takeFree waits for one free slot and takes all that are free.
func (w *worker) takeFree(ctx context.Context) (int, error) {
	select {
	case <-w.free:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	n := 1
	for {
		select {
		case <-w.free:
			n++
		default:
			return n, nil
		}
	}
}

// run calls handle and keeps the nudge from others meanwhile.
func (w *worker) run(ctx context.Context, m jetstream.Msg) {
	d := &Delivery{m: m, Delivered: 1}
	var sent time.Time
	if meta, err := m.Metadata(); err == nil {
		sent = meta.Timestamp
		d.Delivered = int(meta.NumDelivered) //nolint:gosec // Far below the limit.
	}
	var err error
	if _, d.Slot, err = parseSlot(m.Subject()); err == nil {
		d.Nudge, err = decodeNudge(m.Data())
	}
	if err != nil {
		w.b.c.Log.ErrorContext(ctx, "work that cannot be read is dropped", "queue", w.q.durable(), "err", err)
		_ = d.Drop()
		return
	}
	hctx, cancel := context.WithCancelCause(spans.In(ctx, m.Headers().Get(spans.Header)))
	// Asked to end, the handle may need a moment, and its nudge stays with it as
	// long as that lasts. So keeping goes on after ctx has ended.
	kctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() { defer close(kept); w.keep(kctx, d, cancel) }()
	giveBack, err := w.hand.take(hctx, d.Nudge.Urgent)
	switch {
	case err == nil:
		if !sent.IsZero() {
			d.Waited = max(0, time.Since(sent))
		}
		w.handle(hctx, d)
		giveBack()
	case ctx.Err() != nil: // It was not begun, and another need not wait for AckWait.
		<-w.over
		d.settled.Store(true)
		_ = m.Nak() // Lost, it comes again after AckWait.
	}
	stop()
	<-kept
	cancel(nil)
}

// errLate is why the context of a handle ends before the work does.
var errLate = errors.New("the nudge could not be kept from other workers")

// keep renews the nudge's AckWait each third of it until ctx ends or it is
// settled, and cancels the handle when two thirds passed since the last renewal that is known to have worked.
func (w *worker) keep(ctx context.Context, d *Delivery, cancel context.CancelCauseFunc) {
	third := w.b.c.AckWait / 3
	good := time.Now() // Real time on purpose: the server counts in it.
	tick := time.NewTimer(third)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		left := 2*third - time.Since(good)
		switch {
		case d.settled.Load():
			return
		case left <= 0:
			d.late.Store(true)
			cancel(errLate)
			return
		}
		sent := time.Now()
		rctx, end := context.WithTimeout(ctx, min(left, attemptTimeout))
		_, err := w.b.nc.RequestWithContext(rctx, d.m.Reply(), []byte("+WPI"))
		end()
		if err == nil {
			good = sent
			tick.Reset(third)
			continue
		}
		tick.Reset(max(time.Millisecond, min(third/4, 2*third-time.Since(good))))
	}
}

package jet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// trouble is what keeps nudges that are in the queue from the workers.
type trouble int

const (
	noTrouble trouble = iota
	// stranded: the consumer neither has the nudges to give nor has given them. A
	// purge or an unclean stop may leave such (jetstream.md §6.3); a new consumer
	// sees them again.
	stranded
	// unled: the stream answers and the consumer has nobody who leads it. An
	// election ends that within seconds. One that was deleted while it had no
	// leader, and one whose servers were killed one after the other, have been seen
	// to stay so for good (nats-server 2.15.2).
	unled
)

// electing is for how long a consumer may be without a leader before that is more
// than an election. A leader that was killed is replaced after 4 to 9 s.
const electing = 20 * time.Second

// watchdog looks after one queue for one process. Each process has one; what two
// of them do at once does no harm, since the queue holds no record.
type watchdog struct {
	look   func(context.Context) (trouble, error)
	remake func(context.Context) error // makes the consumer anew
	empty  func(context.Context) error // makes the whole queue anew: what is in it is lost, and sent again by those who sent it
	every  time.Duration
	// How long a trouble stands before something is done.
	strandedFor, unledFor time.Duration
	queue                 string
	now                   func() time.Time
	log                   *slog.Logger
}

func (b *Broker) watchdog(q Queue) *watchdog {
	return &watchdog{
		look: func(ctx context.Context) (trouble, error) { return b.troubleOf(ctx, q) }, remake: func(ctx context.Context) error { return b.remake(ctx, q) },
		empty: b.empty, every: b.c.AckWait / 3, strandedFor: b.c.AckWait, unledFor: max(2*b.c.AckWait, electing), queue: q.durable(), now: time.Now, log: b.c.Log,
	}
}

// run looks until ctx ends. A consumer that is still without a leader after it was
// made anew takes the queue with it.
func (w *watchdog) run(ctx context.Context) {
	var now trouble
	var since time.Time
	var tried bool // the consumer of an unled queue was made anew
	for pause(ctx, w.every) == nil {
		is, err := w.look(ctx)
		switch {
		case err != nil:
			since = time.Time{}
		case is == noTrouble:
			since, tried = time.Time{}, false
		case is != now || since.IsZero():
			now, since = is, w.now()
		case is == stranded && w.now().Sub(since) >= w.strandedFor:
			w.log.WarnContext(ctx, "nudges were stranded; their consumer is made anew", "queue", w.queue)
			w.did(ctx, w.remake(ctx))
			since = time.Time{}
		case is == unled && w.now().Sub(since) >= w.unledFor && !tried:
			w.log.WarnContext(ctx, "the queue's consumer has no leader; it is made anew", "queue", w.queue)
			w.did(ctx, w.remake(ctx))
			since, tried = time.Time{}, true
		case is == unled && w.now().Sub(since) >= w.unledFor:
			w.log.WarnContext(ctx, "the queue's consumer still has no leader; the queue is made anew", "queue", w.queue)
			w.did(ctx, w.empty(ctx))
			since, tried = time.Time{}, false
		}
	}
}

func (w *watchdog) did(ctx context.Context, err error) {
	if err != nil {
		w.log.ErrorContext(ctx, "making it anew", "queue", w.queue, "err", err)
	}
}

// troubleOf looks at the queue. It returns an error if the stream itself does not
// answer: then nothing can be said, and nothing done.
func (b *Broker) troubleOf(ctx context.Context, q Queue) (trouble, error) {
	cctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	c, err := b.js.Consumer(cctx, streamWork, q.durable())
	var info *jetstream.ConsumerInfo
	if err == nil {
		info = c.CachedInfo()
	}
	is := judgeConsumer(info, err, b.nc.ConnectedClusterName() != "")
	if is == noTrouble {
		return is, nil
	}
	// A trouble is one only for nudges that wait.
	subjects, err := b.occupied(ctx, q)
	if err != nil || len(subjects) == 0 {
		return noTrouble, err
	}
	return is, nil
}

// judgeConsumer says what an answer about a consumer means for nudges that are
// in the queue.
func judgeConsumer(info *jetstream.ConsumerInfo, err error, clustered bool) trouble {
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound): // Pulling makes it.
		return noTrouble
	case err != nil:
		return unled
	case clustered && (info.Cluster == nil || info.Cluster.Leader == ""):
		// The others answer for a leader that is not there, with nothing but zeros.
		return unled
	case info.NumPending == 0 && info.NumAckPending == 0:
		return stranded
	default:
		return noTrouble
	}
}

// remake makes the queue's consumer anew. A consumer without a leader may be
// deleted without an answer, so that silence does not keep us from the second
// step.
func (b *Broker) remake(ctx context.Context, q Queue) error {
	dctx, cancel := context.WithTimeout(ctx, 2*attemptTimeout)
	defer cancel()
	err := b.js.DeleteConsumer(dctx, streamWork, q.durable())
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("deleting consumer %s: %w", q.durable(), err)
	}
	cctx, cancel := context.WithTimeout(ctx, 2*attemptTimeout)
	defer cancel()
	if _, made := b.consumer(cctx, q); made != nil {
		return errors.Join(err, made)
	}
	return nil
}

// empty makes the work queue and all that reads it anew.
func (b *Broker) empty(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	if err := b.js.DeleteStream(ctx, streamWork); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("deleting stream %s: %w", streamWork, err)
	}
	return b.ensureVolatile(ctx)
}

package jet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// reader reads a last-value stream in order, from what is stored into what
// comes. Its consumer is a throw-away; when it is lost, or has skipped, the
// reader makes another that goes on behind the last message it gave out.
type reader struct {
	b       *Broker
	stream  string
	filters []string
	all     bool // every message, not only the last of each subject

	idle     time.Duration // after how long without a request the server forgets the consumer; 0: a minute
	name     string        // of the consumer that was made last
	seen     uint64        // sequence of the last message given out
	made     string        // which making of the stream it is; another one has other sequences
	expected uint64        // the consumer's next sequence
	it       jetstream.MessagesContext
}

// errMadeAnew says that the stream is another one than the reader began with.
var errMadeAnew = errors.New("the stream was made anew")

// open makes a consumer for what comes after seen.
func (r *reader) open(ctx context.Context) error {
	r.close()
	s, err := r.b.js.Stream(ctx, r.stream)
	if err != nil {
		return fmt.Errorf("looking up stream %s: %w", r.stream, err)
	}
	if made := making(s.CachedInfo()); r.made == "" {
		r.made = made
	} else if made != r.made {
		return refuse("stream %s: %v", r.stream, errMadeAnew)
	}
	c := jetstream.ConsumerConfig{
		FilterSubjects: r.filters, AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: cmp.Or(r.idle, time.Minute),
	}
	if r.all {
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	if r.seen > 0 {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.seen+1
	}
	cons, err := s.CreateConsumer(ctx, c)
	if err != nil {
		return fmt.Errorf("following stream %s: %w", r.stream, err)
	}
	r.name = cons.CachedInfo().Name
	it, err := cons.Messages(jetstream.PullMaxMessages(1000), jetstream.PullExpiry(10*time.Second),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("following stream %s: %w", r.stream, err)
	}
	r.it, r.expected = it, 1
	return nil
}

func (r *reader) close() {
	if r.it != nil {
		r.it.Stop()
		r.it = nil
	}
}

// finish closes a reader that has read all that there was, and takes its consumer away. A
// stream has room for so many consumers, and whoever reads often would use it up with
// those that nobody needs any more. One that is not taken away goes when its time is over.
func (r *reader) finish(ctx context.Context) {
	r.close()
	if r.name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	if err := r.b.js.DeleteConsumer(ctx, r.stream, r.name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		r.b.c.Log.DebugContext(ctx, "a consumer of a scan is left to the server", "stream", r.stream, "err", err)
	}
}

// event is one message of a reader.
type event struct {
	subject string
	header  nats.Header
	data    []byte
	seq     uint64
	at      time.Time
}

// next returns the next message. It waits up to idle, and then returns false.
// It returns an error when ctx ended or the stream is another one.
func (r *reader) next(ctx context.Context, idle time.Duration) (event, bool, error) {
	wctx, cancel := context.WithTimeout(ctx, idle)
	defer cancel()
	wait := 20 * time.Millisecond
	for {
		if r.it == nil {
			octx, cancel := context.WithTimeout(ctx, attemptTimeout)
			err := r.open(octx)
			cancel()
			switch {
			case ctx.Err() != nil:
				return event{}, false, fmt.Errorf("following stream %s: %w", r.stream, context.Cause(ctx))
			case judge(err) == refused:
				return event{}, false, err
			case err != nil:
				if pause(wctx, wait) != nil {
					return event{}, false, ctx.Err()
				}
				wait = min(2*wait, time.Second)
				continue
			}
		}
		m, err := r.it.Next(jetstream.NextContext(wctx))
		switch {
		case ctx.Err() != nil:
			return event{}, false, fmt.Errorf("following stream %s: %w", r.stream, context.Cause(ctx))
		case err != nil && wctx.Err() != nil:
			return event{}, false, nil
		case err != nil: // The consumer, its server or the connection is gone.
			r.close()
			continue
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Consumer != r.expected {
			r.close() // Something was lost on the way.
			continue
		}
		r.expected++
		r.seen = meta.Sequence.Stream
		return event{m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream, meta.Timestamp}, true, nil
	}
}

// end returns the sequence of the last message that the leader has for any of
// the filters: who has seen that one has seen all there was.
func (r *reader) end(ctx context.Context) (uint64, error) {
	var end uint64
	for _, f := range r.filters {
		m, err := r.b.last(ctx, r.stream, f)
		if err != nil {
			return 0, err
		}
		if m != nil {
			end = max(end, m.Sequence)
		}
	}
	return end, nil
}

// heartbeat is how often the server shows that it knows a consumer's request.
// The client notices after two that are missing, and counts anew with each call
// of Next: no wait may be as short as that, or a lost consumer goes unnoticed.
const heartbeat = 500 * time.Millisecond

// scanIdle is how long a scan waits for the next message before it asks again
// whether there is one: the last may have been removed meanwhile.
const scanIdle = 3 * heartbeat

// scan hands fn the last message of each subject that matches the filter. It is
// complete to the instant of the call, and may tell of later changes too; a
// subject may come twice, the newer one later.
func (b *Broker) scan(ctx context.Context, stream, filter string, fn func(event) error) error {
	ctx, cancel := b.both(ctx)
	defer cancel()
	r := &reader{b: b, stream: stream, filters: []string{filter}, idle: scanForgotten}
	defer r.close()
	end, err := r.end(ctx)
	if err != nil {
		return err
	}
	for silent := 0; r.seen < end; {
		e, ok, err := r.next(ctx, scanIdle)
		if err != nil {
			return err
		}
		if ok {
			silent = 0
			if err := fn(e); err != nil {
				return err
			}
			continue
		}
		if silent++; silent > int(callBudget/scanIdle) {
			return fmt.Errorf("reading %s: nothing came for %s: %w", filter, callBudget, rollover.ErrUnavailable)
		}
		if end, err = r.end(ctx); err != nil {
			return err
		}
	}
	r.finish(ctx)
	return nil
}

// scanForgotten is after how long the server forgets the consumer of a scan that was cut
// off. While a scan waits it has a request out.
const scanForgotten = 10 * time.Second

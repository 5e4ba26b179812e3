package jet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// hands are those of one call of Consume: hands for any work, a few that only
// urgent work takes, and room for nudges that wait for a hand.
//
// A queue is first in, first out, and its subject has no lane, so that two lanes
// meet in the slot of a host (ADR 1). An urgent nudge behind bulk ones would wait
// for all of them. So workers take more than they have hands for, as long as the
// conductor keeps what is out below the hands and the room of all workers: then
// there is always one that takes the urgent nudge at once, and has a hand for it
// however long bulk work lasts.
type hands struct {
	Room
	any, urgent chan struct{}
}

// Room is how many nudges workers can take: to work on them, and to let them
// wait.
type Room struct{ Hands, Waiting int }

// newHands returns the hands of a worker with so many slots. An eighth more, at
// least two, is for urgent work alone.
func newHands(slots int) *hands {
	h := &hands{
		Room: Room{Hands: slots, Waiting: max(8, slots/4)},
		any:  make(chan struct{}, slots), urgent: make(chan struct{}, max(2, slots/8)),
	}
	return h
}

// all is how many nudges are taken at once.
func (h *hands) all() int { return h.Hands + h.Waiting + cap(h.urgent) }

// take waits for a hand, and returns what gives it back.
func (h *hands) take(ctx context.Context, urgent bool) (giveBack func(), err error) {
	reserved := h.urgent
	if !urgent {
		reserved = nil // Never ready.
	}
	took := h.any
	select {
	case h.any <- struct{}{}:
	default:
		select {
		case h.any <- struct{}{}:
		case reserved <- struct{}{}:
			took = h.urgent
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	giveBack = func() { <-took }
	if ctx.Err() != nil { // Its hand came with the end.
		giveBack()
		return nil, context.Cause(ctx)
	}
	return giveBack, nil
}

// beatEvery is how often a worker says what room it has, and beatsMissed how many
// of these may be missing before it counts as gone. They are told, not stored: a
// lost one costs a moment of a wrong window.
const (
	beatEvery   = time.Second
	beatsMissed = 5
)

// beat is what a worker says.
type beat struct {
	V       int    `json:"v"`
	Worker  string `json:"worker"` // one call of Consume
	Hands   int    `json:"hands"`  // 0: it takes no more
	Waiting int    `json:"waiting"`
}

// beat says what room a worker has until ctx ends.
func (b *Broker) beat(ctx context.Context, q Queue, r Room) {
	me := rand.Text()
	say := func(r Room) {
		data, err := encode(beat{V: 1, Worker: me, Hands: r.Hands, Waiting: r.Waiting})
		if err == nil {
			err = b.nc.Publish(beats(q), data)
		}
		if err != nil {
			b.c.Log.DebugContext(ctx, "saying what room there is", "queue", q.durable(), "err", err)
		}
	}
	asked := make(chan *nats.Msg, 1)
	if sub, err := b.nc.ChanSubscribe(asks(q), asked); err == nil { // Else who asks waits for the next beat.
		defer sub.Unsubscribe() //nolint:errcheck // The connection is gone then, and it with it.
	}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		say(r)
		select {
		case <-ctx.Done():
			say(Room{})
			return
		case <-asked:
		case <-tick.C:
		}
	}
}

// heard are the workers of a queue that were heard of late.
type heard struct {
	mu      sync.Mutex // guards workers
	workers map[string]told
}

// told is what a worker said, and when.
type told struct {
	Room
	at time.Time // real time, as the beats
}

// Room returns what room the workers of a queue have together, by what they said
// in the last seconds. The first call begins to listen, asks all to speak, and
// returns none.
func (b *Broker) Room(q Queue) (Room, error) {
	if !q.valid() {
		return Room{}, fmt.Errorf("room of queue %q: not possible", q)
	}
	b.listening.Lock()
	defer b.listening.Unlock()
	h := b.heard[q]
	if h == nil {
		h = &heard{workers: map[string]told{}}
		if _, err := b.nc.Subscribe(beats(q), h.take); err != nil {
			return Room{}, fmt.Errorf("listening for workers: %w", explain(judge(err), err))
		}
		if b.heard == nil {
			b.heard = map[Queue]*heard{}
		}
		b.heard[q] = h
		if err := b.nc.Publish(asks(q), nil); err != nil {
			return Room{}, fmt.Errorf("asking workers: %w", explain(judge(err), err))
		}
	}
	return h.sum(), nil
}

// maxHeard bounds how many workers are remembered, and maxRoom what one of them may
// say that it can take: a sum of more would be none.
const (
	maxHeard = 4096
	maxRoom  = 1 << 20
)

// take takes in what a worker said.
func (h *heard) take(m *nats.Msg) {
	var t beat
	if json.Unmarshal(m.Data, &t) != nil || t.Worker == "" || len(t.Worker) > maxToken || t.Hands < 0 || t.Hands > maxRoom || t.Waiting < 0 || t.Waiting > maxRoom {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.Hands == 0 {
		delete(h.workers, t.Worker)
		return
	}
	if _, known := h.workers[t.Worker]; known || len(h.workers) < maxHeard {
		h.workers[t.Worker] = told{Room{t.Hands, t.Waiting}, time.Now()}
	}
}

func (h *heard) sum() Room {
	h.mu.Lock()
	defer h.mu.Unlock()
	var r Room
	for id, t := range h.workers {
		if time.Since(t.at) > beatsMissed*beatEvery {
			delete(h.workers, id)
			continue
		}
		r.Hands += t.Hands
		r.Waiting += t.Waiting
	}
	return r
}

package jet

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Gauges are what streams and queues hold, for metrics.
type Gauges struct {
	Streams map[string]StreamGauge // by name
	Queues  map[string]QueueGauge  // by "tasks", "plans" and "checks"
}

// StreamGauge is what one stream holds.
type StreamGauge struct {
	Usage
	Messages int64
	Last     uint64 // version of what was written last
}

// QueueGauge is how the nudges of one queue stand.
type QueueGauge struct {
	Waiting     int // no worker has them
	InHand      int // with a worker
	Redelivered int // of those in hand, how many another worker had before
}

// States is the name of the stream of the states of tasks, findings and parts of checks:
// all that is written there is told by Tail.
const States = streamState

// Gauges returns what our streams and queues hold.
func (b *Broker) Gauges(ctx context.Context) (Gauges, error) {
	g := Gauges{Streams: map[string]StreamGauge{}, Queues: map[string]QueueGauge{}}
	ours := map[string]bool{}
	for _, c := range append(b.lasting(), b.volatile()...) {
		ours[c.Name] = true
	}
	list := b.js.ListStreams(ctx)
	for i := range list.Info() {
		if ours[i.Config.Name] {
			g.Streams[i.Config.Name] = StreamGauge{
				Usage:    Usage{Bytes: int64(i.State.Bytes), Max: i.Config.MaxBytes}, //nolint:gosec // Far below.
				Messages: int64(i.State.Msgs),                                        //nolint:gosec // Far below.
				Last:     i.State.LastSeq,
			}
		}
	}
	if err := list.Err(); err != nil {
		return g, fmt.Errorf("listing streams: %w", err)
	}
	work, err := b.js.Stream(ctx, streamWork)
	if err != nil {
		return g, fmt.Errorf("looking up stream %s: %w", streamWork, err)
	}
	consumers := work.ListConsumers(ctx)
	for i := range consumers.Info() {
		g.count(i)
	}
	if err := consumers.Err(); err != nil {
		return g, fmt.Errorf("listing consumers: %w", err)
	}
	return g, nil
}

func (g Gauges) count(i *jetstream.ConsumerInfo) {
	for _, q := range queues() {
		if i.Name == q.durable() {
			g.Queues[i.Name] = QueueGauge{Waiting: int(i.NumPending), InHand: i.NumAckPending, Redelivered: i.NumRedelivered} //nolint:gosec // At most maxNudges.
		}
	}
}

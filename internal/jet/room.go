package jet

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// bytesPerTask is what the state of a task takes in the end, at most as a rule.
const bytesPerTask = 900

// room refuses a plan whose tasks would not find room for their states beside those
// that other plans have yet to write: a rotation that stops for want of it half-way
// is worse than one that never began.
func (b *Broker) room(ctx context.Context, id string, tasks int) error {
	u, err := b.Usage(ctx)
	if err != nil {
		return err
	}
	used := u[streamState]
	free := used.Max/100*(100-reserve) - used.Bytes
	if used.Max <= 0 {
		return nil
	}
	owed, err := b.owed(ctx, id, func(most int) bool { return int64(tasks+most)*bytesPerTask <= free })
	if err != nil {
		return err
	}
	if int64(tasks+owed)*bytesPerTask <= free {
		return nil
	}
	why := fmt.Sprintf("%d tasks need about %d bytes of state, %d are free", tasks, int64(tasks)*bytesPerTask, max(0, free))
	if owed > 0 {
		why += fmt.Sprintf(", and %d tasks of other plans have yet to write theirs", owed)
	}
	return fmt.Errorf("%s: %w", why, rollover.ErrFull)
}

// owed returns how many tasks of the frozen plans of rotations other than this one
// have no state yet. Where enough says of all their tasks, begun or not, that they
// find room, it counts no further and returns 0.
//
// What a task that has begun still grows by is left to the reserve.
func (b *Broker) owed(ctx context.Context, id string, enough func(most int) bool) (int, error) {
	most, plans := 0, map[string]int{}
	err := b.scan(ctx, streamRotations, recordPrefix+".>", func(e event) error {
		r, err := decode[rollover.Rotation](e.data)
		if err != nil {
			return err
		}
		delete(plans, r.ID)
		if r.ID != id && r.Gone.IsZero() && !r.State.Ended() {
			plans[r.ID] = r.Tasks
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("reading what other rotations have yet to write: %w", err)
	}
	for _, n := range plans {
		most += n
	}
	if enough(most) {
		return 0, nil
	}
	for other := range plans {
		n, err := b.states(ctx, other)
		if err != nil {
			return 0, err
		}
		most -= n
	}
	return max(0, most), nil
}

// states returns how many tasks of a rotation have a state.
func (b *Broker) states(ctx context.Context, id string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	var n int
	err := again(ctx, func(ctx context.Context) error {
		c, err := b.js.CreateConsumer(ctx, streamState, jetstream.ConsumerConfig{
			FilterSubject: b.names.of(statePrefix, id) + ".*", AckPolicy: jetstream.AckNonePolicy,
			MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Second,
		})
		if err != nil {
			return fmt.Errorf("counting the states of rotation %s: %w", id, err)
		}
		n = int(c.CachedInfo().NumPending) //nolint:gosec // At most what the stream holds.
		return nil
	})
	return n, err
}

package jet

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// planParts returns the messages of a plan, each made when it is asked for: all
// of a plan of 100,000 targets at once would take some 60 MiB.
func (b *Broker) planParts(rotation string, plan []rollover.Item) iter.Seq2[write, error] {
	return func(yield func(write, error) bool) {
		n := 0
		for chunk := range slices.Chunk(plan, planChunk) {
			data, err := encode(planRecord{V: rollover.RecordVersion, Items: chunk})
			if err != nil {
				yield(write{}, refuse("part %d of the plan: %v", n, err))
				return
			}
			for _, w := range cut(streamRotations, b.names.plan(rotation, n), data) {
				if !yield(w, nil) {
					return
				}
			}
			n++
		}
	}
}

// swapParts writes all of parts, of which there are at least n, and w after them,
// or nothing, under the rule of swapAll. A try that is repeated has parts made
// again.
func (b *Broker) swapParts(ctx context.Context, parts iter.Seq2[write, error], n int, w write) (uint64, error) {
	if n >= maxBatch {
		return 0, explain(full, tooMany(n+1))
	}
	limit := attemptTimeout + time.Duration(n+1)*batchMessageTime
	return b.settle(ctx, w, false, limit, func(ctx context.Context) (uint64, error) { return b.publishParts(ctx, parts, w) })
}

// tooMany refuses a write of so many messages.
func tooMany(n int) error {
	return fullError{fmt.Errorf("%d messages in one write, at most %d fit: %w", n, maxBatch, rollover.ErrFull)}
}

// publishParts sends parts, and w after them, as one atomic batch, once.
func (b *Broker) publishParts(ctx context.Context, parts iter.Seq2[write, error], w write) (uint64, error) {
	batch, err := jetstreamext.NewBatchPublisher(b.js, jetstreamext.BatchFlowControl{AckFirst: true, AckEvery: 16, AckTimeout: attemptTimeout})
	if err != nil {
		return 0, fmt.Errorf("making a batch: %w", err)
	}
	for p, err := range parts {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && batch.Size() >= maxBatch-1 {
			err = tooMany(maxBatch + 1)
		}
		if err == nil {
			err = batch.AddMsg(p.msg())
		}
		if err != nil {
			_ = batch.Discard() // It says only that there is nothing to discard.
			return 0, fmt.Errorf("publishing a batch: %w", err)
		}
	}
	a, err := batch.CommitMsg(ctx, w.msg())
	if err != nil {
		return 0, fmt.Errorf("publishing a batch of %d: %w", batch.Size(), err)
	}
	return a.Sequence, nil
}

package jet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Bounds of group commit. A batch is synced once, whatever its size, and costs
// about as much as sixteen single writes; below that, singles are faster.
const (
	singles     = 16  // writes on their way by themselves at once
	batchSize   = 256 // writes in one batch at most
	commitQueue = 4096
)

// commits collects writes of many callers into atomic batches.
type commits struct {
	alone atomic.Int64 // writes on their way by themselves
	many  atomic.Int64 // batches on their way
	queue chan *pledge // writes waiting for the lane
}

// pledge is a write with its caller waiting for the answer.
type pledge struct {
	ctx    context.Context //nolint:containedctx // The caller's: its write is dropped when it gave up.
	w      write
	seq    uint64
	err    error
	answer chan struct{} // closed when seq and err are set
}

func (b *Broker) startCommits() {
	b.commits.queue = make(chan *pledge, commitQueue)
	if b.begin() {
		go func() { defer b.wg.Done(); b.lane() }()
	}
}

// commit writes w by itself, or with others when there are many. While a batch
// is on its way nothing goes by itself: each single is synced, and would hold up
// the batch behind it.
func (b *Broker) commit(ctx context.Context, w write) (uint64, error) {
	if b.commits.many.Load() == 0 {
		if b.commits.alone.Add(1) <= singles {
			defer b.commits.alone.Add(-1)
			return b.swap(ctx, w)
		}
		b.commits.alone.Add(-1)
	}
	p := &pledge{ctx: ctx, w: w, answer: make(chan struct{})}
	select {
	case b.commits.queue <- p:
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting to write: %w", context.Cause(ctx))
	case <-b.ctx.Done():
		return 0, errClosed()
	}
	select {
	case <-p.answer:
		return p.seq, p.err
	case <-ctx.Done(): // It may be written all the same; the contract allows that.
		return 0, fmt.Errorf("waiting for a write: %w", context.Cause(ctx))
	case <-b.ctx.Done():
		return 0, errClosed()
	}
}

// lane takes what has queued up while the last batch was on its way. There is
// one: two got in each other's way at the stream and were slower together.
func (b *Broker) lane() {
	var held *pledge // a second write of a subject, for the next batch
	for {
		first := held
		held = nil
		if first == nil {
			select {
			case first = <-b.commits.queue:
			case <-b.ctx.Done():
				return
			}
		}
		group := []*pledge{first}
		seen := map[string]bool{first.w.subject: true}
	gather:
		for len(group) < batchSize {
			select {
			case p := <-b.commits.queue:
				if seen[p.w.subject] { // A batch takes one swap of a subject.
					held = p
					break gather
				}
				seen[p.w.subject] = true
				group = append(group, p)
			default:
				break gather
			}
		}
		b.commitGroup(group)
	}
}

// commitGroup writes the group and answers each of its callers.
func (b *Broker) commitGroup(group []*pledge) {
	live := group[:0]
	for _, p := range group {
		if p.ctx.Err() != nil {
			p.err = fmt.Errorf("waiting to write: %w", context.Cause(p.ctx))
			close(p.answer)
			continue
		}
		live = append(live, p)
	}
	if len(live) == 0 {
		return
	}
	ws := make([]write, len(live))
	for i, p := range live {
		ws[i] = p.w
	}
	seqs, errs := b.swapMany(b.ctx, ws)
	for i, p := range live {
		p.seq, p.err = seqs[i], errs[i]
		close(p.answer)
	}
}

// swapMany makes independent swaps of one stream and of different subjects, at
// most batchSize: as one atomic batch, and one by one if any of them is refused
// or the answer was lost.
func (b *Broker) swapMany(ctx context.Context, ws []write) ([]uint64, []error) {
	seqs, errs := make([]uint64, len(ws)), make([]error, len(ws))
	doubt := false
	if len(ws) > singles {
		actx, cancel := context.WithTimeout(ctx, 2*attemptTimeout)
		b.commits.many.Add(1)
		end, err := b.publishBatch(actx, ws)
		b.commits.many.Add(-1)
		cancel()
		if err == nil {
			for i := range ws {
				seqs[i] = end - uint64(len(ws)-1-i) //nolint:gosec // Not negative: i is below the length.
			}
			return seqs, errs
		}
		doubt = judge(err) == unclear
	}
	var wg sync.WaitGroup
	next := atomic.Int64{}
	for range min(singles, len(ws)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < len(ws); i = int(next.Add(1)) - 1 {
				w := ws[i]
				seqs[i], errs[i] = b.settle(ctx, w, doubt, attemptTimeout,
					func(ctx context.Context) (uint64, error) { return b.publish(ctx, w.msg()) })
			}
		}()
	}
	wg.Wait()
	return seqs, errs
}

// SaveTasks saves many tasks under the rule of SaveTask each, in batches. It
// returns them in the same order, with a new Rev where it was saved; the error
// joins a [*TaskError] for each that was not. No two may be the same task.
func (b *Broker) SaveTasks(ctx context.Context, tasks []rollover.Task) ([]rollover.Task, error) {
	out := make([]rollover.Task, len(tasks))
	copy(out, tasks)
	var errs []error
	for from := 0; from < len(tasks); from += batchSize {
		to := min(from+batchSize, len(tasks))
		ws := make([]write, 0, to-from)
		saved := make([]rollover.Task, 0, to-from)
		for _, k := range tasks[from:to] {
			s, w, err := b.taskWrite(k)
			if err != nil {
				return out, errors.Join(append(errs, err)...)
			}
			ws, saved = append(ws, w), append(saved, s)
		}
		seqs, fails := b.swapMany(ctx, ws)
		for i := range ws {
			if fails[i] != nil {
				errs = append(errs, &TaskError{ID: tasks[from+i].ID, Err: fails[i]})
				continue
			}
			saved[i].Rev = seqs[i]
			out[from+i] = saved[i]
		}
		if ctx.Err() != nil {
			return out, errors.Join(append(errs, fmt.Errorf("saving tasks: %w", context.Cause(ctx)))...)
		}
	}
	return out, errors.Join(errs...)
}

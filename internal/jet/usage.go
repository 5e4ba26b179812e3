package jet

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Usage is what a stream holds.
type Usage struct {
	Bytes int64 // with the server's own overhead
	Max   int64 // what it may hold; 0 or below: as much as the server has
}

// Usage returns what rotations, the states of tasks and the audit log take, by stream.
func (b *Broker) Usage(ctx context.Context) (map[string]Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	out := map[string]Usage{}
	for _, name := range []string{streamRotations, streamState, streamAudit} {
		err := again(ctx, func(ctx context.Context) error {
			s, err := b.js.Stream(ctx, name)
			if err != nil {
				return fmt.Errorf("looking up stream %s: %w", name, err)
			}
			i := s.CachedInfo()
			out[name] = Usage{Bytes: int64(i.State.Bytes), Max: i.Config.MaxBytes} //nolint:gosec // Far below.
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// reserve is the part of the streams of rotations and of the audit log, in percent, that new
// rotations never take: what was begun is finished in it.
const reserve = 10

// admit refuses a new rotation of so many bytes where it would take what is kept
// for those that were begun, in our streams or in the account.
func (b *Broker) admit(ctx context.Context, size int64) error {
	used, err := b.Usage(ctx)
	if err != nil {
		return err
	}
	for name, u := range used {
		if left := u.Max/100*(100-reserve) - u.Bytes; u.Max > 0 && left < size {
			return fmt.Errorf("stream %s has %d of %d bytes, and the last %d percent are kept for rotations that were begun: %w", name, u.Bytes, u.Max, reserve, rollover.ErrFull)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	return again(ctx, func(ctx context.Context) error {
		a, err := b.js.AccountInfo(ctx)
		if err != nil {
			return fmt.Errorf("reading the account: %w", err)
		}
		// Streams with a bound have it set aside for them and are not counted here.
		if most := a.Limits.MaxStore; most > 0 && most/100*(100-reserve) < int64(a.Store)+size { //nolint:gosec // Far below.
			return fullError{fmt.Errorf("the account has %d of %d bytes: %w", a.Store, most, rollover.ErrFull)}
		}
		return nil
	})
}

// sizeOf returns how many bytes writes take.
func sizeOf(ws []write) int64 {
	n := int64(0)
	for _, w := range ws {
		n += int64(len(w.data) + len(w.subject))
	}
	return n
}

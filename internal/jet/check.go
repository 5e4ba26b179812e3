package jet

import (
	"context"
	"fmt"
	"strconv"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// CheckPart reads what the last check found on one part of a rotation, with its
// version; the zero part and 0 where none was stored.
func (b *Broker) CheckPart(ctx context.Context, rotation string, n int) (rollover.CheckPart, uint64, error) {
	m, err := b.last(ctx, streamState, b.names.check(rotation, n))
	if err != nil {
		return rollover.CheckPart{}, 0, fmt.Errorf("part %d of the check of %s: %w", n, rotation, err)
	}
	if m == nil {
		return rollover.CheckPart{}, 0, nil
	}
	p, err := decode[rollover.CheckPart](m.Data)
	if err != nil {
		return p, 0, fmt.Errorf("part %d of the check of %s: %w", n, rotation, err)
	}
	return p, m.Sequence, nil
}

// SaveCheckPart stores what a check found on one part of a rotation, if rev is
// still the stored version, and returns the new one; else [rollover.ErrConflict].
func (b *Broker) SaveCheckPart(ctx context.Context, rotation string, n int, p rollover.CheckPart, rev uint64) (uint64, error) {
	p.V = rollover.RecordVersion
	data, err := encode(p)
	if err != nil {
		return 0, err
	}
	if len(data) > maxPart {
		return 0, fmt.Errorf("part %d of the check of %s: %d bytes, at most %d fit: %w", n, rotation, len(data), maxPart, rollover.ErrFull)
	}
	seq, err := b.commit(ctx, write{stream: streamState, subject: b.names.check(rotation, n), data: data, expect: rev})
	if err != nil {
		return 0, fmt.Errorf("saving part %d of the check of %s: %w", n, rotation, err)
	}
	return seq, nil
}

// CheckParts returns all stored parts of a rotation by position, complete to the
// instant of the call.
func (b *Broker) CheckParts(ctx context.Context, rotation string) (map[int]rollover.CheckPart, error) {
	out := map[int]rollover.CheckPart{}
	err := b.scan(ctx, streamState, b.names.of(checkPrefix, rotation)+".*", func(e event) error {
		a, err := parseAddress(e.subject)
		if err != nil {
			return err
		}
		out[a.n], err = decode[rollover.CheckPart](e.data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the check of %s: %w", rotation, err)
	}
	return out, nil
}

// NudgeCheck puts a nudge for one part of a rotation's check into the part's own
// slot, under the rule of NudgeTask. Its Ord is the position of the part.
func (b *Broker) NudgeCheck(ctx context.Context, n rollover.Nudge) error {
	return b.nudge(ctx, Checks, n.Rotation+"/"+strconv.Itoa(n.Ord), n)
}

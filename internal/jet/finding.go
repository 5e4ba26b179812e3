package jet

import (
	"context"
	"errors"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// SaveFinding implements [rollover.Store]. A finding that is larger than one
// message is one atomic batch.
func (b *Broker) SaveFinding(ctx context.Context, rotation string, ord int, f rollover.Finding) error {
	f.V = rollover.RecordVersion
	data, err := encode(f)
	if err != nil {
		return err
	}
	ws := cut(streamState, b.names.finding(rotation, ord), data)
	if len(ws) == 1 {
		_, err = b.commit(ctx, ws[0])
	} else {
		_, err = b.swapAll(ctx, ws)
	}
	if err != nil && !errors.Is(err, rollover.ErrConflict) {
		return fmt.Errorf("saving finding %d of rotation %s: %w", ord, rotation, err)
	}
	return nil // In conflict: another one came first, and stays.
}

// Findings implements [rollover.Store]. It is complete to the instant of the
// call, by what the leader of the stream has.
func (b *Broker) Findings(ctx context.Context, rotation string) (map[int]rollover.Finding, error) {
	type pieces struct {
		n    int
		data map[int][]byte
	}
	found := map[int]*pieces{}
	err := b.scan(ctx, streamState, b.names.of(findingPrefix, rotation)+".>", func(e event) error {
		a, err := parseAddress(e.subject)
		if err != nil {
			return err
		}
		p := found[a.n]
		if p == nil {
			p = &pieces{data: map[int][]byte{}}
			found[a.n] = p
		}
		if a.part == 0 {
			if p.n, err = partsOf(e.header); err != nil {
				return fmt.Errorf("finding %d: %w", a.n, err)
			}
		}
		p.data[a.part] = e.data
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading findings of rotation %s: %w", rotation, err)
	}
	out := make(map[int]rollover.Finding, len(found))
	for ord, p := range found {
		if p.n == 0 {
			continue // Its head is newer than the call.
		}
		var data []byte
		for i := range p.n {
			data = append(data, p.data[i]...)
		}
		f, err := decode[rollover.Finding](data)
		if err != nil {
			return nil, fmt.Errorf("finding %d of rotation %s: %w", ord, rotation, err)
		}
		out[ord] = f
	}
	return out, nil
}

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
// call, by what the leader of the stream has. Each is decoded as it comes: at
// 20,000 tenants all of them as bytes would take as much room as what they say.
func (b *Broker) Findings(ctx context.Context, rotation string) (map[int]rollover.Finding, error) {
	g := gatherer{out: map[int]rollover.Finding{}, torn: map[int]*pieces{}}
	err := b.scan(ctx, streamState, b.names.of(findingPrefix, rotation)+".>", g.take)
	if err != nil {
		return nil, fmt.Errorf("reading findings of rotation %s: %w", rotation, err)
	}
	return g.out, nil
}

// gatherer makes findings of messages.
type gatherer struct {
	out  map[int]rollover.Finding
	torn map[int]*pieces // those of several messages, of which some came
}

// pieces are the messages of one finding.
type pieces struct {
	n    int // how many there are; 0 while the head has not come
	data map[int][]byte
}

// take takes in a message. The head of a finding comes after the rest of it; a
// finding without one is newer than the scan.
func (g *gatherer) take(e event) error {
	a, err := parseAddress(e.subject)
	if err != nil {
		return err
	}
	p := g.torn[a.n]
	if p == nil {
		p = &pieces{data: map[int][]byte{}}
	}
	p.data[a.part] = e.data
	if a.part == 0 {
		if p.n, err = partsOf(e.header); err != nil {
			return fmt.Errorf("finding %d: %w", a.n, err)
		}
	}
	if len(p.data) != p.n {
		g.torn[a.n] = p
		return nil
	}
	delete(g.torn, a.n)
	var data []byte
	for i := range p.n {
		data = append(data, p.data[i]...)
	}
	if g.out[a.n], err = decode[rollover.Finding](data); err != nil {
		return fmt.Errorf("finding %d: %w", a.n, err)
	}
	return nil
}

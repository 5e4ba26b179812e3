package jet

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// DeleteRotation removes the selection, findings, plan, task states and checks of
// a rotation and keeps its record, which is to say that it is gone before this is
// called: no reader then takes half of a rotation for one. Doing it again is
// harmless, and needed: after a power cut removed values may be back. No consumer
// with acknowledgements may ever exist on these streams: a purge makes such a one
// skip messages.
func (b *Broker) DeleteRotation(ctx context.Context, id string) error {
	for _, p := range []struct{ stream, prefix string }{
		{streamState, statePrefix}, {streamState, findingPrefix}, {streamState, checkPrefix},
		{streamRotations, planPrefix}, {streamRotations, selectionPrefix},
	} {
		if err := b.purge(ctx, p.stream, jetstream.WithPurgeSubject(b.names.of(p.prefix, id)+".>")); err != nil {
			return err
		}
	}
	b.plans.Remove(id)
	b.selections.Remove(id)
	for _, key := range b.chunks.Keys() {
		if a, err := parseAddress(key); err == nil && a.rotation == id {
			b.chunks.Remove(key)
		}
	}
	return nil
}

// ForgetRotation removes what is left of a rotation that is gone, its record last.
// One that is not gone is refused with [rollover.ErrState]; one that is not there is
// fine.
func (b *Broker) ForgetRotation(ctx context.Context, id string) error {
	_, err := b.Rotation(ctx, id)
	switch {
	case errors.Is(err, rollover.ErrGone):
	case errors.Is(err, rollover.ErrNotFound):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("rotation %s was not deleted: %w", id, rollover.ErrState)
	}
	if err := b.DeleteRotation(ctx, id); err != nil {
		return err
	}
	return b.purge(ctx, streamRotations, jetstream.WithPurgeSubject(b.names.record(id)))
}

// purge removes the messages of a stream that all of which hold, of one subject at least.
func (b *Broker) purge(ctx context.Context, stream string, which ...jetstream.StreamPurgeOpt) error {
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	err := again(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, stream)
		if err != nil {
			return fmt.Errorf("looking up stream %s: %w", stream, err)
		}
		return s.Purge(ctx, which...)
	})
	if err != nil {
		return fmt.Errorf("purging %s: %w", stream, err)
	}
	return nil
}

package jet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// auditWindow is for how long the same record is known to be the same.
const auditWindow = 2 * time.Minute

// auditQueue bounds the records that wait to be written.
const auditQueue = 4096

// telling is an audit record with its teller waiting for the answer.
type telling struct {
	ctx    context.Context //nolint:containedctx // The teller's: its record is dropped when it gave up.
	id     string
	data   []byte
	err    error
	answer chan struct{} // closed when err is set
}

func (t *telling) msg() *nats.Msg {
	return &nats.Msg{Subject: auditRecord, Data: t.data, Header: nats.Header{
		jetstream.ExpectedStreamHeader: {streamAudit}, jetstream.MsgIDHeader: {t.id},
	}}
}

// AppendAudit stores an audit record behind all others and returns when it is on the
// disk. Records of many tellers are written together. The same id within two minutes is
// the same record, and is stored once. Errors are [rollover.ErrFull] or
// [rollover.ErrUnavailable]; the record may be stored all the same then.
func (b *Broker) AppendAudit(ctx context.Context, id string, data []byte) error {
	t := &telling{ctx: ctx, id: id, data: data, answer: make(chan struct{})}
	select {
	case b.tellings <- t:
	case <-ctx.Done():
		return fmt.Errorf("waiting to tell the audit log: %w: %w", rollover.ErrUnavailable, context.Cause(ctx))
	case <-b.ctx.Done():
		return errClosed()
	}
	select {
	case <-t.answer:
		return t.err
	case <-ctx.Done():
		return fmt.Errorf("telling the audit log: %w: %w", rollover.ErrUnavailable, context.Cause(ctx))
	case <-b.ctx.Done():
		return errClosed()
	}
}

func (b *Broker) startAudit() {
	b.tellings = make(chan *telling, auditQueue)
	if b.begin() {
		go func() { defer b.wg.Done(); b.tellLane() }()
	}
}

// tellLane writes what has queued up while the last records were on their way.
func (b *Broker) tellLane() {
	for {
		var group []*telling
		select {
		case t := <-b.tellings:
			group = append(group, t)
		case <-b.ctx.Done():
			return
		}
	gather:
		for len(group) < batchSize {
			select {
			case t := <-b.tellings:
				group = append(group, t)
			default:
				break gather
			}
		}
		b.tellGroup(group)
	}
}

// tellGroup writes records: as one batch where there are many, which is synced once, and
// one by one where that is refused or its answer was lost. What is stored already is
// known by its id.
func (b *Broker) tellGroup(group []*telling) {
	if len(group) > singles {
		ctx, cancel := context.WithTimeout(b.ctx, 2*attemptTimeout)
		msgs := make([]*nats.Msg, len(group))
		for i, t := range group {
			msgs[i] = t.msg()
		}
		_, err := jetstreamext.PublishMsgBatch(ctx, b.js, msgs, jetstreamext.BatchFlowControl{AckEvery: 64, AckTimeout: attemptTimeout})
		cancel()
		if err == nil {
			for _, t := range group {
				close(t.answer)
			}
			return
		}
	}
	var wg sync.WaitGroup
	for _, t := range group {
		wg.Go(func() {
			t.err = b.tellOne(t)
			close(t.answer)
		})
	}
	wg.Wait()
}

// tellOne writes one record, and tries again as long as its teller waits.
func (b *Broker) tellOne(t *telling) error {
	ctx, cancel := context.WithTimeout(t.ctx, callBudget)
	defer cancel()
	ctx, stop := b.both(ctx)
	defer stop()
	err := again(ctx, func(ctx context.Context) error {
		_, err := b.publish(ctx, t.msg())
		return err
	})
	if err != nil {
		return fmt.Errorf("telling the audit log: %w", err)
	}
	return nil
}

// AuditRecords calls f with every audit record there is now, in order.
func (b *Broker) AuditRecords(ctx context.Context, f func(seq uint64, data []byte) error) error {
	return b.AuditRecordsAfter(ctx, 0, f)
}

// AuditRecordsAfter calls f with every audit record behind a sequence.
func (b *Broker) AuditRecordsAfter(ctx context.Context, after uint64, f func(seq uint64, data []byte) error) error {
	return b.readAll(ctx, streamAudit, after, f)
}

// AuditLast returns the sequence of the last audit record, 0 where there is none.
func (b *Broker) AuditLast(ctx context.Context) (uint64, error) {
	ctx, cancel := b.both(ctx)
	defer cancel()
	return (&reader{b: b, stream: streamAudit, filters: []string{">"}}).end(ctx)
}

// AuditCheckpoints calls f with every checkpoint of the audit log there is now, in order.
func (b *Broker) AuditCheckpoints(ctx context.Context, f func(seq uint64, data []byte) error) error {
	return b.readAll(ctx, streamCheckpoints, 0, f)
}

// readAll hands f every message of a stream behind a sequence that there is at the time
// of the call.
func (b *Broker) readAll(ctx context.Context, stream string, after uint64, f func(seq uint64, data []byte) error) error {
	ctx, cancel := b.both(ctx)
	defer cancel()
	r := &reader{b: b, stream: stream, filters: []string{">"}, all: true, seen: after, idle: scanForgotten}
	defer r.close()
	end, err := r.end(ctx)
	if err != nil {
		return err
	}
	for silent := 0; r.seen < end; {
		e, ok, err := r.next(ctx, scanIdle)
		if err != nil {
			return err
		}
		if !ok {
			if silent++; silent > int(callBudget/scanIdle) {
				return fmt.Errorf("reading stream %s: nothing came for %s: %w", stream, callBudget, rollover.ErrUnavailable)
			}
			continue
		}
		silent = 0
		if e.seq > end {
			return nil // It came meanwhile, and what was to be read last was taken away.
		}
		if err := f(e.seq, e.data); err != nil {
			return err
		}
	}
	r.finish(ctx)
	return nil
}

// AppendCheckpoint stores a checkpoint of the audit log if last is the sequence of the
// last one, 0 for none, and returns its own; else [rollover.ErrConflict].
func (b *Broker) AppendCheckpoint(ctx context.Context, last uint64, data []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	// Of the subject, not of the stream: a write that met the end of the disk may leave
	// a sequence without a message, which nobody who reads can know of.
	m := &nats.Msg{Subject: auditCheckpoint, Data: data, Header: nats.Header{
		jetstream.ExpectedStreamHeader: {streamCheckpoints}, jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(last, 10)},
	}}
	var seq uint64
	err := again(ctx, func(ctx context.Context) (err error) {
		seq, err = b.publish(ctx, m)
		return err
	})
	if errors.Is(err, rollover.ErrConflict) {
		return 0, fmt.Errorf("a checkpoint was stored by another, or by us with the answer lost: %w", err)
	}
	if err != nil {
		return 0, fmt.Errorf("storing a checkpoint: %w", err)
	}
	return seq, nil
}

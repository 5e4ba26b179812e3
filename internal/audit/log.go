package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/spans"
)

// Store keeps records.
type Store interface {
	// AppendAudit stores data behind all that is stored, and returns when it is on the
	// disk. The same id within two minutes is the same record: it is stored once.
	AppendAudit(ctx context.Context, id string, data []byte) error
}

// appendTimeout bounds one telling.
const appendTimeout = 15 * time.Second

// Log takes records. It is safe for concurrent use.
type Log struct {
	store Store
	now   func() time.Time
	told  func(error)
}

// NewLog returns a log. now is the service's clock. told is told of each record whether it
// was stored, for metrics, and may be nil.
func NewLog(store Store, now func() time.Time, told func(error)) *Log {
	if told == nil {
		told = func(error) {}
	}
	return &Log{store, now, told}
}

// Tell stores records, in order, and returns when all are on the disk. At, ID and Trace
// are filled in. After an error some may be stored all the same.
func (l *Log) Tell(ctx context.Context, records ...Record) error {
	// What happened is told also where whoever asked for it has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendTimeout)
	defer cancel()
	for _, r := range records {
		if r.At.IsZero() {
			r.At = l.now()
		}
		if r.Trace == "" {
			r.Trace = spans.ID(ctx)
		}
		if r.ID == "" {
			id, err := uuid.NewV7()
			if err != nil {
				return fmt.Errorf("naming an audit record: %w", err)
			}
			r.ID = id.String()
		}
		data, err := r.encode()
		if err != nil {
			return err
		}
		err = l.store.AppendAudit(ctx, r.ID, data)
		l.told(err)
		if err != nil {
			return fmt.Errorf("writing the audit log: %w", err)
		}
	}
	return nil
}

package jet

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Task implements [rollover.Store]. Rotation and progress are read from their
// leaders; the plan's item and the certificate never change and are cached.
func (b *Broker) Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error) {
	r, err := b.Rotation(ctx, id.Rotation)
	if err != nil {
		return rollover.Task{}, err
	}
	if r.Digest == "" || id.Ord < 0 || id.Ord >= r.Tasks {
		return rollover.Task{}, fmt.Errorf("task %s: %w", id, rollover.ErrNotFound)
	}
	items, err := b.chunk(ctx, id.Rotation, id.Ord/planChunk)
	if err != nil {
		return rollover.Task{}, fmt.Errorf("task %s: %w", id, err)
	}
	if id.Ord%planChunk >= len(items) {
		return rollover.Task{}, fmt.Errorf("task %s: its part of the plan has %d items", id, len(items))
	}
	cert, err := b.certificate(ctx, r.Spec.New.SHA256)
	if err != nil {
		return rollover.Task{}, fmt.Errorf("task %s: %w", id, err)
	}
	it := items[id.Ord%planChunk]
	k := rollover.Task{ID: id, Item: it, Progress: it.Start(), Orders: r.Orders(cert)}
	m, err := b.last(ctx, streamState, b.names.state(id))
	if err != nil {
		return rollover.Task{}, fmt.Errorf("task %s: %w", id, err)
	}
	if m == nil {
		return k, nil
	}
	if k.Progress, err = decode[rollover.Progress](m.Data); err != nil {
		return rollover.Task{}, fmt.Errorf("task %s: %w", id, err)
	}
	k.Rev = m.Sequence
	return k, nil
}

// certificate returns the credential with its bytes. Its name is its hash, so
// what was read once stays true.
func (b *Broker) certificate(ctx context.Context, sha string) (rollover.Credential, error) {
	if c, ok := b.certs.Get(sha); ok {
		return c, nil
	}
	if b.c.Certificate == nil {
		return rollover.Credential{}, fmt.Errorf("certificate %s: the broker was opened without a source of certificates", sha)
	}
	c, err := b.c.Certificate(ctx, sha)
	if err != nil {
		return rollover.Credential{}, fmt.Errorf("certificate %s: %w", sha, err)
	}
	b.certs.Add(sha, c)
	return c, nil
}

// SaveTask implements [rollover.Store].
func (b *Broker) SaveTask(ctx context.Context, k rollover.Task) (rollover.Task, error) {
	saved, w, err := b.taskWrite(k)
	if err != nil {
		return k, err
	}
	if saved.Rev, err = b.commit(ctx, w); err != nil {
		return k, fmt.Errorf("saving task %s: %w", k.ID, err)
	}
	return saved, nil
}

// taskWrite returns k as it will be stored, and the write that stores it.
func (b *Broker) taskWrite(k rollover.Task) (rollover.Task, write, error) {
	k.V = k.Progress.Version()
	data, err := encode(k.Progress)
	if err != nil {
		return k, write{}, fmt.Errorf("task %s: %w", k.ID, err)
	}
	if len(data) > maxPart {
		return k, write{}, fmt.Errorf("task %s: record of %d bytes, at most %d fit: %w", k.ID, len(data), maxPart, rollover.ErrFull)
	}
	return k, write{stream: streamState, subject: b.names.state(k.ID), data: data, expect: k.Rev}, nil
}

// TaskError says why one of several tasks was not saved.
type TaskError struct {
	ID  rollover.TaskID
	Err error
}

// Error names the task.
func (e *TaskError) Error() string { return fmt.Sprintf("saving task %s: %v", e.ID, e.Err) }

// Unwrap returns the cause.
func (e *TaskError) Unwrap() error { return e.Err }

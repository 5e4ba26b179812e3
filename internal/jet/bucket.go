package jet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// headerGone marks a message that stands where a value was deleted.
const headerGone = "Crossfade-Gone"

// maxValue bounds a value of a bucket, in bytes.
const maxValue = maxPart

// Bucket keeps values by key. Keys are any text up to about 300 bytes; values
// have up to 768 KiB. What a call reads is what the leader has, so it sees every
// write that was answered before.
type Bucket struct {
	b    *Broker
	name string
}

// Get reads a value with its version, or returns [rollover.ErrNotFound].
func (k *Bucket) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	m, gone, err := k.read(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	if m == nil || gone {
		return nil, 0, fmt.Errorf("%s %q: %w", k.name, key, rollover.ErrNotFound)
	}
	return m.Data, m.Sequence, nil
}

// read returns the message that stands for key, or nil, and whether it says
// that the value was deleted.
func (k *Bucket) read(ctx context.Context, key string) (*stored, bool, error) {
	m, err := k.b.last(ctx, bucketStream(k.name), bucketKey(k.name, key))
	if err != nil {
		return nil, false, fmt.Errorf("%s %q: %w", k.name, key, err)
	}
	if m == nil {
		return nil, false, nil
	}
	h, err := m.header()
	if err != nil {
		return nil, false, fmt.Errorf("%s %q: %w", k.name, key, err)
	}
	return m, h.Get(headerGone) != "", nil
}

// Create stores a value under a key that has none and returns its version; else, and
// where one was retired, [rollover.ErrExists].
func (k *Bucket) Create(ctx context.Context, key string, val []byte) (uint64, error) {
	rev, err := k.swap(ctx, key, val, 0)
	if !errors.Is(err, rollover.ErrConflict) {
		return rev, err
	}
	m, gone, rerr := k.read(ctx, key)
	if rerr != nil {
		return 0, rerr
	}
	if m != nil && gone && len(m.Data) == 0 {
		rev, err = k.swap(ctx, key, val, m.Sequence)
	}
	if errors.Is(err, rollover.ErrConflict) {
		return 0, fmt.Errorf("%s %q: %w", k.name, key, rollover.ErrExists)
	}
	return rev, err
}

// Update stores a value if rev is still the version that stands, and returns
// the new one; else [rollover.ErrConflict].
func (k *Bucket) Update(ctx context.Context, key string, val []byte, rev uint64) (uint64, error) {
	if rev == 0 {
		return 0, fmt.Errorf("%s %q was never stored: %w", k.name, key, rollover.ErrConflict)
	}
	return k.swap(ctx, key, val, rev)
}

func (k *Bucket) swap(ctx context.Context, key string, val []byte, rev uint64) (uint64, error) {
	if err := k.check(key, val); err != nil {
		return 0, err
	}
	seq, err := k.b.swap(ctx, write{stream: bucketStream(k.name), subject: bucketKey(k.name, key), data: val, expect: rev})
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", k.name, key, err)
	}
	return seq, nil
}

func (k *Bucket) check(key string, val []byte) error {
	if err := checkKey(key); err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	if len(val) > maxValue {
		return fmt.Errorf("%s %q: %d bytes, at most %d fit: %w", k.name, key, len(val), maxValue, rollover.ErrFull)
	}
	return nil
}

// Put stores a value whatever stands there, and returns its version.
func (k *Bucket) Put(ctx context.Context, key string, val []byte) (uint64, error) {
	if err := k.check(key, val); err != nil {
		return 0, err
	}
	return k.put(ctx, key, &nats.Msg{Data: val, Header: nats.Header{}})
}

func (k *Bucket) put(ctx context.Context, key string, m *nats.Msg) (uint64, error) {
	m.Subject = bucketKey(k.name, key)
	m.Header.Set(jetstream.ExpectedStreamHeader, bucketStream(k.name))
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	var seq uint64
	err := again(ctx, func(ctx context.Context) (err error) {
		seq, err = k.b.publish(ctx, m)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", k.name, key, err)
	}
	return seq, nil
}

// Delete removes a value. One that is not there is fine.
func (k *Bucket) Delete(ctx context.Context, key string) error {
	m, gone, err := k.read(ctx, key)
	if err != nil || m == nil || gone {
		return err
	}
	_, err = k.put(ctx, key, &nats.Msg{Header: nats.Header{headerGone: {"1"}}})
	return err
}

// Retire removes a value if rev is still the version that stands, and leaves a mark in
// its place, which must not be empty; else [rollover.ErrConflict]. [Bucket.Former] reads
// the mark, and [Bucket.Create] does not write over it. A full bucket takes a mark that
// is no longer than the value.
func (k *Bucket) Retire(ctx context.Context, key string, mark []byte, rev uint64) error {
	if rev == 0 {
		return fmt.Errorf("%s %q was never stored: %w", k.name, key, rollover.ErrConflict)
	}
	if err := k.check(key, mark); err != nil {
		return err
	}
	_, err := k.b.swap(ctx, write{stream: bucketStream(k.name), subject: bucketKey(k.name, key), data: mark, expect: rev, gone: true})
	if err != nil {
		return fmt.Errorf("%s %q: %w", k.name, key, err)
	}
	return nil
}

// Former reads the mark that stands where a value was retired, with the version that
// [Bucket.Update] takes to write over it, or returns [rollover.ErrNotFound].
func (k *Bucket) Former(ctx context.Context, key string) ([]byte, uint64, error) {
	m, gone, err := k.read(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	if m == nil || !gone || len(m.Data) == 0 {
		return nil, 0, fmt.Errorf("%s %q was not retired: %w", k.name, key, rollover.ErrNotFound)
	}
	return m.Data, m.Sequence, nil
}

// Purge removes a value of that version and leaves no trace, so that it takes no more
// room; 0 stands for any version. Where another stands, nothing is done.
func (k *Bucket) Purge(ctx context.Context, key string, rev uint64) error {
	opts := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSubject(bucketKey(k.name, key))}
	if rev > 0 {
		opts = append(opts, jetstream.WithPurgeSequence(rev+1)) // Up to it, and not with it.
	}
	if err := k.b.purge(ctx, bucketStream(k.name), opts...); err != nil {
		return fmt.Errorf("%s %q: %w", k.name, key, err)
	}
	return nil
}

// All returns every value by key.
func (k *Bucket) All(ctx context.Context) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := k.each(ctx, func(key string, e event) error {
		if e.header.Get(headerGone) != "" {
			delete(out, key)
			return nil
		}
		out[key] = e.data
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Each hands fn every value with its version. It is complete to the instant of the
// call; one that is changed meanwhile may come twice, the newer one later, and one that
// is deleted meanwhile may come before.
func (k *Bucket) Each(ctx context.Context, fn func(key string, val []byte, rev uint64) error) error {
	return k.each(ctx, func(key string, e event) error {
		if e.header.Get(headerGone) != "" {
			return nil
		}
		return fn(key, e.data, e.seq)
	})
}

// each hands fn the last message of every key, also of those whose value was deleted.
func (k *Bucket) each(ctx context.Context, fn func(key string, e event) error) error {
	err := k.b.scan(ctx, bucketStream(k.name), bucketKeys(k.name), func(e event) error {
		key, err := parseBucketKey(e.subject)
		if err != nil {
			return err
		}
		return fn(key, e)
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", k.name, err)
	}
	return nil
}

// Keys returns every key, sorted.
func (k *Bucket) Keys(ctx context.Context) ([]string, error) {
	all, err := k.All(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(all))
	for key := range all {
		out = append(out, key)
	}
	slices.Sort(out)
	return out, nil
}

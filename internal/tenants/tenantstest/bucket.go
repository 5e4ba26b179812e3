// Package tenantstest has a bucket in memory for tests: of the inventory, of the
// certificate store, and of whatever stands on them.
package tenantstest

import (
	"context"
	"slices"
	"sync"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Bucket keeps values in memory, by the rules of tenants.Bucket and
// certs.Bucket. It is safe for concurrent use. Values are copied on their way in
// and out.
type Bucket struct {
	// Before, if set, is called before every call with its name, such as "Get",
	// and its key, which is empty for All and Keys. An error that it returns is
	// what the caller gets, and nothing is done. It may use the bucket.
	Before func(call, key string) error
	// After, if set, is called after every call that succeeded. An error that it
	// returns is what the caller gets, though what was asked is done.
	After func(call, key string) error

	mu     sync.Mutex
	rev    uint64
	values map[string]value
}

type value struct {
	bytes []byte
	rev   uint64
	gone  bool // retired: bytes is the mark
}

// NewBucket returns an empty bucket.
func NewBucket() *Bucket { return &Bucket{values: map[string]value{}} }

// Get returns the latest value and its revision, or [rollover.ErrNotFound].
func (b *Bucket) Get(ctx context.Context, key string) (out []byte, rev uint64, err error) {
	err = b.do(ctx, "Get", key, func() error {
		v, ok := b.values[key]
		if !ok || v.gone {
			return rollover.ErrNotFound
		}
		out, rev = slices.Clone(v.bytes), v.rev
		return nil
	})
	return out, rev, err
}

// Create stores a value that is not there and was not retired, or returns
// [rollover.ErrExists].
func (b *Bucket) Create(ctx context.Context, key string, bytes []byte) (rev uint64, err error) {
	err = b.do(ctx, "Create", key, func() error {
		if _, ok := b.values[key]; ok {
			return rollover.ErrExists
		}
		rev = b.set(key, bytes)
		return nil
	})
	return rev, err
}

// Update stores a value over the one of that revision, or returns
// [rollover.ErrConflict].
func (b *Bucket) Update(ctx context.Context, key string, bytes []byte, revision uint64) (rev uint64, err error) {
	err = b.do(ctx, "Update", key, func() error {
		if v, ok := b.values[key]; !ok || v.rev != revision {
			return rollover.ErrConflict
		}
		rev = b.set(key, bytes)
		return nil
	})
	return rev, err
}

// Delete removes a value. One that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.do(ctx, "Delete", key, func() error {
		if !b.values[key].gone {
			delete(b.values, key)
		}
		return nil
	})
}

// Put stores a value whatever stands there.
func (b *Bucket) Put(ctx context.Context, key string, bytes []byte) (rev uint64, err error) {
	err = b.do(ctx, "Put", key, func() error {
		rev = b.set(key, bytes)
		return nil
	})
	return rev, err
}

// Retire removes the value of that revision and leaves a mark in its place, or returns
// [rollover.ErrConflict].
func (b *Bucket) Retire(ctx context.Context, key string, mark []byte, revision uint64) error {
	return b.do(ctx, "Retire", key, func() error {
		if v, ok := b.values[key]; !ok || v.gone || v.rev != revision {
			return rollover.ErrConflict
		}
		b.set(key, mark)
		b.values[key] = value{bytes: slices.Clone(mark), rev: b.rev, gone: true}
		return nil
	})
}

// Former returns the mark that [Bucket.Retire] left and its revision, or
// [rollover.ErrNotFound].
func (b *Bucket) Former(ctx context.Context, key string) (mark []byte, rev uint64, err error) {
	err = b.do(ctx, "Former", key, func() error {
		v, ok := b.values[key]
		if !ok || !v.gone {
			return rollover.ErrNotFound
		}
		mark, rev = slices.Clone(v.bytes), v.rev
		return nil
	})
	return mark, rev, err
}

// Purge removes the value of that revision, 0 for any, without a trace. Where another
// stands, nothing is done.
func (b *Bucket) Purge(ctx context.Context, key string, revision uint64) error {
	return b.do(ctx, "Purge", key, func() error {
		if v := b.values[key]; revision == 0 || v.rev == revision {
			delete(b.values, key)
		}
		return nil
	})
}

// Keys returns all keys, sorted.
func (b *Bucket) Keys(ctx context.Context) (keys []string, err error) {
	err = b.do(ctx, "Keys", "", func() error {
		for k, v := range b.values {
			if !v.gone {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		return nil
	})
	return keys, err
}

// All returns every key with its latest value.
func (b *Bucket) All(ctx context.Context) (all map[string][]byte, err error) {
	err = b.do(ctx, "All", "", func() error {
		all = make(map[string][]byte, len(b.values))
		for k, v := range b.values {
			if v.gone {
				continue
			}
			all[k] = slices.Clone(v.bytes)
		}
		return nil
	})
	return all, err
}

// do runs f under the lock, between Before and After.
func (b *Bucket) do(ctx context.Context, call, key string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.Before != nil {
		if err := b.Before(call, key); err != nil {
			return err
		}
	}
	b.mu.Lock()
	err := f()
	b.mu.Unlock()
	if err == nil && b.After != nil {
		err = b.After(call, key)
	}
	return err
}

// set stores a value; b.mu is held.
func (b *Bucket) set(key string, bytes []byte) uint64 {
	b.rev++
	b.values[key] = value{bytes: slices.Clone(bytes), rev: b.rev}
	return b.rev
}

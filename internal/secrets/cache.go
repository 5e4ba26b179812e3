package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Store keeps secrets of one scheme for others, such as a vault.
type Store interface {
	// Get reads a secret anew. Its errors wrap [ErrMissing] where there is none,
	// [ErrForbidden] where it may not be read, and neither where asking again may help.
	// They name the reference at most, never the value.
	Get(ctx context.Context, ref Ref) (Secret, error)
}

// The bounds of what is remembered of stores.
const (
	// DefaultCacheFor is for how long a secret is used before its store is asked again.
	DefaultCacheFor = 5 * time.Minute
	maxCached       = 8192             // secrets
	failedFor       = 5 * time.Second  // a store that could not say is left alone so long
	renewEvery      = 30 * time.Second // a secret is asked for anew at most so often
	storeTimeout    = 15 * time.Second // one question to a store
)

// cache remembers what stores said, for a bounded time, in memory alone.
type cache struct {
	entries *lru.Cache[Ref, entry]
	flights singleflight.Group // one question for a secret at a time
	life    time.Duration
	now     func() time.Time
	looked  func(scheme, result string)
	turned  func(store string, err error)

	mu   sync.Mutex      // guards the renewal and the end of entries, and away
	away map[string]bool // stores that did not answer when they were asked last
}

type entry struct {
	value Secret
	err   error
	at    time.Time // when the store was asked
}

func newCache(cfg Config) *cache {
	entries, err := lru.New[Ref, entry](maxCached)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &cache{entries: entries, life: cfg.CacheFor, now: cfg.Now, looked: cfg.Looked, turned: cfg.Turned, away: map[string]bool{}}
}

// get returns what the store said in the last while, or asks it.
func (c *cache) get(ctx context.Context, s Store, ref Ref) (Secret, error) {
	if e, ok := c.fresh(ref); ok {
		return e.value, e.err
	}
	return c.ask(ctx, s, ref)
}

// fresh returns what the store said of ref, if that is still believed.
func (c *cache) fresh(ref Ref) (entry, bool) {
	e, ok := c.entries.Get(ref)
	age := c.now().Sub(e.at)
	return e, ok && age >= 0 && age < c.lifeOf(e)
}

// lifeOf says how long an answer is believed. That there is no such secret is believed
// as long as that there is one; that the store is away, only so long that it is not
// stormed.
func (c *cache) lifeOf(e entry) time.Duration {
	if e.err != nil && !errors.Is(e.err, ErrMissing) && !errors.Is(e.err, ErrForbidden) {
		return min(failedFor, c.life)
	}
	if e.err != nil {
		return min(renewEvery, c.life)
	}
	return c.life
}

// ask asks the store, once for all who want to know at the same time. Whoever gives up
// does not take the answer from the others.
func (c *cache) ask(ctx context.Context, s Store, ref Ref) (Secret, error) {
	done := c.flights.DoChan(string(ref), func() (any, error) {
		if e, ok := c.fresh(ref); ok {
			return e, nil // Whoever asked between our look and this flight has the answer.
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		v, err := s.Get(ctx, ref)
		result := resultOf(err)
		if result == unreachable {
			err = fmt.Errorf("%w: %w", ErrAway, err)
		}
		if n := len(v.Reveal()); err == nil && n > DefaultMaxBytes {
			err = fmt.Errorf("reading secret %s: longer than %d bytes", ref, DefaultMaxBytes)
		}
		e := entry{v, err, c.now()}
		if err != nil {
			e.value = Secret{}
		}
		c.entries.Add(ref, e)
		if err == nil {
			// It leaves the memory when it is used no more, also where nobody asks again. Not
			// before anew would forget when it asked last.
			time.AfterFunc(max(c.life, renewEvery), func() { c.drop(ref, e.at) })
		}
		scheme, _ := ref.split()
		c.looked(scheme, result)
		c.note(ref.Store(), err)
		return e, nil
	})
	select {
	case <-ctx.Done():
		err := fmt.Errorf("waiting for secret %s: %w", ref, context.Cause(ctx))
		if errors.Is(err, context.DeadlineExceeded) { // The caller has less time than the store takes.
			err = fmt.Errorf("%w: %w", ErrAway, err)
		}
		return Secret{}, err
	case r := <-done:
		e, ok := r.Val.(entry)
		if !ok {
			return Secret{}, fmt.Errorf("reading secret %s: no answer", ref)
		}
		return e.value, e.err
	}
}

// note tells of a store that begins to be away, or answers again: once, however many ask
// it meanwhile.
func (c *cache) note(store string, err error) {
	away := errors.Is(err, ErrAway)
	c.mu.Lock()
	was := c.away[store]
	if away {
		c.away[store] = true
	} else {
		delete(c.away, store)
	}
	c.mu.Unlock()
	if away != was {
		if !away {
			err = nil
		}
		c.turned(store, err)
	}
}

// drop forgets what a store said at an instant, unless it has said more since.
func (c *cache) drop(ref Ref, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries.Peek(ref); ok && e.at.Equal(at) {
		c.entries.Remove(ref) // What was added this moment is asked for once more.
	}
}

const unreachable = "unreachable"

// resultOf says in a word what a store answered.
func resultOf(err error) string {
	switch {
	case err == nil:
		return "found"
	case errors.Is(err, ErrMissing):
		return "missing"
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrRef):
		return "forbidden"
	default:
		return unreachable
	}
}

// anew returns another value than the one that was refused, if there is one. A store is
// asked for one secret at most every half minute, whoever is refused.
func (c *cache) anew(ctx context.Context, s Store, ref Ref, refused Secret) (Secret, bool, error) {
	c.mu.Lock()
	e, ok := c.entries.Get(ref)
	if ok && e.err == nil && e.value.Reveal() != refused.Reveal() {
		c.mu.Unlock()
		return e.value, true, nil // Somebody has asked meanwhile.
	}
	if ok && c.now().Sub(e.at) < renewEvery {
		c.mu.Unlock()
		return Secret{}, false, e.err
	}
	c.entries.Remove(ref)
	c.mu.Unlock()
	v, err := c.ask(ctx, s, ref)
	return v, err == nil && v.Reveal() != refused.Reveal(), err
}

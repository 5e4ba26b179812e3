package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// shop is a store that counts.
type shop struct {
	asked atomic.Int64
	mu    sync.Mutex
	value string
	err   error
	hold  chan struct{} // an answer waits for it; nil: none
}

func (s *shop) set(value string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.err = value, err
}

func (s *shop) Get(context.Context, secrets.Ref) (secrets.Secret, error) {
	s.asked.Add(1)
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return secrets.NewSecret(s.value), s.err
}

// till is a clock that tests move.
type till struct {
	mu sync.Mutex
	at time.Time
}

func (c *till) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *till) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

const kept = secrets.Ref("vault://kv/contoso#key")

func newShop(t *testing.T) (*shop, *till, *secrets.Resolver, map[string]int) {
	t.Helper()
	s, c, looked := &shop{value: "one"}, &till{at: time.Now()}, map[string]int{}
	var mu sync.Mutex
	r := secrets.New(secrets.Config{Stores: map[string]secrets.Store{"vault": s}, Now: c.now, Looked: func(scheme, result string) {
		mu.Lock()
		defer mu.Unlock()
		looked[scheme+" "+result]++
	}})
	return s, c, r, looked
}

func TestCache_KeepsForABoundedTime(t *testing.T) {
	s, c, r, looked := newShop(t)
	for range 5 {
		if v, err := r.Secret(t.Context(), kept); err != nil || v.Reveal() != "one" {
			t.Fatalf("Secret = %v, %v", v, err)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the store was asked %d times, want once", n)
	}
	s.set("two", nil)
	c.add(secrets.DefaultCacheFor)
	if v, err := r.Secret(t.Context(), kept); err != nil || v.Reveal() != "two" {
		t.Errorf("after the time: %v, %v, want the new one", v, err)
	}
	if looked["vault found"] != 2 {
		t.Errorf("looked = %v", looked)
	}
	if _, err := r.Secret(t.Context(), "azkv://a.vault.azure.net/b"); !errors.Is(err, secrets.ErrForbidden) {
		t.Errorf("a scheme without a store = %v, want ErrForbidden", err)
	}
}

func TestCache_OneQuestionForAll(t *testing.T) {
	s, _, r, _ := newShop(t)
	s.hold = make(chan struct{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if v, err := r.Secret(t.Context(), kept); err != nil || v.Reveal() != "one" {
				t.Errorf("Secret = %v, %v", v, err)
			}
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Secret(gone, kept); !errors.Is(err, context.Canceled) {
		t.Errorf("Secret of a caller who has gone = %v", err)
	}
	close(s.hold)
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the store was asked %d times by 50 at once, want once", n)
	}
}

// A secret does not stay in memory after the time for which it may be used, whether it is
// asked for again or not.
func TestCache_SecretsLeaveTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{value: "one"}
		r := secrets.New(secrets.Config{Stores: map[string]secrets.Store{"vault": s}, CacheFor: time.Minute})
		get := func() {
			t.Helper()
			if _, err := r.Secret(t.Context(), kept); err != nil {
				t.Fatal(err)
			}
		}
		pass := func(d time.Duration) { // In the bubble's time, which goes on when all wait.
			<-time.After(d)
			synctest.Wait()
		}
		get()
		pass(50 * time.Second)
		if _, other, err := r.Anew(t.Context(), kept, secrets.NewSecret("one")); err != nil || other || s.asked.Load() != 2 {
			t.Fatalf("Anew = %t, %v after %d questions", other, err, s.asked.Load())
		}
		pass(50 * time.Second) // Past the end of the first answer, not of the second.
		if get(); s.asked.Load() != 2 || secrets.Kept(r) != 1 {
			t.Errorf("%d are kept after %d questions, want the second answer still", secrets.Kept(r), s.asked.Load())
		}
		pass(11 * time.Second)
		if n := secrets.Kept(r); n != 0 {
			t.Errorf("%d are kept after their time, want none", n)
		}
	})
}

// Whoever has less time than the store takes learns nothing of the secret.
func TestCache_ACallerWithoutTimeCannotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, r, _ := newShop(t)
		s.hold = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Secret(ctx, kept); !errors.Is(err, secrets.ErrAway) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Secret within a second of a store that takes longer = %v, want ErrAway", err)
		}
		close(s.hold)
		synctest.Wait()
	})
}

// That a store is away is said once, and so is that it is back, whatever it says then.
func TestCache_TellsOfAStoreThatIsAwayOnce(t *testing.T) {
	s, c := &shop{}, &till{at: time.Now()}
	var told []string
	r := secrets.New(secrets.Config{Stores: map[string]secrets.Store{"vault": s, "azkv": s}, Now: c.now, Turned: func(store string, err error) {
		told = append(told, fmt.Sprint(store, " ", err))
	}})
	s.set("", errors.New("no answer"))
	for _, ref := range []secrets.Ref{kept, "vault://kv/fabrikam#key", "azkv://a.vault.azure.net/key"} {
		_, _ = r.Secret(t.Context(), ref)
	}
	s.set("", fmt.Errorf("x: %w", secrets.ErrMissing))
	c.add(time.Minute)
	for range 3 {
		_, _ = r.Secret(t.Context(), kept)
	}
	want := []string{
		"vault the store of secrets cannot be asked now: no answer", "a.vault.azure.net the store of secrets cannot be asked now: no answer", "vault <nil>",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// What is missing is believed for a while, what could not be said for a moment: the store
// is not stormed, and neither is stuck.
func TestCache_FailuresEndSooner(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		still time.Duration // the answer still holds
		over  time.Duration // it does not any more
	}{
		"missing":   {fmt.Errorf("x: %w", secrets.ErrMissing), 29 * time.Second, 31 * time.Second},
		"forbidden": {fmt.Errorf("x: %w", secrets.ErrForbidden), 29 * time.Second, 31 * time.Second},
		"away":      {errors.New("away"), 4 * time.Second, 6 * time.Second},
	} {
		s, c, r, _ := newShop(t)
		s.set("", tt.err)
		_, _ = r.Secret(t.Context(), kept)
		s.set("one", nil)
		c.add(tt.still)
		if _, err := r.Secret(t.Context(), kept); err == nil || s.asked.Load() != 1 || errors.Is(err, secrets.ErrAway) != (name == "away") {
			t.Errorf("%s: after %s: %v, asked %d times, want the same failure from memory", name, tt.still, err, s.asked.Load())
		}
		c.add(tt.over - tt.still)
		if v, err := r.Secret(t.Context(), kept); err != nil || v.Reveal() != "one" {
			t.Errorf("%s: after %s: %v, %v, want the secret", name, tt.over, v, err)
		}
	}
}

func TestAnew_LooksPastTheCacheAndNoMoreThanItMay(t *testing.T) {
	s, c, r, _ := newShop(t)
	one, err := r.Secret(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	s.set("two", nil)
	if _, other, err := r.Anew(t.Context(), kept, one); err != nil || other {
		t.Errorf("Anew at once = %t, %v, want that it is too soon", other, err)
	}
	c.add(31 * time.Second)
	two, other, err := r.Anew(t.Context(), kept, one)
	if err != nil || !other || two.Reveal() != "two" {
		t.Errorf("Anew = %v, %t, %v, want the new one", two, other, err)
	}
	if v, other, err := r.Anew(t.Context(), kept, one); err != nil || !other || v.Reveal() != "two" || s.asked.Load() != 2 {
		t.Errorf("Anew by a second that was refused = %v, %t, %v, want what the first found without asking", v, other, err)
	}
	c.add(31 * time.Second)
	if _, other, err := r.Anew(t.Context(), kept, two); err != nil || other {
		t.Errorf("Anew where nothing changed = %t, %v", other, err)
	}
	t.Setenv("CROSSFADE_SECRET_X", "new")
	if v, other, err := r.Anew(t.Context(), "env:CROSSFADE_SECRET_X", secrets.NewSecret("old")); err != nil || !other || v.Reveal() != "new" {
		t.Errorf("Anew of a variable = %v, %t, %v", v, other, err)
	}
}

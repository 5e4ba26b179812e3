package edge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/crossfade-project/crossfade/internal/rollover"
	tenant "github.com/crossfade-project/crossfade/internal/tenants"
)

// TenantBook is the inventory as far as rights need it.
type TenantBook interface {
	Tenant(ctx context.Context, id string) (tenant.Tenant, error)
	List(ctx context.Context) ([]tenant.Tenant, error)
}

// sightAge is how old the inventory may be by which it is decided what a caller sees.
// What a caller changes is decided by the inventory of now.
const sightAge = 2 * time.Second

// Sight is the tenants that one call is about. The zero Sight has none.
type Sight struct {
	all bool
	ids map[string]bool
	key string
}

// All reports whether it has all tenants, those that will come too.
func (s Sight) All() bool { return s.all }

// Has reports whether it has a tenant.
func (s Sight) Has(id string) bool { return s.all || s.ids[id] }

// HasAll reports whether it has each of the tenants.
func (s Sight) HasAll(ids []string) bool {
	return s.all || !slices.ContainsFunc(ids, func(id string) bool { return !s.ids[id] })
}

// HasAny reports whether it has one of the tenants at least.
func (s Sight) HasAny(ids []string) bool { return s.all || slices.ContainsFunc(ids, s.Has) }

// Key is the same for sights of the same tenants.
func (s Sight) Key() string { return s.key }

// Sights finds out which tenants a call is about. Make it with [NewSights].
type Sights struct {
	book   TenantBook
	flight singleflight.Group

	mu   sync.Mutex // guards all below
	list []tenant.Tenant
	read time.Time
}

// NewSights returns the sights over an inventory.
func NewSights(book TenantBook) *Sights { return &Sights{book: book} }

// Of returns the tenants of which the caller of a reading call may know, by an
// inventory that is at most two seconds old.
func (s *Sights) Of(ctx context.Context) (Sight, error) {
	r := Reach(ctx)
	if r.All() {
		return Sight{all: true, key: "all"}, nil
	}
	list, err := s.recent(ctx)
	return sightOf(ctx, list), err
}

// Now is [Sights.Of] by the inventory of now, for calls that change something.
func (s *Sights) Now(ctx context.Context) (Sight, error) {
	r := Reach(ctx)
	if r.All() {
		return Sight{all: true, key: "all"}, nil
	}
	list, err := s.book.List(ctx)
	if err != nil {
		return Sight{}, fmt.Errorf("listing tenants: %w", err)
	}
	return sightOf(ctx, list), nil
}

// May reports whether the call may be about one tenant, by the inventory of now. One
// that is not there may be seen by nobody but those who may see all.
func (s *Sights) May(ctx context.Context, id string) (bool, error) {
	r := Reach(ctx)
	if r.All() {
		return true, nil
	}
	t, err := s.book.Tenant(ctx, id)
	if errors.Is(err, rollover.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.Has(t), nil
}

func sightOf(ctx context.Context, list []tenant.Tenant) Sight {
	r := Reach(ctx)
	out := Sight{ids: map[string]bool{}}
	h := sha256.New()
	for _, t := range list { // Sorted by id.
		if r.Has(t) {
			out.ids[t.ID] = true
			fmt.Fprintf(h, "%s;", t.ID)
		}
	}
	out.key = hex.EncodeToString(h.Sum(nil))
	return out
}

func (s *Sights) recent(ctx context.Context) ([]tenant.Tenant, error) {
	s.mu.Lock()
	list, age := s.list, time.Since(s.read)
	s.mu.Unlock()
	if list != nil && age < sightAge {
		return list, nil
	}
	done := s.flight.DoChan("list", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		begun := time.Now()
		list, err := s.book.List(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing tenants: %w", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list, s.read = list, begun
		return list, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.([]tenant.Tenant), nil
	}
}

// Whole returns full to a caller who may see all tenants, and plain to others.
func Whole(ctx context.Context, plain, full string) string {
	if Reach(ctx).All() {
		return full
	}
	return plain
}

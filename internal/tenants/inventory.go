package tenants

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Inventory keeps tenants, and the endpoints that were last found of each. It
// holds no state of its own and is safe for concurrent use, also by several
// processes over the same buckets.
type Inventory struct {
	tenants   shelf
	endpoints shelf
}

// New returns the inventory over two buckets that are the inventory's alone.
func New(tenants, endpoints Bucket) *Inventory {
	return &Inventory{tenants: shelf{tenants}, endpoints: shelf{endpoints}}
}

// tenantRecord is a tenant as it is stored.
type tenantRecord struct {
	V int `json:"v"`
	Tenant
}

// endpointsRecord is what was found of a tenant as it is stored.
type endpointsRecord struct {
	V         int    `json:"v"`
	Endpoints []Seen `json:"endpoints"`
}

// Put stores a tenant under its id, over what is there, and says whether it is
// new or changed; a tenant that is already stored so is neither, and nothing is
// written. A tenant that is not valid gives an [InvalidError].
func (v *Inventory) Put(ctx context.Context, t Tenant) (created, changed bool, err error) {
	if fields := t.Validate(); len(fields) > 0 {
		return false, false, &InvalidError{Tenant: t.ID, Fields: fields}
	}
	value, err := json.Marshal(tenantRecord{V: recordVersion, Tenant: t})
	if err != nil {
		return false, false, fmt.Errorf("encoding tenant %s: %w", t.ID, err)
	}
	created, changed, err = v.tenants.set(ctx, t.ID, value)
	if err != nil {
		return false, false, fmt.Errorf("storing tenant %s: %w", t.ID, err)
	}
	return created, changed, nil
}

// set stores value under key unless it is there already, and begins anew where
// it loses a race, a few times.
func (s shelf) set(ctx context.Context, key string, value []byte) (created, changed bool, err error) {
	for range maxRaces {
		old, rev, pieces, err := s.get(ctx, key)
		switch {
		case errors.Is(err, rollover.ErrNotFound):
			rev, pieces = 0, nil
		case err != nil:
			return false, false, err
		case bytes.Equal(old, value):
			return false, false, nil
		}
		err = s.put(ctx, key, value, rev, pieces)
		if errors.Is(err, rollover.ErrConflict) || errors.Is(err, rollover.ErrExists) {
			continue
		}
		return err == nil && rev == 0, err == nil && rev != 0, err
	}
	return false, false, fmt.Errorf("lost %d races: %w", maxRaces, rollover.ErrConflict)
}

// Change stores what rule makes of a tenant, or removes it where rule returns nil. old is
// what is there, nil for none. Where it loses a race it begins anew with what is there
// then, so rule may be called more than once and has no effect of its own. It returns
// what is stored; nothing is written where that is what was there. A tenant that is not
// valid gives an [InvalidError]; errors of rule are returned as they are.
func (v *Inventory) Change(ctx context.Context, id string, rule func(old *Tenant) (*Tenant, error)) (*Tenant, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("changing a tenant: that is no tenant id: %w", rollover.ErrNotFound)
	}
	for range maxRaces {
		stored, err := v.changeOnce(ctx, id, rule)
		if !errors.Is(err, rollover.ErrConflict) && !errors.Is(err, rollover.ErrExists) {
			return stored, err
		}
	}
	return nil, fmt.Errorf("storing tenant %s: lost %d races: %w", id, maxRaces, rollover.ErrConflict)
}

func (v *Inventory) changeOnce(ctx context.Context, id string, rule func(old *Tenant) (*Tenant, error)) (*Tenant, error) {
	var old *Tenant
	b, rev, pieces, err := v.tenants.get(ctx, id)
	switch {
	case errors.Is(err, rollover.ErrNotFound):
		rev, pieces = 0, nil
	case err != nil:
		return nil, fmt.Errorf("reading tenant %s: %w", id, err)
	default:
		t, err := decodeTenant(id, b)
		if err != nil {
			return nil, err
		}
		old = &t
	}
	next, err := rule(old)
	if err != nil {
		return nil, err
	}
	if next == nil {
		if old == nil {
			return nil, nil
		}
		return nil, v.remove(ctx, id, rev, pieces)
	}
	if fields := next.Validate(); len(fields) > 0 {
		return nil, &InvalidError{Tenant: next.ID, Fields: fields}
	}
	value, err := json.Marshal(tenantRecord{V: recordVersion, Tenant: *next})
	if err != nil {
		return nil, fmt.Errorf("encoding tenant %s: %w", id, err)
	}
	if bytes.Equal(value, b) {
		return next, nil
	}
	if err := v.tenants.put(ctx, id, value, rev, pieces); err != nil {
		return nil, fmt.Errorf("storing tenant %s: %w", id, err)
	}
	return next, nil
}

// remove takes away a tenant of that revision, and then what was found of it. Cut off in
// between, that is left, and nobody asks for it.
func (v *Inventory) remove(ctx context.Context, id string, rev uint64, pieces []string) error {
	if err := v.tenants.bucket.DeleteAt(ctx, id, rev); err != nil {
		return fmt.Errorf("removing tenant %s: %w", id, err)
	}
	for _, k := range pieces {
		if err := v.tenants.bucket.Delete(ctx, k); err != nil {
			return fmt.Errorf("removing tenant %s: %w", id, err)
		}
	}
	_, _, pieces, err := v.endpoints.get(ctx, id)
	if errors.Is(err, rollover.ErrNotFound) {
		return nil
	}
	for _, k := range append([]string{id}, pieces...) {
		if err == nil {
			err = v.endpoints.bucket.Delete(ctx, k)
		}
	}
	if err != nil {
		return fmt.Errorf("removing the endpoints of %s: %w", id, err)
	}
	return nil
}

// Etag names the content of a tenant.
func (t Tenant) Etag() string {
	b, _ := json.Marshal(tenantRecord{V: recordVersion, Tenant: t}) // Texts and lists cannot fail.
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Tenant returns the tenant with that id, or [rollover.ErrNotFound].
func (v *Inventory) Tenant(ctx context.Context, id string) (Tenant, error) {
	if !ValidID(id) {
		return Tenant{}, fmt.Errorf("reading a tenant: that is no tenant id: %w", rollover.ErrNotFound)
	}
	b, _, _, err := v.tenants.get(ctx, id)
	if err != nil {
		return Tenant{}, fmt.Errorf("reading tenant %s: %w", id, err)
	}
	return decodeTenant(id, b)
}

// List returns all tenants, sorted by id. It reads the bucket in one pass.
func (v *Inventory) List(ctx context.Context) ([]Tenant, error) {
	all, err := v.tenants.all(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	out := make([]Tenant, 0, len(all))
	for id, b := range all {
		t, err := decodeTenant(id, b)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Tenant) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func decodeTenant(id string, b []byte) (Tenant, error) {
	var r tenantRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return Tenant{}, fmt.Errorf("decoding tenant %s: %w", id, err)
	}
	if r.ID != id {
		return Tenant{}, fmt.Errorf("decoding tenant %s: the record is of another tenant", id)
	}
	return r.Tenant, nil
}

// SaveEndpoints stores what was found of a tenant in place of what was found
// before. Found the same again, nothing is written.
func (v *Inventory) SaveEndpoints(ctx context.Context, tenant string, endpoints []Seen) error {
	if !ValidID(tenant) {
		return fmt.Errorf("storing endpoints: that is no tenant id: %w", rollover.ErrNotFound)
	}
	if endpoints == nil {
		endpoints = []Seen{} // Found none is not the same as never looked.
	}
	value, err := json.Marshal(endpointsRecord{V: recordVersion, Endpoints: endpoints})
	if err != nil {
		return fmt.Errorf("encoding endpoints of %s: %w", tenant, err)
	}
	if _, _, err := v.endpoints.set(ctx, tenant, value); err != nil {
		return fmt.Errorf("storing endpoints of %s: %w", tenant, err)
	}
	return nil
}

// Endpoints returns what was last found of a tenant. It returns
// [rollover.ErrNotFound] where nobody has looked yet, which is not the same as an
// empty answer.
func (v *Inventory) Endpoints(ctx context.Context, tenant string) ([]Seen, error) {
	if !ValidID(tenant) {
		return nil, fmt.Errorf("reading endpoints: that is no tenant id: %w", rollover.ErrNotFound)
	}
	b, _, _, err := v.endpoints.get(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("reading endpoints of %s: %w", tenant, err)
	}
	var r endpointsRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("decoding endpoints of %s: %w", tenant, err)
	}
	return r.Endpoints, nil
}

// Access returns the management account of a tenant for a host, and where its
// secret is. It returns [rollover.ErrNotFound] for an unknown tenant and for a
// host that the tenant gave no access to.
func (v *Inventory) Access(ctx context.Context, tenant, host string) (account string, ref secrets.Ref, err error) {
	t, err := v.Tenant(ctx, tenant)
	if err != nil {
		return "", "", err
	}
	n, ok := t.Namespace(host)
	if !ok {
		return "", "", fmt.Errorf("tenant %s has no access to %s: %w", tenant, host, rollover.ErrNotFound)
	}
	return n.Account, n.Secret, nil
}

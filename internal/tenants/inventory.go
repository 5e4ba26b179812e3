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
	_, err = v.Change(ctx, t.ID, func(old, _ *Tenant) (*Tenant, error) {
		created, changed = old == nil, old != nil && old.Etag() != t.Etag()
		return &t, nil
	})
	if err != nil {
		return false, false, err
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

// Rule says what becomes of a tenant. old is what is there, nil for none; then former is
// what was deleted under that id, as far as filters ask about tenants, nil for nothing.
// It returns nil for a tenant that is to be deleted. It may be called more than once, and
// has no effect of its own.
type Rule func(old, former *Tenant) (*Tenant, error)

// Change stores what rule makes of a tenant, or deletes it. What rule was asked about is
// what is written over: where it loses a race it begins anew with what is there then. It
// returns what is stored; nothing is written where that is what was there. A tenant that
// is not valid gives an [InvalidError]; errors of rule are returned as they are.
func (v *Inventory) Change(ctx context.Context, id string, rule Rule) (*Tenant, error) {
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

// standing is what stands under a tenant's id.
type standing struct {
	tenant *Tenant // nil: none
	former *Tenant // that was deleted; nil: none was
	value  []byte  // of tenant
	rev    uint64  // of the record, or of the mark in its place
	pieces []string
}

func (v *Inventory) standing(ctx context.Context, id string) (standing, error) {
	b, rev, pieces, err := v.tenants.get(ctx, id)
	if err == nil {
		t, err := decodeTenant(id, b)
		return standing{tenant: &t, value: b, rev: rev, pieces: pieces}, err
	}
	if !errors.Is(err, rollover.ErrNotFound) {
		return standing{}, fmt.Errorf("reading tenant %s: %w", id, err)
	}
	mark, rev, err := v.tenants.bucket.Former(ctx, id)
	if errors.Is(err, rollover.ErrNotFound) {
		return standing{}, nil
	}
	if err != nil {
		return standing{}, fmt.Errorf("reading what tenant %s was: %w", id, err)
	}
	t, err := decodeTenant(id, mark)
	return standing{former: &t, rev: rev}, err
}

func (v *Inventory) changeOnce(ctx context.Context, id string, rule Rule) (*Tenant, error) {
	at, err := v.standing(ctx, id)
	if err != nil {
		return nil, err
	}
	next, err := rule(at.tenant, at.former)
	if err != nil {
		return nil, err
	}
	if next == nil {
		if at.tenant == nil {
			return nil, nil
		}
		return nil, v.remove(ctx, *at.tenant, at.rev, at.pieces)
	}
	if fields := next.Validate(); len(fields) > 0 {
		return nil, &InvalidError{Tenant: next.ID, Fields: fields}
	}
	if next.ID != id {
		return nil, fmt.Errorf("storing tenant %s: what is to be stored is tenant %s", id, next.ID)
	}
	value, err := json.Marshal(tenantRecord{V: recordVersion, Tenant: *next})
	if err != nil {
		return nil, fmt.Errorf("encoding tenant %s: %w", id, err)
	}
	if at.tenant == nil {
		// A deletion that was cut off may have left what was found of another.
		if err := v.clear(ctx, id); err != nil {
			return nil, err
		}
	} else if bytes.Equal(value, at.value) {
		return next, nil
	}
	if err := v.tenants.put(ctx, id, value, at.rev, at.pieces); err != nil {
		return nil, fmt.Errorf("storing tenant %s: %w", id, err)
	}
	return next, nil
}

// remove takes away a tenant of that revision, and then what was found of it. Cut off in
// between, that is left; nobody asks for it, and it is cleared before the id is used again.
// In place of the tenant stands what filters ask about tenants: its rotations stay, and
// who may take over its id must be decided by whose it was.
func (v *Inventory) remove(ctx context.Context, t Tenant, rev uint64, pieces []string) error {
	t.Login, t.Identity, t.Namespaces = Login{}, "", nil
	mark, err := json.Marshal(tenantRecord{V: recordVersion, Tenant: t})
	if err != nil {
		return fmt.Errorf("encoding what tenant %s was: %w", t.ID, err)
	}
	if err := v.tenants.bucket.Retire(ctx, t.ID, mark, rev); err != nil {
		return fmt.Errorf("removing tenant %s: %w", t.ID, err)
	}
	for _, k := range pieces {
		if err := v.tenants.bucket.Delete(ctx, k); err != nil {
			return fmt.Errorf("removing tenant %s: %w", t.ID, err)
		}
	}
	return v.clear(ctx, t.ID)
}

// clear removes what was found of a tenant.
func (v *Inventory) clear(ctx context.Context, id string) error {
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

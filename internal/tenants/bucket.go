package tenants

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Bucket keeps values by key; internal/jet has one, tenantstest another. Keys
// are made of lower-case letters, digits, hyphens and dots. Values are at most
// [MaxValue] bytes.
type Bucket interface {
	// Get returns the latest value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there and was not retired, or returns
	// [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Update stores a value over the one, or the mark, of that revision, or returns
	// [rollover.ErrConflict]. It returns the new revision.
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes a value. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Retire removes the value of that revision and leaves a mark in its place, in one
	// step, or returns [rollover.ErrConflict]. Who reads the value finds none.
	Retire(ctx context.Context, key string, mark []byte, revision uint64) error
	// Former returns the mark that stands in place of a value and its revision, or
	// [rollover.ErrNotFound].
	Former(ctx context.Context, key string) ([]byte, uint64, error)
	// All returns every key with its latest value, in one pass.
	All(ctx context.Context) (map[string][]byte, error)
}

// MaxValue bounds one value of a bucket: 512 KiB, half of what NATS takes as a
// message by default. Longer records are stored in pieces.
const MaxValue = 512 << 10

// recordVersion is written into every record and every head of pieces.
const recordVersion = 1

// maxRaces bounds how often a write that lost a race is begun anew.
const maxRaces = 8

// head stands under a record's key where the record is longer than MaxValue and
// says which pieces make it. Pieces are written before the head that names them
// and removed after it is gone, so a head always has its pieces.
type head struct {
	V      int      `json:"v"`
	Pieces []string `json:"pieces"` // keys, in order
	SHA256 string   `json:"sha256"` // of the whole record, lower-case hex
}

// shelf stores records of any length in a bucket.
type shelf struct{ bucket Bucket }

// version reads what every record and head begins with.
type version struct {
	V      int      `json:"v"`
	Pieces []string `json:"pieces"`
}

// get returns the record under key, the revision of its head and the keys of its
// pieces, or rollover.ErrNotFound.
func (s shelf) get(ctx context.Context, key string) (value []byte, rev uint64, pieces []string, err error) {
	for range maxRaces {
		b, rev, err := s.bucket.Get(ctx, key)
		if err != nil {
			return nil, 0, nil, err
		}
		value, pieces, err := assemble(b, func(k string) ([]byte, error) {
			p, _, err := s.bucket.Get(ctx, k)
			return p, err
		})
		// A piece that is gone belonged to a head that was replaced while we read.
		if errors.Is(err, rollover.ErrNotFound) {
			continue
		}
		return value, rev, pieces, err
	}
	return nil, 0, nil, fmt.Errorf("reading %s while it is written: %w", key, rollover.ErrConflict)
}

// all returns every record. One whose pieces changed while the bucket was read is
// read on its own.
func (s shelf) all(ctx context.Context) (map[string][]byte, error) {
	raw, err := s.bucket.All(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(raw))
	for k, b := range raw {
		if isPiece(k) {
			continue
		}
		value, _, err := assemble(b, func(p string) ([]byte, error) {
			if piece, ok := raw[p]; ok {
				return piece, nil
			}
			return nil, rollover.ErrNotFound
		})
		if errors.Is(err, rollover.ErrNotFound) {
			value, _, _, err = s.get(ctx, k)
			if errors.Is(err, rollover.ErrNotFound) {
				continue // Removed since.
			}
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", k, err)
		}
		out[k] = value
	}
	return out, nil
}

// assemble returns the record that b is or heads.
func assemble(b []byte, piece func(key string) ([]byte, error)) (value []byte, pieces []string, err error) {
	var v version
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, nil, fmt.Errorf("decoding record: %w", err)
	}
	if v.V != recordVersion {
		return nil, nil, fmt.Errorf("decoding record: version %d is not known", v.V)
	}
	if len(v.Pieces) == 0 {
		return b, nil, nil
	}
	var h head
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, nil, fmt.Errorf("decoding head of record: %w", err)
	}
	for _, k := range h.Pieces {
		p, err := piece(k)
		if err != nil {
			return nil, nil, err
		}
		value = append(value, p...)
	}
	if sum := sha256.Sum256(value); hex.EncodeToString(sum[:]) != h.SHA256 {
		return nil, nil, errors.New("decoding record: its pieces are not those that were stored")
	}
	return value, h.Pieces, nil
}

// put stores value under key if rev is still the head's revision, 0 for a record
// that is not there, and removes old, the pieces of the record it replaces. It
// returns rollover.ErrConflict or rollover.ErrExists where it lost a race.
//
// A process that dies between the pieces and their head leaves pieces that
// nobody names: some space, and nothing else.
func (s shelf) put(ctx context.Context, key string, value []byte, rev uint64, old []string) error {
	stored, pieces, err := s.writePieces(ctx, key, value, rev)
	if err != nil {
		return err
	}
	if rev == 0 {
		_, err = s.bucket.Create(ctx, key, stored)
	} else {
		_, err = s.bucket.Update(ctx, key, stored, rev)
	}
	switch {
	case errors.Is(err, rollover.ErrConflict) || errors.Is(err, rollover.ErrExists):
		return errors.Join(err, s.drop(ctx, key, pieces))
	case err != nil:
		return err // Our head may stand there all the same: its pieces stay.
	}
	for _, k := range old {
		if err := s.bucket.Delete(ctx, k); err != nil {
			return fmt.Errorf("removing an old piece: %w", err)
		}
	}
	return nil
}

// drop removes the pieces of a write that lost its race, unless the winner wrote
// the same and named them.
func (s shelf) drop(ctx context.Context, key string, pieces []string) error {
	if len(pieces) == 0 {
		return nil
	}
	b, _, err := s.bucket.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading %s after a lost race: %w", key, err)
	}
	var won version
	if err := json.Unmarshal(b, &won); err != nil || slices.Equal(won.Pieces, pieces) {
		return err
	}
	for _, k := range pieces {
		if err := s.bucket.Delete(ctx, k); err != nil {
			return fmt.Errorf("removing a piece after a lost race: %w", err)
		}
	}
	return nil
}

// writePieces stores value in pieces if it is too long for one, and returns what
// to store under its key. Pieces are named by the revision they replace and by
// content: two writers at once never write different things under one name.
func (s shelf) writePieces(ctx context.Context, key string, value []byte, rev uint64) (stored []byte, pieces []string, err error) {
	if len(value) <= MaxValue {
		return value, nil, nil
	}
	sum := sha256.Sum256(value)
	h := head{V: recordVersion, SHA256: hex.EncodeToString(sum[:])}
	for i, rest := 0, value; len(rest) > 0; i++ {
		n := min(MaxValue, len(rest))
		name := fmt.Sprintf("%s.%d.%s.%d", key, rev, h.SHA256[:16], i)
		if _, err := s.bucket.Create(ctx, name, rest[:n]); err != nil && !errors.Is(err, rollover.ErrExists) {
			return nil, nil, fmt.Errorf("storing piece %d: %w", i, err)
		}
		h.Pieces = append(h.Pieces, name)
		rest = rest[n:]
	}
	stored, err = json.Marshal(h)
	return stored, h.Pieces, err
}

// isPiece reports whether key names a piece. Records are named by tenant ids,
// which have no dots.
func isPiece(key string) bool { return strings.Contains(key, ".") }

package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// recordVersion is written into every stored certificate.
const recordVersion = 1

// cacheSize bounds how many certificates a Store keeps in memory. A rotation
// uses one; there are a handful in a year.
const cacheSize = 256

// sha1Prefix begins the keys that lead from a SHA-1 thumbprint to a certificate.
const sha1Prefix = "sha1."

// Bucket keeps values by key; internal/jet has one. A key is lower-case hex,
// some with "sha1." or "old." before it.
type Bucket interface {
	// Get returns the value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there yet, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Keys returns all keys, in any order; none is no error.
	Keys(ctx context.Context) ([]string, error)
}

// record is a certificate as it is stored. What can be derived from the bytes is
// there for people who look into the bucket; reading derives it anew.
type record struct {
	V       int      `json:"v"`
	SHA256  string   `json:"sha256"`
	SHA1    string   `json:"sha1"`
	Subject string   `json:"subject"`
	DER     []byte   `json:"der"`
	Chain   [][]byte `json:"chain,omitempty"`
}

// Store keeps certificates by their SHA-256. What is stored never changes and
// is never removed, so it may be kept in memory. It is safe for concurrent use.
type Store struct {
	bucket Bucket
	cache  *lru.Cache[string, Certificate]         // by SHA-256 and by SHA-1, lower-case
	old    *lru.Cache[string, rollover.Credential] // what the vault keeps, by SHA-256
}

// NewStore returns a store over a bucket that is the store's alone.
func NewStore(bucket Bucket) *Store {
	cache, err := lru.New[string, Certificate](2 * cacheSize) // Each has two names.
	if err != nil {
		panic(err) // The size is a constant above zero.
	}
	old, err := lru.New[string, rollover.Credential](cacheSize)
	if err != nil {
		panic(err) // As above.
	}
	return &Store{bucket: bucket, cache: cache, old: old}
}

// Add stores a certificate and reports whether it was new. Added again, also
// with another chain, it stays as it was first stored. A different certificate
// with the same SHA-1 gives [rollover.ErrExists].
func (s *Store) Add(ctx context.Context, c Certificate) (created bool, err error) {
	c, err = c.rederive()
	if err != nil {
		return false, err
	}
	value, err := json.Marshal(record{V: recordVersion, SHA256: c.SHA256, SHA1: c.SHA1, Subject: c.Subject, DER: c.DER, Chain: c.Chain})
	if err != nil {
		return false, fmt.Errorf("encoding certificate %s: %w", c.SHA1, err)
	}
	// The way from the SHA-1 comes first. Should we die in between, it leads to
	// nothing, which reads as not found; the other way round a certificate would
	// be there that its thumbprint does not find.
	if err := s.index(ctx, c); err != nil {
		return false, err
	}
	switch _, err := s.bucket.Create(ctx, c.SHA256, value); {
	case errors.Is(err, rollover.ErrExists):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("storing certificate %s: %w", c.SHA1, err)
	}
	return true, nil
}

// index stores the way from the SHA-1 of c to its SHA-256.
func (s *Store) index(ctx context.Context, c Certificate) error {
	key := sha1Prefix + strings.ToLower(c.SHA1)
	_, err := s.bucket.Create(ctx, key, []byte(c.SHA256))
	if !errors.Is(err, rollover.ErrExists) {
		if err != nil {
			return fmt.Errorf("storing thumbprint %s: %w", c.SHA1, err)
		}
		return nil
	}
	other, _, err := s.bucket.Get(ctx, key)
	switch {
	case err != nil:
		return fmt.Errorf("reading thumbprint %s: %w", c.SHA1, err)
	case string(other) != c.SHA256:
		return fmt.Errorf("storing certificate %s: another certificate has the same SHA-1: %w", c.SHA1, rollover.ErrExists)
	}
	return nil
}

// Certificate returns the certificate with that thumbprint, in any form that
// [ParseThumbprint] takes, or [rollover.ErrNotFound].
func (s *Store) Certificate(ctx context.Context, thumbprint string) (Certificate, error) {
	p, err := ParseThumbprint(thumbprint)
	if err != nil {
		return Certificate{}, err
	}
	if c, ok := s.cache.Get(p); ok {
		return c.clone(), nil
	}
	sha := p
	if len(p) == 40 {
		b, _, err := s.bucket.Get(ctx, sha1Prefix+p)
		if err != nil {
			return Certificate{}, fmt.Errorf("reading certificate %s: %w", p, err)
		}
		sha = string(b)
	}
	b, _, err := s.bucket.Get(ctx, sha)
	if err != nil {
		return Certificate{}, fmt.Errorf("reading certificate %s: %w", p, err)
	}
	c, err := decode(sha, b)
	if err != nil {
		return Certificate{}, err
	}
	s.cache.Add(c.SHA256, c)
	s.cache.Add(strings.ToLower(c.SHA1), c)
	return c.clone(), nil
}

// List returns all certificates, sorted by SHA-256.
func (s *Store) List(ctx context.Context) ([]Certificate, error) {
	keys, err := s.bucket.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing certificates: %w", err)
	}
	slices.Sort(keys)
	out := []Certificate{}
	for _, k := range keys {
		if strings.HasPrefix(k, sha1Prefix) || strings.HasPrefix(k, oldPrefix) {
			continue
		}
		c, err := s.Certificate(ctx, k)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// decode reads a stored certificate and checks that it is the one it is stored
// as.
func decode(sha string, b []byte) (Certificate, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return Certificate{}, fmt.Errorf("decoding certificate %s: %w", sha, err)
	}
	if r.V != recordVersion {
		return Certificate{}, fmt.Errorf("decoding certificate %s: version %d is not known", sha, r.V)
	}
	c, err := FromDER(r.DER)
	if err != nil {
		return Certificate{}, fmt.Errorf("decoding certificate %s: %w", sha, err)
	}
	if c.SHA256 != sha {
		return Certificate{}, fmt.Errorf("decoding certificate %s: the stored bytes are those of %s", sha, c.SHA256)
	}
	c.Chain = r.Chain
	return c, nil
}

// rederive returns c as its bytes say it is, with its chain, so that nothing is
// stored that a caller only claimed.
func (c Certificate) rederive() (Certificate, error) {
	d, err := FromDER(c.DER)
	if err != nil {
		return Certificate{}, err
	}
	if c.SHA256 != "" && c.SHA256 != d.SHA256 {
		return Certificate{}, fmt.Errorf("certificate %s: its bytes are those of %s", c.SHA256, d.SHA256)
	}
	d.Chain = c.clone().Chain
	return d, nil
}

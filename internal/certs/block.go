package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// BlockSort is what the hash of an entry of the block list names.
type BlockSort string

// The sorts of entries: a certificate by one of its two thumbprints, or all
// certificates for a key.
const (
	BlockSHA256  BlockSort = "sha256"
	BlockSHA1    BlockSort = "sha1"
	BlockKeyHash BlockSort = "key_hash"
)

// digits returns how many hexadecimal digits a hash of the sort has; 0 for none of
// the sorts.
func (s BlockSort) digits() int {
	switch s {
	case BlockSHA256, BlockKeyHash:
		return 64
	case BlockSHA1:
		return 40
	default:
		return 0
	}
}

// BlockID names an entry of the block list.
type BlockID struct {
	Sort BlockSort
	Hash string // lower-case hex
}

// String returns "<sort>.<hash>".
func (id BlockID) String() string { return string(id.Sort) + "." + id.Hash }

// ParseBlockID is the inverse of [BlockID.String].
func ParseBlockID(s string) (BlockID, bool) {
	sort, hash, ok := strings.Cut(s, ".")
	id := BlockID{BlockSort(sort), hash}
	if !ok || len(hash) != id.Sort.digits() || hash == "" || strings.Trim(hash, "0123456789abcdef") != "" {
		return BlockID{}, false
	}
	return id, true
}

// NewBlockID returns the id for a hash as a person wrote it, in any form that
// [ParseThumbprint] takes.
func NewBlockID(sort BlockSort, hash string) (BlockID, error) {
	h, err := ParseThumbprint(hash)
	if err != nil || len(h) != sort.digits() {
		return BlockID{}, fmt.Errorf("not a hash of this sort: want %d hexadecimal digits", sort.digits())
	}
	return BlockID{sort, h}, nil
}

// Block is an entry of the block list.
type Block struct {
	ID     BlockID
	Reason string
	By     string
	At     time.Time
	// Removal is set where the entry was removed. It is kept so that it can be told
	// who did it and why.
	Removal *Removal

	requests []string // ids of the latest calls that changed it, lower-case
}

// Removal says who took an entry from the block list.
type Removal struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// blockRecord is an entry as it is stored, under its id.
type blockRecord struct {
	V        int       `json:"v"`
	ID       string    `json:"id"`
	Reason   string    `json:"reason"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
	Removal  *Removal  `json:"removal,omitempty"`
	Requests []string  `json:"requests,omitempty"`
}

// BlockBucket keeps the entries; internal/jet has one.
type BlockBucket interface {
	// Get returns the value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there yet, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Update stores a value over the one of that revision, or returns
	// [rollover.ErrConflict].
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// All returns every value by key.
	All(ctx context.Context) (map[string][]byte, error)
}

// blockAge is how old an answer of [Blocks.Blocked] may be. A rotator asks before
// every step; without this each step would cost three reads more.
const blockAge = time.Second

// maxBlockRaces bounds how often a change that lost a race is begun anew.
const maxBlockRaces = 8

// maxBlockRequests is of how many calls an entry remembers the request ids. They are
// remembered for 24 hours elsewhere; nobody blocks and unblocks that often.
const maxBlockRequests = 64

// maxBlocks bounds the block list with what was removed from it. An incident has a
// handful of entries.
const maxBlocks = 10_000

// Blocks is the block list. It implements [rollover.Blocks] and is safe for
// concurrent use, also by several processes over one bucket.
type Blocks struct {
	bucket BlockBucket
	now    func() time.Time
	cache  *lru.Cache[string, verdict] // by SHA-256
}

// verdict is what was found of one certificate.
type verdict struct {
	why     rollover.BlockedWhy
	blocked bool
	at      time.Time
}

// NewBlocks returns the block list over a bucket that is its alone. now is the
// machine's clock: what is blocked must hold although a test clock stands still.
func NewBlocks(bucket BlockBucket, now func() time.Time) *Blocks {
	cache, err := lru.New[string, verdict](cacheSize)
	if err != nil {
		panic(err) // The size is a constant above zero.
	}
	return &Blocks{bucket: bucket, now: now, cache: cache}
}

// Blocked implements [rollover.Blocks].
func (b *Blocks) Blocked(ctx context.Context, c rollover.Credential) (why rollover.BlockedWhy, blocked bool, err error) {
	at := b.now() // Before the reads: what is told is never older than that.
	if len(c.DER) == 0 {
		return rollover.BlockedWhy{}, false, fmt.Errorf("asking the block list for certificate %s: its bytes are not at hand", c.SHA1)
	}
	named, err := rollover.FromDER(c.DER)
	if err != nil {
		return rollover.BlockedWhy{}, false, fmt.Errorf("asking the block list: %w", err)
	}
	if v, ok := b.cache.Get(named.SHA256); ok && at.Sub(v.at) < blockAge && !at.Before(v.at) {
		return v.why, v.blocked, nil
	}
	key, err := rollover.KeyHash(c.DER)
	if err != nil {
		return rollover.BlockedWhy{}, false, fmt.Errorf("asking the block list: %w", err)
	}
	v := verdict{at: at}
	for _, id := range []BlockID{{BlockSHA256, named.SHA256}, {BlockSHA1, strings.ToLower(named.SHA1)}, {BlockKeyHash, key}} {
		e, _, err := b.read(ctx, id)
		switch {
		case errors.Is(err, rollover.ErrNotFound):
		case err != nil:
			return rollover.BlockedWhy{}, false, err
		case e.Removal == nil:
			v.why, v.blocked = e.sentences(), true
		}
		if v.blocked {
			break
		}
	}
	b.cache.Add(named.SHA256, v)
	return v.why, v.blocked, nil
}

// sentences say what is blocked, and by whom and why.
func (e Block) sentences() rollover.BlockedWhy {
	what := map[BlockSort]string{
		BlockSHA256: "the certificate with SHA-256 ", BlockSHA1: "the certificate with thumbprint ", BlockKeyHash: "the key with SHA-256 ",
	}[e.ID.Sort]
	return rollover.BlockedWhy{
		Entry: fmt.Sprintf("%s%s is on the block list", what, e.ID.Hash),
		Full:  fmt.Sprintf("%s%s was blocked by %s at %s: %s", what, e.ID.Hash, e.By, e.At.UTC().Format(time.RFC3339), e.Reason),
	}
}

// Block puts an entry on the list, unless it is there, and returns what is there
// then. A call under a request id that changed the entry before changes nothing,
// whatever has happened since.
func (b *Blocks) Block(ctx context.Context, e Block, requestID string) (Block, error) {
	return b.change(ctx, e.ID, requestID, func(old Block, there bool) (Block, bool, error) {
		if there && old.Removal == nil {
			return old, false, nil
		}
		if !there {
			all, err := b.bucket.All(ctx)
			if err != nil {
				return old, false, fmt.Errorf("counting blocks: %w", err)
			}
			if len(all) >= maxBlocks {
				return old, false, &rollover.FullError{Of: "blocks", Why: fmt.Sprintf("the block list has %d entries with those that were removed, and may have no more", len(all))}
			}
		}
		e.Removal = nil
		return e, true, nil
	})
}

// Unblock removes an entry and returns it, or [rollover.ErrNotFound]. A call under a
// request id that changed the entry before changes nothing.
func (b *Blocks) Unblock(ctx context.Context, id BlockID, r Removal, requestID string) (Block, error) {
	return b.change(ctx, id, requestID, func(old Block, there bool) (Block, bool, error) {
		if !there || old.Removal != nil {
			return old, false, fmt.Errorf("block %s: %w", id, rollover.ErrNotFound)
		}
		old.Removal = &r
		return old, true, nil
	})
}

// blockRule says what becomes of an entry, and whether that is something else.
type blockRule func(old Block, there bool) (next Block, changed bool, err error)

// change stores what rule makes of an entry.
func (b *Blocks) change(ctx context.Context, id BlockID, requestID string, rule blockRule) (Block, error) {
	requestID = strings.ToLower(requestID)
	for range maxBlockRaces {
		old, rev, err := b.read(ctx, id)
		there := err == nil
		if err != nil && !errors.Is(err, rollover.ErrNotFound) {
			return old, err
		}
		if there && requestID != "" && slices.Contains(old.requests, requestID) {
			return old, nil
		}
		next, changed, err := rule(old, there)
		if err != nil || !changed {
			return next, err
		}
		next.requests = old.requests
		if requestID != "" {
			next.requests = append(slices.Clone(old.requests), requestID)
			next.requests = next.requests[max(0, len(next.requests)-maxBlockRequests):]
		}
		err = b.store(ctx, next, rev)
		if errors.Is(err, rollover.ErrConflict) || errors.Is(err, rollover.ErrExists) {
			continue
		}
		b.cache.Purge() // Also after an error: it may be stored all the same.
		return next, err
	}
	return Block{}, fmt.Errorf("storing block %s: lost %d races: %w", id, maxBlockRaces, rollover.ErrConflict)
}

// store writes an entry over the one of that revision; 0: there is none.
func (b *Blocks) store(ctx context.Context, e Block, rev uint64) error {
	value, err := json.Marshal(blockRecord{
		V: recordVersion, ID: e.ID.String(), Reason: e.Reason, By: e.By, At: e.At.UTC(), Removal: e.Removal, Requests: e.requests,
	})
	if err != nil {
		return fmt.Errorf("encoding block %s: %w", e.ID, err)
	}
	if rev == 0 {
		_, err = b.bucket.Create(ctx, e.ID.String(), value)
	} else {
		_, err = b.bucket.Update(ctx, e.ID.String(), value, rev)
	}
	if err != nil {
		return fmt.Errorf("storing block %s: %w", e.ID, err)
	}
	return nil
}

// Entry returns the entry with that id, also one that was removed, or
// [rollover.ErrNotFound].
func (b *Blocks) Entry(ctx context.Context, id BlockID) (Block, error) {
	e, _, err := b.read(ctx, id)
	return e, err
}

func (b *Blocks) read(ctx context.Context, id BlockID) (Block, uint64, error) {
	value, rev, err := b.bucket.Get(ctx, id.String())
	if err != nil {
		return Block{}, 0, fmt.Errorf("reading block %s: %w", id, err)
	}
	e, err := decodeBlock(id.String(), value)
	return e, rev, err
}

// List returns the entries that hold, sorted by id.
func (b *Blocks) List(ctx context.Context) ([]Block, error) {
	all, err := b.bucket.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing blocks: %w", err)
	}
	out := []Block{}
	for k, v := range all {
		e, err := decodeBlock(k, v)
		if err != nil {
			return nil, err
		}
		if e.Removal == nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Block) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return out, nil
}

func decodeBlock(key string, value []byte) (Block, error) {
	var r blockRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return Block{}, fmt.Errorf("decoding block %s: %w", key, err)
	}
	id, ok := ParseBlockID(r.ID)
	switch {
	case r.V != recordVersion:
		return Block{}, fmt.Errorf("decoding block %s: version %d is not known", key, r.V)
	case !ok || r.ID != key:
		return Block{}, fmt.Errorf("decoding block %s: the record is of another entry", key)
	}
	return Block{ID: id, Reason: r.Reason, By: r.By, At: r.At, Removal: r.Removal, requests: r.Requests}, nil
}

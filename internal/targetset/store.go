package targetset

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// recordVersion is written into every record.
const recordVersion = 1

// maxRaces bounds how often a write that lost a race is begun anew. Chunks of one set
// may be sent by several at once.
const maxRaces = 64

// maxSets bounds how many sets there are at once.
const maxSets = 1000

// resolved is of how many sets the rows are kept in memory, at up to 15 MB each.
const resolved = 4

// Bucket keeps values by key; internal/jet has one.
type Bucket interface {
	// Get returns the value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there yet, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Update stores a value over the one of that revision, or returns
	// [rollover.ErrConflict].
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes a value. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	// All returns every value by key.
	All(ctx context.Context) (map[string][]byte, error)
}

// headRecord is a set as it is stored, under its id. Chunks are stored before the
// head names them, so that a head always has its chunks.
type headRecord struct {
	V           int       `json:"v"`
	ID          string    `json:"id"`
	DisplayName string    `json:"display_name,omitempty"`
	Expected    int       `json:"expected"`
	Chunks      []string  `json:"chunks"` // SHA-256 of each chunk; "": not there yet
	Tenants     int       `json:"tenants,omitempty"`
	Digest      string    `json:"digest,omitempty"` // of all rows; set with the last chunk
	By          string    `json:"by"`
	At          time.Time `json:"at"`
	RequestID   string    `json:"request_id,omitempty"`
}

// chunkRecord is a chunk as it is stored; see headRecord.key.
type chunkRecord struct {
	V    int      `json:"v"`
	Rows []string `json:"rows"`
}

// Store keeps sets. It is safe for concurrent use, also by several processes over one
// bucket.
type Store struct {
	heads  Bucket
	chunks Bucket
	rows   *lru.Cache[string, *Rows] // by id and digest
}

// NewStore returns a store over two buckets that are the store's alone: one for what
// lists show, and one for rows, which no list reads.
func NewStore(heads, chunks Bucket) *Store {
	rows, err := lru.New[string, *Rows](resolved)
	if err != nil {
		panic(err) // The size is a constant above zero.
	}
	return &Store{heads: heads, chunks: chunks, rows: rows}
}

// Create begins an empty set and returns it. A set of that name that the same request
// made is returned as it is now; another one gives [rollover.ErrExists].
func (s *Store) Create(ctx context.Context, set Set, requestID string) (Set, error) {
	if set.Expected < 1 || set.Expected > MaxRows {
		return Set{}, fmt.Errorf("creating target set %s: %d rows, 1 to %d are allowed", set.ID, set.Expected, MaxRows)
	}
	all, err := s.heads.All(ctx)
	if err != nil {
		return Set{}, fmt.Errorf("counting target sets: %w", err)
	}
	if _, there := all[set.ID]; !there && len(all) >= maxSets {
		return Set{}, &rollover.FullError{Of: "target_sets", Why: fmt.Sprintf("there are %d target sets, and may be no more; delete those that are not needed", len(all))}
	}
	h := headRecord{
		V: recordVersion, ID: set.ID, DisplayName: set.DisplayName, Expected: set.Expected,
		Chunks: make([]string, chunks(set.Expected)), By: set.By, At: set.At.UTC(), RequestID: strings.ToLower(requestID),
	}
	value, err := json.Marshal(h)
	if err != nil {
		return Set{}, fmt.Errorf("encoding target set %s: %w", set.ID, err)
	}
	_, err = s.heads.Create(ctx, set.ID, value)
	if errors.Is(err, rollover.ErrExists) {
		old, _, rerr := s.head(ctx, set.ID)
		if rerr == nil && requestID != "" && old.RequestID == h.RequestID && old.Expected == h.Expected && old.DisplayName == h.DisplayName {
			return old.set(), nil
		}
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return Set{}, fmt.Errorf("storing target set %s: %w", set.ID, err)
	}
	return h.set(), nil
}

// Add stores the chunk that begins at row first and returns the set as it is then,
// complete if it was the last one missing. The same chunk again changes nothing;
// another one in its place gives [rollover.ErrExists]. Wrong bounds give a
// [*ChunkError].
func (s *Store) Add(ctx context.Context, id string, first int, rows []Row) (Set, error) {
	texts := make([]string, len(rows))
	for i, r := range rows {
		texts[i] = r.String()
	}
	value, err := json.Marshal(chunkRecord{V: recordVersion, Rows: texts})
	if err != nil {
		return Set{}, fmt.Errorf("encoding chunk of target set %s: %w", id, err)
	}
	sum := sha256.Sum256(value)
	hash, stored := hex.EncodeToString(sum[:]), false
	for range maxRaces {
		h, rev, err := s.head(ctx, id)
		if err != nil {
			return Set{}, err
		}
		n := first / Chunk
		if first < 0 || first%Chunk != 0 || n >= len(h.Chunks) || len(rows) != size(h.Expected, n) {
			return h.set(), &ChunkError{Expected: h.Expected, First: first, Rows: len(rows)}
		}
		switch h.Chunks[n] {
		case hash:
			return h.set(), nil
		case "":
		default:
			return h.set(), fmt.Errorf("chunk of target set %s at row %d: %w", id, first, rollover.ErrExists)
		}
		if !stored {
			if _, err := s.chunks.Create(ctx, h.key(n, hash), value); err != nil && !errors.Is(err, rollover.ErrExists) {
				return h.set(), fmt.Errorf("storing chunk of target set %s at row %d: %w", id, first, err)
			}
			stored = true
		}
		h.Chunks[n] = hash
		switch err := s.put(ctx, h, rev); {
		case errors.Is(err, rollover.ErrConflict):
			continue
		case err != nil:
			return h.set(), err
		}
		return s.Set(ctx, id)
	}
	return Set{}, fmt.Errorf("storing chunk of target set %s at row %d: lost %d races: %w", id, first, maxRaces, rollover.ErrConflict)
}

// put stores a head over the one of that revision, complete if all chunks are there.
func (s *Store) put(ctx context.Context, h headRecord, rev uint64) error {
	if !slices.Contains(h.Chunks, "") {
		rows, err := s.read(ctx, h)
		if err != nil {
			return err
		}
		h.Digest, h.Tenants = rows.digest, len(rows.tenants)
	}
	value, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding target set %s: %w", h.ID, err)
	}
	if _, err := s.heads.Update(ctx, h.ID, value, rev); err != nil {
		return fmt.Errorf("storing target set %s: %w", h.ID, err)
	}
	return nil
}

// Set returns one set, or [rollover.ErrNotFound].
func (s *Store) Set(ctx context.Context, id string) (Set, error) {
	h, _, err := s.head(ctx, id)
	return h.set(), err
}

// List returns all sets, sorted by id.
func (s *Store) List(ctx context.Context) ([]Set, error) {
	all, err := s.heads.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing target sets: %w", err)
	}
	out := []Set{}
	for key, value := range all {
		h, err := decodeHead(key, value)
		if err != nil {
			return nil, err
		}
		out = append(out, h.set())
	}
	slices.SortFunc(out, func(a, b Set) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// Delete removes a set, or returns [rollover.ErrNotFound]. The head goes first: what
// dies in between leaves chunks that nobody names: some space, and nothing else.
func (s *Store) Delete(ctx context.Context, id string) error {
	h, _, err := s.head(ctx, id)
	if err != nil {
		return err
	}
	if err := s.heads.Delete(ctx, id); err != nil {
		return fmt.Errorf("removing target set %s: %w", id, err)
	}
	for n, hash := range h.Chunks {
		if hash == "" {
			continue
		}
		if err := s.chunks.Delete(ctx, h.key(n, hash)); err != nil {
			return fmt.Errorf("removing chunk %d of target set %s: %w", n, id, err)
		}
	}
	return nil
}

// Rows returns the rows of the set with that id, or [rollover.ErrNotFound] where it is
// not there, is not complete, or has another digest.
func (s *Store) Rows(ctx context.Context, id, digest string) (*Rows, error) {
	if r, ok := s.rows.Get(id + " " + digest); ok {
		return r, nil
	}
	h, _, err := s.head(ctx, id)
	if err != nil {
		return nil, err
	}
	if digest == "" || h.Digest != digest {
		return nil, fmt.Errorf("target set %s with digest %q: %w", id, digest, rollover.ErrNotFound)
	}
	r, err := s.read(ctx, h)
	if err != nil {
		return nil, err
	}
	if r.digest != digest {
		return nil, fmt.Errorf("reading target set %s: its rows are not those that were stored", id)
	}
	s.rows.Add(id+" "+digest, r)
	return r, nil
}

// read reads all chunks of a set.
func (s *Store) read(ctx context.Context, h headRecord) (*Rows, error) {
	texts := make([]string, 0, h.Expected)
	for n, hash := range h.Chunks {
		value, _, err := s.chunks.Get(ctx, h.key(n, hash))
		if err != nil {
			return nil, fmt.Errorf("reading chunk %d of target set %s: %w", n, h.ID, err)
		}
		var c chunkRecord
		if err := json.Unmarshal(value, &c); err != nil {
			return nil, fmt.Errorf("decoding chunk %d of target set %s: %w", n, h.ID, err)
		}
		if sum := sha256.Sum256(value); c.V != recordVersion || hex.EncodeToString(sum[:]) != hash || len(c.Rows) != size(h.Expected, n) {
			return nil, fmt.Errorf("decoding chunk %d of target set %s: it is not the one that was stored", n, h.ID)
		}
		texts = append(texts, c.Rows...)
	}
	return resolve(texts), nil
}

func (s *Store) head(ctx context.Context, id string) (headRecord, uint64, error) {
	value, rev, err := s.heads.Get(ctx, id)
	if err != nil {
		return headRecord{}, 0, fmt.Errorf("reading target set %s: %w", id, err)
	}
	h, err := decodeHead(id, value)
	return h, rev, err
}

func decodeHead(key string, value []byte) (headRecord, error) {
	var h headRecord
	if err := json.Unmarshal(value, &h); err != nil {
		return h, fmt.Errorf("decoding target set %s: %w", key, err)
	}
	if h.V != recordVersion || h.ID != key || h.Expected < 1 || h.Expected > MaxRows || len(h.Chunks) != chunks(h.Expected) {
		return headRecord{}, fmt.Errorf("decoding target set %s: not a record of version %d of this set", key, recordVersion)
	}
	return h, nil
}

// set returns the set that a head stands for.
func (h headRecord) set() Set {
	s := Set{
		ID: h.ID, DisplayName: h.DisplayName, Expected: h.Expected, Tenants: h.Tenants, Digest: h.Digest, By: h.By, At: h.At,
	}
	for n, hash := range h.Chunks {
		if hash != "" {
			s.Rows += size(h.Expected, n)
		}
	}
	return s
}

// key names a chunk by its content, so that two writers at once never write different
// things under one name, and by the instant at which its set was created, so that who
// still removes a set takes nothing from the next one of that name.
func (h headRecord) key(n int, hash string) string {
	return fmt.Sprintf("%s.%x.%d.%s", h.ID, h.At.UnixNano(), n, hash)
}

// ChunkError says that a chunk does not fit into its set.
type ChunkError struct{ Expected, First, Rows int }

// Error says what would fit.
func (e *ChunkError) Error() string {
	if e.First < 0 || e.First%Chunk != 0 || e.First >= e.Expected {
		return fmt.Sprintf("no chunk of a set of %d rows begins at row %d; chunks begin at 0, %d, %d, …", e.Expected, e.First, Chunk, 2*Chunk)
	}
	return fmt.Sprintf("the chunk at row %d of a set of %d rows has %d rows, not %d", e.First, e.Expected, size(e.Expected, e.First/Chunk), e.Rows)
}

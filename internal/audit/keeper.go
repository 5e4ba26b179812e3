package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Kept is where a keeper reads records and puts checkpoints.
type Kept interface {
	// AuditRecordsAfter calls f with every record behind sequence after that there is now.
	AuditRecordsAfter(ctx context.Context, after uint64, f func(seq uint64, data []byte) error) error
	AuditCheckpoints(ctx context.Context, f func(seq uint64, data []byte) error) error
	// AppendCheckpoint stores data if last is the sequence of the last checkpoint, 0 for
	// none, and returns its sequence.
	AppendCheckpoint(ctx context.Context, last uint64, data []byte) (uint64, error)
}

// every is how often a keeper looks for new records.
const every = 2 * time.Second

// ErrTampered says that a log is not as it was signed. A keeper signs nothing more of it.
var ErrTampered = errors.New("the audit log is not as it was signed")

// Keeper signs what a log has come to. One at a time: two do no harm, since a
// checkpoint is stored only behind the one that its keeper knows.
type Keeper struct {
	Store  Kept
	Signer note.Signer
	// Verifier is the signer's own.
	Verifier note.Verifier
	Log      *slog.Logger
	// Signed is told how many records are covered, and by when. It may be nil.
	Signed func(records int64)
	// Every is how often it looks for new records. Default 2 s.
	Every time.Duration

	at   uint64 // sequence of the last checkpoint
	edge frontier
}

// Run signs until ctx ends, or the log turns out to have been changed.
func (k *Keeper) Run(ctx context.Context) error {
	k.at, k.edge = 0, frontier{hashes: map[int64]tlog.Hash{}}
	if err := k.load(ctx); err != nil {
		return err
	}
	d := k.Every
	if d <= 0 {
		d = every
	}
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		switch err := k.sign(ctx); {
		case ctx.Err() != nil:
			// What was told in the last moments is signed too.
			return k.last(ctx)
		case errors.Is(err, ErrTampered):
			return err
		case err != nil:
			k.Log.WarnContext(ctx, "the audit log could not be signed now", "err", err)
			if err := k.load(ctx); err != nil { // Another may have signed meanwhile.
				return err
			}
		}
		select {
		case <-ctx.Done():
			return k.last(ctx)
		case <-tick.C:
		}
	}
}

// last signs once more when ctx has ended.
func (k *Keeper) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := k.sign(ctx); err != nil && !errors.Is(err, ErrTampered) {
		return nil //nolint:nilerr // The next keeper signs it.
	}
	return nil
}

// load folds the checkpoints that there are.
func (k *Keeper) load(ctx context.Context) error {
	k.at, k.edge = 0, frontier{hashes: map[int64]tlog.Hash{}}
	err := k.Store.AuditCheckpoints(ctx, func(seq uint64, data []byte) error {
		c, err := decodeCheckpoint(data)
		if err != nil {
			return fmt.Errorf("%w: checkpoint %d: %w", ErrTampered, seq, err)
		}
		if c.First != k.edge.size {
			return fmt.Errorf("%w: checkpoint %d begins with record %d, and the one before ends with %d", ErrTampered, seq, c.First+1, k.edge.size)
		}
		o, err := openNote(c.Note, k.Verifier)
		if err != nil {
			return fmt.Errorf("%w: checkpoint %d: %w", ErrTampered, seq, err)
		}
		for _, h := range c.Leaf {
			if err := k.edge.add(h); err != nil {
				return err
			}
		}
		root, err := k.edge.root()
		if err != nil {
			return err
		}
		if o.size != k.edge.size || o.root != root {
			return fmt.Errorf("%w: checkpoint %d is signed for other records", ErrTampered, seq)
		}
		k.at = seq
		return nil
	})
	if err == nil && k.Signed != nil {
		k.Signed(k.edge.size)
	}
	return err
}

// sign adds what is new, and stores signed checkpoints of it.
func (k *Keeper) sign(ctx context.Context) error {
	var leaves []tlog.Hash
	first := k.edge.size
	flush := func() error {
		if len(leaves) == 0 {
			return nil
		}
		if err := k.store(ctx, first, leaves); err != nil {
			return err
		}
		first, leaves = k.edge.size, nil
		return nil
	}
	err := k.Store.AuditRecordsAfter(ctx, uint64(first), func(seq uint64, data []byte) error { //nolint:gosec // Not negative.
		if want := uint64(first) + uint64(len(leaves)) + 1; seq != want { //nolint:gosec // Not negative.
			return fmt.Errorf("%w: record %d is missing", ErrTampered, want)
		}
		leaves = append(leaves, tlog.RecordHash(data))
		if len(leaves) == maxHashes {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// store signs the tree with these leaves and stores that.
func (k *Keeper) store(ctx context.Context, first int64, leaves []tlog.Hash) error {
	next := k.edge.clone()
	for _, h := range leaves {
		if err := next.add(h); err != nil {
			return err
		}
	}
	root, err := next.root()
	if err != nil {
		return err
	}
	text, err := note.Sign(&note.Note{Text: body(next.size, root)}, k.Signer)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	data, err := json.Marshal(Checkpoint{V: Version, First: first, Leaf: leaves, Note: string(text)})
	if err != nil {
		return fmt.Errorf("encoding a checkpoint: %w", err)
	}
	seq, err := k.Store.AppendCheckpoint(ctx, k.at, data)
	if err != nil {
		return err
	}
	k.at, k.edge = seq, next
	if k.Signed != nil {
		k.Signed(next.size)
	}
	return nil
}

// frontier is what has to be known of a tree to add to it: some hashes for each power
// of two, however many leaves it has.
type frontier struct {
	size   int64
	hashes map[int64]tlog.Hash
	read   []int64 // noted while the root is made
}

// ReadHashes implements [tlog.HashReader].
func (f *frontier) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		h, ok := f.hashes[n]
		if !ok {
			return nil, fmt.Errorf("hash %d is not on the edge of a tree of %d leaves", n, f.size)
		}
		out[i] = h
	}
	f.read = append(f.read, at...)
	return out, nil
}

func (f *frontier) clone() frontier {
	c := frontier{size: f.size, hashes: make(map[int64]tlog.Hash, len(f.hashes))}
	for n, h := range f.hashes {
		c.hashes[n] = h
	}
	return c
}

// add appends the hash of a leaf.
func (f *frontier) add(leaf tlog.Hash) error {
	more, err := tlog.StoredHashesForRecordHash(f.size, leaf, f)
	if err != nil {
		return fmt.Errorf("adding leaf %d: %w", f.size, err)
	}
	at := tlog.StoredHashIndex(0, f.size)
	for i, h := range more {
		f.hashes[at+int64(i)] = h
	}
	f.size++
	return nil
}

// root returns the hash of the whole tree, and forgets what is not needed for it: the
// same is all that is needed to go on.
func (f *frontier) root() (tlog.Hash, error) {
	f.read = nil
	h, err := tlog.TreeHash(f.size, f)
	if err != nil {
		return h, fmt.Errorf("hashing %d leaves: %w", f.size, err)
	}
	keep := make(map[int64]tlog.Hash, len(f.read))
	for _, n := range f.read {
		keep[n] = f.hashes[n]
	}
	f.hashes, f.read = keep, nil
	return h, nil
}

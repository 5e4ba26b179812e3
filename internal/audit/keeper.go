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
	// AuditLast returns the sequence of the last record, 0 where there is none.
	AuditLast(ctx context.Context) (uint64, error)
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
	// Keys are those that signed so far; the last one is the signer's own.
	Keys Keys
	Log  *slog.Logger
	// Signed is told how many records are covered, and by when. It may be nil.
	Signed func(records int64)
	// Every is how often it looks for new records. Default 2 s.
	Every time.Duration

	at     uint64 // sequence of the last checkpoint
	key    int    // which of the keys signed it
	edge   frontier
	looked bool // at the record that was signed last, since the checkpoints were read
}

// Run signs until ctx ends, or the log turns out to have been changed.
func (k *Keeper) Run(ctx context.Context) error {
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
	if err := k.sign(ctx); errors.Is(err, ErrTampered) {
		return err
	}
	return nil // What could not be signed now is signed by the next keeper.
}

// load folds the checkpoints that there are.
func (k *Keeper) load(ctx context.Context) error {
	k.at, k.key, k.edge, k.looked = 0, 0, frontier{hashes: map[int64]tlog.Hash{}}, false
	err := k.Store.AuditCheckpoints(ctx, func(seq uint64, data []byte) error {
		c, err := decodeCheckpoint(data)
		if err != nil {
			return fmt.Errorf("%w: checkpoint %d: %w", ErrTampered, seq, err)
		}
		if c.First != k.edge.size {
			return fmt.Errorf("%w: checkpoint %d begins with record %d, and the one before ends with %d", ErrTampered, seq, c.First+1, k.edge.size)
		}
		o, err := k.Keys.open(c.Note, k.key)
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
		k.at, k.key = seq, o.key
		return nil
	})
	if err == nil && k.Signed != nil {
		k.Signed(k.edge.size)
	}
	return err
}

// sign adds what is new, and stores signed checkpoints of it.
func (k *Keeper) sign(ctx context.Context) error {
	end, err := k.Store.AuditLast(ctx)
	if err != nil {
		return err
	}
	signed := uint64(k.edge.size) //nolint:gosec // Not negative.
	switch {
	case end < signed:
		return fmt.Errorf("%w: record %d is missing, and %d were signed", ErrTampered, end+1, signed)
	case end == signed && (k.looked || signed == 0):
		return nil
	}
	return k.add(ctx, signed)
}

// add reads from the record that was signed last, which must be that one still: a log that
// was made anew may be as long as the old one, or longer.
func (k *Keeper) add(ctx context.Context, signed uint64) error {
	var leaves []tlog.Hash
	first, want := k.edge.size, max(signed, 1)
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
	err := k.Store.AuditRecordsAfter(ctx, want-1, func(seq uint64, data []byte) error {
		h := leafOf(data)
		switch {
		case seq != want:
			return fmt.Errorf("%w: record %d is missing", ErrTampered, want)
		case seq == signed && h != k.edge.last:
			return fmt.Errorf("%w: record %d is not the one that was signed: %s", ErrTampered, seq, describe(data))
		}
		want++
		if seq == signed {
			k.looked = true
			return nil
		}
		if leaves = append(leaves, h); len(leaves) == maxHashes {
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
	text, err := note.Sign(&note.Note{Text: k.Keys.body(next.size, root)}, k.Signer)
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
	k.at, k.key, k.edge = seq, len(k.Keys.list)-1, next
	if k.Signed != nil {
		k.Signed(next.size)
	}
	return nil
}

// frontier is what has to be known of a tree to add to it: some hashes for each power
// of two, however many leaves it has.
type frontier struct {
	size   int64
	last   tlog.Hash // the leaf that was added last
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
	c := frontier{size: f.size, last: f.last, hashes: make(map[int64]tlog.Hash, len(f.hashes))}
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
	f.last = leaf
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

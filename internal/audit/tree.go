package audit

import (
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// maxHashes bounds the leaves that one stored checkpoint adds, at 44 bytes each.
const maxHashes = 8192

// tree holds the hashes of a log as golang.org/x/mod/sumdb/tlog numbers them.
type tree struct {
	size   int64
	hashes []tlog.Hash
}

// ReadHashes implements [tlog.HashReader].
func (t *tree) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		if n < 0 || n >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("hash %d of a tree that has %d", n, len(t.hashes))
		}
		out[i] = t.hashes[n]
	}
	return out, nil
}

// add appends the hash of a leaf.
func (t *tree) add(leaf tlog.Hash) error {
	more, err := tlog.StoredHashesForRecordHash(t.size, leaf, t)
	if err != nil {
		return fmt.Errorf("adding leaf %d: %w", t.size, err)
	}
	t.hashes = append(t.hashes, more...)
	t.size++
	return nil
}

// root returns the hash of the tree of the first n leaves.
func (t *tree) root(n int64) (tlog.Hash, error) {
	h, err := tlog.TreeHash(n, t)
	if err != nil {
		return h, fmt.Errorf("hashing the first %d leaves: %w", n, err)
	}
	return h, nil
}

// leaf returns the hash of a leaf of the tree.
func (t *tree) leaf(n int64) tlog.Hash { return t.hashes[tlog.StoredHashIndex(0, n)] }

// Checkpoint is what is stored when one was signed: the hashes of the leaves that came
// since the one before, and the signed note of the tree with them. The note alone proves;
// the hashes let one say which leaf is another.
type Checkpoint struct {
	V     int         `json:"v"`
	First int64       `json:"first"` // number of the first leaf in Hashes, from 0
	Leaf  []tlog.Hash `json:"leaf"`
	Note  string      `json:"note"`
}

// body is the text of a checkpoint that is signed: origin, size, root, as
// C2SP tlog-checkpoint has it.
func (k Keys) body(size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", k.origin, size, root)
}

// decodeCheckpoint reads a stored checkpoint.
func decodeCheckpoint(b []byte) (Checkpoint, error) {
	var c Checkpoint
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("it is no checkpoint: %w", err)
	}
	return c, nil
}

// NoteOf returns the signed note of a stored checkpoint, "" where there is none.
func NoteOf(data []byte) string {
	c, err := decodeCheckpoint(data)
	if err != nil {
		return ""
	}
	return c.Note
}

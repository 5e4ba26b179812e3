package audit

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Source is a log to be verified: its records and checkpoints in the order in which they
// are stored. Sequences count from 1; the record of sequence n is leaf n-1.
type Source interface {
	// AuditRecords calls f with every record there is now.
	AuditRecords(ctx context.Context, f func(seq uint64, data []byte) error) error
	// AuditCheckpoints calls f with every checkpoint there is now.
	AuditCheckpoints(ctx context.Context, f func(seq uint64, data []byte) error) error
}

// maxFindings bounds what Verify says; what is more is counted.
const maxFindings = 100

// Summary is what Verify found.
type Summary struct {
	Records     int64    // that there are
	Signed      int64    // of them covered by a signed checkpoint
	Checkpoints int      // whose signature was right
	Latest      string   // the newest signed note, "" without any
	Findings    []string // what is wrong, each naming its record or checkpoint
	More        int      // findings that were left out

	key int // which of the keys signed Latest
}

// OK reports whether nothing was found.
func (s *Summary) OK() bool { return len(s.Findings) == 0 }

func (s *Summary) find(format string, args ...any) {
	if len(s.Findings) >= maxFindings {
		s.More++
		return
	}
	s.Findings = append(s.Findings, fmt.Sprintf(format, args...))
}

// Verify looks at everything: that each checkpoint is signed by one of keys and continues the one
// before, and that the records are those that were signed. known is a signed note that
// the caller has from elsewhere, or "": the log must be a continuation of it, so that
// cutting off its end together with the checkpoints does not go unnoticed. An error means
// that the source could not be read.
func Verify(ctx context.Context, src Source, keys Keys, known string) (*Summary, error) {
	s := &Summary{}
	t := &tree{}
	err := src.AuditCheckpoints(ctx, func(seq uint64, data []byte) error {
		s.checkpoint(t, seq, data, keys)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoints: %w", err)
	}
	if known != "" {
		s.continues(t, known, keys)
	}
	if err := s.records(ctx, src, t); err != nil {
		return nil, fmt.Errorf("reading the records: %w", err)
	}
	return s, nil
}

// checkpoint adds what a stored checkpoint says to the tree of what was signed.
func (s *Summary) checkpoint(t *tree, seq uint64, data []byte, keys Keys) {
	c, err := decodeCheckpoint(data)
	if err != nil {
		s.find("checkpoint %d: %v", seq, err)
		return
	}
	o, err := keys.open(c.Note, s.key)
	switch {
	case err != nil:
		s.find("checkpoint %d: %v", seq, err)
		return
	case c.First != t.size:
		s.find("checkpoint %d begins with record %d, and the one before ends with %d: checkpoints are missing, or were moved", seq, c.First+1, t.size)
		return
	case c.First+int64(len(c.Leaf)) != o.size:
		s.find("checkpoint %d has the hashes of %d records and is signed for %d", seq, c.First+int64(len(c.Leaf)), o.size)
		return
	}
	was := len(t.hashes)
	for _, h := range c.Leaf {
		if err = t.add(h); err != nil {
			break
		}
	}
	if root, rerr := t.root(t.size); err != nil || rerr != nil || root != o.root {
		t.size, t.hashes = c.First, t.hashes[:was]
		s.find("checkpoint %d: its hashes are not those that were signed", seq)
		return
	}
	s.Checkpoints++
	s.Signed, s.Latest, s.key = o.size, c.Note, o.key
}

// continues checks the log against a note from elsewhere.
func (s *Summary) continues(t *tree, known string, keys Keys) {
	o, err := keys.open(known, 0)
	if err != nil {
		s.find("the checkpoint that was given: %v", err)
		return
	}
	if o.size > t.size {
		s.find("the checkpoint that was given is of %d records, and the log is signed for %d: its end is missing", o.size, t.size)
		return
	}
	if root, err := t.root(o.size); err != nil || root != o.root {
		s.find("the checkpoint that was given is of another log: its first %d records were others", o.size)
	}
}

// records compares the records with what was signed.
func (s *Summary) records(ctx context.Context, src Source, t *tree) error {
	at := map[tlog.Hash]int64{} // where each signed leaf belongs
	for n := range t.size {
		at[t.leaf(n)] = n
	}
	seen := make([]bool, t.size)
	elsewhere := map[int64]bool{}
	next := uint64(1)
	err := src.AuditRecords(ctx, func(seq uint64, data []byte) error {
		s.Records++
		for ; next < seq; next++ {
			if int64(next) > t.size { //nolint:gosec // Far below.
				s.find("record %d is missing; it was not signed yet", next)
			}
		}
		next = seq + 1
		n := int64(seq) - 1 //nolint:gosec // Far below.
		h := leafOf(data)
		switch {
		case n < t.size && t.leaf(n) == h:
			seen[n] = true
		case n < t.size || signedElsewhere(at, h):
			if m, ok := at[h]; ok {
				elsewhere[m] = true
				s.find("record %d stands where record %d was signed: %s", m+1, n+1, describe(data))
			} else {
				s.find("record %d is not the one that was signed: %s", n+1, describe(data))
				if n < t.size {
					seen[n] = true // Its place is taken; it is not also missing.
				}
			}
		default:
			if _, err := Decode(data); err != nil {
				s.find("record %d, not signed yet: %v", n+1, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for n := range t.size {
		if !seen[n] && !elsewhere[n] {
			s.find("record %d is missing; its hash was %s", n+1, t.leaf(n))
		}
	}
	return nil
}

func signedElsewhere(at map[tlog.Hash]int64, h tlog.Hash) bool {
	_, ok := at[h]
	return ok
}

// describe names a record by what it says now.
func describe(data []byte) string {
	r, err := Decode(data)
	if err != nil {
		return err.Error()
	}
	return r.String()
}

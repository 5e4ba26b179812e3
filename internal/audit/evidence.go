package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Evidence is what one tenant is shown of a log: the records about it, and those about a
// whole rotation that it was part of, such as who approved it; each with the proof that it
// is in the log that the note is of. Nobody else is named in it. It proves what is in it,
// not that nothing was left out: that shows only in the whole log.
type Evidence struct {
	V        int     `json:"v"`
	Tenant   string  `json:"tenant"`
	Rotation string  `json:"rotation,omitempty"` // where it is about one alone
	Note     string  `json:"note"`               // the signed checkpoint
	Since    *Since  `json:"since,omitempty"`    // where an earlier checkpoint was given
	Records  []Proof `json:"records"`
}

// Proof is a record and its inclusion proof (RFC 6962 §2.1.1).
type Proof struct {
	Number int64       `json:"number"` // of the leaf, from 0
	Record string      `json:"record"` // byte for byte as it is hashed: without its sealed texts
	Path   []tlog.Hash `json:"path"`
}

// Since is the proof that the log continues what it was at an earlier checkpoint (RFC 6962
// §2.1.2). The checkpoint itself comes from whoever kept it.
type Since struct {
	Size int64       `json:"size"`
	Path []tlog.Hash `json:"path"`
}

// ErrUnsigned says that there is no signed checkpoint yet.
var ErrUnsigned = errors.New("there is no signed checkpoint of the audit log yet")

// Ask says which evidence is wanted.
type Ask struct {
	Tenant   string
	Rotation string // "rotations/…"; "" for all
	Since    string // an earlier signed note that the log is to be proven to continue; "" for none
}

// Gather makes evidence. Records that are not covered by a signed checkpoint yet are left
// out. A log that was changed, or that lacks a record, is refused with [ErrTampered].
func Gather(ctx context.Context, src Source, keys Keys, ask Ask) (*Evidence, error) {
	t, s := &tree{}, &Summary{}
	err := src.AuditCheckpoints(ctx, func(seq uint64, data []byte) error {
		s.checkpoint(t, seq, data, keys)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the checkpoints: %w", err)
	case !s.OK():
		return nil, fmt.Errorf("%w: %s", ErrTampered, s.Findings[0])
	case s.Latest == "":
		return nil, ErrUnsigned
	}
	e := &Evidence{V: Version, Tenant: ask.Tenant, Rotation: ask.Rotation, Note: s.Latest, Records: []Proof{}}
	if ask.Since != "" {
		if e.Since, err = since(t, keys, ask.Since); err != nil {
			return nil, err
		}
	}
	// Twice: a rotation is created, approved and started before it has a task.
	of, refused := map[string]bool{}, map[string]bool{}
	if err := eachSigned(ctx, src, t, func(_ int64, data []byte) error {
		r, err := Decode(data)
		switch {
		case err != nil:
		case r.Concerns(ask.Tenant):
			of[rotationOf(r.Object)] = true
		case r.Outcome == Refused && r.Request != "":
			refused[r.Request] = true
		}
		return nil
	}); err != nil {
		return nil, err
	}
	err = eachSigned(ctx, src, t, func(n int64, data []byte) error {
		b := shown(data)
		r, err := Decode(b)
		switch {
		case err != nil || !e.has(of, r) || tlog.RecordHash(b) != t.leaf(n):
			return nil
		case r.Outcome == Asked && refused[r.Request] && !r.Concerns(ask.Tenant):
			return nil // See has.
		}
		path, err := tlog.ProveRecord(t.size, n, t)
		if err != nil {
			return fmt.Errorf("proving record %d: %w", n+1, err)
		}
		e.Records = append(e.Records, Proof{Number: n, Record: string(b), Path: path})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// eachSigned calls f with every record that was signed, and refuses a log in which one is
// another or missing.
func eachSigned(ctx context.Context, src Source, t *tree, f func(n int64, data []byte) error) error {
	next := int64(0)
	err := src.AuditRecords(ctx, func(seq uint64, data []byte) error {
		n := int64(seq) - 1 //nolint:gosec // Far below.
		switch {
		case n >= t.size:
			return nil
		case n != next:
			return fmt.Errorf("%w: record %d is missing", ErrTampered, next+1)
		case leafOf(data) != t.leaf(n):
			return fmt.Errorf("%w: record %d: %s", ErrTampered, seq, describe(data))
		}
		next++
		return f(n, data)
	})
	if err != nil {
		return err
	}
	if next < t.size {
		return fmt.Errorf("%w: record %d is missing, and %d were signed", ErrTampered, next+1, t.size)
	}
	return nil
}

// since proves that the log continues an earlier note.
func since(t *tree, keys Keys, text string) (*Since, error) {
	o, err := keys.open(text, 0)
	if err != nil {
		return nil, fmt.Errorf("the earlier checkpoint: %w", err)
	}
	if o.size < 1 || o.size > t.size {
		return nil, fmt.Errorf("%w: the earlier checkpoint is of %d records, and the log is signed for %d", ErrTampered, o.size, t.size)
	}
	if root, err := t.root(o.size); err != nil || root != o.root {
		return nil, fmt.Errorf("%w: the earlier checkpoint is of another log", ErrTampered)
	}
	path, err := tlog.ProveTree(t.size, o.size, t)
	if err != nil {
		return nil, fmt.Errorf("proving that the log continues %d records: %w", o.size, err)
	}
	return &Since{Size: o.size, Path: path}, nil
}

// rotationOf returns the rotation that an object is, or is of; "" where it is of none.
func rotationOf(object string) string {
	id, ok := strings.CutPrefix(object, "rotations/")
	if !ok {
		return ""
	}
	id, _, _ = strings.Cut(id, "/")
	return "rotations/" + id
}

// has reports whether a record without its texts belongs into e: it is about the tenant,
// or about the whole of a rotation that it is part of and about nobody else.
func (e *Evidence) has(of map[string]bool, r Record) bool {
	in := rotationOf(r.Object)
	if e.Rotation != "" && in != e.Rotation {
		return false
	}
	if r.Concerns(e.Tenant) {
		return true
	}
	// Why, where it is not sealed, may name anybody. Who was refused changed nothing, and may
	// be somebody of another tenant.
	return in != "" && of[in] && r.Object == in && r.Tenant == "" && r.Tenants == nil && r.Why == "" && r.Outcome != Refused
}

// Check verifies evidence without the log: that the note is signed by one of keys, that
// every record is in the log that it is of, and that every one belongs to the tenant and
// the rotation. known is a signed note that the caller has from elsewhere, or "": the log
// must continue it. It returns the records. The error names the record that is wrong.
func (e *Evidence) Check(keys Keys, known string) ([]Record, error) {
	o, err := keys.open(e.Note, 0)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint: %w", err)
	}
	if known != "" {
		if err := e.continues(keys, o, known); err != nil {
			return nil, err
		}
	}
	var out []Record
	last, of := int64(-1), map[string]bool{}
	for _, p := range e.Records {
		if p.Number <= last || p.Number >= o.size {
			return nil, fmt.Errorf("record %d: out of order, or beyond the %d that were signed", p.Number+1, o.size)
		}
		last = p.Number
		if err := tlog.CheckRecord(p.Path, o.size, o.root, p.Number, tlog.RecordHash([]byte(p.Record))); err != nil {
			return nil, fmt.Errorf("record %d is not in the log that was signed: %s", p.Number+1, describe([]byte(p.Record)))
		}
		r, err := Decode([]byte(p.Record))
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", p.Number+1, err)
		}
		if r.Concerns(e.Tenant) {
			of[rotationOf(r.Object)] = true
		}
		out = append(out, r)
	}
	for i, r := range out {
		if !e.has(of, r) {
			return nil, fmt.Errorf("record %d is not about %s", e.Records[i].Number+1, strings.Join(e.about(), " in "))
		}
	}
	return out, nil
}

func (e *Evidence) about() []string {
	if e.Rotation == "" {
		return []string{e.Tenant}
	}
	return []string{e.Tenant, e.Rotation}
}

// ErrNoProof says that evidence cannot be held against a checkpoint: it was not made with it.
var ErrNoProof = errors.New("the evidence has no proof that the log continues this checkpoint; it has to be made with --since and this one")

// continues checks that the log of a note continues that of an earlier one.
func (e *Evidence) continues(keys Keys, o opened, known string) error {
	was, err := keys.open(known, 0)
	switch {
	case err != nil:
		return fmt.Errorf("the checkpoint that was given: %w", err)
	case was.size > o.size:
		return fmt.Errorf("the checkpoint that was given is of %d records, and the evidence is of the first %d", was.size, o.size)
	case was.key > o.key:
		return errors.New("the evidence is signed by an old key, and the newer one had signed before")
	case was.size == o.size && was.root == o.root:
		return nil
	case was.size < o.size && (e.Since == nil || e.Since.Size != was.size):
		return ErrNoProof
	}
	if was.size == o.size || tlog.CheckTree(e.Since.Path, o.size, o.root, was.size, was.root) != nil {
		return fmt.Errorf("the checkpoint that was given is of another log: its %d records were others", was.size)
	}
	return nil
}

// ParseEvidence reads evidence as it was written.
func ParseEvidence(b []byte) (*Evidence, error) {
	var e Evidence
	if err := json.Unmarshal(b, &e); err != nil || e.V != Version {
		return nil, errors.New("it is no evidence of an audit log that this program can read")
	}
	return &e, nil
}

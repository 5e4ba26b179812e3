package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Evidence is what one tenant is shown of a log: the records about it, each with the
// proof that it is in the log that the note is of. Nobody else is named in it.
type Evidence struct {
	V        int     `json:"v"`
	Tenant   string  `json:"tenant"`
	Rotation string  `json:"rotation,omitempty"` // where it is about one alone
	Note     string  `json:"note"`               // the signed checkpoint
	Records  []Proof `json:"records"`
}

// Proof is a record and its inclusion proof (RFC 6962 §2.1.1).
type Proof struct {
	Number int64       `json:"number"` // of the leaf, from 0
	Record string      `json:"record"` // byte for byte as it is stored
	Path   []tlog.Hash `json:"path"`
}

// ErrUnsigned says that there is no signed checkpoint yet.
var ErrUnsigned = errors.New("there is no signed checkpoint of the audit log yet")

// Gather makes the evidence for a tenant, of one rotation ("rotations/…") or, with "", of
// all. Records that are not covered by a signed checkpoint yet are left out. A log that
// was changed is refused with [ErrTampered].
func Gather(ctx context.Context, src Source, v note.Verifier, tenant, rotation string) (*Evidence, error) {
	t, s := &tree{}, &Summary{}
	err := src.AuditCheckpoints(ctx, func(seq uint64, data []byte) error {
		s.checkpoint(t, seq, data, v)
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
	e := &Evidence{V: Version, Tenant: tenant, Rotation: rotation, Note: s.Latest, Records: []Proof{}}
	err = src.AuditRecords(ctx, func(seq uint64, data []byte) error {
		n := int64(seq) - 1 //nolint:gosec // Far below.
		if n >= t.size {
			return nil
		}
		if tlog.RecordHash(data) != t.leaf(n) {
			return fmt.Errorf("%w: record %d: %s", ErrTampered, seq, describe(data))
		}
		r, err := Decode(data)
		if err != nil {
			return err
		}
		if !r.Concerns(tenant) || rotation != "" && r.Object != rotation && !strings.HasPrefix(r.Object, rotation+"/") {
			return nil
		}
		path, err := tlog.ProveRecord(t.size, n, t)
		if err != nil {
			return fmt.Errorf("proving record %d: %w", seq, err)
		}
		e.Records = append(e.Records, Proof{Number: n, Record: string(data), Path: path})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Check verifies evidence without the log: that the note is signed by v, that every record
// is in the log that it is of, and that every one is about the tenant. It returns the
// records. The error names the record that is wrong.
func (e *Evidence) Check(v note.Verifier) ([]Record, error) {
	o, err := openNote(e.Note, v)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint: %w", err)
	}
	var out []Record
	last := int64(-1)
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
		if !r.Concerns(e.Tenant) {
			return nil, fmt.Errorf("record %d is not about %s", p.Number+1, e.Tenant)
		}
		out = append(out, r)
	}
	return out, nil
}

// ParseEvidence reads evidence as it was written.
func ParseEvidence(b []byte) (*Evidence, error) {
	var e Evidence
	if err := json.Unmarshal(b, &e); err != nil || e.V != Version {
		return nil, errors.New("it is no evidence of an audit log that this program can read")
	}
	return &e, nil
}

package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// A record may have texts that can name other tenants, such as the reason that a person
// gave. What is hashed into the tree is the record with a salted hash of them; they stand
// behind it, after a tab, which JSON never has unescaped. So a tenant can be shown that a
// rotation was approved, with the proof, and without the texts. In the log they are as
// safe from changes as the rest: their hash is in the leaf.

// texts is what is sealed of a record.
type texts struct {
	Salt    string            `json:"salt"` // so that nobody finds them by guessing
	Why     string            `json:"why,omitempty"`
	Private map[string]string `json:"private,omitempty"`
}

// seal returns the texts of r as they are stored, nil where there are none, and r with
// their hash in their place.
func (r Record) seal() ([]byte, Record, error) {
	if r.Why == "" && len(r.Private) == 0 {
		r.Sealed = ""
		return nil, r, nil
	}
	b, err := line(texts{Salt: rand.Text(), Why: r.Why, Private: r.Private})
	if err != nil {
		return nil, r, err
	}
	r.Sealed, r.Why, r.Private = sealOf(b), "", nil
	return b, r, nil
}

func sealOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// line returns v as one line of JSON, without its end.
func line(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding an audit record: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// shown returns a stored record without its texts.
func shown(data []byte) []byte {
	public, _, _ := bytes.Cut(data, []byte("\t"))
	return public
}

// leafOf returns the hash of a stored record as the tree has it. One whose texts were
// changed, or taken away, has another.
func leafOf(data []byte) tlog.Hash {
	public, sealed, two := bytes.Cut(data, []byte("\t"))
	var r struct {
		Sealed string `json:"sealed"`
	}
	if json.Unmarshal(public, &r) != nil {
		r.Sealed = ""
	}
	switch {
	case r.Sealed == "":
		return tlog.RecordHash(data)
	case two && sealOf(sealed) == r.Sealed:
		return tlog.RecordHash(public)
	}
	return tlog.RecordHash(append(public[:len(public):len(public)], "\t it is not what was sealed"...))
}

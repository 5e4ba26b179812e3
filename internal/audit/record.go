package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Version is that of the records that this build writes.
const Version = 1

// MaxRecord bounds a record as it is stored, in bytes. Texts in it are cut to fit.
const MaxRecord = 8 << 10

// maxText bounds one text in a record, in bytes.
const maxText = 512

// The outcomes of what is told.
const (
	Asked    = "asked"    // it was asked for and is about to be done; what came of it follows
	Done     = "done"     // it was done
	Refused  = "refused"  // it was not done, and nothing was changed by it
	Failed   = "failed"   // it was not done, or not known to be
	Again    = "again"    // it failed and is tried again
	Awaiting = "awaiting" // it waits for something
)

// Record is one thing that happened. It has no secret in it, and no request as it came.
type Record struct {
	V  int       `json:"v"`
	ID string    `json:"id"` // of the telling: the same one twice was told twice and happened once
	At time.Time `json:"at"` // by the clock of who tells
	// Who is who did it, and By how that is known: "certificate", "token", "claim" where
	// nobody was asked for proof, "" where nobody said, "service" for ourselves.
	Who string `json:"who,omitempty"`
	By  string `json:"by,omitempty"`
	// Act is what was done: a method of the API such as "RotationService/StartRotation",
	// or "task", "rotation", "call.refused", "calls.refused".
	Act string `json:"act"`
	// Object is the resource that it was done to, such as "rotations/…/tasks/…".
	Object  string `json:"object,omitempty"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"` // why it came out so, as a word of the contract
	// Why is the reason that a person gave, and Private what else may name other tenants.
	// Both are stored sealed: beside the record, which has the salted hash of them.
	Why     string            `json:"why,omitempty"`
	Private map[string]string `json:"private,omitempty"`
	Sealed  string            `json:"sealed,omitempty"`
	// Tenant is the one that it is about. Where there are several, Tenants has a keyed
	// hash of each, so that each finds itself and learns of no other; see [Tenants].
	Tenant  string            `json:"tenant,omitempty"`
	Tenants *Tenants          `json:"tenants,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
	Request string            `json:"request,omitempty"` // id of the call
	Trace   string            `json:"trace,omitempty"`   // id of the trace
}

// Tenants says which tenants something is about to whoever knows their names already.
type Tenants struct {
	Salt   string   `json:"salt"`
	Hashes []string `json:"hashes"` // SHA-256 of salt, ":" and the name, in hex, sorted
}

// Has reports whether a tenant is among them.
func (t *Tenants) Has(name string) bool {
	return t != nil && slices.Contains(t.Hashes, t.hash(name))
}

func (t *Tenants) hash(name string) string {
	sum := sha256.Sum256([]byte(t.Salt + ":" + name))
	return hex.EncodeToString(sum[:])
}

// MaxTenants bounds the tenants that one record is about: beyond it a record would be
// larger than fits, and whoever tells makes several.
const MaxTenants = 64

// About returns r as one about these tenants, at most [MaxTenants].
func (r Record) About(tenants ...string) Record {
	r.Tenant, r.Tenants = "", nil
	switch len(tenants) {
	case 0:
	case 1:
		r.Tenant = tenants[0]
	default:
		t := &Tenants{Salt: rand.Text()}
		for _, name := range tenants {
			t.Hashes = append(t.Hashes, t.hash(name))
		}
		slices.Sort(t.Hashes)
		r.Tenants = t
	}
	return r
}

// AboutAll returns r as one about these tenants, or as several where they are more than one
// record has room for. Each says which part it is.
func (r Record) AboutAll(tenants []string) []Record {
	parts := (len(tenants) + MaxTenants - 1) / MaxTenants
	if parts <= 1 {
		return []Record{r.About(tenants...)}
	}
	out := make([]Record, 0, parts)
	for some := range slices.Chunk(tenants, MaxTenants) {
		part := r.About(some...)
		part.ID, part.Detail = "", maps.Clone(r.Detail)
		if part.Detail == nil {
			part.Detail = map[string]string{}
		}
		part.Detail["part"] = fmt.Sprintf("%d of %d", len(out)+1, parts)
		out = append(out, part)
	}
	return out
}

// Concerns reports whether r is about a tenant.
func (r Record) Concerns(tenant string) bool { return r.Tenant == tenant || r.Tenants.Has(tenant) }

// encode returns the bytes that are stored and hashed: one line of JSON.
func (r Record) encode() ([]byte, error) {
	r.V = Version
	if r.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("naming an audit record: %w", err)
		}
		r.ID = id.String()
	}
	r.At = r.At.UTC()
	for _, s := range []*string{&r.Who, &r.Object, &r.Reason, &r.Why, &r.Tenant, &r.Request} {
		*s = cut(*s)
	}
	r.Detail, r.Private = cutAll(r.Detail), cutAll(r.Private)
	sealed, r, err := r.seal()
	if err != nil {
		return nil, err
	}
	out, err := line(r)
	if err != nil {
		return nil, err
	}
	if sealed != nil {
		out = append(append(out, '\t'), sealed...)
	}
	if len(out) > MaxRecord {
		return nil, fmt.Errorf("audit record of %d bytes, at most %d fit", len(out), MaxRecord)
	}
	return out, nil
}

func cutAll(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = cut(v)
	}
	return out
}

// cut shortens a text to maxText bytes.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return string(bytes.ToValidUTF8([]byte(s[:maxText-3]), nil)) + "…"
}

// Decode reads a stored record, with its texts where they stand beside it. One of a newer
// build keeps what this one knows of it.
func Decode(b []byte) (Record, error) {
	var r Record
	public, sealed, two := bytes.Cut(b, []byte("\t"))
	if err := json.Unmarshal(public, &r); err != nil {
		return Record{}, fmt.Errorf("it is no audit record: %w", err)
	}
	if two {
		var t texts
		if err := json.Unmarshal(sealed, &t); err != nil {
			return Record{}, fmt.Errorf("the texts of audit record %s are none: %w", r.ID, err)
		}
		r.Why, r.Private = t.Why, t.Private
	}
	return r, nil
}

// String names a record to people.
func (r Record) String() string {
	s := fmt.Sprintf("%s: %s by %s at %s", r.ID, r.Act, or(r.Who, "nobody"), r.At.Format(time.RFC3339))
	if r.Object != "" {
		s += " on " + r.Object
	}
	return s
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

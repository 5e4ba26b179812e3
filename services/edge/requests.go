package edge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// RequestBucket keeps what request ids were used for, for 24 hours. Keys are UUIDs
// in lower case. All services share one, so that an id names one request of all.
type RequestBucket interface {
	// Get returns the latest value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
}

// requestVersion is written into every record of a request.
const requestVersion = 1

// requestRecord is what a request id was used for.
type requestRecord struct {
	V        int    `json:"v"`
	Method   string `json:"method"`
	Hash     string `json:"hash"`               // SHA-256 of the request without its id
	Resource string `json:"resource,omitempty"` // the name of what it makes or changes
	Rotation string `json:"rotation,omitempty"` // id; RotationService writes it in place of Resource
}

// Claim notes that the request id of m, if it has one, is used for m, which makes or
// changes the named resource. It reports whether that was noted before, so that m is
// a repeat. An id that was used for another request is a [Problem].
//
// A repeat may come although the first call was cut off before it did anything: the
// resource itself must tell what was done.
func Claim(ctx context.Context, b RequestBucket, m proto.Message, resource string) (repeat bool, err error) {
	id := ""
	if r, ok := m.(interface{ GetRequestId() string }); ok {
		id = strings.ToLower(r.GetRequestId())
	}
	if id == "" {
		return false, nil
	}
	want := requestRecord{V: requestVersion, Method: string(m.ProtoReflect().Descriptor().Name()), Resource: resource}
	if want.Hash, err = hashWithoutID(m); err != nil {
		return false, err
	}
	value, err := json.Marshal(want)
	if err != nil {
		return false, fmt.Errorf("encoding request record: %w", err)
	}
	switch _, err := b.Create(ctx, id, value); {
	case err == nil:
		return false, nil
	case !errors.Is(err, rollover.ErrExists):
		return false, fmt.Errorf("noting a request: %w", err)
	}
	value, _, err = b.Get(ctx, id)
	if err != nil {
		return false, fmt.Errorf("reading request record: %w", err)
	}
	var got requestRecord
	if err := json.Unmarshal(value, &got); err != nil {
		return false, fmt.Errorf("decoding request record: %w", err)
	}
	if got != want {
		if got.Resource == "" {
			got.Resource = RotationName(got.Rotation)
		}
		return false, Reused(got.Resource)
	}
	return true, nil
}

// hashWithoutID names what is asked for: SHA-256 over the request without its id.
func hashWithoutID(m proto.Message) (string, error) {
	m = proto.Clone(m)
	if f := m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name("request_id")); f != nil {
		m.ProtoReflect().Clear(f)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encoding request: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

package rotation

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
	"github.com/crossfade-project/crossfade/services/edge"
)

// Bucket keeps what request ids were used for. Keys are UUIDs in lower case.
type Bucket interface {
	// Get returns the latest value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Update stores a value over the one of that revision, or returns
	// [rollover.ErrConflict].
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// requestVersion is written into every record of a request.
const requestVersion = 1

// request is what a request id was used for. It is stored before anything is
// done, so that a repeat, at any server, goes on with what the first began; Done
// is added after.
type request struct {
	V        int    `json:"v"`
	Method   string `json:"method"`
	Hash     string `json:"hash"`     // of the request; see hashOf
	Rotation string `json:"rotation"` // id of what it makes or changes
	Done     bool   `json:"done,omitempty"`

	key    string // the request id; empty: the caller gave none
	rev    uint64
	repeat bool // it was there before this call
}

// begin stores what a request id is used for, or finds what it was used for. The
// same id with another request is refused. Without an id it does nothing.
func (s *Service) begin(ctx context.Context, key string, want request) (request, error) {
	want.V, want.key = requestVersion, strings.ToLower(key)
	if key == "" {
		return want, nil
	}
	b, err := json.Marshal(want)
	if err != nil {
		return want, fmt.Errorf("encoding request record: %w", err)
	}
	want.rev, err = s.c.Requests.Create(ctx, want.key, b)
	if !errors.Is(err, rollover.ErrExists) {
		return want, err
	}
	got, err := s.recall(ctx, key)
	if err != nil {
		return want, err
	}
	return got, got.fits(want)
}

// recall finds what a request id was used for, or returns rollover.ErrNotFound.
func (s *Service) recall(ctx context.Context, key string) (request, error) {
	got := request{key: strings.ToLower(key), repeat: true}
	b, rev, err := s.c.Requests.Get(ctx, got.key)
	if err != nil {
		return got, fmt.Errorf("reading request record: %w", err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return got, fmt.Errorf("decoding request record: %w", err)
	}
	if got.V != requestVersion {
		return got, fmt.Errorf("decoding request record: version %d is not known", got.V)
	}
	got.rev = rev
	return got, nil
}

// fits returns an error if got was another request than want.
func (got request) fits(want request) error {
	if got.Method != want.Method || got.Hash != want.Hash {
		return edge.Reused(edge.RotationName(got.Rotation))
	}
	return nil
}

// finish notes that the request was done. If that is lost, a repeat finds out
// from the rotation itself, so an error changes nothing.
func (s *Service) finish(ctx context.Context, q request) {
	if q.key == "" || q.Done {
		return
	}
	q.Done = true
	b, err := json.Marshal(q)
	if err == nil {
		_, err = s.c.Requests.Update(ctx, q.key, b, q.rev)
	}
	if err != nil {
		s.c.Log.WarnContext(ctx, "request was done but is not noted as such", "rotation", q.Rotation, "err", err)
	}
}

// hashOf names what is asked for: SHA-256 over the request without its id.
func hashOf(m proto.Message) (string, error) {
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

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
	// Update stores a value over the one of that revision, or returns
	// [rollover.ErrConflict].
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// requestVersion is written into every record of a request.
const requestVersion = 1

// Request is what a request id was used for. It is stored before anything is done, so
// that a repeat, at any server, goes on with what the first began; Done is added after.
type Request struct {
	V      int    `json:"v"`
	Method string `json:"method"`
	Hash   string `json:"hash"` // SHA-256 of the request without its id
	// By is who called. An id is its caller's: another who sends it is told no more than
	// that it is taken. Records of builds that did not store it have none, and are
	// anybody's as they were.
	By       string `json:"by,omitempty"`
	Resource string `json:"resource,omitempty"` // the name of what it makes or changes
	Rotation string `json:"rotation,omitempty"` // id; RotationService writes it in place of Resource
	Done     bool   `json:"done,omitempty"`

	// Key is the request id in lower case; empty: the caller gave none.
	Key string `json:"-"`
	// Repeat is whether it was there before this call.
	Repeat bool `json:"-"`

	rev uint64
}

// RequestOfCaller returns the request that a method is called with: whose it is, what is
// asked for and by which id. What it makes or changes is left to be filled in.
func RequestOfCaller(ctx context.Context, method string, m proto.Message) (Request, error) {
	q := Request{V: requestVersion, Method: method, By: Caller(ctx)}
	if r, ok := m.(interface{ GetRequestId() string }); ok {
		q.Key = strings.ToLower(r.GetRequestId())
	}
	var err error
	q.Hash, err = hashWithoutID(m)
	return q, err
}

// Begin stores what a request id is used for, or finds what it was used for. The same
// id with another request, or of another caller, is a [Problem]. Without an id it does
// nothing.
//
// A repeat may come although the first call was cut off before it did anything: Done, or
// the resource itself, tells what was done.
func (q Request) Begin(ctx context.Context, b RequestBucket) (Request, error) {
	if q.Key == "" {
		return q, nil
	}
	value, err := json.Marshal(q)
	if err != nil {
		return q, fmt.Errorf("encoding request record: %w", err)
	}
	q.rev, err = b.Create(ctx, q.Key, value)
	switch {
	case err == nil:
		return q, nil
	case !errors.Is(err, rollover.ErrExists):
		return q, fmt.Errorf("noting a request: %w", err)
	}
	return q.Recall(ctx, b)
}

// Recall finds what the request id was used for, or returns [rollover.ErrNotFound]. The
// same id with another request, or of another caller, is a [Problem].
func (q Request) Recall(ctx context.Context, b RequestBucket) (Request, error) {
	value, rev, err := b.Get(ctx, q.Key)
	if err != nil {
		return q, fmt.Errorf("reading request record: %w", err)
	}
	got := Request{Key: q.Key, Repeat: true, rev: rev}
	if err := json.Unmarshal(value, &got); err != nil {
		return q, fmt.Errorf("decoding request record: %w", err)
	}
	if got.V != requestVersion {
		return q, fmt.Errorf("decoding request record: version %d is not known", got.V)
	}
	return got, got.fits(q)
}

// fits returns a problem if q was another request than want. What it was for is told
// its caller alone: of a record that does not say whose it is, nobody.
func (q Request) fits(want Request) error {
	theirs := q.By == want.By
	other := q.Method != want.Method || q.Hash != want.Hash || q.Resource != want.Resource
	switch {
	case q.By != "" && !theirs, other && !theirs:
		return Reused("")
	case other && q.Resource == "":
		return Reused(RotationName(q.Rotation))
	case other:
		return Reused(q.Resource)
	}
	return nil
}

// Finish notes that the request was done. Where that is lost, a repeat has to find out
// from the resource itself, so an error changes nothing and is for the log.
func (q Request) Finish(ctx context.Context, b RequestBucket) error {
	if q.Key == "" || q.Done {
		return nil
	}
	q.Done = true
	value, err := json.Marshal(q)
	if err == nil {
		_, err = b.Update(ctx, q.Key, value, q.rev)
	}
	if err != nil {
		return fmt.Errorf("noting that a request was done: %w", err)
	}
	return nil
}

// Claim is Begin for m, whose method is its own name and which makes or changes the named
// resource. It reports whether that was noted before, so that m is a repeat.
func Claim(ctx context.Context, b RequestBucket, m proto.Message, resource string) (repeat bool, err error) {
	q, err := claim(ctx, b, m, resource)
	return q.Repeat, err
}

func claim(ctx context.Context, b RequestBucket, m proto.Message, resource string) (Request, error) {
	q, err := RequestOfCaller(ctx, string(m.ProtoReflect().Descriptor().Name()), m)
	if err != nil {
		return q, err
	}
	q.Resource = resource
	return q.Begin(ctx, b)
}

// Once is [Claim] for what may be gone again, though it was made: it makes it, unless an
// earlier call with the id did. It reports whether this call is such a repeat.
func Once(ctx context.Context, b RequestBucket, m proto.Message, resource string, make func() error) (repeat bool, err error) {
	q, err := claim(ctx, b, m, resource)
	if err != nil || q.Done {
		return q.Done, err
	}
	if err := make(); err != nil {
		return false, err
	}
	// Were it not noted, a repeat after a removal would make it again.
	if err := q.Finish(ctx, b); !errors.Is(err, rollover.ErrConflict) {
		return false, err
	}
	return false, nil // A repeat at the same time has noted it.
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

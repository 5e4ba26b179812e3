package edge

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// PageKey is the secret under which all servers of one store seal page tokens. A token
// says where the next page begins, and that may be at something that its reader must not
// see. Nothing else is kept by it, and whoever can read the store needs no token.
//
// It is made by the server that first needs it, and read by the others. It is in no
// back-up, so that a restored store makes another: tokens of before are then refused, as
// those of a build are that sealed none.
type PageKey struct {
	bucket KeyBucket

	mu  sync.Mutex // guards all below, also while the bucket is asked
	box cipher.AEAD
}

// KeyBucket keeps the secret; internal/jet has one.
type KeyBucket interface {
	// Get returns the value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
}

// NewPageKey returns the secret in a bucket. nil: one for this process alone.
func NewPageKey(b KeyBucket) *PageKey { return &PageKey{bucket: b} }

const (
	pageKeyName    = "key"
	pageKeyVersion = 1
	pageKeySize    = 32 // AES-256
)

type pageKeyRecord struct {
	V   int    `json:"v"`
	Key []byte `json:"key"`
}

// open returns what seals. It asks the bucket until it has the secret, and never after.
func (k *PageKey) open(ctx context.Context) (cipher.AEAD, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.box != nil {
		return k.box, nil
	}
	key := make([]byte, pageKeySize)
	_, _ = rand.Read(key) // Never fails.
	if k.bucket != nil {
		var err error
		if key, err = k.agree(ctx, key); err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("opening the key of page tokens: %w", err)
	}
	k.box, err = cipher.NewGCM(block)
	return k.box, err
}

// agree returns the secret that is stored, which is ours if there was none.
func (k *PageKey) agree(ctx context.Context, ours []byte) ([]byte, error) {
	b, _, err := k.bucket.Get(ctx, pageKeyName)
	if errors.Is(err, rollover.ErrNotFound) {
		if b, err = json.Marshal(pageKeyRecord{V: pageKeyVersion, Key: ours}); err != nil {
			return nil, fmt.Errorf("encoding the key of page tokens: %w", err)
		}
		if _, err = k.bucket.Create(ctx, pageKeyName, b); errors.Is(err, rollover.ErrExists) { // Another server was faster.
			b, _, err = k.bucket.Get(ctx, pageKeyName)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of page tokens: %w", err)
	}
	var r pageKeyRecord
	if err := json.Unmarshal(b, &r); err != nil || r.V != pageKeyVersion || len(r.Key) != pageKeySize {
		return nil, errors.New("decoding the key of page tokens: it is not one that this build knows")
	}
	return r.Key, nil
}

// maxSealed bounds what is opened; a usual token has under 300 characters.
const maxSealed = (maxToken + 64) * 4 / 3

// seal returns a token as callers have it, for one method.
func (k *PageKey) seal(ctx context.Context, method, token string) (string, error) {
	box, err := k.open(ctx)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, box.NonceSize(), box.NonceSize()+len(token)+box.Overhead())
	_, _ = rand.Read(nonce) // Never fails.
	return base64.RawURLEncoding.EncodeToString(box.Seal(nonce, nonce, []byte(token), []byte(method))), nil
}

// unseal is the way back. The error is a [Problem] where the token is not one of ours.
func (k *PageKey) unseal(ctx context.Context, method, sealed string) (string, error) {
	if len(sealed) > maxSealed {
		return "", badToken("is not one that was given out")
	}
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return "", badToken("is not one that was given out")
	}
	box, err := k.open(ctx)
	if err != nil {
		return "", err
	}
	if len(b) < box.NonceSize() {
		return "", badToken("is not one that was given out")
	}
	token, err := box.Open(nil, b[:box.NonceSize()], b[box.NonceSize():], []byte(method))
	if err != nil {
		return "", badToken("is not one that was given out for this method, or the server has another key since; begin with the first page")
	}
	return string(token), nil
}

// unary opens the token of a request and seals the one of its answer, so that no list
// can forget to. Services know neither.
func (k *PageKey) unary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if err := exchange(req, "page_token", func(token string) (string, error) { return k.unseal(ctx, i.FullMethod, token) }); err != nil {
		return nil, err
	}
	resp, err := h(ctx, req)
	if err != nil {
		return nil, err
	}
	return resp, exchange(resp, "next_page_token", func(token string) (string, error) { return k.seal(ctx, i.FullMethod, token) })
}

// exchange puts what f makes of a field of a message in its place, where there is
// something in it.
func exchange(message any, field protoreflect.Name, f func(string) (string, error)) error {
	m, ok := message.(proto.Message)
	if !ok {
		return nil
	}
	r := m.ProtoReflect()
	d := r.Descriptor().Fields().ByName(field)
	if d == nil || d.Kind() != protoreflect.StringKind || d.IsList() || !r.Has(d) {
		return nil
	}
	text, err := f(r.Get(d).String())
	if err != nil {
		return err
	}
	r.Set(d, protoreflect.ValueOfString(text))
	return nil
}

package webhooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// The bounds of one delivery.
const (
	callTimeout = 15 * time.Second
	maxAnswer   = 4 << 10 // bytes that are read of an answer, and thrown away
)

// The headers of Standard Webhooks.
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"
)

// Bounds of a key, in bytes, and what its text begins with.
const (
	keyPrefix = "whsec_"
	minKey    = 24
	maxKey    = 64
)

// errKey says what a secret must look like, and never what it was.
var errKey = errors.New("the secret is no webhook key: want whsec_ and base64 of 24 to 64 random bytes")

// Key returns the bytes of a key.
func Key(s secrets.Secret) ([]byte, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s.Reveal()), keyPrefix)
	if !ok {
		return nil, errKey
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return nil, errKey
	}
	return key, nil
}

// Sign returns the signature of a message: "v1," and base64 of the HMAC-SHA256 over
// id, seconds since 1970 and body, with dots between them.
// Source: https://github.com/standard-webhooks/standard-webhooks, spec, "Signature scheme".
func Sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%d.", id, at.Unix()) // A hash never fails to write.
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// resolver finds secrets by reference.
type resolver interface {
	Secret(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)
}

// Sender sends messages, one exchange at a call.
type Sender struct {
	HTTP    *http.Client // as of package outbound: https only, bounded, not into our own network
	Secrets resolver
	Now     func() time.Time // of the machine: receivers refuse old messages
}

// refusedError says that the receiver wants no more of this message.
type refusedError struct{ status int }

// Error names the status.
func (e *refusedError) Error() string {
	return fmt.Sprintf("it answered with status %d and wants it no more", e.status)
}

// Send tells hook one message, signed for now. Any status of 200 to 299 means that
// it arrived; nothing else does.
func (s *Sender) Send(ctx context.Context, h Hook, id string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now := s.Now()
	signature, err := s.sign(ctx, h, id, now, body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("making the request: the address is not one")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "crossfade")
	req.Header.Set(headerID, id)
	req.Header.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(headerSignature, signature)
	res, err := s.HTTP.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // Its text has the address, which may hold a key.
			err = ue.Err
		}
		return fmt.Errorf("telling it: %w", err)
	}
	defer func() { _ = res.Body.Close() }()                         // What it says beside its status is not looked at.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // So that the connection can be used again.
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusGone:
		return &refusedError{res.StatusCode}
	default:
		return fmt.Errorf("it answered with status %d", res.StatusCode)
	}
}

// sign returns the signatures of all keys of the hook.
func (s *Sender) sign(ctx context.Context, h Hook, id string, now time.Time, body []byte) (string, error) {
	var out []string
	for _, ref := range []secrets.Ref{h.Secret, h.AlsoSecret} {
		if ref == "" {
			continue
		}
		secret, err := s.Secrets.Secret(ctx, ref)
		if err != nil {
			return "", fmt.Errorf("finding the key: %w", err)
		}
		key, err := Key(secret)
		if err != nil {
			return "", fmt.Errorf("key %s: %w", ref, err)
		}
		out = append(out, Sign(key, id, now, body))
	}
	return strings.Join(out, " "), nil
}

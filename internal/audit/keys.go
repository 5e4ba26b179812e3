package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Origin is the first line of every checkpoint of a log that has no name of its own.
const Origin = "crossfade-audit/1"

// maxOrigin bounds an origin, in bytes.
const maxOrigin = 128

// ErrOrigin says that a text cannot be the first line of checkpoints.
var ErrOrigin = fmt.Errorf("want 1 to %d letters, digits and signs, without spaces", maxOrigin)

// Keys say what a log is verified by: which log it is, and who signed it. The zero Keys
// verify nothing.
type Keys struct {
	origin string
	list   []note.Verifier // oldest first; the last one signs now
}

// NewKeys returns what verifies the log of an origin, "" for [Origin]. Of several keys the
// oldest comes first, and the last one signs now: once it has, the others sign no more.
// Each text has one key, or a line for each of several.
func NewKeys(origin string, texts ...string) (Keys, error) {
	k := Keys{origin: origin}
	if k.origin == "" {
		k.origin = Origin
	}
	if err := CheckOrigin(k.origin); err != nil {
		return Keys{}, fmt.Errorf("the origin %q: %w", k.origin, err)
	}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			v, err := ParseVerifier(line)
			if err != nil {
				return Keys{}, err
			}
			if _, at := k.find(v.Name(), v.KeyHash()); at >= 0 {
				return Keys{}, fmt.Errorf("the key %s is there twice", strings.TrimSpace(line))
			}
			k.list = append(k.list, v)
		}
	}
	if len(k.list) == 0 {
		return Keys{}, errors.New("there is no key that verifies an audit log")
	}
	return k, nil
}

// CheckOrigin says what is wrong with an origin.
func CheckOrigin(s string) error {
	if s == "" || len(s) > maxOrigin || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ErrOrigin
	}
	return nil
}

func (k Keys) find(name string, hash uint32) (note.Verifier, int) {
	for i, v := range k.list {
		if v.Name() == name && v.KeyHash() == hash {
			return v, i
		}
	}
	return nil, -1
}

// Verifier implements [note.Verifiers].
func (k Keys) Verifier(name string, hash uint32) (note.Verifier, error) {
	if v, at := k.find(name, hash); at >= 0 {
		return v, nil
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

// opened is a checkpoint's note whose signature was right.
type opened struct {
	size int64
	root tlog.Hash
	key  int // which of the keys signed it
}

// open reads a signed note. since is the key that signed the note before, 0 for none: an
// older one was put away when the newer began, and signs no more.
func (k Keys) open(text string, since int) (opened, error) {
	n, err := note.Open([]byte(text), k)
	if err != nil {
		return opened{}, fmt.Errorf("the signature is not right: %w", err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != k.origin {
		return opened{}, fmt.Errorf("it is no checkpoint of %s", k.origin)
	}
	var o opened
	if _, err := fmt.Sscanf(lines[1], "%d", &o.size); err != nil || o.size < 0 || fmt.Sprint(o.size) != lines[1] {
		return opened{}, errors.New("its size is no number")
	}
	if o.root, err = tlog.ParseHash(lines[2]); err != nil {
		return opened{}, fmt.Errorf("its root is no hash: %w", err)
	}
	for _, s := range n.Sigs {
		_, at := k.find(s.Name, s.Hash)
		o.key = max(o.key, at)
	}
	if o.key < since {
		return opened{}, errors.New("it is signed by an old key, and the newer one had signed before")
	}
	return o, nil
}

// WasSigned reports whether a log has a checkpoint, whoever signed it.
func WasSigned(ctx context.Context, src interface {
	AuditCheckpoints(ctx context.Context, f func(seq uint64, data []byte) error) error
}) (bool, error) {
	found := errors.New("there is one")
	err := src.AuditCheckpoints(ctx, func(uint64, []byte) error { return found })
	if errors.Is(err, found) {
		return true, nil
	}
	return false, err
}

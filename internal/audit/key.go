package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// KeyName is the name of the key that signs checkpoints, as notes show it.
const KeyName = "crossfade-audit"

// NewKey makes a key: what signs, which is a secret, and what verifies, which is not.
func NewKey() (signer, verifier string, err error) {
	signer, verifier, err = note.GenerateKey(rand.Reader, KeyName)
	if err != nil {
		return "", "", fmt.Errorf("making the key of the audit log: %w", err)
	}
	return signer, verifier, nil
}

// ErrKey says that a text is no key of an audit log. Errors never quote the text.
var ErrKey = errors.New("it is no key of an audit log; make one with \"crossfade audit key --new FILE\"")

// ParseSigner reads a key that signs, and returns what verifies its notes too.
func ParseSigner(text string) (note.Signer, note.Verifier, string, error) {
	text = strings.TrimSpace(text)
	s, err := note.NewSigner(text)
	if err != nil {
		return nil, nil, "", ErrKey // The library's error may quote it.
	}
	vkey, err := public(text)
	if err != nil {
		return nil, nil, "", err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, nil, "", ErrKey
	}
	return s, v, vkey, nil
}

// public makes of "PRIVATE+KEY+name+hash+base64" the key that verifies, as
// golang.org/x/mod/sumdb/note writes both.
func public(signer string) (string, error) {
	parts := strings.SplitN(signer, "+", 5)
	if len(parts) != 5 {
		return "", ErrKey
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", ErrKey
	}
	key, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", ErrKey
	}
	return note.NewEd25519VerifierKey(parts[2], key)
}

// ParseVerifier reads a key that verifies.
func ParseVerifier(text string) (note.Verifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("it is no key that verifies an audit log: want crossfade-audit+…, as \"crossfade audit key\" shows it")
	}
	return v, nil
}

// KeyFile is where the key of an embedded store lies, beneath its folder.
const KeyFile = "audit.key"

// OpenKey reads the key in dir, and makes one, readable by its owner alone, if there is
// none.
func OpenKey(dir string) (string, error) {
	path := filepath.Join(dir, KeyFile)
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the key of the audit log: %w", err)
	}
	key, _, err := NewKey()
	if err != nil {
		return "", err
	}
	return key, WriteKey(path, key)
}

// WriteKey writes a key into a file that must not exist.
func WriteKey(path, key string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the key of the audit log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(key + "\n"); err != nil {
		return fmt.Errorf("writing the key of the audit log: %w", err)
	}
	return f.Sync()
}

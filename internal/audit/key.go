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

// KeyFile is where the key of an embedded store lies, beneath its folder. No back-up of a
// store has it.
const KeyFile = "audit.key"

// ErrKeyGone says that a log was signed with a key that is not there any more. Another key
// would not continue it: whoever verifies would take all that was signed for forged.
var ErrKeyGone = errors.New("the log was signed before, and its key is gone: put " + KeyFile + " back from where it was kept")

// OpenKey reads the key in dir, and makes one, readable by its owner alone, if there is
// none. Of a log that was signed before it makes none: that is [ErrKeyGone]. signed is
// asked only where there is no key.
func OpenKey(dir string, signed func() (bool, error)) (string, error) {
	path := filepath.Join(dir, KeyFile)
	b, err := os.ReadFile(path)
	if err == nil {
		key := strings.TrimSpace(string(b))
		if _, _, _, err := ParseSigner(key); err != nil {
			// It is left as it is: it may be all that is left of the key.
			return "", fmt.Errorf("reading %s: it is empty or damaged; put it back from where it was kept: %w", path, err)
		}
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the key of the audit log: %w", err)
	}
	was, err := signed()
	if err != nil {
		return "", fmt.Errorf("looking whether the audit log was signed: %w", err)
	}
	if was {
		return "", fmt.Errorf("reading %s: %w", path, ErrKeyGone)
	}
	key, _, err := NewKey()
	if err != nil {
		return "", err
	}
	return key, WriteKey(path, key)
}

// WriteKey writes a key into a file that must not exist. The file is there whole or not at
// all, whenever the process ends.
func WriteKey(path, key string) error {
	if err := writeKey(path, key); err != nil {
		return fmt.Errorf("writing the key of the audit log: %w", err)
	}
	return nil
}

func writeKey(path, key string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // Its mode is 0600.
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(key + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link, since a rename would take the place of a key that is there.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

package certs

import (
	"errors"
	"strings"
	"unicode"
)

// ErrThumbprint says that a text is no thumbprint.
var ErrThumbprint = errors.New("not a thumbprint: want 40 (SHA-1) or 64 (SHA-256) hexadecimal digits")

// ParseThumbprint returns the thumbprint that a person wrote or pasted, as
// lower-case hex: 40 digits of SHA-1 or 64 of SHA-256. It overlooks spaces,
// colons, hyphens, case, and the invisible characters, such as U+200E, that
// Windows' certificate dialog puts before what is copied from it.
func ParseThumbprint(s string) (string, error) {
	if len(s) > 1024 {
		return "", ErrThumbprint
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'f':
			b.WriteRune(r)
		case r >= 'A' && r <= 'F':
			b.WriteRune(r - 'A' + 'a')
		case r == ':' || r == '-' || unicode.IsSpace(r) || unicode.Is(unicode.Cf, r):
		default:
			return "", ErrThumbprint
		}
	}
	if n := b.Len(); n != 40 && n != 64 {
		return "", ErrThumbprint
	}
	return b.String(), nil
}

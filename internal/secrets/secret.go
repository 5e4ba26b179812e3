// Package secrets holds the values that Crossfade signs in with, and finds them
// by reference. A tenants file names a secret and never contains one; the value
// is read where it is used and prints as [redacted] everywhere else.
package secrets

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every form of printing a Secret shows, also of an empty one:
// whether a secret is set is itself not told.
const redacted = "[redacted]"

// Secret is a value that must not be shown. Every way of printing, logging or
// encoding it gives "[redacted]"; only [Secret.Reveal] gives the value. The zero
// Secret is empty and ready to use.
//
// Two Secrets are not to be compared with ==, which compares where they are
// kept. A Secret cannot be decoded: no format turns input into one.
type Secret struct {
	// A pointer, since fmt calls no methods on unexported fields of other
	// structs: there it shows an address and not the text.
	value *string
}

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value. Call it in the line that sends it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the value is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) {
	// A writer that fails is the caller's to notice; fmt has no way to say so.
	_, _ = io.WriteString(f, redacted)
}

// MarshalJSON returns "[redacted]" as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns "[redacted]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary returns "[redacted]"; encoding/gob uses it.
func (s Secret) MarshalBinary() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML returns "[redacted]".
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }

// LogValue returns "[redacted]" for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

package rollover

import (
	"slices"
	"strings"
)

// MaxChanges bounds how many request ids of changes a rotation remembers. A
// repeat that comes after more changes than that, with the note that it was done
// lost as well, is judged by the state alone.
const MaxChanges = 32

// Noted returns the rotation with the request id among those that changed it.
// It is saved with the change itself, so that neither stands without the other.
func (r Rotation) Noted(requestID string) Rotation {
	if requestID == "" || r.ChangedBy(requestID) {
		return r
	}
	r.Changes = append(slices.Clone(r.Changes), strings.ToLower(requestID))
	if n := len(r.Changes); n > MaxChanges {
		r.Changes = r.Changes[n-MaxChanges:]
	}
	return r
}

// ChangedBy reports whether the request changed the rotation before.
func (r Rotation) ChangedBy(requestID string) bool {
	return requestID != "" && slices.Contains(r.Changes, strings.ToLower(requestID))
}

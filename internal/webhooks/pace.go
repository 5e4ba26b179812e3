package webhooks

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// pauseAfter returns how long is waited after so many tries: doubled each time, up to
// an hour, less up to a half of it at random.
func pauseAfter(tries int, random float64) time.Duration {
	d := longest
	if tries < 11 {
		d = min(longest, firstPause<<(tries-1))
	}
	return d - time.Duration(random*float64(d)/2)
}

// newID returns the id of a message.
func newID() string { return "msg_" + rand.Text() }

// madeAt returns when a rotation was accepted by the clock of the server that did:
// its id is a UUIDv7, which begins with the milliseconds since 1970. The zero time
// of an id that is none.
func madeAt(id string) time.Time {
	hex := strings.ReplaceAll(id, "-", "")
	if len(hex) != 32 {
		return time.Time{}
	}
	ms := int64(0)
	if _, err := fmt.Sscanf(hex[:12], "%012x", &ms); err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

package identity

import (
	"errors"
	"time"
)

// Proof is how it was proven who somebody is.
type Proof string

// The proofs.
const (
	ByCertificate Proof = "certificate"
	ByToken       Proof = "token"
)

// Subject is somebody whose name was proven.
type Subject struct {
	// Name is unique among all proofs: "cert:" and a name of the certificate, or the
	// issuer's name in the configuration, a colon and the token's subject. Printable
	// ASCII, at most 256 bytes.
	Name string
	// Groups are the token's, each with the issuer's name before it. A certificate has
	// none.
	Groups []string
	By     Proof
	// Expires is when the proof is worth nothing any more.
	Expires time.Time
}

// The reasons for which nobody is believed.
var (
	// ErrInvalid says that a token or certificate proves nothing, and will not later.
	ErrInvalid = errors.New("the proof of identity is not valid")
	// ErrUnavailable says that it cannot be judged now: the issuer's keys cannot be
	// had, or a revocation list has ended. Asking again may help.
	ErrUnavailable = errors.New("a proof of identity cannot be judged now")
)

// The bounds of what is taken from a proof.
const (
	maxName   = 256
	maxGroups = 500
	maxToken  = 16 << 10 // bytes
)

// printable reports whether a name can stand in a record, a log and a rights file.
func printable(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s[0] != ' ' && s[len(s)-1] != ' '
}

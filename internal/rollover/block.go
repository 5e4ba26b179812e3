package rollover

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// Blocks is the block list: certificates and keys that are never put anywhere.
//
// Blocked reports whether c, or its key, is on the list, and if so why. c comes with
// its bytes, from which all hashes are taken. An error means that it is not known: the
// caller writes nothing and asks again later. What is told may be up to a second old.
type Blocks interface {
	Blocked(ctx context.Context, c Credential) (why BlockedWhy, blocked bool, err error)
}

// BlockedWhy says for people why something is blocked.
type BlockedWhy struct {
	// Entry names the entry and nothing else. It is for everybody, and for records that
	// are shown to everybody, such as tasks.
	Entry string
	// Full also says who blocked it, when, and in which words. People write names of
	// tenants there, so it is only for those who may see all of them.
	Full string
}

// KeyHash returns the name of the public key of a certificate: lower-case hex of
// SHA-256 over its SubjectPublicKeyInfo.
func KeyHash(der []byte) (string, error) {
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return "", fmt.Errorf("parsing certificate: %w", err)
	}
	sum := sha256.Sum256(x.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}

// putsInPlace reports whether a step adds the new credential, has the sender use
// it, or removes another in its favour.
func putsInPlace(s Step) bool { return s == StepStage || s == StepActivate || s == StepRetire }

// tryUnblocked is try for a credential that the block list is asked about first. One
// that is blocked ends the task. Where the list cannot be read nothing may be done,
// and no try is used up.
func (e *Engine) tryUnblocked(ctx context.Context, k Task, step Step) (Task, error) {
	if e.c.Blocks == nil || !putsInPlace(step) {
		return e.try(ctx, k, step)
	}
	bctx, cancel := context.WithTimeout(ctx, e.c.StepTimeout)
	defer cancel()
	why, blocked, err := e.c.Blocks.Blocked(bctx, k.Orders.New)
	switch {
	case err != nil:
		return k, fmt.Errorf("asking the block list before %s of task %s: %w", step, k.ID, err)
	case blocked:
		return e.failed(k, Permanent(Blocked, errors.New(why.Entry)), e.c.Now()), nil
	default:
		return e.try(ctx, k, step)
	}
}

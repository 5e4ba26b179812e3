package certs

import (
	"context"
	"errors"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// oldPrefix begins the keys of certificates that were removed from a target and
// may have to be put back. They are not among those that are listed.
const oldPrefix = "old."

// Vault keeps the public bytes of certificates that rotations remove, in the
// bucket of a [Store], by their content. It is a [rollover.Vault] and safe for
// concurrent use.
type Vault struct{ s *Store }

// Vault returns the vault of the store's bucket.
func (s *Store) Vault() Vault { return Vault{s} }

// Keep implements [rollover.Vault]. Bytes that are no certificate are refused: a
// container may hold a private key.
func (v Vault) Keep(ctx context.Context, c rollover.Credential) error {
	if _, ok := v.s.old.Get(c.SHA256); ok {
		return nil
	}
	d, err := rollover.FromDER(c.DER)
	if err != nil {
		return err
	}
	if d.SHA256 != c.SHA256 {
		return fmt.Errorf("certificate %s: its bytes are those of %s", c.SHA256, d.SHA256)
	}
	if _, err := v.s.bucket.Create(ctx, oldPrefix+d.SHA256, d.DER); err != nil && !errors.Is(err, rollover.ErrExists) {
		return fmt.Errorf("keeping certificate %s: %w", d.SHA1, err)
	}
	v.s.old.Add(d.SHA256, d)
	return nil
}

// Kept implements [rollover.Vault].
func (v Vault) Kept(ctx context.Context, sha string) (rollover.Credential, error) {
	if c, ok := v.s.old.Get(sha); ok {
		return c, nil
	}
	der, _, err := v.s.bucket.Get(ctx, oldPrefix+sha)
	if err != nil {
		return rollover.Credential{}, fmt.Errorf("reading kept certificate %s: %w", sha, err)
	}
	c, err := rollover.FromDER(der)
	if err != nil {
		return c, fmt.Errorf("reading kept certificate: %w", err)
	}
	if c.SHA256 != sha {
		return c, fmt.Errorf("kept certificate %s: the stored bytes are those of %s", sha, c.SHA256)
	}
	v.s.old.Add(sha, c)
	return c, nil
}

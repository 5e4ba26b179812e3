package rollovertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Vault is a [rollover.Vault] in memory. The zero value is empty and ready.
type Vault struct {
	// Fault is asked before every call and may break it. Nil: nothing breaks.
	Fault *Faults

	mu   sync.Mutex // guards the rest
	kept map[string][]byte
}

// Keep implements [rollover.Vault].
func (v *Vault) Keep(ctx context.Context, c rollover.Credential) error {
	return v.Fault.Call(ctx, "keep", func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.kept == nil {
			v.kept = map[string][]byte{}
		}
		v.kept[c.SHA256] = c.DER
		return nil
	})
}

// Kept implements [rollover.Vault].
func (v *Vault) Kept(ctx context.Context, sha string) (c rollover.Credential, err error) {
	ferr := v.Fault.Call(ctx, "kept", func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		der, ok := v.kept[sha]
		if !ok {
			err = fmt.Errorf("certificate %s: %w", sha, rollover.ErrNotFound)
			return err
		}
		c, err = rollover.FromDER(der)
		return err
	})
	return c, ferr
}

// Forget loses what was kept.
func (v *Vault) Forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = nil
}

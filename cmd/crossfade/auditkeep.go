package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// auditPause is how long a process waits before it looks again for a key that it could not
// read, or at a log that it found changed.
const auditPause = time.Minute

// auditKeyText returns the key that signs the audit log, "" where there is none.
func (n *node) auditKeyText(ctx context.Context) (string, error) {
	if n.c.auditKey == "" {
		if n.c.jet.URL != "" {
			return "", nil
		}
		return audit.OpenKey(n.c.jet.Dir, func() (bool, error) { return audit.WasSigned(ctx, n.broker) })
	}
	s, err := n.secrets.Secret(ctx, n.c.auditKey)
	if err != nil {
		return "", fmt.Errorf("audit.key: %w", err)
	}
	return s.Reveal(), nil
}

// auditKeeper returns who signs the audit log, nil where nobody does.
func (n *node) auditKeeper(ctx context.Context) (*audit.Keeper, error) {
	text, err := n.auditKeyText(ctx)
	if err != nil || text == "" {
		return nil, err
	}
	signer, _, vkey, err := audit.ParseSigner(text)
	if err != nil {
		return nil, fmt.Errorf("audit.key: %w", err)
	}
	keys, err := audit.NewKeys(n.c.auditOrigin, append(n.c.auditOld[:len(n.c.auditOld):len(n.c.auditOld)], vkey)...)
	if err != nil {
		return nil, fmt.Errorf("audit.old_keys: %w", err)
	}
	n.c.log.InfoContext(ctx, "the audit log is signed", "key", vkey)
	return &audit.Keeper{Store: n.broker, Signer: signer, Keys: keys, Log: n.c.log, Signed: n.metrics.AuditSigned}, nil
}

// awaitKeeper is auditKeeper, asked again after each pause until the key can be read; nil
// also where ctx ended first.
func (n *node) awaitKeeper(ctx context.Context, pause time.Duration) *audit.Keeper {
	for {
		k, err := n.auditKeeper(ctx)
		if err == nil {
			return k
		}
		n.c.log.ErrorContext(ctx, "the audit log is not signed: its key cannot be used", "err", err)
		if !waited(ctx, pause) {
			return nil
		}
	}
}

// keepAudit signs the audit log whenever this process is elected. That it cannot keeps
// nobody from working: what is done is told all the same, and signed later.
func (n *node) keepAudit(ctx context.Context) error {
	k := n.awaitKeeper(ctx, auditPause)
	if k == nil {
		<-ctx.Done()
		return nil
	}
	return n.broker.Elect(ctx, "audit", leader(), leaseTime, func(ctx context.Context) {
		err := k.Run(ctx)
		tampered := errors.Is(err, audit.ErrTampered)
		if err == nil || ctx.Err() != nil && !tampered {
			return
		}
		n.metrics.AuditTampered(tampered)
		n.c.log.ErrorContext(ctx, "the audit log is not signed any more", "err", err)
		// It will not mend itself, and another keeper would find the same.
		waited(ctx, auditPause)
	})
}

// waited waits for d and reports whether that went by before ctx ended.
func waited(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

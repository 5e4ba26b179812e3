package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// auditKeyText returns the key that signs the audit log, "" where there is none.
func (n *node) auditKeyText(ctx context.Context) (string, error) {
	if n.c.auditKey == "" {
		if n.c.jet.URL != "" {
			return "", nil
		}
		return audit.OpenKey(n.c.jet.Dir)
	}
	s, err := n.secrets.Secret(ctx, n.c.auditKey)
	if err != nil {
		return "", fmt.Errorf("audit.key: %w", err)
	}
	return s.Reveal(), nil
}

// keepAudit signs the audit log whenever this process is elected.
func (n *node) keepAudit(ctx context.Context) error {
	text, err := n.auditKeyText(ctx)
	if err != nil {
		return err
	}
	if text == "" {
		<-ctx.Done()
		return nil
	}
	signer, verifier, vkey, err := audit.ParseSigner(text)
	if err != nil {
		return fmt.Errorf("audit.key: %w", err)
	}
	n.c.log.InfoContext(ctx, "the audit log is signed", "key", vkey)
	k := &audit.Keeper{Store: n.broker, Signer: signer, Verifier: verifier, Log: n.c.log, Signed: n.metrics.AuditSigned}
	return n.broker.Elect(ctx, "audit", leader(), leaseTime, func(ctx context.Context) {
		err := k.Run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		n.metrics.AuditTampered(errors.Is(err, audit.ErrTampered))
		n.c.log.ErrorContext(ctx, "the audit log is not signed any more", "err", err)
		// It will not mend itself, and another keeper would find the same.
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
		}
	})
}

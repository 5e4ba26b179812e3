package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// verifiers returns what verifies the log.
func (f *auditFlags) verifiers(ctx context.Context) (audit.Keys, error) {
	if len(f.keys) > 0 {
		return f.given()
	}
	if f.from != "" {
		return audit.Keys{}, usage("--key: is needed with --from")
	}
	_, texts, err := f.signer(ctx)
	if err != nil {
		return audit.Keys{}, err
	}
	origin, err := f.named()
	if err != nil {
		return audit.Keys{}, err
	}
	keys, err := audit.NewKeys(origin, texts...)
	if err != nil {
		return keys, usage("audit: %w", err)
	}
	return keys, nil
}

// given returns the keys that --key gives.
func (f *auditFlags) given() (audit.Keys, error) {
	var texts []string
	for _, text := range f.keys {
		if b, err := os.ReadFile(text); err == nil {
			text = string(b)
		}
		texts = append(texts, text)
	}
	origin, err := f.named()
	if err != nil {
		return audit.Keys{}, err
	}
	keys, err := audit.NewKeys(origin, texts...)
	if err != nil {
		return keys, usage("--key: %w", err)
	}
	return keys, nil
}

// named returns the log's origin: as the flag says, or the configuration where one is named.
func (f *auditFlags) named() (string, error) {
	if f.origin != "" {
		if err := audit.CheckOrigin(f.origin); err != nil {
			return "", usage("--origin: %w", err)
		}
		return f.origin, nil
	}
	if f.config == "" {
		return "", nil
	}
	c, _, err := f.load()
	return c.Audit.Origin, err
}

// signer returns the key that signs, as the configuration says, and what verifies the log:
// the keys that signed before it, and its own as the last.
func (f *auditFlags) signer(ctx context.Context) (signer string, verifiers []string, err error) {
	c, _, err := f.load()
	if err != nil {
		return "", nil, err
	}
	switch {
	case c.Audit.Key != "":
		client, err := outbound.New(c.Outbound())
		if err != nil {
			return "", nil, usage("network: %w", err)
		}
		resolver, err := resolverOf(c, client)
		if err != nil {
			return "", nil, usage("%w", err)
		}
		s, err := resolver.Secret(ctx, secrets.Ref(c.Audit.Key))
		if err != nil {
			return "", nil, usage("audit.key: %w", err)
		}
		signer = s.Reveal()
	case c.Embedded():
		b, err := os.ReadFile(filepath.Join(c.Data, audit.KeyFile))
		if err != nil {
			return "", nil, usage("data: there is no key of an audit log in %s; name one with --key", c.Data)
		}
		signer = string(b)
	default:
		return "", nil, usage("audit.key: is not set; name the key with --key")
	}
	_, _, verifier, err := audit.ParseSigner(signer)
	if err != nil {
		return "", nil, usage("audit.key: %w", err)
	}
	return signer, append(c.Audit.Old(), verifier), nil
}

func (a *app) auditKeyCommand() *cobra.Command {
	var f auditFlags
	var file string
	c := &cobra.Command{
		Use:   "key",
		Short: "Show the key that verifies the log, or make a new pair",
		Long: `Key shows what others need to verify the log; it is no secret. Give it to them before
they need it, and by another way than the log. Where the key was changed it shows all, a
line each, the oldest first. With --new it makes a key that signs, for audit.key, in a
file that only you can read, and shows what verifies it.`,
		Example: "  crossfade audit key --config crossfade.yaml\n  crossfade audit key --new secrets/audit.key",
		RunE: func(c *cobra.Command, _ []string) error {
			keys, err := a.auditKeys(c.Context(), f, file)
			if err != nil {
				return err
			}
			if a.json {
				a.object("audit_key", map[string]any{"key": keys[len(keys)-1], "old_keys": keys[:len(keys)-1]})
				return nil
			}
			for _, k := range keys {
				fmt.Fprintln(a.out, k)
			}
			return nil
		},
	}
	f.storeFlags.add(c)
	c.Flags().StringVar(&file, "new", "", "make a key that signs in this `FILE`, which must not exist")
	return c
}

// auditKeys returns what verifies the log, or a key that is made in a new file.
func (a *app) auditKeys(ctx context.Context, f auditFlags, file string) ([]string, error) {
	if file == "" {
		_, keys, err := f.signer(ctx)
		return keys, err
	}
	signer, verifier, err := audit.NewKey()
	if err != nil {
		return nil, err
	}
	return []string{verifier}, audit.WriteKey(file, signer)
}

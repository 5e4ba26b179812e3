package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/ownca"
)

// configCertificatesCommand makes what compose.yaml and trials need.
func (a *app) configCertificatesCommand() *cobra.Command {
	var dir string
	var api, nats, callers []string
	var life time.Duration
	c := &cobra.Command{
		Use:   "certificates --dir DIR",
		Short: "Make an authority and certificates for Crossfade's own listeners",
		Long: `Certificates makes, in a folder, a certificate authority (ca.pem, ca.key) and by it
the certificates of the API (api), of the NATS servers (nats) and of the processes
that call these (client), each as NAME.pem and NAME.key. A second authority (callers)
makes the certificates with which people and portals prove to the API who they are,
each a file by the caller's name; "cert:NAME" is how the rights name it. Beside them
it makes the key that signs the audit log (audit.key). It is for trials, and for
compose.yaml, which runs it at each start. Where you have an authority, use that one.
A folder that has an authority is left as it is, but for an audit.key if there is none.

Keep ca.key and callers.key away from the machines that serve: whoever has the one can
be any of them, and whoever has the other any caller.`,
		Example: "  crossfade config certificates --dir certificates --api api.example.com --nats nats-1,nats-2,nats-3 --callers jane,portal",
		RunE: func(_ *cobra.Command, _ []string) error {
			if life < time.Hour || life > 3650*24*time.Hour {
				return usage("--life %s: want 1h to 87600h", life)
			}
			return a.makeCertificates(dir, ownca.Config{APINames: api, NATSNames: nats, Callers: callers, Life: life, Now: time.Now()})
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "`DIR` for the files")
	f.StringSliceVar(&api, "api", []string{"localhost", "127.0.0.1"}, "`HOST,…` names and addresses of the API")
	f.StringSliceVar(&nats, "nats", []string{"localhost", "127.0.0.1"}, "`HOST,…` names and addresses of the NATS servers")
	f.StringSliceVar(&callers, "callers", []string{"operator"}, "`NAME,…` of those who call the API")
	f.DurationVar(&life, "life", 397*24*time.Hour, "how long the certificates are valid; the authority twice that")
	_ = c.MarkFlagRequired("dir") // The flag exists: it was made above.
	return c
}

// makeCertificates makes in dir whatever of certificates and audit key is not there.
func (a *app) makeCertificates(dir string, c ownca.Config) error {
	err := ownca.Write(dir, c)
	there := errors.Is(err, ownca.ErrThere)
	if err != nil && !there {
		return fmt.Errorf("making certificates: %w", err)
	}
	signed, err := makeAuditKey(dir)
	if err != nil {
		return err
	}
	switch {
	case !there:
		fmt.Fprintf(a.out, "made %s, with certificates until %s\n", dir, c.Now.Add(c.Life).UTC().Format(time.DateOnly))
	case signed:
		fmt.Fprintf(a.out, "%s: %v; only %s was added\n", dir, ownca.ErrThere, audit.KeyFile)
	default:
		fmt.Fprintf(a.out, "%s: %v; nothing was changed\n", dir, ownca.ErrThere)
	}
	return nil
}

// makeAuditKey makes the key that signs the audit log in dir, for its user alone. One
// that is there stays: with another, all that was signed would be taken for forged.
func makeAuditKey(dir string) (made bool, err error) {
	path := filepath.Join(dir, audit.KeyFile)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	key, _, err := audit.NewKey()
	if err != nil {
		return false, err
	}
	return true, audit.WriteKey(path, key)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/backup"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/jet"
)

// storeFlags say which store is meant.
type storeFlags struct{ config, data string }

func (a *app) storeCommand() *cobra.Command {
	return group("store", "Back up and restore all that Crossfade knows",
		a.storeBackupCommand(), a.storeRestoreCommand(), a.storeVerifyCommand())
}

// add adds the flags to c.
func (f *storeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "configuration `FILE` of a process of the service (default: the defaults)")
	c.Flags().StringVar(&f.data, "data", "", "`DIR` of the embedded broker's files (default as configured)")
}

// load returns the broker's part of the configuration.
func (f *storeFlags) load() (daemon.Config, jet.Config, error) {
	c, err := serveFlags{config: f.config, data: f.data}.load(true)
	if err != nil {
		return c, jet.Config{}, err
	}
	jc := c.Broker()
	jc.Name, jc.Listen = "crossfade store", ""
	return c, jc, nil
}

func (a *app) storeBackupCommand() *cobra.Command {
	var f storeFlags
	var out string
	c := &cobra.Command{
		Use:   "backup --out DIR",
		Short: "Copy the store while the service runs, or while it is stopped",
		Long: `Backup copies every record into a new folder: rotations with their plans, the
state of every task, the inventory, public certificates, the audit log. No secret is
among them, and so not the key that signs the audit log: keep a copy of it elsewhere.
The service goes on meanwhile. Run it as the user of the service, on its machine if
its broker is embedded.`,
		Example: "  crossfade store backup --config crossfade.yaml --out /backup/crossfade-2026-11-23",
		RunE:    func(c *cobra.Command, _ []string) error { return a.storeBackup(c.Context(), f, out) },
	}
	f.add(c)
	c.Flags().StringVar(&out, "out", "", "new `DIR` of the back-up")
	_ = c.MarkFlagRequired("out") // The flag exists: it was made above.
	return c
}

func (a *app) storeBackup(ctx context.Context, f storeFlags, out string) (err error) {
	b, err := a.openStore(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	m, err := backup.Write(ctx, out, b, time.Now())
	if err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	a.showManifest("backup", out, m)
	if path, err := f.auditKey(); err == nil && path != "" && !a.json {
		fmt.Fprintf(a.out, "%s, which signs the audit log, is not in it: keep a copy of that file elsewhere\n", path)
	}
	return nil
}

// openStore opens the store that a configuration names, to read it: also while a process
// of the service runs.
func (a *app) openStore(ctx context.Context, f storeFlags) (*jet.Broker, error) {
	c, jc, err := f.load()
	if err != nil {
		return nil, err
	}
	jc.Log = daemon.NewLogger(daemon.Log{Format: "text", Level: "error"}, a.errOut)
	if c.Embedded() {
		used, err := jet.InUse(c.Data)
		switch {
		case err != nil:
			return nil, usage("data: %w", err)
		case used && !jet.HasLocal(c.Data):
			return nil, fmt.Errorf("opening the store: the process that has %s open has no socket in it, as where its path is too long: stop that process first", c.Data)
		case used: // Through the socket of the process that has it.
			jc.URL, jc.Dir, jc.Local = "nats://127.0.0.1:4222", "", jet.LocalSocket(c.Data)
		case !jet.Stored(c.Data):
			return nil, usage("data: there is no store in %s", c.Data)
		}
	}
	b, err := jet.Dial(ctx, jc)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return b, nil
}

// auditKey returns the file of the key that signs the audit log where it lies in the
// embedded store's folder, else "".
func (f *storeFlags) auditKey() (string, error) {
	c, _, err := f.load()
	if err != nil || !c.Embedded() || c.Audit.Key != "" {
		return "", err
	}
	return filepath.Join(c.Data, audit.KeyFile), nil
}

func (a *app) storeRestoreCommand() *cobra.Command {
	var f storeFlags
	var from string
	var replace bool
	c := &cobra.Command{
		Use:   "restore --from DIR",
		Short: "Put a back-up back, with every process of the service stopped",
		Long: `Restore reads the back-up to its last byte, and puts it into the store that the
configuration names. Every "serve" and "work" has to be stopped. Nothing is done to
a store that is not empty, unless --replace is given. It is all or nothing: a
restore that did not end is begun again, and no process opens the store before.`,
		Example: "  crossfade store restore --config crossfade.yaml --from /backup/crossfade-2026-11-23",
		RunE:    func(c *cobra.Command, _ []string) error { return a.storeRestore(c.Context(), f, from, replace) },
	}
	f.add(c)
	c.Flags().StringVar(&from, "from", "", "`DIR` of the back-up")
	c.Flags().BoolVar(&replace, "replace", false, "take away what the store has; of an embedded one it is moved aside, of a cluster deleted")
	_ = c.MarkFlagRequired("from") // The flag exists: it was made above.
	return c
}

func (a *app) storeRestore(ctx context.Context, f storeFlags, from string, replace bool) error {
	_, jc, err := f.load()
	if err != nil {
		return err
	}
	jc.Log = daemon.NewLogger(daemon.Log{Format: "text", Level: "error"}, a.errOut)
	m, err := backup.Restore(ctx, from, jc, replace, time.Now())
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	a.showManifest("restore", from, m)
	if path, err := f.auditKey(); err == nil && path != "" && !a.json {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(a.out, "put %s back before you start the service: the audit log is not signed without it\n", path)
		}
	}
	return nil
}

func (a *app) storeVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "verify DIR",
		Short:   "Read a back-up to its last byte and say whether it is whole",
		Example: "  crossfade store verify /backup/crossfade-2026-11-23",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := backup.Check(args[0])
			if err != nil {
				return err
			}
			a.showManifest("verify", args[0], m)
			return nil
		},
	}
}

// showManifest prints what a back-up has.
func (a *app) showManifest(kind, dir string, m backup.Manifest) {
	size, messages := int64(0), uint64(0)
	for _, s := range m.Streams {
		size += s.Size
		messages += s.Messages
	}
	if a.json {
		a.object(kind, map[string]any{"dir": dir, "made_at": m.MadeAt, "streams": len(m.Streams), "messages": messages, "size": size, "digest": m.Digest})
		return
	}
	done := map[string]string{"backup": "backed up", "restore": "restored", "verify": "whole"}[kind]
	fmt.Fprintf(a.out, "%s: %s of %s, %d streams, %d messages, %d bytes\n", done, dir, m.MadeAt.Format(time.RFC3339), len(m.Streams), messages, size)
}

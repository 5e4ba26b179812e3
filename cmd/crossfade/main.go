// Command crossfade replaces a credential everywhere it is trusted, without a
// moment in which neither the old nor the new one works.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // Windows name time zones, and a bare machine has none.

	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"
)

// The exit statuses, the same for every command.
const (
	exitFailures = 1 // the rotation ended with failures, or the sender was refused
	exitUsage    = 2 // wrong use
	exitRefused  = 3 // could not reach the service, or was refused
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to end; the second ends at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(exitStatus(err))
}

// exitError is an error with an exit status of its own. said means that its
// text was already shown.
type exitError struct {
	code int
	said bool
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as wrong use.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// exitStatus returns the exit status that an error stands for.
func exitStatus(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	default:
		return exitRefused
	}
}

// run carries out one command line and returns what came of it. The error has
// been shown.
func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	a := &app{out: out, errOut: errOut}
	root := a.command()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return nil
	}
	var e *exitError
	if errors.As(err, &e) && e.said {
		return err
	}
	if _, ok := status.FromError(err); ok {
		a.explain(err)
		return &exitError{code: exitRefused, said: true, err: err}
	}
	fmt.Fprintln(errOut, "crossfade:", err)
	if !a.begun { // Flags and arguments were wrong: no command has done anything.
		return &exitError{code: exitUsage, said: true, err: err}
	}
	return err
}

// app is what all commands share.
type app struct {
	out, errOut io.Writer
	begun       bool   // a command was found and its flags and arguments taken
	json        bool   // one JSON object a line instead of text
	address     string // host:port of the service
	caFile      string // authorities of the service's certificate; "": plaintext on loopback, else the system's
	proof       proof
	serverName  string    // name to expect in the service's certificate
	heard       io.Writer // takes every answer of the service, a line each; nil: nobody asks
	as          string    // who calls, as the service is told; "": the user of this machine
}

// command returns the whole command tree.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "crossfade",
		Short: "Replaces a credential everywhere it is trusted, without a gap",
		Long: `Crossfade replaces a certificate on the service identities of thousands of
tenants: it adds the new one, reads it back, waits until the old one may go, and
removes that.

Start with "crossfade demo": the whole of it in one process, in a minute.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; see 'crossfade --help'", args[0])
			}
			return c.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print JSON, one object a line")
	f.StringVar(&a.address, "address", envOr("CROSSFADE_ADDRESS", "127.0.0.1:7443"), "`host:port` of the service (CROSSFADE_ADDRESS)")
	f.StringVar(&a.caFile, "ca", os.Getenv("CROSSFADE_CA"), "PEM `file` with the authorities of the service's certificate (CROSSFADE_CA);\nwithout it loopback addresses are spoken to in plaintext")
	f.StringVar(&a.proof.certFile, "client-cert", os.Getenv("CROSSFADE_CLIENT_CERT"), "PEM `file` with the certificate that proves who you are (CROSSFADE_CLIENT_CERT)")
	f.StringVar(&a.proof.keyFile, "client-key", os.Getenv("CROSSFADE_CLIENT_KEY"), "PEM `file` with its private key (CROSSFADE_CLIENT_KEY)")
	f.StringVar(&a.proof.tokenFile, "token-file", os.Getenv("CROSSFADE_TOKEN_FILE"), "`file` with the bearer token that proves who you are, read at each call (CROSSFADE_TOKEN_FILE)")
	f.StringVar(&a.serverName, "server-name", os.Getenv("CROSSFADE_SERVER_NAME"), "`name` to expect in the service's certificate, if not the address's (CROSSFADE_SERVER_NAME)")
	f.StringVar(&a.as, "as", os.Getenv("CROSSFADE_AS"), "`NAME` to call under (CROSSFADE_AS; default the user of this machine); it is claimed,\nnobody proves it")
	root.AddCommand(
		a.demoCommand(), a.serveCommand(), a.workCommand(), a.emulateCommand(),
		a.certificateCommand(), a.tenantsCommand(), a.endpointsCommand(), a.targetsCommand(),
		a.rotateCommand(), a.rotationCommand(), a.deskCommand(), a.benchCommand(),
		a.storeCommand(), a.auditCommand(), a.configCommand(), a.webhookCommand(),
	)
	for _, c := range root.Commands() {
		a.wrap(c)
	}
	return root
}

// wrap makes wrong numbers of arguments and unknown subcommands say where to
// look, and notes when the command itself begins.
func (a *app) wrap(c *cobra.Command) {
	check := c.Args
	if check == nil {
		check = cobra.NoArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage("%w\nSee '%s --help'.", err, c.CommandPath())
		}
		return nil
	}
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.begun = true
			return do(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.wrap(sub)
	}
}

// group is a command that only has subcommands.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.RunE = func(c *cobra.Command, args []string) error {
		return usage("%s needs a subcommand; see '%s --help'", c.CommandPath(), c.CommandPath())
	}
	c.AddCommand(subs...)
	return c
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

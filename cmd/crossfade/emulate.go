package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/sender"
)

// emulateFlags is what "crossfade emulate" was told.
type emulateFlags struct {
	tenants int
	seed    int64
	faults  string
	dir     string
	listen  string
	at      string
	rate    float64
	latency time.Duration
	signIn  time.Duration
}

func (a *app) emulateCommand() *cobra.Command {
	var f emulateFlags
	c := &cobra.Command{
		Use:   "emulate",
		Short: "Run emulated ACS namespaces, CRM organisations and Entra, over TLS",
		Long: `Emulate starts the part of Microsoft's cloud that a rotation touches, and writes
into --dir what is needed to use it: tenants.yaml, ca.pem, the old and the new
certificate, secrets, a configuration for "serve" and one for "work", and a
README.md that says what was made.

All processes go by the clock in clock.json of that directory. "crossfade emulate
advance 12h" pushes it on.`,
		Example: "  crossfade emulate --tenants 50\n  crossfade emulate --tenants 50 --sign-in 5s\n  crossfade emulate advance 24h",
		RunE:    func(c *cobra.Command, _ []string) error { return a.emulate(c.Context(), f) },
	}
	fl := c.Flags()
	fl.IntVar(&f.tenants, "tenants", 200, "how many tenants there are")
	fl.Int64Var(&f.seed, "seed", 1, "decides names, mix and faults")
	fl.StringVar(&f.faults, "faults", "none", "\"none\", or \"rough\": throttling, errors, cut connections, work done but answered as an error")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9443", "loopback `host:port` of all emulated hosts")
	fl.StringVar(&f.at, "at", "", "`INSTANT` at which the clock begins, RFC 3339 (default now)")
	fl.Float64Var(&f.rate, "rate", 1, "how many times faster than real time the clock runs")
	fl.DurationVar(&f.latency, "latency", 0, "how long every answer takes more")
	fl.DurationVar(&f.signIn, "sign-in", 0, "let CRM sign in to every endpoint, with a pause of this long between rounds (default: it does not)")
	c.PersistentFlags().StringVar(&f.dir, "dir", "emulated", "`DIR` for the files")
	c.AddCommand(&cobra.Command{
		Use: "advance DURATION", Short: "Push the clock of a running emulator on", Args: cobra.ExactArgs(1),
		Example: "  crossfade emulate advance 24h",
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := time.ParseDuration(args[0])
			if err != nil || d < 0 {
				return usage("%q: want a duration such as 24h", args[0])
			}
			if err := clock.AdvanceFile(filepath.Join(f.dir, clockFile), d); err != nil {
				return usage("%w; is an emulator running with --dir %s?", err, f.dir)
			}
			return nil
		},
	})
	return c
}

// clockFile is the clock that all processes around an emulator share.
const clockFile = "clock.json"

// emulate runs an emulator until ctx ends.
func (a *app) emulate(ctx context.Context, f emulateFlags) (err error) {
	if f.faults != "none" && f.faults != "rough" {
		return usage("--faults %q: want none or rough", f.faults)
	}
	begin := time.Now().UTC()
	if f.at != "" {
		if begin, err = time.Parse(time.RFC3339, f.at); err != nil {
			return usage("--at %q: want an instant such as 2016-10-31T18:00:00Z", f.at)
		}
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return usage("--dir: %w", err)
	}
	c, err := clock.Create(filepath.Join(f.dir, clockFile), begin, f.rate)
	if err != nil {
		return err
	}
	log := daemon.NewLogger(daemon.Default().Log, a.errOut)
	cloud, err := emulator.Start(emulator.Config{
		Now: c.Now, Listen: f.listen, Seed: f.seed, Tenants: f.tenants, Faults: f.faults, Latency: f.latency, Log: log,
	})
	if err != nil {
		return usage("%w", err)
	}
	defer func() {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, cloud.Close(cctx))
	}()
	if err := cloud.WriteDir(f.dir); err != nil {
		return err
	}
	if err := writeConfigs(f.dir, cloud); err != nil {
		return err
	}
	w := cloud.World()
	if a.json {
		a.object("emulator", map[string]any{"address": cloud.Addr(), "dir": f.dir, "tenants": len(w.Tenants), "endpoints": w.Endpoints(), "switch_at": w.SwitchAt})
	} else {
		fmt.Fprintf(a.out, "emulating %d tenants with %d endpoints at %s; files in %s, begin with %s\n",
			len(w.Tenants), w.Endpoints(), cloud.Addr(), f.dir, filepath.Join(f.dir, "README.md"))
		fmt.Fprintf(a.out, "CRM switches to the new certificate at %s\n", w.SwitchAt.UTC().Format(time.RFC3339))
	}
	if f.signIn > 0 {
		return a.signIn(ctx, cloud, c, f.signIn)
	}
	<-ctx.Done()
	return nil
}

// signIn lets CRM sign in to every endpoint, round after round.
func (a *app) signIn(ctx context.Context, cloud *emulator.Cloud, c *clock.Clock, pause time.Duration) error {
	w := cloud.World()
	s, err := sender.New(sender.Config{HTTP: cloud.Client(), Now: c.Now, Old: w.Old, New: w.New, Endpoints: w.SenderEndpoints(), Parallel: 4})
	if err != nil {
		return fmt.Errorf("making the sender: %w", err)
	}
	class := w.Class()
	for {
		r, err := s.Round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("signing in: %w", err)
		}
		ok, refused, elsewhere := 0, 0, 0
		for i, e := range w.SenderEndpoints() {
			switch res := r.Results[i]; {
			case res.OK:
				ok++
			case res.Refused && class(e) == emulator.ClassRotated:
				refused++
			case res.Refused:
				elsewhere++
			}
		}
		if a.json {
			a.object("round", map[string]any{"at": r.At, "ok": ok, "refused": refused, "refused_elsewhere": elsewhere})
		} else {
			fmt.Fprintf(a.out, "%s  CRM signed in: %d accepted, %d refused, %d refused where nothing can be rotated\n",
				r.At.UTC().Format(time.RFC3339), ok, refused, elsewhere)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// writeConfigs writes a configuration for "serve", whose broker others may join,
// and one for "work".
func writeConfigs(dir string, cloud *emulator.Cloud) error {
	base := daemon.Config{
		Secrets: daemon.Secrets{Dir: "secrets"}, Clock: clockFile,
		Network: daemon.Network{CAFile: "ca.pem", Dial: cloud.Dial()},
		Entra:   daemon.Entra{Authority: "https://login.microsoftonline.com/", DisableInstanceDiscovery: true},
	}
	serve, work := base, base
	serve.Data, serve.Reflection, serve.NATS.Listen = "data", true, "127.0.0.1:4222"
	work.NATS.URL, work.NATS.Replicas, work.Listen.Ops = "nats://127.0.0.1:4222", 1, "127.0.0.1:0"
	for name, c := range map[string]daemon.Config{"crossfade.yaml": serve, "worker.yaml": work} {
		b, err := yaml.MarshalWithOptions(c, yaml.OmitZero())
		if err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/drivers"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/gates"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/webhooks"
)

func (a *app) configCommand() *cobra.Command {
	return group("config", "Check configuration files, and make certificates for trials", a.configCheckCommand(), a.configCertificatesCommand())
}

func (a *app) configCheckCommand() *cobra.Command {
	var path string
	var online bool
	c := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Say all that is wrong with a configuration file, and start nothing",
		Long: `Check reads the file and everything that it names on this machine: certificates
and their keys, authorities, revocation lists, the rights of callers, credentials,
folders. It looks up every secret that the file itself names, also in the stores of
secrets: what signs in to those stores, to gates and to where traces go, and what signs
webhooks and the audit log. Those of tenants are looked up by "crossfade tenants secrets".
Run it as the user of the service. With --online it also connects to the broker and asks
whether it is one that the service can use.

It ends with 0 if a process would start with this file, with 2 if not. Warnings
change nothing of that.`,
		Example: "  crossfade config check --config crossfade.yaml\n  crossfade config check --config worker.yaml --online --json",
		RunE:    func(c *cobra.Command, _ []string) error { return a.configCheck(c.Context(), path, online) },
	}
	c.Flags().StringVar(&path, "config", "", "configuration `FILE`")
	c.Flags().BoolVar(&online, "online", false, "also connect to the broker")
	_ = c.MarkFlagRequired("config") // The flag exists: it was made above.
	return c
}

func (a *app) configCheck(ctx context.Context, path string, online bool) error {
	c, err := daemon.Load(path)
	var invalid *daemon.InvalidError
	var found []daemon.Found
	switch {
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			found = append(found, daemon.Found{Problem: p, Severity: daemon.Wrong})
		}
	case err != nil:
		found = append(found, daemon.Found{Problem: daemon.Problem{Text: err.Error()}, Severity: daemon.Wrong})
	default:
		found = daemon.Inspect(path, c, time.Now())
		found = append(found, parts(ctx, c)...)
		if online {
			found = append(found, reachable(ctx, c)...)
		}
	}
	wrong := 0
	for _, f := range found {
		if f.Severity == daemon.Wrong {
			wrong++
		}
		a.showFound(path, f)
	}
	if a.json {
		a.object("config", map[string]any{"file": path, "ok": wrong == 0, "errors": wrong, "warnings": len(found) - wrong, "online": online})
	} else if wrong == 0 {
		fmt.Fprintln(a.out, "the configuration is right")
	}
	if wrong > 0 {
		return &exitError{code: exitUsage, said: true, err: fmt.Errorf("%s wrong in %s", things(wrong), path)}
	}
	return nil
}

// showFound prints one finding as compilers do.
func (a *app) showFound(path string, f daemon.Found) {
	if a.json {
		a.object("problem", map[string]any{"severity": f.Severity, "file": path, "line": f.Line, "field": f.Field, "text": f.Text})
		return
	}
	at := path
	if f.Line > 0 {
		at += fmt.Sprintf(":%d", f.Line)
	}
	if f.Field != "" {
		at += ": " + f.Field
	}
	to := a.out
	if f.Severity == daemon.Wrong {
		to = a.errOut
	}
	fmt.Fprintf(to, "%s: %s: %s\n", at, f.Severity, f.Text)
}

// wrong makes findings of what is wrong with a part of the configuration.
func wrong(field string, err error) []daemon.Found {
	if err == nil {
		return nil
	}
	var out []daemon.Found
	for _, line := range strings.Split(err.Error(), "\n") {
		out = append(out, daemon.Found{Problem: daemon.Problem{Field: field, Text: strings.TrimPrefix(line, field+".")}, Severity: daemon.Wrong})
	}
	return out
}

// parts looks at what drivers, gates and webhooks make of their parts of c.
func parts(ctx context.Context, c daemon.Config) []daemon.Found {
	client, err := outbound.New(c.Outbound())
	if err != nil {
		return wrong("network", err)
	}
	resolver, err := resolverOf(c, client)
	if err != nil {
		return wrong("secrets", err)
	}
	_, err = drivers.Open(c.Drivers, kit.Kit{
		HTTP: client, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Access:  func(context.Context, string, string) (kit.Access, error) { return kit.Access{}, kit.ErrNoAccess },
		Pace:    func(context.Context, string) error { return nil },
		Observe: func(string, string, int, time.Duration) {},
	})
	out := wrong("drivers", err)
	set, err := gates.Open(gates.Config{Checks: c.Gates, HTTP: client, Secrets: resolver})
	out = append(out, wrong("gates", err)...)
	if err != nil {
		set = &gates.Set{} // What is wrong with them is said; their tokens need not be looked up.
	}
	_, err = c.Verifier(client)
	out = append(out, wrong("identity.issuers", err)...)
	if c.Identity.Rights != "" {
		_, err = rights.Open(c.Identity.Rights, time.Now, slog.New(slog.DiscardHandler))
		out = append(out, wrong("identity.rights", err)...)
	}
	if len(c.Audit.Old()) > 0 {
		_, err := audit.NewKeys(c.Audit.Origin, c.Audit.Old()...)
		out = append(out, wrong("audit.old_keys", err)...)
	}
	hooks, err := webhooks.Parse(c.Webhooks)
	out = append(out, wrong("webhooks", err)...)
	if err != nil {
		hooks = nil
	}
	return append(out, ownSecrets(ctx, c, resolver, set, hooks)...)
}

// ownSecrets looks up every secret that the configuration itself names.
func ownSecrets(ctx context.Context, c daemon.Config, resolver *secrets.Resolver, checks *gates.Set, hooks []webhooks.Hook) []daemon.Found {
	var out []daemon.Found
	look := func(field string, ref secrets.Ref, use func(secrets.Secret) error) {
		if ref == "" {
			return
		}
		s, err := resolver.Secret(ctx, ref)
		if err == nil && use != nil {
			err = use(s)
		}
		out = append(out, wrong(field, err)...)
	}
	v, az := c.Secrets.Vault, c.Secrets.Azure
	look("secrets.vault.token", secrets.Ref(v.Token), nil)
	look("secrets.vault.role_id", secrets.Ref(v.RoleID), nil)
	look("secrets.vault.secret_id", secrets.Ref(v.SecretID), nil)
	if az.Credential == "secret" { // What is not signed in with is not looked up by a process either.
		look("secrets.azure.secret", secrets.Ref(az.Secret), nil)
	}
	if az.Credential == "certificate" {
		look("secrets.azure.certificate", secrets.Ref(az.Certificate), daemon.ParseAzureCertificate)
	}
	look("audit.key", secrets.Ref(c.Audit.Key), func(s secrets.Secret) error {
		_, _, _, err := audit.ParseSigner(s.Reveal())
		return err
	})
	look("traces.authorization", secrets.Ref(c.Traces.Authorization), nil)
	for _, name := range checks.Names() {
		look("gates."+name+".token", checks.Token(name), nil)
	}
	for _, h := range hooks {
		for _, ref := range []secrets.Ref{h.Secret, h.AlsoSecret} {
			look("webhooks."+h.Name, ref, func(s secrets.Secret) error {
				_, err := webhooks.Key(s)
				return err
			})
		}
	}
	return out
}

// resolverOf returns what finds secrets, as a process of the service would.
func resolverOf(c daemon.Config, client *http.Client) (*secrets.Resolver, error) {
	cfg := c.Resolver()
	var err error
	if cfg.Stores, err = c.Stores(client); err != nil {
		return nil, err
	}
	return secrets.New(cfg), nil
}

// reachable asks the broker whether it is one that can be used.
func reachable(ctx context.Context, c daemon.Config) []daemon.Found {
	if c.Embedded() {
		if _, err := os.Stat(c.Data); err != nil {
			return nil // It is made at the first start.
		}
		used, err := jet.InUse(c.Data)
		if err != nil || !used {
			return wrong("data", err)
		}
		return []daemon.Found{{Problem: daemon.Problem{Field: "data", Text: "another process has this store open"}, Severity: daemon.Doubted}}
	}
	jc := c.Broker()
	jc.Name, jc.Log = "crossfade config check", slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b, err := jet.Dial(ctx, jc)
	if err != nil {
		return wrong("nats.url", err)
	}
	missing, err := b.Missing(ctx)
	err = errors.Join(err, b.Close(context.WithoutCancel(ctx)))
	out := wrong("nats.url", err)
	if len(missing) > 0 {
		slices.Sort(missing)
		out = append(out, daemon.Found{Severity: daemon.Doubted, Problem: daemon.Problem{
			Field: "nats.url", Text: "there are no streams " + strings.Join(missing, ", ") + " yet; the first process makes them",
		}})
	}
	return out
}

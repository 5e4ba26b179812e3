package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// The bounds of a look at all secrets.
const (
	lookupTime  = 20 * time.Second // one reference; a store has 15 s of its own
	lookupsOnce = 16               // references at once
	// After so many of its secrets in a row a store that is away is asked no more: ten
	// thousand of them would take an hour to say the same.
	lookupsLost = 8
)

func (a *app) tenantsSecretsCommand() *cobra.Command {
	var f storeFlags
	var selected string
	c := &cobra.Command{
		Use:   "secrets --config FILE",
		Short: "Say which tenants' secrets are missing, without showing one",
		Long: `Secrets looks up what every reference of the inventory leads to, as a worker would: with
the folder, the variables and the stores of the configuration. Run it where workers run,
as their user and with a worker's configuration. It prints a line for each reference of
each tenant and never what it leads to:

  found        there is a secret
  missing      there is none: no file, no variable, no such secret or field, or an empty one
  forbidden    it may not be read: the folder's, the file system's or the store's rules
  unreachable  nobody knows: the store does not answer, or does not let us in

Each reference is looked up once, however many tenants have it. Tenants that are disabled
are left out, unless --select asks for them. It ends with 0 if all are found, with 1 if
not. Nobody is told, and nothing is changed.`,
		Example: "  crossfade tenants secrets --config worker.yaml\n  crossfade tenants secrets --config worker.yaml --select 'labels.tier = \"gold\"' --json",
		RunE:    func(c *cobra.Command, _ []string) error { return a.tenantsSecrets(c.Context(), f, selected) },
	}
	f.add(c)
	_ = c.MarkFlagRequired("config") // The flag exists: it was added above.
	c.Flags().StringVar(&selected, "select", "", "only tenants that this AIP-160 `FILTER` selects, over id, labels, region and so on (default all that are not disabled)")
	return c
}

func (a *app) tenantsSecrets(ctx context.Context, f storeFlags, selected string) (err error) {
	wanted := func(t tenants.Tenant) bool { return !t.Disabled }
	if selected != "" {
		parsed, err := filter.Parse(selected, filter.TenantFields())
		if err != nil {
			return usage("--select: %w", err)
		}
		wanted = func(t tenants.Tenant) bool { return parsed.Match(filter.TenantValue(t)) }
	}
	c, _, err := f.load()
	if err != nil {
		return err
	}
	client, err := outbound.New(c.Outbound())
	if err != nil {
		return usage("network: %w", err)
	}
	defer client.CloseIdleConnections()
	resolver, err := resolverOf(c, client)
	if err != nil {
		return usage("%w", err)
	}
	all, err := a.storedTenants(ctx, f)
	if err != nil {
		return err
	}
	var uses []secretUse
	n := 0
	for _, t := range all {
		if wanted(t) {
			uses = append(uses, usesOf(t)...)
			n++
		}
	}
	answers, err := lookUp(ctx, resolver, uses)
	if err != nil {
		return err
	}
	return a.showSecrets(n, uses, answers)
}

// storedTenants reads the inventory.
func (a *app) storedTenants(ctx context.Context, f storeFlags) (_ []tenants.Tenant, err error) {
	b, err := a.openStore(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	kept, err := b.Bucket("tenants")
	if err != nil {
		return nil, err
	}
	endpoints, err := b.Bucket("endpoints")
	if err != nil {
		return nil, err
	}
	return tenants.New(kept, endpoints).List(ctx)
}

// secretUse is one place of the inventory that names a secret.
type secretUse struct {
	tenant, field, host string // host: of the namespace, "" for a log-in
	ref                 secrets.Ref
}

// usesOf returns the secrets that a tenant names.
func usesOf(t tenants.Tenant) []secretUse {
	var out []secretUse
	for _, u := range []secretUse{{t.ID, "login.secret", "", t.Login.Secret}, {t.ID, "login.certificate", "", t.Login.Certificate}} {
		if u.ref != "" {
			out = append(out, u)
		}
	}
	for i, n := range t.Namespaces {
		out = append(out, secretUse{t.ID, fmt.Sprintf("namespaces[%d].secret", i), n.Host, n.Secret})
	}
	return out
}

// answer is what came of one reference: a word, and why it is not "found".
type answer struct{ result, reason string }

const (
	secretFound       = "found"
	secretMissing     = "missing"
	secretForbidden   = "forbidden"
	secretUnreachable = "unreachable"
)

// answerOf says what an error of a resolver means. Its text names the reference at most,
// and that stands beside it.
func answerOf(ref secrets.Ref, err error) answer {
	if err == nil {
		return answer{result: secretFound}
	}
	why := strings.Replace(err.Error(), "reading secret "+string(ref)+": ", "", 1)
	switch {
	case errors.Is(err, secrets.ErrMissing):
		return answer{secretMissing, why}
	case errors.Is(err, secrets.ErrForbidden), errors.Is(err, secrets.ErrRef), errors.Is(err, fs.ErrPermission):
		return answer{secretForbidden, why}
	default:
		return answer{secretUnreachable, why}
	}
}

// resolves finds secrets by reference.
type resolves interface {
	Secret(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)
}

// lookup is one look at the references of many tenants.
type lookup struct {
	by resolves

	mu      sync.Mutex // guards the rest
	answers map[secrets.Ref]answer
	lost    map[string]int // times in a row that a store could not say, by store
}

// lookUp looks up each reference once. The secrets themselves are dropped at once. The
// error is that of ctx.
func lookUp(ctx context.Context, by resolves, uses []secretUse) (map[secrets.Ref]answer, error) {
	l := &lookup{by: by, answers: map[secrets.Ref]answer{}, lost: map[string]int{}}
	refs := make(chan secrets.Ref)
	var wg sync.WaitGroup
	for range lookupsOnce {
		wg.Go(func() {
			for ref := range refs {
				l.one(ctx, ref)
			}
		})
	}
	begun := map[secrets.Ref]bool{}
	for _, u := range uses {
		if !begun[u.ref] && ctx.Err() == nil {
			begun[u.ref] = true
			refs <- u.ref
		}
	}
	close(refs)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("looking up secrets: %w", context.Cause(ctx))
	}
	return l.answers, nil
}

// one looks up one reference, unless its store has been away again and again.
func (l *lookup) one(ctx context.Context, ref secrets.Ref) {
	at := ref.Store()
	l.mu.Lock()
	if l.lost[at] >= lookupsLost {
		l.answers[ref] = answer{secretUnreachable, fmt.Sprintf("not asked: %s was away %d times in a row", at, lookupsLost)}
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	_, err := l.by.Secret(ctx, ref)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[ref] = answerOf(ref, err)
	if errors.Is(err, secrets.ErrAway) {
		l.lost[at]++
	} else {
		l.lost[at] = 0
	}
}

// showSecrets prints what came of each use, and a sum. It returns an error if any secret
// was not found.
func (a *app) showSecrets(n int, uses []secretUse, answers map[secrets.Ref]answer) error {
	sum := map[string]int{}
	troubled := map[string]bool{}
	for _, u := range uses {
		got := answers[u.ref]
		sum[got.result]++
		if got.result != secretFound {
			troubled[u.tenant] = true
		}
		if a.json {
			o := map[string]any{"tenant": u.tenant, "field": u.field, "ref": u.ref, "result": got.result}
			if u.host != "" {
				o["host"] = u.host
			}
			if got.reason != "" {
				o["reason"] = got.reason
			}
			a.object("secret", o)
			continue
		}
		line := fmt.Sprintf("%-11s  %s  %s", got.result, u.tenant, u.field)
		if u.host != "" {
			line += " (" + u.host + ")"
		}
		line += "  " + string(u.ref)
		if got.reason != "" {
			line += "  " + got.reason
		}
		fmt.Fprintln(a.out, line)
	}
	bad := len(uses) - sum[secretFound]
	if a.json {
		a.object("secrets", map[string]any{
			"ok": bad == 0, "tenants": n, "tenants_with_problems": len(troubled), "references": len(answers), "uses": len(uses),
			"found": sum[secretFound], "missing": sum[secretMissing], "forbidden": sum[secretForbidden], "unreachable": sum[secretUnreachable],
		})
	} else {
		fmt.Fprintf(a.out, "%s, %s, %d different: %d found, %d missing, %d forbidden, %d unreachable\n",
			amount(n, "tenant"), amount(len(uses), "secret"), len(answers), sum[secretFound], sum[secretMissing], sum[secretForbidden], sum[secretUnreachable])
	}
	if bad > 0 {
		return &exitError{code: exitFailures, err: fmt.Errorf("not found: %s of %s", amount(bad, "secret"), amount(len(troubled), "tenant"))}
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/tenants"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) tenantsCommand() *cobra.Command {
	var format, filter string
	var f importFlags
	imp := &cobra.Command{
		Use: "import FILE", Short: "Bring tenants into the inventory",
		Long: `Import reads tenants from a YAML, CSV or JSONL file and makes the inventory agree
with it: new tenants are added, changed ones updated, others left alone. The file
names secrets ("file:contoso.key", "env:CROSSFADE_SECRET_X") and never holds one.
If any row is wrong, all that is wrong is listed and nothing is sent. The service keeps
what became of each import as a job; an import that was cut off is sent again with the
same --request-id.`,
		Example: "  crossfade tenants import tenants.yaml\n  crossfade tenants import tenants.csv --check",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ts, err := a.readTenants(args[0], format)
			if err != nil {
				return err
			}
			return a.with(func(cl *client) error { return a.importTenants(c.Context(), cl, ts, f) })
		},
	}
	imp.Flags().StringVar(&format, "format", "", "`FORMAT` of the file: yaml, csv or jsonl (default by its name)")
	imp.Flags().BoolVar(&f.check, "check", false, "check everything and store nothing")
	imp.Flags().StringVar(&f.request, "request-id", "", "`UUID` of this import; sent again it is the same (default a new one)")
	list := &cobra.Command{
		Use: "list", Short: "List the tenants of the inventory",
		Example: `  crossfade tenants list --filter 'labels.tier = "gold"'`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.listTenants(c.Context(), cl, filter) })
		},
	}
	list.Flags().StringVar(&filter, "filter", "", "AIP-160 `FILTER` over id, disabled and labels")
	show := &cobra.Command{
		Use: "show TENANT", Short: "Show one tenant", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error { return a.showTenant(c.Context(), cl, args[0]) })
		},
	}
	return group("tenants", "Keep the inventory of tenants", imp, list, show, a.setTenantCommand(), a.deleteTenantCommand(), a.jobsCommand(), a.tenantsSecretsCommand())
}

// readTenants reads a tenants file, or says everything that is wrong with it.
func (a *app) readTenants(path, format string) ([]tenants.Tenant, error) {
	if format == "" {
		format = strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
		if format == "yml" {
			format = "yaml"
		}
	}
	f, err := os.Open(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, usage("reading tenants: %w", err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	ts, problems := tenants.Read(format, f)
	if len(problems) == 0 {
		return ts, nil
	}
	for _, p := range problems {
		if a.json {
			a.object("problem", map[string]any{"file": path, "row": p.Row, "tenant": p.Tenant, "field": p.Field, "problem": p.Problem, "fix": p.Fix})
		} else {
			fmt.Fprintf(a.errOut, "%s: %s\n", path, p.Error())
		}
	}
	return nil, usage("%s: %s; nothing was imported", path, amount(len(problems), "problem"))
}

// tenantMessage is a tenant as it goes over the wire.
func tenantMessage(t tenants.Tenant) *crossfadev1.Tenant {
	m := &crossfadev1.Tenant{
		Name: "tenants/" + t.ID, DisplayName: t.DisplayName, Labels: t.Labels, Disabled: t.Disabled,
		Organization: t.Organization, EntraTenant: t.EntraTenant, Identity: t.Identity,
		Login: &crossfadev1.Login{ClientId: t.Login.ClientID, Secret: string(t.Login.Secret), Certificate: string(t.Login.Certificate)},
	}
	for _, n := range t.Namespaces {
		m.Namespaces = append(m.Namespaces, &crossfadev1.Namespace{Host: n.Host, Account: n.Account, Secret: string(n.Secret)})
	}
	return m
}

// tenantName is the name of a tenant that a person names by its id, or by its name.
func tenantName(arg string) string { return "tenants/" + strings.TrimPrefix(arg, "tenants/") }

func (a *app) listTenants(ctx context.Context, cl *client, filter string) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.inventory.ListTenants(pctx, &crossfadev1.ListTenantsRequest{PageSize: 1000, PageToken: token, Filter: filter})
		cancel()
		if err != nil {
			return err
		}
		for _, t := range res.GetTenants() {
			if a.json {
				a.message("tenant", t)
				continue
			}
			note := ""
			if t.GetDisabled() {
				note = "  disabled"
			}
			fmt.Fprintf(a.out, "%-32s %-50s %d namespaces%s\n", strings.TrimPrefix(t.GetName(), "tenants/"), t.GetOrganization(), len(t.GetNamespaces()), note)
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func (a *app) showTenant(ctx context.Context, cl *client, id string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := cl.inventory.GetTenant(ctx, &crossfadev1.GetTenantRequest{Name: tenantName(id)})
	if err != nil {
		return err
	}
	a.printTenant(res.GetTenant())
	return nil
}

// pairs are labels as they are set, in order.
func pairs(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, " ")
}

func (a *app) printTenant(t *crossfadev1.Tenant) {
	if a.json {
		a.message("tenant", t)
		return
	}
	fmt.Fprintf(a.out, "tenant         %s\ndisplay name   %s\norganization   %s\nidentity       %s\nlabels         %s\ndisabled       %v\n",
		strings.TrimPrefix(t.GetName(), "tenants/"), t.GetDisplayName(), t.GetOrganization(), t.GetIdentity(), pairs(t.GetLabels()), t.GetDisabled())
	for _, n := range t.GetNamespaces() {
		fmt.Fprintf(a.out, "namespace      %s as %s, key at %s\n", n.GetHost(), n.GetAccount(), n.GetSecret())
	}
}

func (a *app) endpointsCommand() *cobra.Command {
	var tenant, filter string
	list := &cobra.Command{
		Use: "list", Short: "List service endpoints as a discovery, or planning, last saw them",
		Example: "  crossfade endpoints list --tenant contoso\n  crossfade endpoints list --filter 'thumbprint:\"9A2F…\"'",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.listEndpoints(c.Context(), cl, tenant, filter) })
		},
	}
	list.Flags().StringVar(&tenant, "tenant", "", "only this `TENANT` (default all)")
	list.Flags().StringVar(&filter, "filter", "", "AIP-160 `FILTER` over what was last seen, such as 'thumbprint:\"9A2F…\"', 'expires < \"2016-11-05T00:00:00Z\"', 'NOT observed'")
	return group("endpoints", "Look at the service endpoints of organisations", list, a.endpointsDiscoverCommand(), a.endpointsDiscoveryCommand())
}

func (a *app) listEndpoints(ctx context.Context, cl *client, tenant, filter string) error {
	parent := "tenants/-"
	if tenant != "" {
		parent = tenantName(tenant)
	}
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.inventory.ListEndpoints(pctx, &crossfadev1.ListEndpointsRequest{Parent: parent, PageSize: 1000, PageToken: token, Filter: filter})
		cancel()
		if err != nil {
			return err
		}
		for _, e := range res.GetEndpoints() {
			if a.json {
				a.message("endpoint", e)
				continue
			}
			mode := ""
			if e.GetFederated() {
				mode = "  federated"
			}
			fmt.Fprintf(a.out, "%s  %-24s %-10s %-8s %s/%s%s\n", strings.TrimPrefix(e.GetName(), "tenants/"), e.GetDisplayName(), e.GetAuthType(), e.GetContract(), e.GetNamespace(), e.GetPath(), mode)
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

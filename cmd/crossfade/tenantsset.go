package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// setFlags are the changes of one tenant that a person asked for.
type setFlags struct {
	labels, without       []string
	displayName, identity string
	secret, certificate   string
	disabled, check       bool
	changed               func(flag string) bool
}

func (a *app) setTenantCommand() *cobra.Command {
	var f setFlags
	set := &cobra.Command{
		Use: "set TENANT", Short: "Change fields of one tenant", Args: cobra.ExactArgs(1),
		Long: `Set changes the fields of a tenant that flags name, and leaves the others as they are. A
change that somebody else makes meanwhile is not written over: the command is refused, and
is then given again.`,
		Example: "  crossfade tenants set contoso --label tier=gold --label wave=2 --without-label trial\n" +
			"  crossfade tenants set contoso --login-secret file:crm/contoso.secret\n" +
			"  crossfade tenants set contoso --disabled",
		RunE: func(c *cobra.Command, args []string) error {
			f.changed = c.Flags().Changed
			return a.with(func(cl *client) error { return a.setTenant(c.Context(), cl, args[0], f) })
		},
	}
	set.Flags().StringArrayVar(&f.labels, "label", nil, "set the label `KEY=VALUE`; may be repeated")
	set.Flags().StringArrayVar(&f.without, "without-label", nil, "remove the label `KEY`; may be repeated")
	set.Flags().StringVar(&f.displayName, "display-name", "", "its `NAME` for people; empty for none")
	set.Flags().StringVar(&f.identity, "identity", "", "`NAME` of the service identity that CRM uses; empty for the region's")
	set.Flags().StringVar(&f.secret, "login-secret", "", "`REFERENCE` of the application's secret, in place of what it signs in with")
	set.Flags().StringVar(&f.certificate, "login-certificate", "", "`REFERENCE` of the application's certificate, in place of what it signs in with")
	set.Flags().BoolVar(&f.disabled, "disabled", false, "rotations leave it alone; --disabled=false takes that back")
	set.Flags().BoolVar(&f.check, "check", false, "check everything and store nothing")
	set.MarkFlagsMutuallyExclusive("login-secret", "login-certificate")
	return set
}

// setTenant reads the tenant, changes it, and stores it if it is still as it was read.
func (a *app) setTenant(ctx context.Context, cl *client, id string, f setFlags) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := cl.inventory.GetTenant(ctx, &crossfadev1.GetTenantRequest{Name: tenantName(id)})
	if err != nil {
		return err
	}
	t := got.GetTenant()
	paths, err := f.apply(t)
	if err != nil {
		return err
	}
	res, err := cl.inventory.UpdateTenant(ctx, &crossfadev1.UpdateTenantRequest{
		Tenant: t, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Etag: t.GetEtag(), ValidateOnly: f.check,
	})
	if err != nil {
		return err
	}
	a.printTenant(res.GetTenant())
	return nil
}

// apply changes the tenant and returns the paths of what it changed.
func (f setFlags) apply(t *crossfadev1.Tenant) (paths []string, err error) {
	if len(f.labels)+len(f.without) > 0 {
		labels := maps.Clone(t.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		for _, key := range f.without {
			delete(labels, key)
		}
		for _, l := range f.labels {
			key, value, ok := strings.Cut(l, "=")
			if !ok || slices.Contains(f.without, key) {
				return nil, usage("--label %q: want KEY=VALUE, and not the KEY of a --without-label", l)
			}
			labels[key] = value
		}
		t.Labels, paths = labels, append(paths, "labels")
	}
	if f.changed("display-name") {
		t.DisplayName, paths = f.displayName, append(paths, "display_name")
	}
	if f.changed("identity") {
		t.Identity, paths = f.identity, append(paths, "identity")
	}
	if f.changed("login-secret") || f.changed("login-certificate") {
		t.Login = &crossfadev1.Login{ClientId: t.GetLogin().GetClientId(), Secret: f.secret, Certificate: f.certificate}
		paths = append(paths, "login.secret", "login.certificate")
	}
	if f.changed("disabled") {
		t.Disabled, paths = f.disabled, append(paths, "disabled")
	}
	if len(paths) == 0 {
		return nil, usage("nothing to change; see 'crossfade tenants set --help'")
	}
	return paths, nil
}

func (a *app) deleteTenantCommand() *cobra.Command {
	var force, check bool
	remove := &cobra.Command{
		Use: "delete TENANT", Short: "Remove a tenant from the inventory", Args: cobra.ExactArgs(1),
		Long: `Delete removes a tenant, its references to secrets, and what planning saw of it. What
rotations did for it stays. It is refused while a rotation that has not ended is for the
tenant, and, without --force, where planning saw endpoints of it: nobody will rotate what
they sign in with any more.`,
		Example: "  crossfade tenants delete contoso\n  crossfade tenants delete contoso --force",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error {
				ctx, cancel := bounded(c.Context())
				defer cancel()
				name := tenantName(args[0])
				if _, err := cl.inventory.DeleteTenant(ctx, &crossfadev1.DeleteTenantRequest{Name: name, Force: force, ValidateOnly: check}); err != nil {
					return err
				}
				switch {
				case a.json:
					a.object("deleted", map[string]any{"name": name, "check": check})
				case check:
					fmt.Fprintf(a.out, "%s can be deleted\n", name)
				default:
					fmt.Fprintf(a.out, "%s is deleted\n", name)
				}
				return nil
			})
		},
	}
	remove.Flags().BoolVar(&force, "force", false, "also if planning saw endpoints of it")
	remove.Flags().BoolVar(&check, "check", false, "check everything and delete nothing")
	return remove
}

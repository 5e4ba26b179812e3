package tenants_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

func TestValidate_FindsEveryBadField(t *testing.T) {
	for _, good := range []tenants.Tenant{contoso(), fabrikam()} {
		if fields := good.Validate(); len(fields) > 0 {
			t.Fatalf("Validate(%s) = %v, want nothing", good.ID, fields)
		}
	}
	type change = func(*tenants.Tenant)
	org := func(s string) change { return func(t *tenants.Tenant) { t.Organization = s } }
	host := func(s string) change { return func(t *tenants.Tenant) { t.Namespaces[1].Host = s } }
	ref := func(s string) change { return func(t *tenants.Tenant) { t.Namespaces[0].Secret = secrets.Ref(s) } }
	for _, k := range []struct {
		name  string
		spoil change
		field string // empty: it is allowed
	}{
		{"no id", func(t *tenants.Tenant) { t.ID = "" }, "id"},
		{"id in upper case", func(t *tenants.Tenant) { t.ID = "Contoso" }, "id"},
		{"id with a dot", func(t *tenants.Tenant) { t.ID = "con.toso" }, "id"},
		{"id that begins with a hyphen", func(t *tenants.Tenant) { t.ID = "-contoso" }, "id"},
		{"id with a line end", func(t *tenants.Tenant) { t.ID = "contoso\n" }, "id"},
		{"id of 64", func(t *tenants.Tenant) { t.ID = strings.Repeat("a", 64) }, "id"},
		{"id of 63", func(t *tenants.Tenant) { t.ID = strings.Repeat("a", 63) }, ""},
		{"id of one", func(t *tenants.Tenant) { t.ID = "7" }, ""},
		{"a long name", func(t *tenants.Tenant) { t.DisplayName = strings.Repeat("ü", 201) }, "display_name"},
		{"a name with an escape", func(t *tenants.Tenant) { t.DisplayName = "a\x1b[2J" }, "display_name"},
		{"a name that turns direction", func(t *tenants.Tenant) { t.DisplayName = "a\u202eb" }, "display_name"},
		{"no organization", org(""), "organization"},
		{"http", org("http://contoso.crm.dynamics.com"), "organization"},
		{"another host", org("https://contoso.example.com"), "organization"},
		{"a host that begins like it", org("https://contoso.crm.dynamics.com.example.com"), "organization"},
		{"a host that ends like it", org("https://evilcrm.dynamics.com"), "organization"},
		{"the region alone", org("https://crm9.dynamics.com"), "organization"},
		{"two labels before the region", org("https://a.b.crm.dynamics.com"), "organization"},
		{"a user in it", org("https://a@contoso.crm.dynamics.com"), "organization"},
		{"a port", org("https://contoso.crm.dynamics.com:444"), "organization"},
		{"an empty port", org("https://contoso.crm.dynamics.com:"), "organization"},
		{"a path", org("https://contoso.crm.dynamics.com/api"), "organization"},
		{"a query", org("https://contoso.crm.dynamics.com?a=b"), "organization"},
		{"an empty query", org("https://contoso.crm.dynamics.com?"), "organization"},
		{"a fragment", org("https://contoso.crm.dynamics.com#a"), "organization"},
		{"an empty fragment", org("https://contoso.crm.dynamics.com#"), "organization"},
		{"upper case", org("https://Contoso.crm.dynamics.com"), "organization"},
		{"a dot at its end", org("https://contoso.crm.dynamics.com."), "organization"},
		{"the API's host", org("https://contoso.api.crm4.dynamics.com"), ""},
		{"GCC High", org("https://contoso.crm.microsoftdynamics.us"), ""},
		{"DoD", org("https://contoso.crm.appsplatform.us/"), ""},
		{"China", org("https://contoso.crm.dynamics.cn"), ""},
		{"no directory", func(t *tenants.Tenant) { t.EntraTenant = "" }, "entra_tenant"},
		{"a directory with a path", func(t *tenants.Tenant) { t.EntraTenant = "a.com/../b" }, "entra_tenant"},
		{"every directory", func(t *tenants.Tenant) { t.EntraTenant = "common" }, "entra_tenant"},
		{"no client", func(t *tenants.Tenant) { t.Login.ClientID = "x" }, "login.client_id"},
		{"neither secret nor certificate", func(t *tenants.Tenant) { t.Login.Secret = "" }, "login"},
		{"both", func(t *tenants.Tenant) { t.Login.Certificate = "file:x" }, "login"},
		{"a value as secret", func(t *tenants.Tenant) { t.Login.Secret = "hunter2" }, "login.secret"},
		{"a value as certificate", func(t *tenants.Tenant) { t.Login.Secret, t.Login.Certificate = "", "hunter2" }, "login.certificate"},
		{"an identity with a line end", func(t *tenants.Tenant) { t.Identity = "a\nb" }, "identity"},
		{"an identity of 129 bytes", func(t *tenants.Tenant) { t.Identity = strings.Repeat("a", 129) }, "identity"},
		{"a label with a bad key", func(t *tenants.Tenant) { t.Labels = map[string]string{"A": ""} }, "labels"},
		{"a label with a long value", func(t *tenants.Tenant) { t.Labels = map[string]string{"a": strings.Repeat("a", 129)} }, "labels.a"},
		{"an empty label", func(t *tenants.Tenant) { t.Labels = map[string]string{"a": ""} }, ""},
		{"33 labels", func(t *tenants.Tenant) {
			t.Labels = map[string]string{}
			for i := range 33 {
				t.Labels[fmt.Sprintf("k%d", i)] = ""
			}
		}, "labels"},
		{"a host of another service", host("contoso.servicebus.windows.net"), "namespaces[1].host"},
		{"a host of another domain", host("contoso.accesscontrol.windows.net.example.com"), "namespaces[1].host"},
		{"a host with a port", host("contoso.accesscontrol.windows.net:443"), "namespaces[1].host"},
		{"a host in upper case", host("Contoso.accesscontrol.windows.net"), "namespaces[1].host"},
		{"a host of two labels", host("a.b.accesscontrol.windows.net"), "namespaces[1].host"},
		{"Microsoft's own host", host("accounts.accesscontrol.windows.net"), "namespaces[1].host"},
		{"the same host twice", host("contoso-sb.accesscontrol.windows.net"), "namespaces[1].host"},
		{"a host in China", host("contoso.accesscontrol.chinacloudapi.cn"), ""},
		{"no account", func(t *tenants.Tenant) { t.Namespaces[0].Account = "" }, "namespaces[0].account"},
		{"a value as key", ref("Zm9vYmFy="), "namespaces[0].secret"},
		{"no key", ref(""), "namespaces[0].secret"},
		{"a key outside", ref("file:../x"), "namespaces[0].secret"},
		{"too many namespaces", func(t *tenants.Tenant) { t.Namespaces = make([]tenants.Namespace, tenants.MaxNamespaces+1) }, "namespaces"},
	} {
		t.Run(k.name, func(t *testing.T) {
			tenant := contoso()
			k.spoil(&tenant)
			var got []string
			for _, f := range tenant.Validate() {
				got = append(got, f.Field)
				if f.Problem == "" || f.Fix == "" {
					t.Errorf("Validate: %+v lacks a problem or a fix", f)
				}
			}
			var want []string
			if k.field != "" {
				want = []string{k.field}
			}
			if !slices.Equal(got, want) {
				t.Errorf("Validate = %q, want %q", got, want)
			}
		})
	}
}

func TestIdentityName_IsTheRegion(t *testing.T) {
	for _, k := range []struct{ organization, identity, want string }{
		{"https://contoso.crm9.dynamics.com", "", "crm9.dynamics.com"},
		{"https://contoso.crm.dynamics.com/", "", "crm.dynamics.com"},
		{"https://contoso.api.crm11.dynamics.com", "", "crm11.dynamics.com"},
		{"https://CONTOSO.CRM4.dynamics.com", "", "crm4.dynamics.com"},
		{"https://contoso.crm.microsoftdynamics.us", "", "crm.microsoftdynamics.us"},
		{"https://contoso.crm.dynamics.cn", "", "crm.dynamics.cn"},
		{"https://contoso.crm9.dynamics.com", "my identity", "my identity"},
		{"https://contoso.example.com", "", ""},
		{"%", "", ""},
	} {
		tenant := tenants.Tenant{Organization: k.organization, Identity: k.identity}
		if got := tenant.IdentityName(); got != k.want {
			t.Errorf("IdentityName of %q = %q, want %q", k.organization, got, k.want)
		}
	}
}

func TestValidHost_IsACustomersNamespace(t *testing.T) {
	for host, want := range map[string]bool{
		"contoso-sb.accesscontrol.windows.net": true, "contoso.accesscontrol.usgovcloudapi.net": true, "accounts.accesscontrol.windows.net": false,
		"accesscontrol.windows.net": false, "Contoso.accesscontrol.windows.net": false, "contoso.accesscontrol.windows.net\n": false,
	} {
		if got := tenants.ValidHost(host); got != want {
			t.Errorf("ValidHost(%q) = %v, want %v", host, got, want)
		}
	}
}

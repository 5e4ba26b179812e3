package tenants_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/tenants"
)

// contoso is the tenant that the fixtures describe, with every field set.
func contoso() tenants.Tenant {
	return tenants.Tenant{
		ID: "contoso", DisplayName: "Contoso Ltd", Organization: "https://contoso.crm9.dynamics.com",
		EntraTenant: "11111111-2222-3333-4444-555555555555",
		Login:       tenants.Login{ClientID: "66666666-7777-8888-9999-000000000000", Secret: "file:contoso.login"},
		Identity:    "crm9.dynamics.com", Labels: map[string]string{"tier": "gold", "region": "emea"},
		Namespaces: []tenants.Namespace{
			{Host: "contoso-sb.accesscontrol.windows.net", Account: "SBManagementClient", Secret: "file:contoso-sb.accesscontrol.windows.net.key"},
			{Host: "contoso.accesscontrol.usgovcloudapi.net", Account: "ManagementClient", Secret: "env:CROSSFADE_SECRET_CONTOSO"},
		},
	}
}

// fabrikam is the other one, with as little as is allowed.
func fabrikam() tenants.Tenant {
	return tenants.Tenant{
		ID: "fabrikam", Organization: "https://fabrikam.crm.dynamics.com/", EntraTenant: "fabrikam.onmicrosoft.com",
		Login:    tenants.Login{ClientID: "66666666-7777-8888-9999-000000000000", Certificate: "file:fabrikam.pem"},
		Disabled: true,
	}
}

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRead_AllFormatsSayTheSame(t *testing.T) {
	want := []tenants.Tenant{contoso(), fabrikam()}
	for _, format := range []string{tenants.YAML, tenants.JSONL, tenants.CSV} {
		text := fixture(t, "tenants."+format)
		for name, in := range map[string]string{
			"as it is": text, "with CRLF": strings.ReplaceAll(text, "\n", "\r\n"), "with a byte order mark": "\xef\xbb\xbf" + text,
		} {
			got, errs := tenants.Read(format, strings.NewReader(in))
			if len(errs) > 0 || !reflect.DeepEqual(got, want) {
				t.Errorf("Read(%s) %s = %+v, %v, want %+v", format, name, got, errs, want)
			}
		}
	}
}

func TestRead_TellsEveryProblemWithItsLine(t *testing.T) {
	for _, k := range []struct {
		name, format, in string
		want             []string // line, tenant and field
	}{
		{"unknown fields everywhere", tenants.YAML, strings.NewReplacer(
			"  display_name: Contoso Ltd", "  displayname: Contoso Ltd",
			"    account: ManagementClient", "    acount: ManagementClient",
			"certificate: file:fabrikam.pem", "certficate: file:fabrikam.pem",
		).Replace(fixture(t, "tenants.yaml")), []string{
			"4 contoso displayname", "13 contoso namespaces[1].account", "14 contoso namespaces[1].acount", "19 fabrikam login", "21 fabrikam login.certficate",
		}},
		{"wrong types", tenants.YAML, "tenants:\n- id: 7\n  login: x\n  labels: [a]\n  disabled: \"no\"\n  namespaces: {}\n- x\n", []string{
			"2  id", "2  entra_tenant", "2  organization", "3  login", "4  labels", "5  disabled", "6  namespaces", "7  ",
		}},
		{"one tenant twice", tenants.JSONL, fixture(t, "tenants.jsonl") + fixture(t, "tenants.jsonl"), []string{"4 contoso id", "6 fabrikam id"}},
		{"lines that are no JSON", tenants.JSONL, "[]\n{\n{}x\n{} {}\nnull\n", []string{"1  ", "2  ", "3  ", "4  ", "5  "}},
		{"a key twice in JSON", tenants.JSONL, strings.Replace(fixture(t, "tenants.jsonl"), `{"id":"contoso",`, `{"id":"contoso","id":"fabrikam",`, 1), []string{"1 contoso id"}},
		{"a key in upper case", tenants.JSONL, strings.Replace(fixture(t, "tenants.jsonl"), `"identity"`, `"Identity"`, 1), []string{"1 contoso "}},
		{"a key twice in YAML", tenants.YAML, "tenants:\n- id: a\n  id: b\n", []string{"3  "}},
		{"an anchor", tenants.YAML, "tenants:\n- &a {id: a}\n- *a\n", []string{"2  "}},
		{"a tag", tenants.YAML, "tenants:\n- id: !!str a\n", []string{"2  "}},
		{"a merge", tenants.YAML, "tenants:\n- id: a\n  <<: {id: b}\n", []string{"3  "}},
		{"another top level", tenants.YAML, "tenant:\n- id: a\n", []string{"1  "}},
		{"no list", tenants.YAML, "tenants: a\n", []string{"1  tenants"}},
		{"two documents", tenants.YAML, "tenants: []\n---\ntenants: []\n", []string{"0  "}},
		{"nothing", tenants.YAML, "", []string{"0  "}},
		{"bad indentation", tenants.YAML, "tenants:\n- id: a\n   organization: b\n", []string{"2  "}},
		{"unknown and repeated columns", tenants.CSV, "id,colour,id,Secret!\n", []string{"1  ", "1  colour", "1  id"}},
		{"no id column", tenants.CSV, "organization\nx\n", []string{"1  id"}},
		{"no header", tenants.CSV, "", []string{"0  "}},
		{"a row too short", tenants.CSV, "id,identity\nx\n", []string{"2  "}},
		{"rows that disagree", tenants.CSV, strings.Replace(fixture(t, "tenants.csv"), "contoso,,,", "contoso,Other,,", 1), []string{"4 contoso display_name"}},
		{"a namespace without a secret", tenants.CSV, strings.Replace(fixture(t, "tenants.csv"), "env:CROSSFADE_SECRET_CONTOSO", "", 1), []string{"4 contoso namespaces[1].secret"}},
		{"bad labels and flags", tenants.CSV, strings.NewReplacer("tier=gold; ", "tier;", ",true,", ",yes,").Replace(fixture(t, "tenants.csv")), []string{"2 contoso labels", "3 fabrikam disabled"}},
		{"quotes that do not end", tenants.CSV, "id\n\"contoso\n", []string{"2  "}},
		{"an unknown format", "toml", "", []string{"0  "}},
		{"no UTF-8", tenants.YAML, "tenants: \xff", []string{"0  "}},
	} {
		t.Run(k.name, func(t *testing.T) {
			_, errs := tenants.Read(k.format, strings.NewReader(k.in))
			var got []string
			for _, e := range errs {
				got = append(got, fmt.Sprintf("%d %s %s", e.Row, e.Tenant, e.Field))
				if e.Problem == "" || e.Error() == "" {
					t.Errorf("Read: %+v says nothing", e)
				}
			}
			slices.Sort(got)
			want := slices.Clone(k.want)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("Read = %q, want %q\n%v", got, want, errs)
			}
		})
	}
}

func TestRead_ReturnsWhatIsRight(t *testing.T) {
	in := strings.Replace(fixture(t, "tenants.jsonl"), `"id":"contoso"`, `"id":"Contoso"`, 1)
	got, errs := tenants.Read(tenants.JSONL, strings.NewReader(in))
	if len(errs) != 1 || !reflect.DeepEqual(got, []tenants.Tenant{fabrikam()}) {
		t.Errorf("Read = %v, %v, want fabrikam and one error", got, errs)
	}
}

// Somebody will put the secret itself where its reference belongs, or anywhere
// else. What we say about that file goes to terminals, logs and portals.
func TestRead_NeverRepeatsASecret(t *testing.T) {
	const secret = "Zk9vaHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="
	for _, format := range []string{tenants.YAML, tenants.JSONL, tenants.CSV} {
		text := fixture(t, "tenants."+format)
		for _, old := range []string{
			"file:contoso.login", "file:contoso-sb.accesscontrol.windows.net.key", "env:CROSSFADE_SECRET_CONTOSO", "file:fabrikam.pem", "CROSSFADE_SECRET_CONTOSO",
			"contoso-sb.accesscontrol.windows.net", "https://contoso.crm9.dynamics.com", "crm9.dynamics.com", "11111111-2222-3333-4444-555555555555",
			"66666666-7777-8888-9999-000000000000", "gold", "tier", "contoso", "secret", "account", "id", "false", "true", "{", "}", ":", ",", "\"", "\n", "\n-", "\n  ", "tenants",
		} {
			for _, by := range []string{secret, secret + old, old + secret, `"` + secret + `"`, "*" + secret, "&" + secret + " ", "!" + secret + " ", "{" + secret} {
				in := strings.Replace(text, old, by, 1)
				_, errs := tenants.Read(format, strings.NewReader(in))
				for _, e := range errs {
					if s := fmt.Sprintf("%v %+v", e, e); strings.Contains(s, secret[:12]) {
						t.Fatalf("Read(%s) with %q for %q repeats the secret: %s", format, by, old, s)
					}
				}
			}
		}
	}
}

func TestRead_HasBounds(t *testing.T) {
	row := strings.Split(fixture(t, "tenants.jsonl"), "\n")[2]
	many := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.Replace(line, "fabrikam", fmt.Sprintf("t%d", i), 1))
			b.WriteByte('\n')
		}
		return b.String()
	}
	got, errs := tenants.Read(tenants.JSONL, strings.NewReader(many(20_000, row)))
	if len(got) != 20_000 || len(errs) != 0 {
		t.Errorf("Read of 20,000 = %d tenants, %d errors", len(got), len(errs))
	}
	got, errs = tenants.Read(tenants.JSONL, strings.NewReader(many(tenants.MaxTenants+1, row)))
	if len(got) != 0 || len(errs) != 1 {
		t.Errorf("Read of too many = %d tenants, %v, want one error", len(got), errs)
	}
	_, errs = tenants.Read(tenants.JSONL, strings.NewReader(many(2000, "x")))
	if len(errs) != 1001 || !strings.Contains(errs[1000].Problem, "1000 more") {
		t.Errorf("Read of 2,000 bad lines = %d errors, the last %v, want 1,000 and a count", len(errs), errs[len(errs)-1])
	}
	_, errs = tenants.Read(tenants.CSV, strings.NewReader(strings.Repeat("x", tenants.MaxFile+1)))
	if len(errs) != 1 || !strings.Contains(errs[0].Problem, "64 MiB") {
		t.Errorf("Read of more than 64 MiB = %v, want one error", errs)
	}
	deep := "tenants: " + strings.Repeat("[", 100) + strings.Repeat("]", 100)
	if _, errs := tenants.Read(tenants.YAML, strings.NewReader(deep)); len(errs) != 1 {
		t.Errorf("Read of a deep YAML = %v, want one error", errs)
	}
	if _, errs := tenants.Read(tenants.JSONL, strings.NewReader(`{"id":`+strings.Repeat("[", 1_000_000))); len(errs) != 1 {
		t.Errorf("Read of a deep JSON = %v, want one error", errs)
	}
}

func FuzzRead(f *testing.F) {
	for _, format := range []string{tenants.YAML, tenants.JSONL, tenants.CSV} {
		f.Add(format, fixture(f, "tenants."+format))
	}
	f.Fuzz(func(t *testing.T, format, in string) {
		got, wrong := tenants.Read(format, strings.NewReader(in))
		again, wrong2 := tenants.Read(format, strings.NewReader(in))
		if !reflect.DeepEqual(got, again) || !reflect.DeepEqual(wrong, wrong2) {
			t.Errorf("Read(%s, %q) twice gives another answer", format, in)
		}
		for _, e := range wrong {
			if e.Problem == "" || e.Row < 0 || len(e.Error()) > 2000 {
				t.Errorf("Read(%s, %q) says %+v, want a short problem with its line", format, in, e)
			}
		}
		if len(wrong) > 1001 {
			t.Errorf("Read(%s) of %d bytes says %d things", format, len(in), len(wrong))
		}
		for _, tenant := range got {
			if fields := tenant.Validate(); len(fields) > 0 {
				t.Errorf("Read(%s, %q) returns %+v, which is not valid: %v", format, in, tenant, fields)
			}
		}
	})
}

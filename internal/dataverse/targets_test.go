package dataverse_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// acs is a row that signs in through ACS at an address.
func acs(address string) dataverse.Row {
	return dataverse.Row{
		ID: "aaaaaaaa-0000-0000-0000-000000000001", Name: "orders", AuthType: 1, Connection: 1, Contract: 2,
		Format: 2, Address: address, Namespace: "other", Path: "orders",
	}
}

func names(hosts []dataverse.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}

func TestMap_HostsByAddress(t *testing.T) {
	bare := func(name string) dataverse.Row {
		r := acs("")
		r.Format, r.Namespace = 1, name
		return r
	}
	with := func(r dataverse.Row, f func(*dataverse.Row)) dataverse.Row { f(&r); return r }
	const pub = "sb://contoso.servicebus.windows.net/"
	for _, tt := range []struct {
		name  string
		row   dataverse.Row
		place dataverse.Place
		want  []string
	}{
		{"public", acs(pub), dataverse.Place{}, []string{"contoso-sb.accesscontrol.windows.net"}},
		{"without slash, in capitals", acs("SB://Contoso.ServiceBus.Windows.NET"), dataverse.Place{}, []string{"contoso-sb.accesscontrol.windows.net"}},
		{"US government", acs("sb://contoso.servicebus.usgovcloudapi.net/"), dataverse.Place{}, []string{"contoso-sb.accesscontrol.usgovcloudapi.net"}},
		{"China", acs("sb://contoso.servicebus.chinacloudapi.cn/"), dataverse.Place{}, []string{"contoso-sb.accesscontrol.chinacloudapi.cn"}},
		{"the address decides, not the organisation", acs(pub), dataverse.Place{Suffix: dataverse.USGovNamespaces, Hosts: []string{"contoso-sb.accesscontrol.usgovcloudapi.net"}}, []string{"contoso-sb.accesscontrol.windows.net"}},
		{"federated", with(acs(pub), func(r *dataverse.Row) { r.Connection = 2 }), dataverse.Place{}, []string{"contoso-sb.accesscontrol.windows.net", "contoso.accesscontrol.windows.net"}},
		{"bare name", bare("Contoso"), dataverse.Place{}, []string{"contoso-sb.accesscontrol.windows.net"}},
		{"bare name, organisation's cloud", bare("contoso"), dataverse.Place{Suffix: dataverse.ChinaNamespaces}, []string{"contoso-sb.accesscontrol.chinacloudapi.cn"}},
		{
			"bare name, the host that we have access to", bare("contoso"),
			dataverse.Place{Hosts: []string{"fabrikam-sb.accesscontrol.windows.net", "contoso-sb.accesscontrol.usgovcloudapi.net"}},
			[]string{"contoso-sb.accesscontrol.usgovcloudapi.net"},
		},
		{
			"bare name, the one cloud that the tenant uses", bare("contoso"),
			dataverse.Place{Hosts: []string{"fabrikam-sb.accesscontrol.usgovcloudapi.net"}},
			[]string{"contoso-sb.accesscontrol.usgovcloudapi.net"},
		},
		{
			"bare name, two clouds", bare("contoso"),
			dataverse.Place{Hosts: []string{"a-sb.accesscontrol.usgovcloudapi.net", "b-sb.accesscontrol.windows.net"}},
			[]string{"contoso-sb.accesscontrol.windows.net"},
		},
		{"old row without format and address", with(bare("contoso"), func(r *dataverse.Row) { r.Format, r.AuthType = 0, 0 }), dataverse.Place{}, []string{"contoso-sb.accesscontrol.windows.net"}},
		{"format says name, the address is stale", with(acs(pub), func(r *dataverse.Row) { r.Format, r.Namespace = 1, "fresh" }), dataverse.Place{}, []string{"fresh-sb.accesscontrol.windows.net"}},
		{"no auth type", with(acs(pub), func(r *dataverse.Row) { r.AuthType = 0 }), dataverse.Place{}, []string{"contoso-sb.accesscontrol.windows.net"}},
		{"event hub", with(acs(pub), func(r *dataverse.Row) { r.Contract = 7 }), dataverse.Place{}, []string{"contoso-sb.accesscontrol.windows.net"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := dataverse.Map(tt.row, tt.place)
			if got := names(m.Hosts); !slices.Equal(got, tt.want) || m.Outcome != rollover.Open {
				t.Errorf("Map = %q, %q %s; want %q", got, m.Outcome, m.Detail, tt.want)
			}
			if m.Endpoint.Federated != (len(tt.want) == 2) {
				t.Errorf("federated = %v with %d hosts", m.Endpoint.Federated, len(tt.want))
			}
			for i, h := range m.Hosts {
				if h.Plain != (i == 1) {
					t.Errorf("host %d of %q is plain: %v", i, names(m.Hosts), h.Plain)
				}
			}
		})
	}
}

func TestMap_NeverNamesAHostThatWeMayNotCall(t *testing.T) {
	for _, at := range []string{
		"sb://contoso.servicebus.windows.net.evil.example/", "sb://evil.example/", "sb://127.0.0.1/", "sb://[::1]/",
		"sb://contoso.servicebus.windows.net:443/", "sb://u:p@contoso.servicebus.windows.net/", "sb://contoso.servicebus.windows.net@evil.example/",
		"sb://a.b.servicebus.windows.net/", "sb://servicebus.windows.net/", "sb://.servicebus.windows.net/", "sb://contoso.servicebus.windows.net./",
		"sb://c\u043entoso.servicebus.windows.net/", "sb://\u212Aontoso.servicebus.windows.net/", "sb://contoso\u3002servicebus.windows.net/",
		"sb://xn--contoso.servicebus.windows.net/", "sb://-contoso.servicebus.windows.net/", "sb://contoso-.servicebus.windows.net/",
		"sb://con_toso.servicebus.windows.net/", "sb://con%2Etoso.servicebus.windows.net/", "sb://con toso.servicebus.windows.net/",
		"sb://contoso.servicebus.windows.net/path", "sb://contoso.servicebus.windows.net/?x", "sb://contoso.servicebus.windows.net/#x",
		"https://contoso.servicebus.windows.net/", "contoso.servicebus.windows.net", "sb:contoso.servicebus.windows.net", "//contoso.servicebus.windows.net",
		"sb://contoso.servicebus.cloudapi.de/", "sb://contoso.accesscontrol.windows.net/", "sb://contoso.servicebus.windows.net\r\nHost: evil/",
		"sb://contoso-sb.servicebus.windows.net/", "sb://contoso-mgmt.servicebus.windows.net/", "sb://accounts.servicebus.windows.net/",
		"sb://" + strings.Repeat("a", 51) + ".servicebus.windows.net/", "sb://", "sb:///", "://", "\x00", "sb://contoso.servicebus.windows.net/\x00",
	} {
		r := acs(at)
		r.Connection = 2
		m := dataverse.Map(r, dataverse.Place{})
		if len(m.Hosts) != 0 || m.Outcome != rollover.HandedOver || m.Reason != rollover.NamespaceUnknown || m.Detail == "" {
			t.Errorf("Map(%q) = %q, %q %q %q; want no host, handed over", at, names(m.Hosts), m.Outcome, m.Reason, m.Detail)
		}
	}
	for _, name := range []string{"", "accounts", "contoso-sb", "a.b", "evil.example/", "x@y", "x:1", "\u212Aelvin"} {
		r := acs("")
		r.Format, r.Namespace = 1, name
		if m := dataverse.Map(r, dataverse.Place{}); len(m.Hosts) != 0 || m.Reason != rollover.NamespaceUnknown {
			t.Errorf("Map(name %q) = %q, want no host", name, names(m.Hosts))
		}
	}
	if m := dataverse.Map(dataverse.Row{AuthType: 1, Contract: 2, Format: 1, Namespace: "contoso"}, dataverse.Place{Suffix: "evil.example"}); len(m.Hosts) != 0 {
		t.Errorf("Map with a suffix of our own making = %q, want no host", names(m.Hosts))
	}
}

func TestMap_SkipsWhatIsNotACS(t *testing.T) {
	for _, tt := range []struct {
		auth, contract int
		want           string
	}{
		{2, 2, "it signs in by sas_key"},
		{3, 5, "it signs in by sas_token"},
		{4, 8, "its contract is webhook"},
		{5, 8, "its contract is webhook"},
		{6, 8, "its contract is webhook"},
		{7, 7, "it signs in by connection_string"},
		{8, 9, "its contract is event_grid"},
		{9, 2, "it signs in by managed_identity"},
		{12, 2, "it signs in by auth_type_12"},
		{-1, 2, "it signs in by auth_type_-1"},
		{1, 8, "its contract is webhook"},
		{1, 9, "its contract is event_grid"},
		{0, 10, "its contract is managed_data_lake"},
		{0, 11, "its contract is container_storage"},
		{0, 12, "its contract is contract_12"},
		{1, 0, "its contract is unspecified"},
	} {
		r := acs("sb://contoso.servicebus.windows.net/")
		r.AuthType, r.Contract = tt.auth, tt.contract
		m := dataverse.Map(r, dataverse.Place{At: dataverse.Version{Major: 9}})
		if len(m.Hosts) != 0 || m.Outcome != rollover.Skipped || m.Reason != rollover.NotACS || m.Detail != tt.want || len(m.Advice) != 0 {
			t.Errorf("Map(authtype %d, contract %d) = %q, %q %q %q %q; want skipped, %q", tt.auth, tt.contract, names(m.Hosts), m.Outcome, m.Reason, m.Detail, m.Advice, tt.want)
		}
	}
	r := acs("sb://contoso.servicebus.windows.net/")
	r.AuthType, r.KeyVault = 2, true
	if m := dataverse.Map(r, dataverse.Place{}); m.Detail != "it signs in by sas_key_in_key_vault" {
		t.Errorf("Map of a key in a vault: %q", m.Detail)
	}
	r.AuthType, r.KeyVault, r.ManagedIdentity = 0, false, "some"
	if m := dataverse.Map(r, dataverse.Place{}); m.Reason != rollover.NotACS {
		t.Errorf("Map of a managed identity without auth type: %q", m.Reason)
	}
}

func TestMap_AdvisesSASFrom81(t *testing.T) {
	for text, want := range map[string]bool{
		"8.0.1.79": false, "8.1.0.1": true, "8.2.0.1": true, "9.0.0.1": true, "9.2.24011.165": true, "10.0.1.1": true, "7.9.0.1": false,
	} {
		v, err := dataverse.ParseVersion(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"sb://contoso.servicebus.windows.net/", "sb://evil.example/"} {
			m := dataverse.Map(acs(at), dataverse.Place{At: v})
			if got := slices.Contains(m.Advice, rollover.MoveToSAS); got != want {
				t.Errorf("Map(%s, %s) advises SAS: %v, want %v", text, at, got, want)
			}
		}
	}
}

func TestMap_DescribesTheEndpoint(t *testing.T) {
	r := acs("sb://contoso.servicebus.windows.net/")
	r.Connection, r.Contract, r.Name = 2, 6, "orders\nnew"
	got := dataverse.Map(r, dataverse.Place{Tenant: "t1"}).Endpoint
	want := rollover.Endpoint{
		Tenant: "t1", ID: r.ID, Name: "orders new", AuthType: "acs", Contract: "persistent_queue", Path: "orders",
		Namespace: "sb://contoso.servicebus.windows.net/", Federated: true,
	}
	if got != want {
		t.Errorf("Map endpoint = %+v, want %+v", got, want)
	}
}

func TestParseVersion_RefusesNonsense(t *testing.T) {
	for _, s := range []string{"", "9", "x.y", "-9.2", "9.x", "99999999.1", "."} {
		if v, err := dataverse.ParseVersion(s); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", s, v)
		}
	}
}

func TestCloudOf_KnowsTheClouds(t *testing.T) {
	for host, want := range map[string]dataverse.Cloud{
		"contoso.crm.dynamics.com": dataverse.Commercial, "contoso.crm4.dynamics.com": dataverse.Commercial,
		"contoso.crm11.dynamics.com": dataverse.Commercial, "Contoso.API.crm9.dynamics.com": dataverse.GCC,
		"contoso.crm9.dynamics.com": dataverse.GCC, "contoso.crm.microsoftdynamics.us": dataverse.GCCHigh,
		"contoso.crm.appsplatform.us": dataverse.DoD, "contoso.crm.dynamics.cn": dataverse.China,
	} {
		if got, ok := dataverse.CloudOf(host); !ok || got != want {
			t.Errorf("CloudOf(%s) = %q, %v; want %q", host, got, ok, want)
		}
	}
	for c, want := range map[dataverse.Cloud]string{
		dataverse.Commercial: dataverse.PublicNamespaces, dataverse.GCC: dataverse.PublicNamespaces,
		dataverse.GCCHigh: dataverse.USGovNamespaces, dataverse.DoD: dataverse.USGovNamespaces, dataverse.China: dataverse.ChinaNamespaces,
	} {
		if got := c.Namespaces(); got != want {
			t.Errorf("%s.Namespaces() = %s, want %s", c, got, want)
		}
	}
}

// FuzzTargets: whatever a row says, a host is one label below the access control
// service of one of three clouds, or there is none.
func FuzzTargets(f *testing.F) {
	for _, s := range []string{
		"sb://contoso.servicebus.windows.net/", "sb://contoso.servicebus.usgovcloudapi.net", "contoso", "sb://u@h:1/p?q#f",
		"sb://c\u043entoso.servicebus.windows.net/", "sb://127.0.0.1/", "accounts", "\u212A",
	} {
		f.Add(s, s, "n", 1, 1, 2, 2)
		f.Add(s, s, "n", 0, 2, 7, 1)
	}
	allowed := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.accesscontrol\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)$`)
	f.Fuzz(func(t *testing.T, address, namespace, name string, auth, connection, contract, format int) {
		r := dataverse.Row{Name: name, AuthType: auth, Connection: connection, Contract: contract, Format: format, Address: address, Namespace: namespace}
		m := dataverse.Map(r, dataverse.Place{At: dataverse.Version{Major: 9}, Hosts: []string{address, namespace}})
		for i, h := range m.Hosts {
			if !allowed.MatchString(h.Name) || strings.HasPrefix(h.Name, "accounts.") {
				t.Errorf("Map(%+v) names host %q", r, h.Name)
			}
			if h.Plain == strings.Contains(h.Name, "-sb.") || h.Plain != (i == 1) {
				t.Errorf("Map(%+v) host %d %q plain: %v", r, i, h.Name, h.Plain)
			}
		}
		if (len(m.Hosts) == 0) != (m.Outcome != rollover.Open) || (m.Outcome == rollover.Open) != (m.Detail == "") {
			t.Errorf("Map(%+v) = %d hosts with outcome %q, detail %q", r, len(m.Hosts), m.Outcome, m.Detail)
		}
		if !utf8.ValidString(m.Detail) || len([]rune(m.Detail)) > 300 || !utf8.ValidString(m.Endpoint.Name) {
			t.Errorf("Map(%+v) has a text that is unfit to store", r)
		}
	})
}

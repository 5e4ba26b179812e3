package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// load writes text as a configuration file and reads it.
func load(t *testing.T, text string) (daemon.Config, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "crossfade.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := daemon.Load(path)
	return c, filepath.Dir(path), err
}

func TestLoad_EmptyFileIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "nats:\n", "log: {}\n"} {
		got, dir, err := load(t, text)
		if err != nil {
			t.Fatalf("Load of %q: %v", text, err)
		}
		want := daemon.Default()
		want.Data = filepath.Join(dir, "data")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Load of %q = %+v, want %+v", text, got, want)
		}
	}
	if err := daemon.Default().Check(); err != nil {
		t.Errorf("Default().Check() = %v, want nil", err)
	}
}

// everything has a value other than the default in each field that can stand
// beside the others.
const everything = `
data: store
listen:
  grpc: 0.0.0.0:1
  web: 0.0.0.0:3
  ops: "[::1]:2"
web: {origins: "https://portal.example, http://localhost:3000"}
tls: {cert: a.pem, key: /etc/a.key, client_ca: clients.pem, client_crl: clients.crl, allow_plaintext: true}
identity:
  rights: rights.yaml
  issuers:
    corp: {url: https://login.example/, audience: crossfade}
approvals:
  valid_for: 2h
  rules:
    large: {acts: start, min_targets: 100, approvers: 2}
reflection: true
audit: {key: "file:audit.key", old_keys: "one, two", origin: crossfade.example/staging}
nats:
  url: tls://one:4222,tls://two:4222
  creds: nats.creds
  ca: ca.pem
  cert: c.pem
  key: c.key
  replicas: 5
  max_store: 2GiB
workers:
  plan_slots: 3
  task_slots: 4
  per_host_rate: 2.5
  per_host_burst: 6
  ack_wait: 45s
drift: {every: 12h, for: 720h, max_rate: 7.5}
retention: {for: 48h, max: 12}
secrets:
  dir: secrets
  env_prefix: OUR_
  cache_for: 90s
  vault: {address: "https://vault.example:8200", namespace: ns, ca: v.pem, mounts: "kv other", role_id: "file:role", secret_id: "env:OUR_ID"}
  azure: {vaults: "a.vault.azure.net", credential: certificate, tenant: t, client_id: c, secret: "file:s", certificate: "file:c"}
network:
  ca_file: roots.pem
  dial:
    "*.accesscontrol.windows.net": 127.0.0.1:9443
    login.microsoftonline.com: 127.0.0.1:9443
entra: {authority: https://login.example/, disable_instance_discovery: true}
drivers:
  acs-x509:
    max_pages: 7
    host_suffixes: [a.example, b.example]
gates:
  health:
    url: https://gate.example/
webhooks:
  portal:
    url: https://portal.example/
clock: clock.json
memory_limit: 700MiB
limits: {calls_per_second: 7.5, watches: 8, uploads: 3, rotations: 9}
traces: {endpoint: "https://collector.example:4318", ca: otel.pem, authorization: "env:OUR_OTEL", ratio: 0.5}
log: {format: json, level: warn}
`

func TestLoad_EveryFieldIsRead(t *testing.T) {
	got, dir, err := load(t, everything)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	raw := string(got.Drivers["acs-x509"])
	check := string(got.Gates["health"])
	if !strings.Contains(check, "https://gate.example/") {
		t.Errorf("the check is %q, want its url", check)
	}
	if issuer := string(got.Identity.Issuers["corp"]); !strings.Contains(issuer, "https://login.example/") {
		t.Errorf("the issuer is %q, want its url", issuer)
	}
	if rule := string(got.Approvals.Rules["large"]); !strings.Contains(rule, "min_targets: 100") {
		t.Errorf("the rule is %q, want all of it", rule)
	}
	if hook := string(got.Webhooks["portal"]); !strings.Contains(hook, "https://portal.example/") {
		t.Errorf("the webhook is %q, want its url", hook)
	}
	got.Drivers, got.Gates, got.Webhooks, got.Identity.Issuers, got.Approvals.Rules = nil, nil, nil, nil, nil
	want := daemon.Config{
		Data: in("store"), Listen: daemon.Listen{GRPC: "0.0.0.0:1", Web: "0.0.0.0:3", Ops: "[::1]:2"}, Reflection: true,
		Web:   daemon.Web{Origins: "https://portal.example, http://localhost:3000"},
		Audit: daemon.Audit{Key: "file:audit.key", OldKeys: "one, two", Origin: "crossfade.example/staging"},
		TLS: daemon.TLS{
			Cert: in("a.pem"), Key: "/etc/a.key", ClientCA: in("clients.pem"), ClientCRL: in("clients.crl"), AllowPlaintext: true,
		},
		Identity:  daemon.Identity{Rights: in("rights.yaml")},
		Approvals: daemon.Approvals{ValidFor: 2 * time.Hour},
		NATS: daemon.NATS{
			URL: "tls://one:4222,tls://two:4222", Creds: in("nats.creds"), CA: in("ca.pem"), Cert: in("c.pem"), Key: in("c.key"),
			Replicas: 5, MaxStore: 2 << 30,
		},
		Workers:   daemon.Workers{PlanSlots: 3, TaskSlots: 4, PerHostRate: 2.5, PerHostBurst: 6, AckWait: 45 * time.Second},
		Drift:     daemon.Drift{Every: 12 * time.Hour, For: 720 * time.Hour, MaxRate: 7.5},
		Retention: daemon.Retention{For: 48 * time.Hour, Max: 12},
		Secrets: daemon.Secrets{Dir: in("secrets"), EnvPrefix: "OUR_", CacheFor: 90 * time.Second,
			Vault: daemon.Vault{Address: "https://vault.example:8200", Namespace: "ns", CA: in("v.pem"), Mounts: "kv other", RoleID: "file:role", SecretID: "env:OUR_ID"},
			Azure: daemon.Azure{Vaults: "a.vault.azure.net", Credential: "certificate", Tenant: "t", ClientID: "c", Secret: "file:s", Certificate: "file:c"},
		},
		Network: daemon.Network{CAFile: in("roots.pem"), Dial: map[string]string{
			"*.accesscontrol.windows.net": "127.0.0.1:9443", "login.microsoftonline.com": "127.0.0.1:9443",
		}},
		Entra: daemon.Entra{Authority: "https://login.example/", DisableInstanceDiscovery: true},
		Clock: in("clock.json"), MemoryLimit: 700 << 20,
		Limits: daemon.Limits{CallsPerSecond: 7.5, Watches: 8, Uploads: 3, Rotations: 9},
		Traces: daemon.Traces{Endpoint: "https://collector.example:4318", CA: in("otel.pem"), Authorization: "env:OUR_OTEL", Ratio: 0.5},
		Log:    daemon.Log{Format: "json", Level: "warn"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Load = %+v\nwant   %+v", got, want)
	}
	if !strings.Contains(raw, "max_pages: 7") || !strings.Contains(raw, "b.example") {
		t.Errorf("the driver's part is %q, want all of it", raw)
	}
}

// TestLoad_NoFieldIsForgotten: whoever adds a field adds it to the tests, or
// says here why it cannot stand beside the others.
func TestLoad_NoFieldIsForgotten(t *testing.T) {
	got, _, err := load(t, everything)
	if err != nil {
		t.Fatal(err)
	}
	// Of the embedded broker, and what stands in place of role_id and secret_id.
	apart := map[string]bool{"nats.listen": true, "nats.lazy_sync": true, "secrets.vault.token": true}
	var walk func(v, d reflect.Value, at string)
	walk = func(v, d reflect.Value, at string) {
		for i := range v.NumField() {
			path := strings.TrimPrefix(at+"."+v.Type().Field(i).Tag.Get("yaml"), ".")
			if v.Field(i).Kind() == reflect.Struct {
				walk(v.Field(i), d.Field(i), path)
			} else if reflect.DeepEqual(v.Field(i).Interface(), d.Field(i).Interface()) != apart[path] {
				t.Errorf("%s = %v, want another value than the default's", path, v.Field(i).Interface())
			}
		}
	}
	walk(reflect.ValueOf(got), reflect.ValueOf(daemon.Default()), "")
}

func TestLoad_ReplicasFollowTheBroker(t *testing.T) {
	for text, want := range map[string]int{
		"nats: {}": 1, "nats: {url: 'nats://127.0.0.1:4222'}": 3, "nats: {url: 'nats://127.0.0.1:4222', replicas: 1}": 1,
	} {
		if c, _, err := load(t, text); err != nil || c.NATS.Replicas != want {
			t.Errorf("Load of %q gives %d replicas and %v, want %d", text, c.NATS.Replicas, err, want)
		}
	}
}

func TestLoad_TellsEveryProblemWithItsLine(t *testing.T) {
	_, dir, err := load(t, `listen:
  grpc: 0.0.0.0:7443
  http: "127.0.0.1:80"
natz: {}
nats:
  url: nats://user:hunter2@broker:4222
  listen: 127.0.0.1:4222
workers:
  task_slots: many
  ack_wait: 30
  per_host_rate: -1
log:
  level: [info]
`)
	var invalid *daemon.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("Load = %v, want an InvalidError", err)
	}
	got := map[string]int{}
	for _, p := range invalid.Problems {
		got[p.Field] = p.Line
	}
	want := map[string]int{
		"listen.grpc": 2, "listen.http": 3, "natz": 4, "nats.url": 6, "nats.listen": 7,
		"workers.task_slots": 9, "workers.ack_wait": 10, "workers.per_host_rate": 11, "log.level": 13,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("problems are at %v, want %v", got, want)
	}
	if text := err.Error(); strings.Contains(text, "hunter2") || !strings.Contains(text, filepath.Join(dir, "crossfade.yaml")+":3: listen.http: unknown field") {
		t.Errorf("the error reads\n%s", text)
	}
}

func TestLoad_Refuses(t *testing.T) {
	cases := []struct{ name, text, field string }{
		{"no YAML", "a: [", ""},
		{"a name twice", "data: a\ndata: b\n", ""},
		{"two documents", "data: a\n---\ndata: b\n", ""},
		{"a list", "- data\n", ""},
		{"an anchor", "data: &a x\n", "data"},
		{"a section that is a text", "nats: localhost\n", "nats"},
		{"a stranger's anonymous API", "listen: {grpc: '0.0.0.0:1'}\ntls: {allow_plaintext: true}\n", "listen.grpc"},
		{"client authorities without rights", "tls: {cert: a, key: b, client_ca: c}\n", "identity.rights"},
		{"issuers without rights", "identity: {issuers: {a: {url: 'https://a.example', audience: b}}}\n", "identity.rights"},
		{"rights of nobody", "identity: {rights: r}\n", "identity.rights"},
		{"client authorities without TLS", "identity: {rights: r}\ntls: {client_ca: c}\n", "tls.client_ca"},
		{"revoked ones of nobody", "tls: {cert: a, key: b, client_crl: c}\n", "tls.client_crl"},
		{"an issuer without TLS", "identity: {rights: r, issuers: {a: {url: 'http://a.example', audience: b}}}\n", "identity.issuers.a.url"},
		{"an issuer for everybody", "identity: {rights: r, issuers: {a: {url: 'https://a.example'}}}\n", "identity.issuers.a.audience"},
		{"an issuer with shared keys", "identity: {rights: r, issuers: {a: {url: 'https://a.example', audience: b, algorithms: HS256}}}\n", "identity.issuers.a.algorithms"},
		{"an issuer that is called cert", "identity: {rights: r, issuers: {cert: {url: 'https://a.example', audience: b}}}\n", "identity.issuers.cert"},
		{"an issuer with more", "identity: {rights: r, issuers: {a: {url: 'https://a.example', audience: b, admins: x}}}\n", "identity.issuers.a"},
		{"a rule for nobody", "approvals: {rules: {a: {acts: start}}}\n", "approvals.rules.a.approvers"},
		{"a rule for no act", "approvals: {rules: {a: {acts: begin, approvers: 1}}}\n", "approvals.rules.a.acts"},
		{"a rule for no cloud", "approvals: {rules: {a: {clouds: sky, approvers: 1}}}\n", "approvals.rules.a.clouds"},
		{"a rule with more", "approvals: {rules: {a: {approvers: 1, unless: ann}}}\n", "approvals.rules.a"},
		{"an approval for a moment", "approvals: {valid_for: 1s}\n", "approvals.valid_for"},
		{"half a key pair", "tls: {cert: a.pem}\n", "tls.cert"},
		{"the other half", "tls: {key: a.pem}\n", "tls.key"},
		{"plaintext for everybody", "listen: {grpc: ':7443'}\n", "listen.grpc"},
		{"browsers without TLS", "listen: {web: ':7445'}\n", "listen.web"},
		{"a stranger's anonymous browser", "listen: {web: ':7445'}\ntls: {allow_plaintext: true}\n", "listen.web"},
		{"browsers where metrics are", "listen: {web: '127.0.0.1:7444'}\n", "listen.web"},
		{"browsers where gRPC is", "listen: {web: '127.0.0.1:7443'}\n", "listen.web"},
		{"pages and no door", "web: {origins: 'https://portal.example'}\n", "web.origins"},
		{"all pages", "listen: {web: '127.0.0.1:7445'}\nweb: {origins: '*'}\n", "web.origins"},
		{"pages of all of a domain", "listen: {web: '127.0.0.1:7445'}\nweb: {origins: 'https://*.example'}\n", "web.origins"},
		{"a page with a path", "listen: {web: '127.0.0.1:7445'}\nweb: {origins: 'https://portal.example/'}\n", "web.origins"},
		{"a page that others can write", "listen: {web: '127.0.0.1:7445'}\nweb: {origins: 'http://portal.example'}\n", "web.origins"},
		{"one port for two listeners", "listen: {ops: '127.0.0.1:7443'}\n", "listen.ops"},
		{"a port that is none", "listen: {ops: '127.0.0.1:http'}\n", "listen.ops"},
		{"no folder", "data: ''\n", "data"},
		{"a cluster of one process", "nats: {replicas: 3}\n", "nats.replicas"},
		{"no replicas", "nats: {url: 'nats://a:1', replicas: 0}\n", "nats.replicas"},
		{"a broker for everybody without log-in", "nats: {listen: '0.0.0.0:4222'}\n", "nats.listen"},
		{"credentials for the embedded broker", "nats: {creds: x}\n", "nats.creds"},
		{"a client certificate without its key", "nats: {url: 'tls://a:1', cert: x}\n", "nats.cert"},
		{"a web address as broker", "nats: {url: 'https://a'}\n", "nats.url"},
		{"lazy sync of somebody else's broker", "nats: {url: 'nats://a:1', lazy_sync: true}\n", "nats.lazy_sync"},
		{"a store too small", "nats: {max_store: 1MiB}\n", "nats.max_store"},
		{"a size with a wrong unit", "nats: {max_store: 8GB}\n", "nats.max_store"},
		{"a size beyond all", "nats: {max_store: 9000000000TiB}\n", "nats.max_store"},
		{"no slots", "workers: {task_slots: 0}\n", "workers.task_slots"},
		{"a rate that is no number", "workers: {per_host_rate: .nan}\n", "workers.per_host_rate"},
		{"checks too often", "drift: {every: 30m, for: 24h}\n", "drift.every"},
		{"checks without an end", "drift: {every: 24h}\n", "drift.for"},
		{"an end without checks", "drift: {for: 24h}\n", "drift.for"},
		{"checks too fast", "drift: {max_rate: 100000}\n", "drift.max_rate"},
		{"kept too short", "retention: {for: 1h}\n", "retention.for"},
		{"kept too long", "retention: {for: 90000h}\n", "retention.for"},
		{"less than none kept", "retention: {max: -1}\n", "retention.max"},
		{"an ack wait too short", "workers: {ack_wait: 10ms}\n", "workers.ack_wait"},
		{"any variable as a secret", "secrets: {env_prefix: ''}\n", "secrets.env_prefix"},
		{"a name to dial", "network: {dial: {a.example: 'localhost:1'}}\n", "network.dial.a.example"},
		{"a star inside", "network: {dial: {'a.*.example': '127.0.0.1:1'}}\n", "network.dial.a.*.example"},
		{"a directory without TLS", "entra: {authority: 'http://a/'}\n", "entra.authority"},
		{"no check of Microsoft's own", "entra: {disable_instance_discovery: true}\n", "entra.disable_instance_discovery"},
		{"memory that is not enough", "memory_limit: 64MiB\n", "memory_limit"},
		{"a level of its own", "log: {level: verbose}\n", "log.level"},
		{"a form of its own", "log: {format: xml}\n", "log.format"},
		{"an audit key that is no reference", "audit: {key: PRIVATE+KEY+x}\n", "audit.key"},
		{"a log whose name has a space", "audit: {origin: a b}\n", "audit.origin"},
		{"a secret that is used for ever", "secrets: {cache_for: 24h}\n", "secrets.cache_for"},
		{"a Vault without an address", "secrets: {vault: {token: 'file:t'}}\n", "secrets.vault.address"},
		{"a Vault in plaintext", "secrets: {vault: {address: 'http://v', token: 'file:t'}}\n", "secrets.vault.address"},
		{"a Vault for nobody", "secrets: {vault: {address: 'https://v'}}\n", "secrets.vault.token"},
		{"half an AppRole", "secrets: {vault: {address: 'https://v', role_id: 'file:r'}}\n", "secrets.vault.secret_id"},
		{"a Vault that opens itself", "secrets: {vault: {address: 'https://v', token: 'vault://kv/a#b'}}\n", "secrets.vault.token"},
		{"Azure without vaults", "secrets: {azure: {credential: managed_identity}}\n", "secrets.azure.vaults"},
		{"a vault that is no host", "secrets: {azure: {vaults: 'https://a.vault.azure.net', credential: managed_identity}}\n", "secrets.azure.vaults"},
		{"nobody in Azure", "secrets: {azure: {vaults: a.vault.azure.net}}\n", "secrets.azure.credential"},
		{"an application without its secret", "secrets: {azure: {vaults: a.vault.azure.net, credential: secret, tenant: t, client_id: c}}\n", "secrets.azure.secret"},
		{"yes instead of true", "reflection: yes\n", "reflection"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.text)
			var invalid *daemon.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("Load of %q = %v, want an InvalidError", c.text, err)
			}
			if len(invalid.Problems) != 1 || invalid.Problems[0].Field != c.field {
				t.Errorf("Load of %q tells %+v, want one problem of %q", c.text, invalid.Problems, c.field)
			}
		})
	}
}

func TestLoad_BoundsTheFile(t *testing.T) {
	if _, _, err := load(t, strings.Repeat("# x\n", 1<<19)); err == nil {
		t.Error("Load of 2 MiB = nil, want an error")
	}
	if _, err := daemon.Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of no file = %v, want ErrNotExist", err)
	}
}

func TestConfig_WarnsOfWhatMayBeAMistake(t *testing.T) {
	cases := []struct {
		name, text string
		want       int
	}{
		{"the defaults", "", 0},
		{"plaintext beyond loopback", "listen: {grpc: '0.0.0.0:1'}\ntls: {allow_plaintext: true}\nidentity: {rights: r, issuers: {a: {url: 'https://a.example', audience: b}}}", 1},
		{"metrics for everybody", "listen: {ops: ':9'}", 1},
		{"a broker and nobody who signs", "nats: {url: 'tls://broker:4222'}", 1},
		{"a broker without TLS, one replica", "audit: {key: 'file:k'}\nnats: {url: 'nats://broker:4222', replicas: 1}", 2},
		{"a broker with TLS", "audit: {key: 'file:k'}\nnats: {url: 'tls://broker:4222'}", 0},
		{"a test clock and an emulator", "clock: c.json\nnetwork: {dial: {'*.a.example': '127.0.0.1:9'}}", 2},
		{"lazy sync", "nats: {lazy_sync: true}", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg, _, err := load(t, c.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := cfg.Warnings(); len(got) != c.want {
				t.Errorf("Warnings() = %q, want %d", got, c.want)
			}
		})
	}
}

func TestConfig_PartsCarryEveryField(t *testing.T) {
	c, dir, err := load(t, everything)
	if err != nil {
		t.Fatal(err)
	}
	b := c.Broker()
	if b.URL != c.NATS.URL || b.Creds != c.NATS.Creds || b.CAFile != c.NATS.CA || b.CertFile != c.NATS.Cert || b.KeyFile != c.NATS.Key ||
		b.Replicas != 5 || b.MaxStore != 2<<30 || b.AckWait != 45*time.Second {
		t.Errorf("Broker() = %+v", b)
	}
	if o := c.Outbound(); o.CAFile != filepath.Join(dir, "roots.pem") || len(o.Dial) != 2 {
		t.Errorf("Outbound() = %+v", o)
	}
	if r := c.Resolver(); r.Dir != filepath.Join(dir, "secrets") || r.EnvPrefix != "OUR_" {
		t.Errorf("Resolver() = %+v", r)
	}
	if c.Embedded() {
		t.Error("Embedded() = true with a URL")
	}
	if _, err := c.OpenClock(); err == nil {
		t.Error("OpenClock without its file = nil, want an error")
	}
	e, _, err := load(t, "nats: {listen: '127.0.0.1:0', lazy_sync: true}")
	if err != nil {
		t.Fatal(err)
	}
	if b := e.Broker(); b.Listen != "127.0.0.1:0" || !b.LazySync || b.Dir != e.Data || !e.Embedded() {
		t.Errorf("Broker() = %+v", b)
	}
}

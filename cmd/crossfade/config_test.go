package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/jet"
)

// command runs a command line and returns what it printed and its exit status.
func command(t *testing.T, args ...string) (out, errOut string, status int) {
	t.Helper()
	var o, e bytes.Buffer
	err := run(t.Context(), args, &o, &e)
	return o.String(), e.String(), exitStatus(err)
}

func writeConfig(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "crossfade.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCheck_SaysAllAndEndsWithTwo(t *testing.T) {
	dir := t.TempDir()
	path := writeConfig(t, dir, "data: data\nsecrets:\n  dir: .\n")
	if out, errOut, status := command(t, "config", "check", "--config", path); status != 0 || !strings.Contains(out, "the configuration is right") || errOut != "" {
		t.Errorf("a good file: %d, %q, %q, want 0", status, out, errOut)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"an unknown field", "dta: x\n", ":1: dta: error: unknown field"},
		{"several things", "listen:\n  grpc: nowhere\nworkers:\n  task_slots: 0\n", ":4: workers.task_slots: error: want 1 to 4096"},
		{"no YAML", "a: [\n", "error: is not YAML"},
		{"a file that is not there", "tls: {cert: a.pem, key: a.key}\n", "tls.cert: error: there is no file"},
		{"an unknown driver", "drivers:\n  acs-x508: {}\n", "drivers: error: unknown kind"},
		{"a gate without an address", "gates:\n  smoke: {timeout: 5s}\n", "gates: error: smoke: url: want https"},
		{"a webhook without a key", "webhooks:\n  portal: {url: \"https://example.com\", secret: \"file:key\"}\n", "webhooks.portal: error:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeConfig(t, t.TempDir(), tt.text)
			out, errOut, status := command(t, "config", "check", "--config", path)
			if status != 2 || !strings.Contains(errOut, tt.want) {
				t.Errorf("config check = %d, %q, %q, want 2 and %q", status, out, errOut, tt.want)
			}
			out, _, status = command(t, "--json", "config", "check", "--config", path)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			var last struct {
				Kind   string
				OK     bool
				Errors int
			}
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || status != 2 || last.Kind != "config" || last.OK || last.Errors != len(lines)-1 {
				t.Errorf("config check --json = %d, %q, want its errors and a summary of them", status, out)
			}
		})
	}
	if _, errOut, status := command(t, "config", "check", "--config", filepath.Join(dir, "none.yaml")); status != 2 || errOut == "" {
		t.Errorf("no file: %d, %q, want 2 and why", status, errOut)
	}
}

// Every secret that the file itself names is looked up, and none is shown.
func TestConfigCheck_LooksUpEverySecretThatTheFileNames(t *testing.T) {
	config, vault := inventoryWith(t)
	dir := filepath.Dir(config)
	base, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rest := `  azure: {vaults: "contoso.vault.azure.net", credential: KIND, tenant: t, client_id: c, KIND: "file:azure"}
audit: {key: "file:audit"}
traces: {endpoint: "https://otel.example:4318", authorization: "vault://kv/TRACES#key"}
gates:
  smoke: {url: "https://smoke.example", token: "vault://kv/GATE#key"}
webhooks:
  portal: {url: "https://portal.example", secret: "file:portal", also_secret: "file:portal-too"}
`
	text := strings.NewReplacer("KIND", "secret", "TRACES", "nothing", "GATE", "others/gate").Replace(string(base) + rest)
	text = strings.Replace(text, `token: "file:token"`, `role_id: "file:role", secret_id: "file:id"`, 1)
	write("crossfade.yaml", text)
	write("portal-too", "hunter2-hunter2")
	out, errOut, status := command(t, "config", "check", "--config", config)
	unsaid(t, out+errOut)
	for _, want := range []string{
		"secrets.vault.role_id: error: reading secret file:role: no such file", "secrets.vault.secret_id: error: reading secret file:id: no such file",
		"secrets.azure.secret: error: reading secret file:azure: no such file", "audit.key: error: reading secret file:audit: no such file",
		"traces.authorization: error: the store of secrets cannot be asked now", "gates.smoke.token: error: the store of secrets cannot be asked now",
		"webhooks.portal: error: reading secret file:portal: no such file", "webhooks.portal: error: ",
	} {
		if !strings.Contains(errOut, want) {
			t.Errorf("config check = %q, want %q", errOut, want)
		}
	}
	if status != exitUsage || strings.Contains(errOut, "hunter2") || strings.Count(errOut, "webhooks.portal") != 2 {
		t.Errorf("config check = %d, %q, want 2 and both keys of the webhook", status, errOut)
	}

	// With a log-in that works the store itself says what is missing; a certificate of
	// Azure is read.
	write("azure", "no certificate")
	text = strings.NewReplacer("KIND", "certificate", "TRACES", "nothing", "GATE", "others/gate").Replace(string(base) + rest)
	write("crossfade.yaml", text)
	_, errOut, status = command(t, "config", "check", "--config", config)
	for _, want := range []string{
		"traces.authorization: error: reading secret vault://kv/nothing#key: the vault has no such secret", "gates.smoke.token: error: reading secret vault://kv/others/gate#key: the vault refuses it",
		"secrets.azure.certificate: error: the certificate and its key cannot be read",
	} {
		if status != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("config check = %d, %q, want %q", status, errOut, want)
		}
	}

	// And one that has all is right.
	write("azure", "the-client-secret")
	for _, name := range []string{"portal", "portal-too"} {
		write(name, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
	}
	if _, errOut, status = command(t, "audit", "key", "--new", filepath.Join(dir, "audit")); status != 0 {
		t.Fatalf("audit key --new = %d, %q", status, errOut)
	}
	write("crossfade.yaml", strings.NewReplacer("KIND", "secret", "TRACES", "shared", "GATE", "shared").Replace(string(base)+rest))
	if out, errOut, status = command(t, "config", "check", "--config", config); status != 0 || vault.reads["shared"] == 0 {
		t.Errorf("config check of a file that has all = %d, %q, %q, want 0", status, out, errOut)
	}
	unsaid(t, out+errOut)
}

// A broker that is not there is found out when that is asked for.
func TestConfigCheck_Online(t *testing.T) {
	path := writeConfig(t, t.TempDir(), "nats: {url: \"nats://127.0.0.1:1\", replicas: 1, ca: \"/none\"}\n")
	if _, errOut, status := command(t, "config", "check", "--online", "--config", path); status != 2 || !strings.Contains(errOut, "nats.url: error: ") {
		t.Errorf("config check --online = %d, %q, want 2 and that the broker is not there", status, errOut)
	}
}

// Where a process has a store open and no socket, it is said what to do.
func TestStoreBackup_NeedsTheSocketOfARunningStore(t *testing.T) {
	dir := t.TempDir()
	path := writeConfig(t, dir, "data: data\n")
	b, err := jet.Open(t.Context(), jet.Config{Dir: filepath.Join(dir, "data"), MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "copy")
	if _, errOut, status := command(t, "store", "backup", "--config", path, "--out", out); status != exitRefused || !strings.Contains(errOut, "has no socket in it") {
		t.Errorf("store backup = %d, %q, want 3 and that there is no socket", status, errOut)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, exitRefused} { // The folder is there the second time.
		if _, errOut, status := command(t, "store", "backup", "--config", path, "--out", out); status != want {
			t.Errorf("store backup of a stopped store = %d, %q, want %d", status, errOut, want)
		}
	}
}

func TestConfigCertificates_AreMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certificates")
	path := filepath.Join(dir, audit.KeyFile)
	keys := map[string]bool{}
	for _, want := range []string{"made ", "nothing was changed", "only audit.key was added"} {
		if strings.HasPrefix(want, "only") { // As in a folder that was made before there was one.
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if out, errOut, status := command(t, "config", "certificates", "--dir", dir); status != 0 || !strings.Contains(out, want) {
			t.Errorf("config certificates = %d, %q, %q, want %q", status, out, errOut, want)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := audit.ParseSigner(string(b)); err != nil {
			t.Errorf("the key of the audit log: %v", err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key of the audit log has mode %v, %v, want 0600", info.Mode(), err)
		}
		keys[string(b)] = true
	}
	if len(keys) != 2 {
		t.Errorf("there were %d keys of the audit log, want the first kept until it was removed", len(keys))
	}
	if _, _, status := command(t, "config", "certificates", "--dir", dir, "--life", "1s"); status != 2 {
		t.Errorf("certificates for a second: %d, want 2", status)
	}
}

func TestWebhookTest_TellsTheReceiver(t *testing.T) {
	came := make(chan *http.Request, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(b))
		came <- r
	}))
	defer srv.Close()
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"ca.pem":  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}),
		"portal":  []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"),
		"no-good": []byte("hunter2"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := writeConfig(t, dir, `secrets: {dir: .}
network:
  ca_file: ca.pem
  dial: {example.com: "`+srv.Listener.Addr().String()+`"}
webhooks:
  portal: {url: "https://example.com/in", secret: "file:portal"}
  broken: {url: "https://example.com/in", secret: "file:no-good"}
  inside: {url: "https://`+srv.Listener.Addr().String()+`/in", secret: "file:portal"}
`)
	if out, errOut, status := command(t, "webhook", "test", "portal", "--config", path); status != 0 || !strings.Contains(out, "took msg_") {
		t.Errorf("webhook test = %d, %q, %q", status, out, errOut)
	} else if r := <-came; r.Header.Get("webhook-signature") == "" || r.URL.Path != "/in" {
		t.Errorf("came %s with %v", r.URL, r.Header)
	}
	for name, want := range map[string]int{"broken": 3, "inside": 3, "none": 2} {
		if out, errOut, status := command(t, "webhook", "test", name, "--config", path); status != want || strings.Contains(out+errOut, "hunter2") {
			t.Errorf("webhook test %s = %d, %q, %q, want %d and no secret", name, status, out, errOut, want)
		}
	}
}

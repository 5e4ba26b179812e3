package compose_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// blocks returns the blocks of code of a page that begin with mark.
func blocks(t *testing.T, page, mark string) []string {
	t.Helper()
	b, err := os.ReadFile(root + "/docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, part := range strings.Split(string(b), "```") {
		text, ok := strings.CutPrefix(part, mark+"\n")
		if i%2 == 0 || !ok {
			continue
		}
		indent := text[:len(text)-len(strings.TrimLeft(text, " "))] // Of a block in a list.
		out = append(out, strings.ReplaceAll("\n"+text, "\n"+indent, "\n"))
	}
	if len(out) == 0 {
		t.Fatalf("docs/%s has no block %q", page, mark)
	}
	return out
}

// What docs/nats-cluster.md shows is taken by the servers and by us, with the
// certificates that its command makes.
func TestDocs_TheClusterIsOneThatStarts(t *testing.T) {
	dir := t.TempDir()
	if out, err := run(t, "config", "certificates", "--dir", dir, "--api", "api.example.com", "--nats", "nats-1,nats-2,nats-3"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("NATS_NAME", "nats-1")
	conf := strings.ReplaceAll(blocks(t, "nats-cluster.md", "")[0], "/etc/nats/", dir+"/")
	o, err := server.ProcessConfigFile(put("nats.conf", conf))
	if err != nil {
		t.Fatalf("nats-server: %v", err)
	}
	// Without a name in the file itself no server takes it again at a reload.
	if o.ServerName != "nats-1" || !o.SyncAlways || !o.JetStream || len(o.Routes) != 3 || o.TLSConfig == nil || o.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert || o.Cluster.TLSConfig == nil {
		t.Errorf("the servers are configured as %+v", o)
	}
	path := put("serve.yaml", blocks(t, "nats-cluster.md", "yaml")[0])
	if out, err := run(t, "config", "check", "--config", path); err != nil {
		t.Errorf("config check: %v\n%s", err, out)
	}
	cfg, err := daemon.Load(path)
	if err != nil || cfg.NATS.Replicas != 3 {
		t.Errorf("Load = %+v, %v", cfg.NATS, err)
	}
}

// The webhook that docs/webhooks.md shows is one that is taken.
func TestDocs_TheWebhookIsRight(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"crossfade.yaml":         blocks(t, "webhooks.md", "yaml")[0],
		"secrets/webhook-portal": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(t, "config", "check", "--config", filepath.Join(dir, "crossfade.yaml")); err != nil {
		t.Errorf("config check: %v\n%s", err, out)
	}
}

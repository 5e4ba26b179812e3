package emulator_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/smallstep/pkcs7"

	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/sender"
)

// tenantsYAML is what must be in tenants.yaml, and nothing else.
type tenantsYAML struct {
	Tenants []struct {
		ID           string `yaml:"id"`
		DisplayName  string `yaml:"display_name"`
		Organization string `yaml:"organization"`
		EntraTenant  string `yaml:"entra_tenant"`
		Login        struct {
			ClientID    string `yaml:"client_id"`
			Secret      string `yaml:"secret"`
			Certificate string `yaml:"certificate"`
		} `yaml:"login"`
		Identity   string            `yaml:"identity"`
		Labels     map[string]string `yaml:"labels"`
		Disabled   bool              `yaml:"disabled"`
		Namespaces []struct {
			Host    string `yaml:"host"`
			Account string `yaml:"account"`
			Secret  string `yaml:"secret"`
		} `yaml:"namespaces"`
	} `yaml:"tenants"`
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWriteDir_OtherProcessesCanGoOn(t *testing.T) {
	c := start(t, emulator.Config{Tenants: 60, Seed: 9, Now: newClock().Now})
	w, dir := c.World(), filepath.Join(t.TempDir(), "world")
	for range 2 { // The second time writes over the first.
		if err := c.WriteDir(dir); err != nil {
			t.Fatalf("WriteDir = %v", err)
		}
	}
	for name, want := range map[string][]byte{"old.cer": w.Old.DER, "new.cer": w.New.DER, "ca.pem": c.CAPEM()} {
		if !bytes.Equal(read(t, dir, name), want) {
			t.Errorf("%s is not what it should be", name)
		}
	}
	if block, _ := pem.Decode(read(t, dir, "new.pem")); block == nil || !bytes.Equal(block.Bytes, w.New.DER) {
		t.Error("new.pem is not the new certificate")
	}
	if p7, err := pkcs7.Parse(read(t, dir, "new.p7b")); err != nil || len(p7.Certificates) != 1 || !p7.Certificates[0].Equal(w.New.Cert) {
		t.Errorf("new.p7b = %v, want the new certificate alone", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(read(t, dir, "ca.pem")) {
		t.Error("ca.pem holds no certificate")
	}
	checkTenantsFile(t, w, dir)
	checkSecrecy(t, w, dir)

	var net struct {
		Network struct {
			CAFile string            `yaml:"ca_file"`
			Dial   map[string]string `yaml:"dial"`
		} `yaml:"network"`
	}
	if err := yaml.UnmarshalWithOptions(read(t, dir, "network.yaml"), &net, yaml.Strict()); err != nil ||
		net.Network.CAFile != filepath.Join(dir, "ca.pem") || net.Network.Dial["*.accesscontrol.windows.net"] != c.Addr() {
		t.Errorf("network.yaml = %+v, %v, want the authority and where the hosts are", net, err)
	}
	var world struct {
		Tenants []struct {
			ID       string
			Expected []emulator.Expected
		}
	}
	if err := json.Unmarshal(read(t, dir, "world.json"), &world); err != nil || len(world.Tenants) != 60 || len(world.Tenants[0].Expected) == 0 {
		t.Errorf("world.json: %v with %d tenants, want 60 with their endings", err, len(world.Tenants))
	}
	if text := string(read(t, dir, "README.md")); !strings.Contains(text, "tenants import") || strings.Contains(text, "<no value>") {
		t.Errorf("README.md does not say how to go on:\n%s", text)
	}
	if s, err := sender.Load(filepath.Join(dir, "sender")); err != nil || len(s.Endpoints) != len(w.SenderEndpoints()) {
		t.Errorf("sender.Load = %d endpoints, %v, want %d", len(s.Endpoints), err, len(w.SenderEndpoints()))
	}
}

// checkTenantsFile reads tenants.yaml strictly and follows its references.
func checkTenantsFile(t *testing.T, w *emulator.World, dir string) {
	t.Helper()
	var list tenantsYAML
	if err := yaml.UnmarshalWithOptions(read(t, dir, "tenants.yaml"), &list, yaml.Strict()); err != nil {
		t.Fatalf("tenants.yaml = %v", err)
	}
	if len(list.Tenants) != len(w.Tenants) {
		t.Fatalf("tenants.yaml has %d tenants, want %d", len(list.Tenants), len(w.Tenants))
	}
	for i, got := range list.Tenants {
		want := w.Tenants[i]
		if got.ID != want.ID || got.Organization != want.Organization || got.EntraTenant != want.EntraTenant || got.Login.ClientID != want.ClientID ||
			got.Disabled != want.Disabled || (got.Identity != "") != want.OwnIdentity || len(got.Namespaces) != len(want.Namespaces) {
			t.Errorf("tenants.yaml has %+v, want %v", got, want.ID)
		}
		if (got.Login.Secret == "") == (got.Login.Certificate == "") {
			t.Errorf("tenant %s has secret %q and certificate %q, want one of them", got.ID, got.Login.Secret, got.Login.Certificate)
		}
		if got.Login.Secret != "" && string(follow(t, dir, got.Login.Secret)) != string(want.ClientSecret) {
			t.Errorf("tenant %s: %s is not its secret", got.ID, got.Login.Secret)
		}
		if ref := got.Login.Certificate; ref != "" && !bytes.Contains(follow(t, dir, ref), []byte("PRIVATE KEY")) {
			t.Errorf("tenant %s: %s holds no private key", got.ID, ref)
		}
		for j, n := range got.Namespaces {
			if n.Host != want.Namespaces[j].Host || string(follow(t, dir, n.Secret)) != string(want.Namespaces[j].Secret) {
				t.Errorf("tenant %s: namespace %s does not lead to its secret", got.ID, n.Host)
			}
		}
	}
}

// follow reads what a reference names.
func follow(t *testing.T, dir, ref string) []byte {
	t.Helper()
	name, ok := strings.CutPrefix(ref, "file:")
	if !ok || strings.ContainsAny(name, "/\\") {
		t.Fatalf("reference %q is not of the form file:<name>", ref)
	}
	return read(t, dir, "secrets", name)
}

// checkSecrecy walks the directory: secrets are in files of their own, which
// only the owner reads, and nowhere else.
func checkSecrecy(t *testing.T, w *emulator.World, dir string) {
	t.Helper()
	secrets := secretsOf(t, w)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		closed := strings.HasPrefix(rel, "secrets") || strings.HasPrefix(rel, "sender")
		if closed && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, want it closed to others", rel, info.Mode())
		}
		if d.IsDir() || closed {
			return nil
		}
		content := read(t, path)
		if bytes.Contains(content, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key", rel)
		}
		for _, s := range secrets {
			if bytes.Contains(content, []byte(s)) {
				t.Errorf("%s holds a secret", rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

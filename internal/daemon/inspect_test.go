package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/ownca"
)

// premises are a folder with everything that a configuration may name, and the
// configuration.
type premises struct {
	dir  string
	path string
	conf daemon.Config
}

func newPremises(t *testing.T) *premises {
	t.Helper()
	p := &premises{dir: t.TempDir()}
	if err := ownca.Write(p.file("own"), ownca.Config{APINames: []string{"localhost"}, Life: 90 * 24 * time.Hour, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.file("secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	creds := "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\nx\n------END USER NKEY SEED------\n"
	if err := os.WriteFile(p.file("nats.creds"), []byte(creds), 0o600); err != nil {
		t.Fatal(err)
	}
	text := `tls: {cert: own/api.pem, key: own/api.key}
nats:
  url: tls://nats.example.com:4222
  ca: own/ca.pem
  cert: own/client.pem
  key: own/client.key
  creds: nats.creds
secrets:
  dir: secrets
network:
  ca_file: own/ca.pem
audit: {key: "file:audit.key"}
`
	p.path = p.file("crossfade.yaml")
	if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.conf, err = daemon.Load(p.path); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *premises) file(name string) string { return filepath.Join(p.dir, name) }

func TestInspect_FindsWhatIsWrong(t *testing.T) {
	write := func(name, text string) func(*testing.T, *premises) {
		return func(t *testing.T, p *premises) {
			if err := os.WriteFile(p.file(name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, *premises) {
		return func(t *testing.T, p *premises) {
			if err := os.RemoveAll(p.file(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod := func(name string, mode os.FileMode) func(*testing.T, *premises) {
		return func(t *testing.T, p *premises) {
			if err := os.Chmod(p.file(name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name     string
		damage   func(*testing.T, *premises)
		later    time.Duration
		severity daemon.Severity
		field    string
		text     string
	}{
		{"all is right", func(*testing.T, *premises) {}, 0, "", "", ""},
		{"no certificate", remove("own/api.pem"), 0, daemon.Wrong, "tls.cert", "there is no file"},
		{"no key", remove("own/api.key"), 0, daemon.Wrong, "tls.key", "there is no file"},
		{"another's key", func(t *testing.T, p *premises) {
			if err := os.Rename(p.file("own/client.key"), p.file("own/api.key")); err != nil {
				t.Fatal(err)
			}
		}, 0, daemon.Wrong, "tls.cert", "are no pair"},
		{"a key that everybody can read", chmod("own/api.key", 0o644), 0, daemon.Wrong, "tls.key", "chmod o-rwx"},
		{"a key that the group can write", chmod("own/client.key", 0o660), 0, daemon.Wrong, "nats.key", "chmod g-w"},
		{"credentials that everybody can read", chmod("nats.creds", 0o604), 0, daemon.Wrong, "nats.creds", "chmod o-rwx"},
		{"a client's certificate for the API", func(t *testing.T, p *premises) {
			p.conf.TLS.Cert, p.conf.TLS.Key = p.file("own/client.pem"), p.file("own/client.key")
		}, 0, daemon.Wrong, "tls.cert", "is not for a server"},
		{"expired", func(*testing.T, *premises) {}, 91 * 24 * time.Hour, daemon.Wrong, "tls.cert", "has expired"},
		{"expires soon", func(*testing.T, *premises) {}, 80 * 24 * time.Hour, daemon.Doubted, "tls.cert", "expires on"},
		{"no authorities", write("own/ca.pem", "hello"), 0, daemon.Wrong, "nats.ca", "has no certificate"},
		{"a key among the authorities", func(t *testing.T, p *premises) {
			b, err := os.ReadFile(p.file("own/ca.key"))
			if err != nil {
				t.Fatal(err)
			}
			write("own/ca.pem", string(b))(t, p)
		}, 0, daemon.Wrong, "network.ca_file", "PRIVATE KEY"},
		{"no credentials", write("nats.creds", "hello"), 0, daemon.Wrong, "nats.creds", "no NATS credentials file"},
		{"no folder of secrets", remove("secrets"), 0, daemon.Wrong, "secrets.dir", "there is no folder"},
		{"a folder of secrets for all", chmod("secrets", 0o777), 0, daemon.Doubted, "secrets.dir", "chmod o-rwx"},
		{"no clock", func(_ *testing.T, p *premises) { p.conf.Clock = p.file("clock.json") }, 0, daemon.Wrong, "clock", ""},
		{"no place for the store", func(_ *testing.T, p *premises) {
			p.conf.NATS, p.conf.Data = daemon.NATS{}, p.file("none/data")
		}, 0, daemon.Wrong, "data", "there is no folder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPremises(t)
			tt.damage(t, p)
			found := daemon.Inspect(p.path, p.conf, time.Now().Add(tt.later))
			ok := tt.field == ""
			for _, f := range found {
				if tt.field == "" {
					t.Errorf("Inspect found %+v, want nothing", f)
				}
				ok = ok || f.Field == tt.field && f.Severity == tt.severity && strings.Contains(f.Text, tt.text)
			}
			if !ok {
				t.Errorf("Inspect = %+v, want %s: %s: %q", found, tt.field, tt.severity, tt.text)
			}
		})
	}
}

func TestInspect_SaysTheLine(t *testing.T) {
	p := newPremises(t)
	if err := os.Remove(p.file("own/ca.pem")); err != nil {
		t.Fatal(err)
	}
	for _, f := range daemon.Inspect(p.path, p.conf, time.Now()) {
		if f.Field == "nats.ca" && f.Line != 4 {
			t.Errorf("nats.ca is in line %d, want 4", f.Line)
		}
	}
}

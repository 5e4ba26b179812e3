package emulator

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/smallstep/pkcs7"

	"github.com/crossfade-project/crossfade/internal/emulator/sender"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The names of what WriteDir writes.
const (
	tenantsFile = "tenants.yaml"
	networkFile = "network.yaml"
	worldFile   = "world.json"
	secretsDir  = "secrets"
	senderDir   = "sender"
)

// tenantsYAML is the file of tenants that `crossfade tenants import` reads.
type tenantsYAML struct {
	Tenants []tenantYAML `yaml:"tenants"`
}

type tenantYAML struct {
	ID           string            `yaml:"id"`
	DisplayName  string            `yaml:"display_name"`
	Organization string            `yaml:"organization"`
	EntraTenant  string            `yaml:"entra_tenant"`
	Login        loginYAML         `yaml:"login"`
	Identity     string            `yaml:"identity,omitempty"`
	Labels       map[string]string `yaml:"labels,omitempty"`
	Disabled     bool              `yaml:"disabled,omitempty"`
	Namespaces   []namespaceYAML   `yaml:"namespaces,omitempty"`
}

// loginYAML holds references only: one of Secret and Certificate.
type loginYAML struct {
	ClientID    string `yaml:"client_id"`
	Secret      string `yaml:"secret,omitempty"`
	Certificate string `yaml:"certificate,omitempty"`
}

type namespaceYAML struct {
	Host    string `yaml:"host"`
	Account string `yaml:"account"`
	Secret  string `yaml:"secret"` // a reference
}

// networkYAML is the part of a configuration that sends a service here.
type networkYAML struct {
	Network struct {
		CAFile string            `yaml:"ca_file"`
		Dial   map[string]string `yaml:"dial"`
	} `yaml:"network"`
}

// file is one thing to write, relative to the directory.
type file struct {
	name    string
	content []byte
	mode    os.FileMode
}

// WriteDir writes all that a service, its operator and a sender need to work
// with this cloud from other processes: certificates to rotate, tenants.yaml
// with references only, the secrets in files of their own, the network settings,
// CRM's private keys, the expected endings, and a README that says all this.
// Files of an earlier run are overwritten. Directories of secrets are for the
// owner only.
func (c *Cloud) WriteDir(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("writing the world: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, secretsDir), 0o700); err != nil {
		return fmt.Errorf("writing the world: %w", err)
	}
	files, err := c.files(dir)
	if err != nil {
		return fmt.Errorf("writing the world: %w", err)
	}
	for _, f := range files {
		if err := write(filepath.Join(dir, f.name), f.content, f.mode); err != nil {
			return fmt.Errorf("writing the world: %w", err)
		}
	}
	w := c.world
	if err := sender.Save(filepath.Join(dir, senderDir), w.Old, w.New, w.SenderEndpoints()); err != nil {
		return fmt.Errorf("writing the world: %w", err)
	}
	return nil
}

// write gives a file its mode even if it is there already with another one.
func write(path string, content []byte, mode os.FileMode) error {
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// files makes all but the sender's.
func (c *Cloud) files(dir string) ([]file, error) {
	w := c.world
	bundle, err := pkcs7.DegenerateCertificate(w.New.DER)
	if err != nil {
		return nil, fmt.Errorf("making new.p7b: %w", err)
	}
	list, secrets := w.tenantFiles()
	tenants, err := yaml.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", tenantsFile, err)
	}
	var net networkYAML
	net.Network.CAFile, net.Network.Dial = filepath.Join(dir, "ca.pem"), c.Dial()
	network, err := yaml.Marshal(net)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", networkFile, err)
	}
	world, err := w.summary()
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", worldFile, err)
	}
	readme, err := c.readme(dir)
	if err != nil {
		return nil, fmt.Errorf("making README.md: %w", err)
	}
	return append(secrets,
		file{"old.cer", w.Old.DER, 0o644},
		file{"new.cer", w.New.DER, 0o644},
		file{"new.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.New.DER}), 0o644},
		file{"new.p7b", bundle, 0o644},
		file{"ca.pem", c.CAPEM(), 0o644},
		file{tenantsFile, tenants, 0o644},
		file{networkFile, network, 0o644},
		file{worldFile, world, 0o644},
		file{"README.md", readme, 0o644},
	), nil
}

// tenantFiles makes the list of tenants and a file for each secret in it.
func (w *World) tenantFiles() (tenantsYAML, []file) {
	var list tenantsYAML
	var files []file
	keep := func(name string, s Secret) string {
		files = append(files, file{filepath.Join(secretsDir, name), []byte(s), 0o600})
		return "file:" + name
	}
	for _, t := range w.Tenants {
		y := tenantYAML{
			ID: t.ID, DisplayName: t.DisplayName, Organization: t.Organization, EntraTenant: t.EntraTenant,
			Login: loginYAML{ClientID: t.ClientID}, Labels: t.Labels, Disabled: t.Disabled,
		}
		if t.ClientSecret != "" {
			y.Login.Secret = keep(t.ID+".login", t.ClientSecret)
		} else {
			y.Login.Certificate = keep(t.ID+".login", w.loginPEM)
		}
		if t.OwnIdentity {
			y.Identity = t.Identity
		}
		for _, ns := range t.Namespaces {
			y.Namespaces = append(y.Namespaces, namespaceYAML{ns.Host, ns.Account, keep(ns.Host+".key", ns.Secret)})
		}
		list.Tenants = append(list.Tenants, y)
	}
	return list, files
}

// summaryJSON is world.json: what there is and how each target should end. It
// holds no secret.
type summaryJSON struct {
	Seed     int64           `json:"seed"`
	SwitchAt time.Time       `json:"switch_at"`
	Old      certificateJSON `json:"old"`
	New      certificateJSON `json:"new"`
	Tenants  []tenantJSON    `json:"tenants"`
}

type certificateJSON struct {
	SHA256    string    `json:"sha256"`
	SHA1      string    `json:"sha1"`
	Subject   string    `json:"subject"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

type tenantJSON struct {
	ID        string     `json:"id"`
	Scenario  string     `json:"scenario"`
	Version   string     `json:"version"`
	Endpoints int        `json:"endpoints"`
	Expected  []Expected `json:"expected"`
}

func (w *World) summary() ([]byte, error) {
	s := summaryJSON{Seed: w.Seed, SwitchAt: w.SwitchAt}
	for to, p := range map[*certificateJSON]sender.Pair{&s.Old: w.Old, &s.New: w.New} {
		cred, err := rollover.FromDER(p.DER)
		if err != nil {
			return nil, err
		}
		*to = certificateJSON{cred.SHA256, cred.SHA1, cred.Subject, cred.NotBefore, cred.NotAfter}
	}
	for _, t := range w.Tenants {
		s.Tenants = append(s.Tenants, tenantJSON{t.ID, t.Scenario, t.Version, len(t.Endpoints), t.Expected})
	}
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

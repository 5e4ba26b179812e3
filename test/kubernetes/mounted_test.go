package kubernetes_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/ownca"
)

// mounted lays out what a pod mounts as the kubelet would, and returns the pod's
// configuration, with every path where it is here.
func mounted(t *testing.T, all []object, p pod) string {
	t.Helper()
	dir, made := t.TempDir(), filepath.Join(t.TempDir(), "made")
	if err := ownca.Write(made, ownca.Config{APINames: []string{"127.0.0.1"}, Life: 100 * 24 * time.Hour, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	put := func(to string, b []byte) {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o440); err != nil {
			t.Fatal(err)
		}
	}
	pem := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(made, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	auditKey, _, err := audit.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	config := ""
	c := p.Containers[0]
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s is mounted to be written to", m.MountPath)
		}
		i := slices.IndexFunc(p.Volumes, func(v volume) bool {
			return v.Name == m.Name
		})
		if i < 0 {
			t.Fatalf("there is no volume %s", m.Name)
		}
		at := filepath.Join(dir, m.MountPath)
		switch v := p.Volumes[i]; {
		case v.ConfigMap != nil:
			data, ok := of(all, "ConfigMap")[v.ConfigMap.Name]
			if !ok {
				t.Fatalf("there is no ConfigMap %s", v.ConfigMap.Name)
			}
			for name, text := range data.Data {
				if name == "crossfade.yaml" {
					config = filepath.Join(at, name)
				}
				put(filepath.Join(at, name), []byte(strings.ReplaceAll(text, `"/etc/`, `"`+dir+`/etc/`)))
			}
		case v.Projected != nil:
			if v.Projected.DefaultMode != 0o440 {
				t.Errorf("volume %s has mode %o, want 0440", v.Name, v.Projected.DefaultMode)
			}
			for _, source := range v.Projected.Sources {
				switch source.Secret.Name {
				case "crossfade-audit":
					if source.Secret.Optional {
						t.Error("the key that signs the audit log is optional: without it nothing would be signed, and the alert would fire for ever")
					}
					put(filepath.Join(at, "audit.key"), []byte(auditKey))
				case "crossfade-api-secrets":
					put(filepath.Join(at, "webhook-portal"), []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
				default:
					t.Errorf("volume %s has the secret %q", v.Name, source.Secret.Name)
				}
			}
		case v.Secret == nil:
			t.Errorf("volume %s is neither a ConfigMap nor a Secret", m.Name)
		case v.Secret.DefaultMode != 0o440:
			t.Errorf("secret %s has mode %o, want 0440", v.Secret.SecretName, v.Secret.DefaultMode)
		case m.Name == "tls":
			put(filepath.Join(at, "tls.crt"), pem("api.pem"))
			put(filepath.Join(at, "tls.key"), pem("api.key"))
		case m.Name == "callers":
			put(filepath.Join(at, "ca.crt"), pem("callers.pem"))
		case m.Name == "nats":
			put(filepath.Join(at, "tls.crt"), pem("client.pem"))
			put(filepath.Join(at, "tls.key"), pem("client.key"))
			put(filepath.Join(at, "ca.crt"), pem("ca.pem"))
		case m.Name == "secrets":
			put(filepath.Join(at, "webhook-portal"), []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
		}
	}
	return config
}

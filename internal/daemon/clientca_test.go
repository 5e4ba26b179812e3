package daemon_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/identity"
)

// Authorities and revocation lists, made by OpenSSL, are followed as the listener's own
// certificate is; what is broken takes nothing away and lets nobody in.
func TestServer_FollowsAuthoritiesAndRevocations(t *testing.T) {
	made := filepath.Join("..", "identity", "testdata", "openssl")
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(made, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	certificate := func(name string) *x509.Certificate {
		block, _ := pem.Decode(read(name))
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	dir := t.TempDir()
	files := daemon.TLS{
		Cert: filepath.Join(dir, "api.pem"), Key: filepath.Join(dir, "api.key"),
		ClientCA: filepath.Join(dir, "callers.pem"), ClientCRL: filepath.Join(dir, "callers.crl"),
	}
	put := func(path string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writePair(t, files, 1)
	put(files.ClientCA, read("a.pem"))
	put(files.ClientCRL, read("none.crl"))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var log bytes.Buffer
	s, err := files.Server(func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	daemon.ObserveIdentity(reg, s, func() error { return errors.New("a rights file with a mistake") })
	a, jane, bob := certificate("a.pem"), certificate("jane.pem"), certificate("bob.pem")
	asks := func(when string, janeIsIn, bobIsIn, stale bool) {
		t.Helper()
		for c, in := range map[*x509.Certificate]bool{jane: janeIsIn, bob: bobIsIn} {
			if err := s.Revoked([]*x509.Certificate{c, a}, now); (err == nil) != in || err != nil && !errors.Is(err, identity.ErrInvalid) {
				t.Errorf("%s: Revoked(%s) = %v, want that it is let in: %t", when, c.Subject.CommonName, err, in)
			}
		}
		if got := metric(t, reg, "crossfade_listener_files_stale"); (got == 1) != stale {
			t.Errorf("%s: crossfade_listener_files_stale is %v, want it to be stale: %t", when, got, stale)
		}
	}
	asks("at first", true, true, false)

	put(files.ClientCRL, read("bob.crl"))
	asks("right after the new list", true, true, false)
	now = now.Add(10 * time.Second)
	asks("ten seconds after the new list", true, false, false)

	put(files.ClientCRL, []byte("no list"))
	now = now.Add(10 * time.Second)
	asks("with a list that is none", true, false, true)
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log is %q, want an error about the broken list", log.String())
	}
	put(files.ClientCRL, append(read("bob.crl"), '\n'))
	now = now.Add(10 * time.Second)
	asks("with the list back", true, false, false)

	put(files.ClientCA, append(read("b.pem"), read("a.pem")...))
	now = now.Add(10 * time.Second)
	asks("with a second authority", true, false, false)
	c, err := s.Config().GetConfigForClient(&tls.ClientHelloInfo{ServerName: "api"})
	if err != nil || c.MinVersion != tls.VersionTLS13 || c.ClientAuth != tls.VerifyClientCertIfGiven {
		t.Errorf("the handshake is from %x on and with client authentication %v, %v, want TLS 1.3 and certificates verified where they are sent", c.MinVersion, c.ClientAuth, err)
	}

	if got := metric(t, reg, "crossfade_rights_stale"); got != 1 {
		t.Errorf("crossfade_rights_stale is %v, want 1", got)
	}
	if got := metric(t, reg, "crossfade_revocation_lists_end_seconds"); got < float64(time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) {
		t.Errorf("crossfade_revocation_lists_end_seconds is %v, want an instant of 2126", got)
	}

	// The authority goes, and its list with it: a list that nobody of the file signed is refused.
	put(files.ClientCA, read("b.pem"))
	now = now.Add(10 * time.Second)
	asks("with a list of an authority that is not there", true, false, true)
	if err := os.Truncate(files.ClientCRL, 0); err != nil {
		t.Fatal(err)
	}
	now = now.Add(10 * time.Second)
	asks("with an empty list", true, false, true)
}

// metric returns the value of a gauge without labels.
func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

package daemon_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// writePair writes a certificate with that serial number and its key.
func writePair(t *testing.T, files daemon.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "api"}, DNSNames: []string{"api"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serial returns the serial number that a handshake is shown.
func serial(t *testing.T, s *daemon.ServerTLS) int64 {
	t.Helper()
	c, err := s.Config().GetConfigForClient(&tls.ClientHelloInfo{ServerName: "api"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Certificates[0].Leaf.SerialNumber.Int64()
}

func TestServer_FollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	files := daemon.TLS{Cert: filepath.Join(dir, "api.pem"), Key: filepath.Join(dir, "api.key")}
	writePair(t, files, 1)
	now := time.Now()
	var log bytes.Buffer
	c, err := files.Server(func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if got := serial(t, c); got != 1 {
		t.Errorf("the first certificate is number %d, want 1", got)
	}
	writePair(t, files, 2222222) // Longer, so that it differs even within one tick of the file system's clock.
	if got := serial(t, c); got != 1 {
		t.Errorf("right after the change the certificate is number %d, want 1 still", got)
	}
	now = now.Add(10 * time.Second)
	if got := serial(t, c); got != 2222222 {
		t.Errorf("ten seconds after the change the certificate is number %d, want the new one", got)
	}
	if err := os.WriteFile(files.Key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(10 * time.Second)
	if got := serial(t, c); got != 2222222 {
		t.Errorf("with a broken file the certificate is number %d, want the one that was in use", got)
	}
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log is %q, want an error about the broken file", log.String())
	}
}

func TestServer_RefusesToStartWithoutACertificate(t *testing.T) {
	dir := t.TempDir()
	files := daemon.TLS{Cert: filepath.Join(dir, "api.pem"), Key: filepath.Join(dir, "api.key")}
	if _, err := files.Server(time.Now, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("Server without its files = nil, want an error")
	}
	if c, err := (daemon.TLS{}).Server(time.Now, slog.New(slog.DiscardHandler)); c != nil || err != nil {
		t.Errorf("Server without a certificate = %v, %v, want none", c, err)
	}
}

package jet_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"net"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// locked runs a server that speaks TLS and takes one user, and returns its URL
// without the user and the file of its CA.
func locked(t *testing.T) (url, ca string) {
	t.Helper()
	der, key := serverCert(t)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{{Username: "crossfade", Password: "open sesame"}}, TLSTimeout: 5,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server is not ready")
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.Addr().String(), ca
}

func TestOpen_SpeaksTLSAndLogsIn(t *testing.T) {
	addr, ca := locked(t)
	cert := newCert(t)
	c := config(t, cert)
	c.Dir, c.CAFile, c.MaxStore = "", ca, 64<<20
	c.URL = "tls://crossfade:open%20sesame@" + addr
	b := open(t, c)
	planned(t, b, cert, "r1", 3)
	if err := b.Ready(t.Context()); err != nil {
		t.Errorf("Ready = %v", err)
	}
	for name, break_ := range map[string]func(c *jet.Config){
		"a wrong password":    func(c *jet.Config) { c.URL = strings.Replace(c.URL, "open", "closed", 1) },
		"an unknown CA":       func(c *jet.Config) { c.CAFile = "" },
		"a missing file":      func(c *jet.Config) { c.Creds = filepath.Join(t.TempDir(), "none.creds") },
		"a URL without sense": func(c *jet.Config) { c.URL = "tls://crossfade:open%zzsesame@" + addr },
	} {
		t.Run(name, func(t *testing.T) {
			bad := c
			break_(&bad)
			begun := time.Now()
			b, err := jet.Open(t.Context(), bad)
			if err == nil {
				shut(t, b)
				t.Fatal("Open = nil, want an error")
			}
			if strings.Contains(err.Error(), "sesame") {
				t.Errorf("Open = %v: it tells the password", err)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("Open was refused after %s, want at once", took)
			}
		})
	}
}

func TestOpen_SaysThatNobodyIsThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ctx, cancel := timeout(t, time.Second)
	defer cancel()
	if _, err := jet.Open(ctx, jet.Config{URL: "nats://" + addr}); !errors.Is(err, rollover.ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
}

func TestOpen_RefusesWhatMakesNoSense(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]jet.Config{
		"nowhere":               {},
		"replicas in a process": {Dir: dir, Replicas: 3},
		"open to the network":   {Dir: dir, Listen: "0.0.0.0:0"},
		"listening for others":  {URL: "nats://127.0.0.1:1", Listen: "127.0.0.1:0"},
		"half a key pair":       {URL: "nats://127.0.0.1:1", CertFile: "x"},
		"too short an ack wait": {Dir: dir, AckWait: time.Millisecond},
	} {
		if b, err := jet.Open(t.Context(), c); err == nil {
			shut(t, b)
			t.Errorf("%s: Open = nil, want an error", name)
		}
	}
	c := config(t)
	c.Shards = 4
	shut(t, open(t, c))
	c.Shards = 8
	if b, err := jet.Open(t.Context(), c); err == nil {
		shut(t, b)
		t.Error("Open with other shards than are stored = nil, want an error")
	}
}

// serverCert returns a certificate for 127.0.0.1 that is its own CA.
func serverCert(t *testing.T) ([]byte, any) {
	t.Helper()
	return selfSigned(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

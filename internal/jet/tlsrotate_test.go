package jet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/ownca"
)

// The authority of the brokers is changed as docs/own-certificates.md has it: both
// are trusted for a while, then certificates of the new one are put in their places,
// and then the old one is taken out. The process is not started again.
func TestTLS_ANewAuthorityWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	in := func(name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
	for i, name := range []string{"old", "new"} {
		c := ownca.Config{NATSNames: []string{"127.0.0.1"}, Life: time.Hour, Now: time.Now().Add(time.Duration(i) * time.Second)}
		if err := ownca.Write(in(name), c); err != nil {
			t.Fatal(err)
		}
	}
	// put puts files in the place of others, as an operator does: whole, by a rename.
	put := func(to string, from ...string) {
		t.Helper()
		var all []byte
		for _, f := range from {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		if err := os.WriteFile(to+".next", all, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(to+".next", to); err != nil {
			t.Fatal(err)
		}
	}
	pairs := func(which string) {
		t.Helper()
		for _, name := range []string{"nats", "client"} {
			put(in(name+".pem"), in(which, name+".pem"))
			put(in(name+".key"), in(which, name+".key"))
		}
	}
	pairs("old")
	put(in("ca.pem"), in("old", "ca.pem"))
	port := ports(t, 1)[0]
	conf := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream { store_dir: %q }\ntls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\n",
		port, in("store"), in("nats.pem"), in("nats.key"), in("ca.pem"))
	if err := os.WriteFile(in("nats.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() *server.Server {
		t.Helper()
		o, err := server.ProcessConfigFile(in("nats.conf"))
		if err != nil {
			t.Fatal(err)
		}
		o.NoSigs, o.NoLog = true, true
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("the server is not ready")
		}
		return s
	}
	stop := func(s *server.Server) { s.Shutdown(); s.WaitForShutdown() }
	s := run()
	b := open(t, jet.Config{URL: fmt.Sprintf("tls://127.0.0.1:%d", port), Replicas: 1, CAFile: in("ca.pem"), CertFile: in("client.pem"), KeyFile: in("client.key")})
	again := func(what string) {
		t.Helper()
		eventually(t, what, func() bool { return b.Ready(t.Context()) == nil })
	}
	again("the first connection")

	put(in("ca.pem"), in("old", "ca.pem"), in("new", "ca.pem")) // 1. Both are trusted.
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	again("a server that was told to read its files anew")
	pairs("new") // 2. New certificates. Connections that there are stay.
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	again("new certificates")
	stop(s)
	put(in("ca.pem"), in("new", "ca.pem")) // 3. The old one is trusted no more.
	s = run()
	t.Cleanup(func() { stop(s) })
	again("a server that knows the new authority alone")
}

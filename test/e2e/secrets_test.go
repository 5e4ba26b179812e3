package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// needles returns every secret of the cloud in each form in which it could be
// found: as it is, escaped, and in base64.
func (f *fleet) needles() map[string][]byte {
	f.t.Helper()
	secrets, err := f.cloud.World().Secrets()
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, s := range secrets {
		forms(string(s), out)
	}
	if len(out) < 100 {
		f.t.Fatalf("%d needles: the test looks for little", len(out))
	}
	return out
}

// forms adds to out a secret in each form in which it could be found.
func forms(text string, out map[string][]byte) {
	if block, _ := pem.Decode([]byte(text)); block == nil {
		if len(text) >= 12 { // Shorter ones are found by chance.
			out[text] = []byte(text)
			out["escaped "+text] = []byte(url.QueryEscape(text))
			out["base64 "+text] = []byte(base64.StdEncoding.EncodeToString([]byte(text)))
		}
		return
	}
	// Of a key in PEM the bytes within, and their base64.
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return
		}
		if !strings.Contains(block.Type, "PRIVATE KEY") {
			continue
		}
		half := block.Bytes[len(block.Bytes)/2:]
		n := min(len(half), 32)
		out["key bytes"+string(half[:8])] = half[:n]
		for i := range 3 { // base64 of a part depends on where it begins
			enc := base64.StdEncoding.EncodeToString(half[i:n])
			out["key base64 "+enc] = []byte(enc[4 : len(enc)-8])
		}
	}
}

// Nothing that NATS stores, nothing that is logged and nothing that is answered
// holds a management key, a client secret, a token or a private key.
func TestSecrets_AreNowhere(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 40, Seed: 6, Faults: "rough"})
	broker := freePort(t)
	serve := f.serve("--config", f.config("crossfade.yaml", func(c *daemon.Config) {
		c.NATS.Listen, c.Log.Level = broker, "debug"
	}))
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api, "--json"}, f.rotateFlags("--watch")...)...)
	name := watch.says(`"name":"(rotations/[^"/]+)"`)[1]
	watch.says(`PHASE_OVERLAP`)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	watch.ends()

	hay := map[string][]byte{
		"the log": []byte(serve.said()), "the watch": []byte(watch.said()),
		"the report":  []byte(f.ok("--json", "rotation", "report", name)),
		"the tenants": []byte(f.ok("--json", "tenants", "list")),
	}
	messages := stored(t, broker, hay)
	if messages < 100 {
		t.Fatalf("the broker holds %d messages: the test looks at little", messages)
	}
	needles := f.needles()
	for where, b := range hay {
		for what, n := range needles {
			if bytes.Contains(b, n) {
				t.Errorf("no-secret-out: %s holds %q", where, what)
			}
		}
		if bytes.Contains(b, []byte("HMACSHA256")) {
			t.Errorf("no-secret-out: %s holds a token", where)
		}
	}
	// The search finds what is there.
	if b, err := os.ReadFile(f.file("secrets/" + f.firstSecret())); err != nil || !anyIn(b, needles) {
		t.Errorf("no needle is found in a file of secrets, %v: the search finds nothing", err)
	}
}

func anyIn(b []byte, needles map[string][]byte) bool {
	for _, n := range needles {
		if bytes.Contains(b, n) {
			return true
		}
	}
	return false
}

func (f *fleet) firstSecret() string {
	f.t.Helper()
	files, err := os.ReadDir(f.file("secrets"))
	if err != nil || len(files) == 0 {
		f.t.Fatalf("no files of secrets: %v", err)
	}
	return files[0].Name()
}

// stored puts every message of every stream into hay, as the server
// reads it.
func stored(t *testing.T, broker string, hay map[string][]byte) int {
	t.Helper()
	nc, err := nats.Connect("nats://" + broker)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	messages := 0
	streams := js.ListStreams(ctx)
	for info := range streams.Info() {
		var all bytes.Buffer
		s, err := js.Stream(ctx, info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				continue // Overwritten by a later one.
			}
			messages++
			all.WriteString(m.Subject)
			for k, v := range m.Header {
				all.WriteString(k + strings.Join(v, " "))
			}
			all.Write(m.Data)
		}
		hay["stream "+info.Config.Name] = all.Bytes()
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return messages
}

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// needles returns every secret of the cloud in each form in which it could be found.
func (f *fleet) needles() *needles {
	f.t.Helper()
	secrets, err := f.cloud.World().Secrets()
	if err != nil {
		f.t.Fatal(err)
	}
	out := newNeedles()
	for i, s := range secrets {
		out.add(fmt.Sprintf("secret %d of the cloud", i), string(s))
	}
	if len(out.secrets) < 30 {
		f.t.Fatalf("%d secrets: the test looks for little", len(out.secrets))
	}
	return out
}

// Nothing that NATS stores, nothing that is logged and nothing that is answered
// holds a management key, a client secret, a token or a private key.
func TestSecrets_AreNowhere(t *testing.T) {
	t.Parallel() // It waits more than it works.
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
	for _, found := range scan(hay, needles) {
		t.Errorf("no-secret-out: %s", found)
	}
	// The search finds what is there.
	if b, err := os.ReadFile(f.file("secrets/" + f.firstSecret())); err != nil || len(needles.find("", b)) == 0 {
		t.Errorf("no needle is found in a file of secrets, %v: the search finds nothing", err)
	}
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
			all.WriteString(m.Subject + "\n")
			for k, v := range m.Header {
				all.WriteString(k + ": " + strings.Join(v, " ") + "\n")
			}
			all.Write(append(m.Data, '\n'))
		}
		hay["stream "+info.Config.Name] = all.Bytes()
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return messages
}

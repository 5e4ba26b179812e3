package e2e_test

import (
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// heard is what a webhook was told.
type heard struct {
	id   string
	Type string `json:"type"`
	Data struct {
		Why      string         `json:"why"`
		Targets  int            `json:"targets"`
		Outcomes map[string]int `json:"outcomes"`
	} `json:"data"`
}

// Of two processes one tells a receiver how a rotation goes. That one is killed on the
// way; nothing is left out, and what comes twice has the same id.
func TestWebhooks_TellARotationAcrossAKill(t *testing.T) {
	t.Parallel() // It waits more than it works.
	came := make(chan heard, 1024)
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h := heard{id: r.Header.Get("webhook-id")}
		if err := json.NewDecoder(r.Body).Decode(&h); err != nil {
			t.Errorf("the body: %v", err)
		}
		came <- h
	}))
	defer receiver.Close()
	f := newFleet(t, emulator.Config{Tenants: 30, Seed: 2, Latency: 5 * time.Millisecond})
	ca, err := os.ReadFile(f.file("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca = append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw})...)
	for name, b := range map[string][]byte{"all-ca.pem": ca, "secrets/hook": []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")} {
		if err := os.WriteFile(f.file(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, url := f.cluster(0)
	config := func(name string) string {
		path := f.config(name, func(c *daemon.Config) {
			c.NATS.URL, c.NATS.Replicas = url, 3
			c.Network.CAFile = "all-ca.pem"
			c.Network.Dial = maps.Clone(c.Network.Dial)
			c.Network.Dial["example.com"] = receiver.Listener.Addr().String()
		})
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, "\nwebhooks:\n  portal: {url: \"https://example.com/in\", secret: \"file:hook\"}\n"...)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := f.serve("--config", config("a.yaml"))
	f.serve("--config", config("b.yaml"))
	f.setUp()
	rotate := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	ids := map[string]string{}
	next := func(kind string) heard {
		t.Helper()
		for {
			select {
			case h := <-came:
				if ids[h.id] != "" {
					continue // A repeat.
				}
				ids[h.id] = h.Type
				if h.Type != "rotation."+kind {
					t.Fatalf("came %s, want rotation.%s", h.Type, kind)
				}
				return h
			case <-time.After(patience):
				t.Fatalf("rotation.%s did not come", kind)
			}
		}
	}
	next("created")
	next("planned")
	next("started")
	first.kill() // If it was the one that tells, the other takes over.
	next("overlap_begun")
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	next("retiring")
	if h := next("ended"); h.Data.Outcomes["succeeded"] == 0 || h.Data.Targets == 0 {
		t.Errorf("the end is told with %+v, want counts", h.Data)
	}
	if status := rotate.ends(); status != 0 {
		t.Errorf("rotate --watch ended with %d:\n%s", status, rotate.said())
	}
}

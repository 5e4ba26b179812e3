package e2e_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/ownca"
)

// A process with everything configured, in the middle of a rotation, tells every metric
// that an alert or a panel reads. CROSSFADE_SCRAPE names a file to leave what it told in,
// for tools/rules.
func TestMetrics_ARealRunTellsWhatAlertsAndPanelsRead(t *testing.T) {
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer receiver.Close()
	collector, _ := gathering(t)
	f := newFleet(t, emulator.Config{Tenants: 12, Seed: 5})
	err := ownca.Write(f.file("own"), ownca.Config{APINames: []string{"127.0.0.1"}, Callers: []string{"operator", "gone"}, Life: 24 * time.Hour, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := ownca.Revoke(f.file("own"), []string{"gone"}, time.Now(), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"CROSSFADE_CA": "ca.pem", "CROSSFADE_CLIENT_CERT": "operator.pem", "CROSSFADE_CLIENT_KEY": "operator.key"} {
		t.Setenv(name, f.file("own/"+value))
	}
	ca, err := os.ReadFile(f.file("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca = append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw})...)
	for name, text := range map[string]string{
		"all-ca.pem": string(ca), "secrets/hook": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
		"rights.yaml": "grants:\n  - {subjects: [\"cert:operator\"], role: admin}\n",
	} {
		if err := os.WriteFile(f.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := f.config("crossfade.yaml", func(c *daemon.Config) {
		c.TLS = daemon.TLS{Cert: "own/" + ownca.API + ".pem", Key: "own/" + ownca.API + ".key", ClientCA: "own/" + ownca.Callers + ".pem", ClientCRL: "own/" + ownca.RevokedFile}
		c.Identity.Rights, c.Traces.Endpoint = "rights.yaml", collector
		c.Network.CAFile, c.Network.Dial = "all-ca.pem", maps.Clone(c.Network.Dial)
		c.Network.Dial["example.com"] = receiver.Listener.Addr().String()
	})
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, "\nwebhooks:\n  portal: {url: \"https://example.com/in\", secret: \"file:hook\"}\n"...)
	if err := os.WriteFile(config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	serve := f.serve("--config", config)
	ops := serve.says(`ops=(\S+)`)[1]
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api, "--json"}, f.rotateFlags("--watch")...)...)
	watch.says(`PHASE_OVERLAP`)
	// An incident, so that its time is told.
	f.ok("certificate", "block", f.file("new.cer"), "--reason", "a test")
	told := f.scrape(ops)
	if file := os.Getenv("CROSSFADE_SCRAPE"); file != "" {
		if err := os.WriteFile(file, []byte(told), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What an idle process tells later than the first scrape would be missed by a rate.
	absent := func(where, expr string) {
		t.Helper()
		for _, m := range regexp.MustCompile(`\b(?:crossfade|rotation|target|grpc_server|process|go)_[a-z_]+|\brotations\b`).FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, ""), -1) {
			if !strings.Contains(told, "\n"+m+"{") && !strings.Contains(told, "\n"+m+" ") {
				t.Errorf("%s reads %s, which a real run did not tell", where, m)
			}
		}
	}
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	var panels struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	read := func(path string, parse func([]byte, any) error, into any) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = parse(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read("../../deploy/prometheus/alerts.yaml", yaml.Unmarshal, &alerts)
	read("../../deploy/grafana/crossfade.json", json.Unmarshal, &panels)
	n := 0
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			n++
			absent(r.Alert, r.Expr)
		}
	}
	for _, p := range panels.Panels {
		for _, q := range p.Targets {
			n++
			absent("the panel "+p.Title, q.Expr)
		}
	}
	if n < 50 {
		t.Errorf("%d expressions are read, want those of all alerts and panels", n)
	}
}

// scrape returns the metrics of a process.
func (f *fleet) scrape(ops string) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/metrics", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		f.t.Fatalf("scraping: status %d, %v", resp.StatusCode, err)
	}
	return string(b)
}

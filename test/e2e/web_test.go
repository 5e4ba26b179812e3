package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// event is one server-sent event.
type event struct{ kind, id, data string }

// events reads them until the stream ends or see says that it is enough, and reports
// whether it was.
func events(body io.Reader, see func(event) bool) (enough bool) {
	var e event
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			e.kind = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if lines.Text() == "" {
				if e.data != "" && see(e) {
					return true
				}
				e = event{}
			}
		}
	}
	return false
}

// page is what a page that watches a rotation knows.
type page struct {
	t         *testing.T
	cursor    string
	state     string
	snapshots int
	revisions map[string]int64 // of tasks, by name
	outcomes  map[string]string
	told      int // tasks, after the snapshot
	ended     bool
}

// see takes in one event, and complains of what was told before.
func (p *page) see(e event) {
	p.t.Helper()
	switch e.kind {
	case "end":
		p.ended = true
		return
	case "error":
		return
	}
	var m struct {
		Snapshot *struct{ Rotation struct{ State string } }
		Rotation *struct{ State string }
		Tasks    *struct {
			Tasks []struct {
				Name, Revision, Outcome string
			}
		}
	}
	if err := json.Unmarshal([]byte(e.data), &m); err != nil {
		p.t.Fatalf("an event is no JSON: %v", err)
	}
	if e.id == "" {
		p.t.Errorf("an event without an id: %s", e.data)
	}
	p.cursor = e.id
	if m.Snapshot != nil {
		p.snapshots++
		p.state = m.Snapshot.Rotation.State
	}
	if m.Rotation != nil {
		p.state = m.Rotation.State
	}
	if m.Tasks == nil {
		return
	}
	for _, k := range m.Tasks.Tasks {
		n, err := strconv.ParseInt(k.Revision, 10, 64)
		if k.Revision != "" && err != nil {
			p.t.Fatalf("task %s has revision %q", k.Name, k.Revision)
		}
		if was, ok := p.revisions[k.Name]; ok && n <= was {
			p.t.Errorf("task %s is told again: revision %d after %d", k.Name, n, was)
		} else if ok {
			p.told++
		}
		p.revisions[k.Name], p.outcomes[k.Name] = n, k.Outcome
	}
}

// A page watches a rotation by server-sent events over TLS, with a client certificate.
// The service is killed in the middle and started again; the page comes back with the
// last id, as every EventSource does, and is told all that it has not been told, once.
func TestWeb_AWatchGoesOnAfterAKillWithoutGapOrRepeat(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 40, Seed: 11, Latency: 15 * time.Millisecond})
	f.ok("config", "certificates", "--dir", f.file("certificates"), "--api", "127.0.0.1,localhost", "--callers", "operator")
	for name, file := range map[string]string{"CROSSFADE_CA": "ca.pem", "CROSSFADE_CLIENT_CERT": "operator.pem", "CROSSFADE_CLIENT_KEY": "operator.key"} {
		t.Setenv(name, f.file("certificates/"+file))
	}
	if err := os.WriteFile(f.file("rights.yaml"), []byte("grants:\n  - {subjects: [\"cert:operator\"], role: admin}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api, web := freePort(t), freePort(t)
	config := f.config("crossfade.yaml", func(c *daemon.Config) {
		c.Listen.GRPC, c.Listen.Web, c.Identity.Rights, c.Workers.TaskSlots = api, web, "rights.yaml", 4
		c.TLS = daemon.TLS{Cert: "certificates/api.pem", Key: "certificates/api.key", ClientCA: "certificates/callers.pem"}
	})
	served := f.serve("--config", config)
	f.setUp()
	name := between(t, f.ok(f.rotateFlags("--plan-only")...), "plan of ", ":")
	client := f.webClient("operator")
	get := func(last string) io.Reader {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		path := "https://" + web + "/crossfade.v1.RotationService/WatchRotation?include_tasks=true&name=" + url.QueryEscape(name)
		r, err := http.NewRequestWithContext(ctx, "GET", path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			b, _ := io.ReadAll(resp.Body)
			t.Fatalf("watching: status %d, %s", resp.StatusCode, b)
		}
		return resp.Body
	}
	p := &page{t: t, revisions: map[string]int64{}, outcomes: map[string]string{}}
	first := get("")
	started := false
	enough := events(first, func(e event) bool {
		p.see(e)
		if !started && p.snapshots > 0 && len(p.revisions) > 0 {
			started = true
			f.ok("rotation", "start", name, "--digest", f.digest(name))
		}
		return p.told >= 10
	})
	if !enough || p.snapshots != 1 {
		t.Fatalf("the first watch ended after %d changes, %d snapshots", p.told, p.snapshots)
	}
	served.kill()
	// What was on its way when the service died may still come.
	events(first, func(e event) bool { p.see(e); return false })
	before := p.told
	f.serve("--config", config)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	events(get(p.cursor), func(e event) bool { p.see(e); return p.ended })
	if !p.ended || p.state != "STATE_SUCCEEDED" || p.snapshots != 1 || p.told <= before {
		t.Errorf("the watch ended: %v, in %s, after %d snapshots and %d+%d changes", p.ended, p.state, p.snapshots, before, p.told-before)
	}
	revisions := map[string]int64{}
	for _, k := range f.tasksByWeb(client, web, name) {
		if revisions[k.Name], _ = strconv.ParseInt(k.Revision, 10, 64); k.Outcome != p.outcomes[k.Name] {
			t.Errorf("%s is %s, and the watch told %s", k.Name, k.Outcome, p.outcomes[k.Name])
		}
	}
	if len(revisions) == 0 || !maps.Equal(revisions, p.revisions) {
		t.Errorf("the watch has a gap: of %d tasks it told %d, and the last states differ:\n%v\n%v", len(revisions), len(p.revisions), revisions, p.revisions)
	}
	t.Logf("%d tasks, %d changes before the kill, %d after it", len(revisions), before, p.told-before)
}

// webClient is an HTTP client with the certificate of a caller.
func (f *fleet) webClient(caller string) *http.Client {
	f.t.Helper()
	pair, err := tls.LoadX509KeyPair(f.file("certificates/"+caller+".pem"), f.file("certificates/"+caller+".key"))
	if err != nil {
		f.t.Fatal(err)
	}
	ca, err := os.ReadFile(f.file("certificates/ca.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		f.t.Fatal("no certificate in ca.pem")
	}
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair}},
		ForceAttemptHTTP2: true,
	}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

type webTask struct{ Name, Revision, Outcome string }

// tasksByWeb lists all tasks of a rotation.
func (f *fleet) tasksByWeb(client *http.Client, web, name string) (out []webTask) {
	f.t.Helper()
	for token := ""; ; {
		body := fmt.Sprintf(`{"parent":%q,"pageSize":50,"pageToken":%q}`, name, token)
		r, err := http.NewRequestWithContext(f.t.Context(), "POST", "https://"+web+"/crossfade.v1.RotationService/ListRotationTasks", strings.NewReader(body))
		if err != nil {
			f.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(r)
		if err != nil {
			f.t.Fatal(err)
		}
		var got struct {
			Tasks         []webTask
			NextPageToken string
		}
		err = json.NewDecoder(resp.Body).Decode(&got)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			f.t.Fatalf("listing tasks: status %d, %v", resp.StatusCode, err)
		}
		out = append(out, got.Tasks...)
		if token = got.NextPageToken; token == "" {
			return out
		}
	}
}

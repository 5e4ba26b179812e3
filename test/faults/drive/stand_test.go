package drive_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/test/faults/record"
	"github.com/crossfade-project/crossfade/test/faults/relay"
)

// crossfade is the program under test, built once.
var crossfade string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "crossfade-drive-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		crossfade = filepath.Join(dir, "crossfade")
		if msg, err := exec.Command("go", "build", "-o", crossfade, "../../../cmd/crossfade").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building crossfade: %v\n%s", err, msg)
			return 1
		}
		return m.Run()
	}())
}

// patience bounds every wait of these tests.
const patience = 90 * time.Second

var (
	begin    = time.Date(2016, 10, 31, 18, 0, 0, 0, time.UTC)
	switchAt = time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
)

// stand is one real service before an emulated cloud.
type stand struct {
	faults acs.Faults // of the cloud, as they were set last
	t      *testing.T
	dir    string
	clock  *clock.Clock
	cloud  *emulator.Cloud
	api    string
	world  record.World
}

func newStand(t *testing.T, c emulator.Config) *stand {
	t.Helper()
	s := &stand{t: t, dir: t.TempDir()}
	var err error
	if s.clock, err = clock.Create(s.file("clock.json"), begin, 1); err != nil {
		t.Fatal(err)
	}
	c.Now, c.SwitchAt = s.clock.Now, switchAt
	if s.cloud, err = emulator.Start(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.cloud.Close(ctx); err != nil {
			t.Errorf("closing the emulator: %v", err)
		}
	})
	if err := s.cloud.WriteDir(s.dir); err != nil {
		t.Fatal(err)
	}
	s.world = record.World{
		Seed: c.Seed, Old: sum(s.cloud.World().Old.DER), New: sum(s.cloud.World().New.DER), SwitchAt: switchAt,
		Identities: s.identities(),
	}
	s.serve()
	return s
}

func (s *stand) file(name string) string { return filepath.Join(s.dir, name) }

// serve starts the service, until the test ends, and waits until it serves.
func (s *stand) serve() {
	s.t.Helper()
	conf, err := yaml.MarshalWithOptions(daemon.Config{
		Data: "data", Clock: "clock.json", Secrets: daemon.Secrets{Dir: record.SecretsDir},
		Listen:  daemon.Listen{GRPC: "127.0.0.1:0", Ops: "127.0.0.1:0"},
		Network: daemon.Network{CAFile: "ca.pem", Dial: s.cloud.Dial()},
		Entra:   daemon.Entra{Authority: "https://login.microsoftonline.com/", DisableInstanceDiscovery: true},
		Workers: daemon.Workers{AckWait: 2 * time.Second},
	}, yaml.OmitZero())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.file("conf.yaml"), conf, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.MkdirAll(s.file(record.LogsDir), 0o700); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(s.dir, record.LogsDir, "serve"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(crossfade, "serve", "--config", s.file("conf.yaml"))
	out, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	read := make(chan struct{})
	serving := make(chan string, 1)
	go func() {
		defer close(read)
		re := regexp.MustCompile(`msg=serving grpc=(\S+)`)
		lines := bufio.NewScanner(io.TeeReader(out, log))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if found := re.FindStringSubmatch(lines.Text()); found != nil {
				serving <- found[1]
			}
		}
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // Gone already is what is wanted.
		<-read
		_ = cmd.Wait() // It was killed.
		_ = log.Close()
		if s.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			lines := strings.Split(string(b), "\n")
			s.t.Logf("the end of what the service said:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	select {
	case s.api = <-serving:
	case <-read:
		s.t.Fatal("the service ended before it served")
	case <-time.After(patience):
		s.t.Fatalf("the service does not serve after %s", patience)
	}
}

// identities are all that a target is expected for, as they stand.
func (s *stand) identities() []record.Identity {
	var out []record.Identity
	for _, x := range s.cloud.World().Expected() {
		if x.Host == "" {
			continue
		}
		id := record.Identity{Host: x.Host, Identity: x.Identity, Tenant: x.Tenant, Endpoint: strings.Join(x.Endpoints, " "), Ending: x.Ending}
		for _, k := range s.cloud.ACS().Identity(x.Host, x.Identity) {
			id.Keys = append(id.Keys, record.Key{
				ID: k.ID, Type: k.Type, Usage: k.Usage, SHA256: sum(k.Value), Start: k.Start, End: k.End,
				DisplayName: k.DisplayName, SystemReserved: k.SystemReserved,
			})
		}
		out = append(out, id)
	}
	return out
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// refuse makes ACS refuse every write of a key on these hosts.
func (s *stand) refuse(_ context.Context, hosts []string) error {
	for _, h := range hosts {
		for _, method := range []string{"POST", "DELETE"} {
			s.faults.Rules = append(s.faults.Rules, acs.FaultRule{Kind: acs.FaultInternal, Host: h, Method: method, PathContains: "ServiceIdentityKeys"})
		}
	}
	return s.tellACS()
}

func (s *stand) muddle(_ context.Context, hosts []string) error {
	for _, h := range hosts {
		s.faults.Rules = append(s.faults.Rules,
			acs.FaultRule{Kind: "504-applied", Host: h, Method: "POST", PathContains: "ServiceIdentityKeys", Probability: 0.6},
			acs.FaultRule{Kind: "slow", Host: h, Method: "POST", PathContains: "ServiceIdentityKeys", Delay: 900 * time.Millisecond})
	}
	return s.tellACS()
}

func (s *stand) tellACS() error {
	if err := s.faults.Check(); err != nil {
		return err
	}
	s.cloud.ACS().SetFaults(s.faults)
	return nil
}

// journal writes down what ACS was asked to change, and that nobody signed in and
// no fault but those of the lines was made.
func (s *stand) journal() error {
	var ws []record.Write
	for _, j := range s.cloud.ACS().Journal() {
		if j.Op != acs.OpToken && j.Op != acs.OpRead {
			ws = append(ws, record.Write{
				At: j.At.UTC(), Host: j.Host, Identity: j.Identity, Op: j.Op, KeyID: j.KeyID, SHA256: j.SHA256,
				Status: j.Status, Fault: j.Fault, Applied: j.Applied,
			})
		}
	}
	w, err := record.Create[record.Write](s.dir, record.WritesFile)
	if err != nil {
		return err
	}
	si, err := record.Create[record.SignIn](s.dir, record.SignInsFile)
	if err != nil {
		return err
	}
	f, err := record.Create[record.Fault](s.dir, record.FaultsFile)
	if err != nil {
		return err
	}
	return errors.Join(w.Add(ws...), w.Close(), si.Close(), f.Close())
}

// cutter cuts lines again and again, now one, now all.
type cutter struct {
	lines []*relay.Relay
	stop  chan struct{}
	done  sync.WaitGroup
	cuts  int // once it has ended
}

// newCutter makes two lines to the service, and cuts none before start.
func (s *stand) newCutter() *cutter {
	s.t.Helper()
	c := &cutter{stop: make(chan struct{})}
	for range 2 {
		r, err := relay.Listen("127.0.0.1:0", s.api)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = r.Close() }) // Nobody listens any more, which is what is wanted.
		c.lines = append(c.lines, r)
	}
	return c
}

func (c *cutter) addresses() []string {
	var out []string
	for _, r := range c.lines {
		out = append(out, r.Addr())
	}
	return out
}

// start cuts, holds up and mends until end.
func (c *cutter) start(seed uint64) {
	g := rand.New(rand.NewPCG(seed, 1))
	wait := func(from, to int) bool {
		t := time.NewTimer(time.Duration(from+g.IntN(to-from)) * time.Millisecond)
		defer t.Stop()
		select {
		case <-c.stop:
			return false
		case <-t.C:
			return true
		}
	}
	modes := []relay.Mode{relay.Cut, relay.Cut, relay.OneWay, relay.Stall, relay.Slow}
	c.done.Go(func() {
		for wait(20, 250) {
			which := g.IntN(3) // 2: both
			mode := modes[g.IntN(len(modes))]
			for i, r := range c.lines {
				if which == 2 || which == i {
					r.Set(mode)
				}
			}
			c.cuts++
			wait(10, 300)
			for _, r := range c.lines {
				r.Set(relay.Through)
			}
		}
	})
}

// end mends the lines for good.
func (c *cutter) end() {
	close(c.stop)
	c.done.Wait()
}

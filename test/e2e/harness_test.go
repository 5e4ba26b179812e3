// Package e2e_test runs Crossfade as a user would: the built program, as
// processes of their own, against the emulator.
package e2e_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// crossfade and natsServer are the programs under test, built once.
var crossfade, natsServer string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "crossfade-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		crossfade, natsServer = filepath.Join(dir, "crossfade"), filepath.Join(dir, "nats-server")
		for out, pkg := range map[string]string{crossfade: "../../cmd/crossfade", natsServer: "github.com/nats-io/nats-server/v2"} {
			build := exec.Command("go", "build", "-o", out, pkg)
			if msg, err := build.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "building %s: %v\n%s", pkg, err, msg)
				return 1
			}
		}
		// Those that run side by side wait for processes more than they work: three at once
		// also where there are two cores. All of the package has ten minutes.
		flag.Parse()
		if at := flag.Lookup("test.parallel"); at.Value.String() == at.DefValue {
			if err := at.Value.Set("3"); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return m.Run()
	}())
}

// process is a running program. Its output is kept, and told line by line to
// whoever waits for one.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and all output is read

	mu     sync.Mutex
	output bytes.Buffer
	wake   chan struct{} // closed and made anew at each line
	err    error         // of its end
}

// start runs a program until the test ends.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: filepath.Base(path) + " " + args[0], cmd: exec.Command(path, args...), done: make(chan struct{}), wake: make(chan struct{})}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.output.WriteString(lines.Text() + "\n")
			close(p.wake)
			p.wake = make(chan struct{})
			p.mu.Unlock()
		}
		err := p.cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, p.said())
		}
	})
	return p
}

// said returns all output so far.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// says waits for a line that matches, and returns its submatches.
func (p *process) says(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		found, wake := re.FindStringSubmatch(p.output.String()), p.wake
		p.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-wake:
		case <-p.done:
			if found := re.FindStringSubmatch(p.said()); found != nil {
				return found
			}
			p.t.Fatalf("%s ended without saying %q:\n%s", p.name, pattern, p.said())
		case <-deadline:
			p.t.Fatalf("%s did not say %q in %s:\n%s", p.name, pattern, patience, p.said())
		}
	}
}

// ends waits for the end of the process and returns its exit status.
func (p *process) ends() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end in %s:\n%s", p.name, patience, p.said())
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the process as a power cut does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // Gone already is what is wanted.
	<-p.done
}

// stop asks the process to end and returns how long that took.
func (p *process) stop() time.Duration {
	p.t.Helper()
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not stop:\n%s", p.name, p.said())
	}
	return time.Since(begun)
}

// fleet is an emulated cloud in this process and the files that lead to it.
type fleet struct {
	t     *testing.T
	dir   string
	clock *clock.Clock
	cloud *emulator.Cloud
	api   string // address of the service, once it serves
	// program is what serves and asks. Empty: the program under test.
	program string
}

// newFleet starts an emulated cloud of n tenants.
func newFleet(t *testing.T, c emulator.Config) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir()}
	var err error
	if f.clock, err = clock.Create(filepath.Join(f.dir, "clock.json"), time.Date(2016, 10, 31, 18, 0, 0, 0, time.UTC), 1); err != nil {
		t.Fatal(err)
	}
	c.Now, c.SwitchAt = f.clock.Now, switchAt
	if f.cloud, err = emulator.Start(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := f.cloud.Close(ctx); err != nil {
			t.Errorf("closing the emulator: %v", err)
		}
	})
	if err := f.cloud.WriteDir(f.dir); err != nil {
		t.Fatal(err)
	}
	return f
}

// switchAt is when CRM switches to the new certificate.
var switchAt = time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)

// config writes a configuration file that leads to the cloud.
func (f *fleet) config(name string, change func(*daemon.Config)) string {
	f.t.Helper()
	c := daemon.Config{
		Data: "data", Clock: "clock.json", Secrets: daemon.Secrets{Dir: "secrets"}, Reflection: true,
		Listen:  daemon.Listen{GRPC: "127.0.0.1:0", Ops: "127.0.0.1:0"},
		Network: daemon.Network{CAFile: "ca.pem", Dial: f.cloud.Dial()},
		Entra:   daemon.Entra{Authority: "https://login.microsoftonline.com/", DisableInstanceDiscovery: true},
		Workers: daemon.Workers{AckWait: 2 * time.Second},
	}
	change(&c)
	b, err := yaml.MarshalWithOptions(c, yaml.OmitZero())
	if err != nil {
		f.t.Fatal(err)
	}
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// serve starts the service and waits until it serves.
func (f *fleet) serve(args ...string) *process {
	f.t.Helper()
	p := start(f.t, cmp.Or(f.program, crossfade), append([]string{"serve"}, args...)...)
	f.api = p.says(`msg=serving grpc=(\S+)`)[1]
	return p
}

// run runs a command of the client to its end, and returns what it printed and
// its exit status.
func (f *fleet) run(args ...string) (string, int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, cmp.Or(f.program, crossfade), append([]string{"--address", f.api}, args...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatalf("crossfade %s: %v", strings.Join(args, " "), err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// ok runs a command that must succeed.
func (f *fleet) ok(args ...string) string {
	f.t.Helper()
	out, status := f.run(args...)
	if status != 0 {
		f.t.Fatalf("crossfade %s: exit status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// file returns the path of one of the cloud's files.
func (f *fleet) file(name string) string { return filepath.Join(f.dir, name) }

// setUp imports the tenants and adds the new certificate.
func (f *fleet) setUp() {
	f.t.Helper()
	f.ok("tenants", "import", f.file("tenants.yaml"))
	f.ok("certificate", "add", f.file("new.cer"))
}

// rotateFlags rotates to the new certificate and retires the old one at the
// switch.
func (f *fleet) rotateFlags(more ...string) []string {
	return append([]string{
		"rotate", "--certificate", f.file("new.cer"), "--replaces", "same-subject",
		"--retire-not-before", switchAt.Format(time.RFC3339),
	}, more...)
}

// advance pushes the clock of all processes on.
func (f *fleet) advance(d time.Duration) {
	f.t.Helper()
	if err := f.clock.Advance(d); err != nil {
		f.t.Fatal(err)
	}
}

// objects reads JSON lines.
func objects(t *testing.T, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("not a JSON object: %q", line)
		}
		all = append(all, o)
	}
	return all
}

// freePort returns a loopback address that nobody listens at now.
func freePort(t *testing.T) string {
	t.Helper()
	// Below the ports that systems give to callers (32768 and up on Linux, 49152 and up
	// elsewhere): whoever calls a server again and again that is about to come back may be
	// given its very port, and then talks to itself and keeps the server out.
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close() // It was to see that nobody has it.
		return addr
	}
	t.Fatal("no port is free between 12000 and 32000")
	return ""
}

// Package compose_test holds compose.yaml to the program that it starts: every
// command line, every configuration file and every version in it.
package compose_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// composeFile is as much of compose.yaml as these tests look at.
type composeFile struct {
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
}

type service struct {
	Image       string            `yaml:"image"`
	User        string            `yaml:"user"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	Profiles    []string          `yaml:"profiles"`
	Command     []string          `yaml:"command"`
	Volumes     []string          `yaml:"volumes"`
	Ports       []string          `yaml:"ports"`
	Networks    []string          `yaml:"networks"`
	NetworkMode string            `yaml:"network_mode"`
	Environment map[string]string `yaml:"environment"`
	DependsOn   any               `yaml:"depends_on"`
	Deploy      struct {
		Replicas int `yaml:"replicas"`
	} `yaml:"deploy"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

const root = "../.."

// crossfade is the program under test, built once.
var crossfade string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "crossfade-compose-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		crossfade = filepath.Join(dir, "crossfade")
		if msg, err := exec.Command("go", "build", "-o", crossfade, root+"/cmd/crossfade").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, msg)
			return 1
		}
		return m.Run()
	}())
}

func read(t *testing.T) composeFile {
	t.Helper()
	b, err := os.ReadFile(root + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c composeFile
	if err := yaml.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) == 0 {
		t.Fatal("compose.yaml has no services")
	}
	return c
}

// ours returns the services that run the program, in order of their names.
func (c composeFile) ours() []string {
	return c.named(func(s service) bool { return strings.HasPrefix(s.Image, "crossfade:") })
}

// brokers returns the services that run NATS.
func (c composeFile) brokers() []string {
	return c.named(func(s service) bool { return strings.HasPrefix(s.Image, "nats:") })
}

func (c composeFile) named(is func(service) bool) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		if is(c.Services[name]) {
			out = append(out, name)
		}
	}
	return out
}

// outside returns where a path of a container is on this machine. What lies in a
// volume lies in volumes.
func (s service) outside(t *testing.T, path, volumes string) string {
	t.Helper()
	for _, v := range s.Volumes {
		v = strings.NewReplacer("${CROSSFADE_SECRETS:-./secrets}", "./secrets").Replace(v)
		parts := strings.Split(v, ":")
		rest, ok := strings.CutPrefix(path, parts[1])
		if !ok || (rest != "" && !strings.HasPrefix(rest, "/")) {
			continue
		}
		if strings.HasPrefix(parts[0], ".") {
			return filepath.Join(root, parts[0], rest)
		}
		return filepath.Join(volumes, parts[0], rest)
	}
	t.Fatalf("%s is in none of the mounts %v", path, s.Volumes)
	return ""
}

// run runs the program and returns what it said.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, crossfade, args...).CombinedOutput()
	return string(out), err
}

func TestCompose_IsWhatItSaysItIs(t *testing.T) {
	c := read(t)
	if got := c.brokers(); len(got) != 3 {
		t.Errorf("brokers are %v, want three", got)
	}
	count := map[string]int{}
	for _, name := range c.ours() {
		s := c.Services[name]
		if len(s.Profiles) == 0 {
			count[s.Command[0]] += max(s.Deploy.Replicas, 1)
		}
		if s.User == "" || strings.HasPrefix(s.User, "0") || strings.HasPrefix(s.User, "root") {
			t.Errorf("%s runs as %q, want a numeric user that is not root", name, s.User)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s has read_only %t and drops %v, want true and ALL", name, s.ReadOnly, s.CapDrop)
		}
		if secret := slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.Contains(v, ":/secrets") }); secret != (name == "work") {
			t.Errorf("%s mounts secrets: %t, want that of workers only", name, secret)
		}
	}
	if count["serve"] != 2 || count["work"] < 2 {
		t.Errorf("there are %v processes, want two that serve and two or more that work", count)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		for _, p := range c.Services[name].Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %q, want loopback only", name, p)
			}
		}
	}
	for _, name := range c.brokers() {
		if s := c.Services[name]; !slices.Equal(s.Networks, []string{"broker"}) || !c.Networks["broker"].Internal || len(s.Ports) > 0 {
			t.Errorf("%s is in %v and publishes %v, want the internal network alone", name, s.Networks, s.Ports)
		}
	}
}

// TestCompose_MountsExist: a file that is not there would be made as a folder.
func TestCompose_MountsExist(t *testing.T) {
	c := read(t)
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		for _, v := range c.Services[name].Volumes {
			from, _, _ := strings.Cut(v, ":")
			switch {
			case strings.HasPrefix(from, "./"):
				info, err := os.Stat(filepath.Join(root, from))
				if folder := from == "./deploy/prometheus"; err != nil || info.IsDir() != folder || (!folder && !info.Mode().IsRegular()) {
					t.Errorf("%s mounts %s, which is not what it mounts it as: %v", name, from, err)
				}
			case !strings.HasPrefix(from, "${"):
				if _, ok := c.Volumes[from]; !ok {
					t.Errorf("%s mounts the volume %s, which is not declared", name, from)
				}
			}
		}
	}
}

func TestCompose_CommandsAreUnderstood(t *testing.T) {
	c := read(t)
	volumes := t.TempDir()
	certificates(t, c, volumes)
	for _, name := range c.ours() {
		t.Run(name, func(t *testing.T) {
			s := c.Services[name]
			if out, err := run(t, append(slices.Clone(s.Command), "--help")...); err != nil {
				t.Errorf("crossfade %s --help: %v\n%s", strings.Join(s.Command, " "), err, out)
			}
			if h := s.Healthcheck.Test; len(h) > 0 {
				if h[0] != "CMD" || h[1] != "/crossfade" {
					t.Fatalf("the health check is %v, want CMD /crossfade …: the image has nothing else", h)
				}
				if out, err := run(t, append(slices.Clone(h[2:]), "--help")...); err != nil {
					t.Errorf("health check crossfade %s --help: %v\n%s", strings.Join(h[2:], " "), err, out)
				}
			}
			i := slices.Index(s.Command, "--config")
			if i < 0 {
				return
			}
			args := append(slices.Clone(s.Command), "--check")
			args[i+1] = s.outside(t, s.Command[i+1], volumes)
			if strings.HasPrefix(args[i+1], volumes) {
				emulate(t, c, volumes)
			} else {
				args[i+1] = here(t, args[i+1], volumes)
			}
			if out, err := run(t, "config", "check", "--config", args[i+1]); err != nil {
				t.Errorf("crossfade config check of %s: %v\n%s", s.Command[i+1], err, out)
			}
			if _, err := daemon.Load(args[i+1]); err != nil {
				t.Errorf("Load(%s): %v", args[i+1], err)
			}
			if out, err := run(t, args...); err != nil {
				t.Errorf("crossfade %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		})
	}
}

// emulate runs the emulator's command line until it has written its files into
// the volume, as the container would.
func emulate(t *testing.T, c composeFile, volumes string) {
	t.Helper()
	s := c.Services["emulator"]
	args := append([]string{"--json"}, s.Command...)
	for flag, value := range map[string]string{
		"--dir":    s.outside(t, s.Command[slices.Index(s.Command, "--dir")+1], volumes),
		"--listen": "127.0.0.1:0", "--tenants": "3",
	} {
		args[slices.Index(args, flag)+1] = value
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, crossfade, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	cancel()
	if werr := cmd.Wait(); err != nil {
		t.Fatalf("crossfade %s ended with %v and said %q: %v", strings.Join(args, " "), werr, line, err)
	}
}

// TestCompose_TheAPIAndTheWorkersShareABroker: with two brokers the one would
// never see what the other was told.
func TestCompose_TheAPIAndTheWorkersShareABroker(t *testing.T) {
	c := read(t)
	var urls []string
	for _, name := range c.ours() {
		s := c.Services[name]
		i := slices.Index(s.Command, "--config")
		if i < 0 || len(s.Profiles) > 0 {
			continue
		}
		cfg, err := daemon.Load(s.outside(t, s.Command[i+1], t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, cfg.NATS.URL)
		if cfg.NATS.Replicas != len(c.brokers()) {
			t.Errorf("%s wants %d replicas, there are %d brokers", name, cfg.NATS.Replicas, len(c.brokers()))
		}
		if !slices.Contains(s.Networks, "broker") {
			t.Errorf("%s is in %v, want also the brokers' network", name, s.Networks)
		}
	}
	want := make([]string, 0, len(c.brokers()))
	for _, b := range c.brokers() {
		want = append(want, "tls://"+b+":4222")
	}
	for _, u := range urls {
		if u != strings.Join(want, ",") {
			t.Errorf("nats.url is %q, want %q", u, strings.Join(want, ","))
		}
	}
}

func TestCompose_TheBrokersAreConfigured(t *testing.T) {
	c := read(t)
	volumes := t.TempDir()
	certificates(t, c, volumes)
	mod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.brokers() {
		s := c.Services[name]
		version := strings.TrimSuffix(strings.TrimPrefix(s.Image, "nats:"), "-alpine")
		if !strings.Contains(string(mod), "github.com/nats-io/nats-server/v2 v"+version+"\n") {
			t.Errorf("%s is %s, and go.mod pins another version", name, s.Image)
		}
		o := natsOptions(t, name, s, volumes)
		for what, c := range map[string]*tls.Config{"clients": o.TLSConfig, "brokers": o.Cluster.TLSConfig} {
			if c == nil || c.ClientAuth != tls.RequireAndVerifyClientCert {
				t.Errorf("%s does not ask %s for a certificate", name, what)
			}
		}
		if o.ServerName != name || !o.JetStream || !o.SyncAlways || o.StoreDir != "/data" || o.Cluster.Name == "" || len(o.Routes) != 3 {
			t.Errorf("%s: name %q, JetStream %t, sync always %t, store %q, cluster %q of %d", name,
				o.ServerName, o.JetStream, o.SyncAlways, o.StoreDir, o.Cluster.Name, len(o.Routes))
		}
		// A reload, by which new certificates are taken, reads the file without the command line.
		if o, err := server.ProcessConfigFile(o.ConfigFile); err != nil || o.ServerName != name {
			t.Errorf("%s: its file alone has the name %q (%v), so that it cannot be read again", name, o.ServerName, err)
		}
		if !slices.Contains(s.Volumes, name+":/data") {
			t.Errorf("%s mounts %v, want its own volume at /data", name, s.Volumes)
		}
	}
}

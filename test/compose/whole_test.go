package compose_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// certificates runs the command line that makes the certificates into the volume, as
// the container would. A second run, as at a second start, changes nothing.
func certificates(t *testing.T, c composeFile, volumes string) {
	t.Helper()
	s := c.Services["certificates"]
	for k, v := range s.Environment {
		t.Setenv(k, v)
	}
	args := slices.Clone(s.Command)
	i := slices.Index(args, "--dir")
	args[i+1] = s.outside(t, args[i+1], volumes)
	for range 2 {
		if out, err := run(t, args...); err != nil {
			t.Fatalf("crossfade %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// here returns a copy of a file of a container that leads to the volumes where they
// are on this machine, and changes besides what replace says.
func here(t *testing.T, path, volumes string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secrets := filepath.Join(volumes, "secrets")
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	r := strings.NewReplacer(append(replace, `"/certificates/`, `"`+filepath.Join(volumes, "certificates")+"/", `"/certificates"`, `"`+filepath.Join(volumes, "certificates")+`"`, `"/secrets"`, `"`+secrets+`"`)...)
	dir := t.TempDir()
	to := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(to, []byte(r.Replace(string(b))), 0o600); err != nil {
		t.Fatal(err)
	}
	rights, err := os.ReadFile(filepath.Join(filepath.Dir(path), "rights.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rights.yaml"), rights, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// natsOptions returns what nats-server makes of a broker's command line and file.
func natsOptions(t *testing.T, name string, s service, volumes string, replace ...string) *server.Options {
	t.Helper()
	for k, v := range s.Environment {
		t.Setenv(k, v)
	}
	args := slices.Clone(s.Command)
	i := slices.Index(args, "--config")
	args[i+1] = here(t, s.outside(t, args[i+1], volumes), volumes, replace...)
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var err error
	unexpected := func() { err = errors.New("asks for version or help") }
	o, oerr := server.ConfigureOptions(fs, args, unexpected, unexpected, unexpected)
	if err = errors.Join(err, oerr); err != nil {
		t.Fatalf("nats-server %v: %v", args, err)
	}
	return o
}

// free returns n loopback addresses that nobody listens at now.
func free(t *testing.T, n int) []string {
	t.Helper()
	out := make([]string, n)
	for i := range out {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		out[i] = l.Addr().String()
	}
	return out
}

// process runs the program until the test ends and returns the first submatch of a
// line that it says.
func process(t *testing.T, pattern string, args ...string) string {
	t.Helper()
	cmd := exec.Command(crossfade, args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, ended := make(chan string, 1), make(chan struct{})
	var all strings.Builder
	go func() {
		defer close(ended)
		re := regexp.MustCompile(pattern)
		for lines := bufio.NewScanner(said); lines.Scan(); {
			fmt.Fprintln(&all, lines.Text())
			if m := re.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // Gone already is what is wanted.
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("crossfade %v said\n%s", args, all.String())
		}
	})
	select {
	case m := <-found:
		return m
	case <-ended:
		t.Fatalf("crossfade %v ended", args)
	case <-time.After(90 * time.Second):
		t.Fatalf("crossfade %v did not say %q in time", args, pattern)
	}
	return ""
}

// The brokers are started from their own files, and the API and a worker from theirs;
// only addresses and folders are others. They find each other over TLS, the health
// check of compose.yaml passes, and who has no certificate is not let in.
func TestCompose_TheWholeStarts(t *testing.T) {
	c := read(t)
	volumes := t.TempDir()
	certificates(t, c, volumes)
	brokers := c.brokers()
	clients, routes, https := free(t, 3), free(t, 3), free(t, 3)
	var replace []string
	for i, b := range brokers {
		replace = append(replace, b+":4222", clients[i], b+":6222", routes[i])
	}
	for i, b := range brokers {
		o := natsOptions(t, b, c.Services[b], volumes, append(slices.Clone(replace),
			"0.0.0.0:4222", clients[i], "0.0.0.0:6222", routes[i], "127.0.0.1:8222", https[i], `"/data"`, `"`+t.TempDir()+`"`)...)
		o.NoSigs, o.NoLog = true, true
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatalf("starting %s: %v", b, err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	}

	addresses := append(slices.Clone(replace), "0.0.0.0:7443", "127.0.0.1:0", "0.0.0.0:7444", "127.0.0.1:0", "format: json", "format: text")
	api, work := c.Services["api-1"], c.Services["work"]
	for _, s := range []*service{&api, &work} {
		i := slices.Index(s.Command, "--config")
		s.Command = slices.Clone(s.Command)
		s.Command[i+1] = here(t, s.outside(t, s.Command[i+1], volumes), volumes, addresses...)
	}
	address := process(t, `msg=serving grpc=(\S+)`, api.Command...)
	process(t, `msg=(working)`, work.Command...)

	// The health check, with the container's environment.
	health := func(env ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, crossfade, append([]string{"--address", address}, api.Healthcheck.Test[2:]...)...)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	env := func(caller string) (out []string) {
		for name, value := range api.Environment {
			value = strings.Replace(value, "/certificates/", filepath.Join(volumes, "certificates")+"/", 1)
			out = append(out, name+"="+strings.Replace(value, "/health.", "/"+caller+".", 1))
		}
		return out
	}
	if out, err := health(env("health")...); err != nil {
		t.Errorf("the health check: %v\n%s", err, out)
	}
	if out, err := health(append(env("health"), "CROSSFADE_CA=")...); err == nil {
		t.Errorf("the API answers without TLS: %s", out)
	}
	if out, err := health(append(env("health"), "CROSSFADE_CLIENT_CERT=", "CROSSFADE_CLIENT_KEY=")...); err == nil {
		t.Errorf("the API answers who does not say who they are: %s", out)
	}
	if out, err := health(env("client")...); err == nil {
		t.Errorf("the API answers a caller whom the brokers' authority made: %s", out)
	}
	for caller, may := range map[string]bool{"operator": true, "approver": false, "health": false} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, crossfade, "--address", address, "certificate", "block", strings.Repeat("ab", 20), "--reason", "a trial")
		cmd.Env = append(os.Environ(), env(caller)...)
		out, err := cmd.CombinedOutput()
		cancel()
		if (err == nil) != may {
			t.Errorf("%s blocks a certificate: %v, want it to be allowed: %t\n%s", caller, err, may, out)
		}
	}
	config := work.Command[slices.Index(work.Command, "--config")+1]
	if out, err := run(t, "config", "check", "--online", "--config", config); err != nil {
		t.Errorf("config check --online: %v\n%s", err, out)
	}
	// Without a certificate of our own.
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(t.TempDir(), "bare.yaml")
	text := regexp.MustCompile(`(?m)^  (cert|key): .*\n`).ReplaceAllString(string(b), "")
	if err := os.WriteFile(bare, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "config", "check", "--online", "--config", bare); err == nil {
		t.Errorf("config check --online without a certificate: want an error, it said %s", out)
	}
	signed(t, api.Command[slices.Index(api.Command, "--config")+1])
	// A back-up of what runs, as docs/backup.md has it.
	if out, err := run(t, "store", "backup", "--config", config, "--out", filepath.Join(t.TempDir(), "backup")); err != nil {
		t.Errorf("store backup: %v\n%s", err, out)
	}
}

// signed waits until what was done above is signed in the audit log, with the key that
// was made with the certificates, and verifies it.
func signed(t *testing.T, config string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		out, err := run(t, "audit", "verify", "--config", config)
		if err != nil {
			t.Errorf("audit verify: %v\n%s", err, out)
			return
		}
		if regexp.MustCompile(`[1-9][0-9]* of them signed`).MatchString(out) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("after a minute no record is signed:\n%s", out)
			return
		}
	}
}

// Prometheus asks every process, at the address at which it answers.
func TestCompose_PrometheusFindsEveryProcess(t *testing.T) {
	c := read(t)
	b, err := os.ReadFile(root + "/deploy/prometheus/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		ScrapeConfigs []struct {
			Static []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
			DNS []struct {
				Names []string `yaml:"names"`
				Port  int      `yaml:"port"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, sc := range p.ScrapeConfigs {
		for _, s := range sc.Static {
			targets = append(targets, s.Targets...)
		}
		for _, d := range sc.DNS {
			for _, n := range d.Names {
				targets = append(targets, fmt.Sprintf("%s:%d", n, d.Port))
			}
		}
	}
	var want []string
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
		_, port, _ := net.SplitHostPort(cfg.Listen.Ops)
		want = append(want, name+":"+port)
		if !slices.ContainsFunc(s.Networks, func(n string) bool { return slices.Contains(c.Services["prometheus"].Networks, n) }) {
			t.Errorf("%s is in none of the networks of Prometheus", name)
		}
	}
	slices.Sort(targets)
	if !slices.Equal(targets, want) {
		t.Errorf("Prometheus asks %v, want %v", targets, want)
	}
}

// Package world is a small cloud of real processes that a seed breaks: three
// NATS servers that keep three replicas, two APIs, four workers, and the emulated
// ACS with CRM signing in to it, each a process of its own, and a line that can be
// cut between every two that talk.
package world

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/test/faults/record"
	"github.com/crossfade-project/crossfade/test/faults/relay"
)

// Options of a [World]. All but Previous and Log are required.
type Options struct {
	Dir        string // of the run; there and empty
	Seed       int64
	Tenants    int
	Number     int    // tells worlds of one machine apart, 0 to 60,000: it makes their loopback address
	Self       string // the program that runs the emulator when its first argument is "emulator"
	Crossfade  string // the program under test
	NATSServer string
	// Previous is an older program under test: half of the workers and one API begin
	// with it, and are started as the new one when they are killed. Empty: none.
	Previous string
	Log      func(format string, args ...any)
}

// World is running processes. Stop ends them.
type World struct {
	o        Options
	ip       string
	emulator *emulatorProcess
	seeded   record.World
	dial     map[string]string
	procs    map[string]*process
	relays   map[string]*relay.Relay
	order    []string // of starting
	faults   *record.Log[record.Fault]
	clock    *clock.Clock

	brokers sync.Mutex // held while a NATS node is out of order, or catches up

	mu    sync.Mutex // guards what follows
	rules []rule     // ACS's faults now
	tally map[string]*Tally
}

// Tally counts what was done of one kind of fault.
type Tally struct {
	Kind     string
	Injected int
	Mended   int
	Skipped  int           // a NATS node was out of order still
	Lasted   time.Duration // all together
}

const startLimit = 40 * time.Second

// Start starts everything and returns when all of it answers.
func Start(ctx context.Context, o Options) (*World, error) {
	w := &World{
		o: o, ip: fmt.Sprintf("127.%d.%d.1", 10+o.Number/250, 1+o.Number%250),
		procs: map[string]*process{}, relays: map[string]*relay.Relay{}, tally: map[string]*Tally{},
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(err, w.Stop(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func (w *World) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(w.o.Dir, record.LogsDir), 0o700); err != nil {
		return err
	}
	var err error
	if w.faults, err = record.Create[record.Fault](w.o.Dir, record.FaultsFile); err != nil {
		return err
	}
	for _, name := range append([]string{"emulator"}, append(names("api", apis), names("worker", workers)...)...) {
		c, err := clock.Create(w.clockFile(name), Begin, 1)
		if err != nil {
			return err
		}
		if name == "emulator" {
			w.clock = c
		}
	}
	if err := w.startEmulator(ctx); err != nil {
		return err
	}
	if err := w.startNATS(ctx); err != nil {
		return err
	}
	return w.startCrossfade(ctx)
}

func (w *World) clockFile(name string) string { return filepath.Join(w.o.Dir, name+".clock") }

func (w *World) addr(port int) string { return fmt.Sprintf("%s:%d", w.ip, port) }

// Ports of a world's address. Those of relays follow from who speaks to whom.
const (
	emulatorPort = 9443
	natsPort     = 4222
	routePort    = 6222
	healthPort   = 8222
	apiPort      = 7443
	opsPort      = 7543
	portalPort   = 8443
	linePort     = 10000
)

// line makes a relay and returns its address.
func (w *World) line(name, target string) (string, error) {
	at := w.addr(linePort + len(w.relays))
	r, err := relay.Listen(at, target)
	if err != nil {
		return "", fmt.Errorf("making the line %s: %w", name, err)
	}
	w.relays[name] = r
	return at, nil
}

func (w *World) startEmulator(ctx context.Context) error {
	p := newProcess(w.o.Dir, "emulator", "", w.o.Self, "emulator", "--dir", w.o.Dir,
		"--seed", fmt.Sprint(w.o.Seed), "--tenants", fmt.Sprint(w.o.Tenants), "--listen", w.addr(emulatorPort))
	w.emulator = &emulatorProcess{p: p, one: make(chan struct{}, 1)}
	p.mu.Lock()
	err := p.startLocked(func(c *exec.Cmd) (err error) {
		if w.emulator.in, err = c.StdinPipe(); err != nil {
			return err
		}
		out, err := c.StdoutPipe()
		w.emulator.out = bufio.NewScanner(out)
		w.emulator.out.Buffer(nil, 64<<20)
		return err
	})
	p.hold = true // A world does not begin again.
	p.mu.Unlock()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.kill() })
	defer stop()
	a, err := w.emulator.read()
	if err != nil {
		return err
	}
	w.emulator.one <- struct{}{}
	w.seeded, w.dial = *a.World, a.Dial
	return copySecrets(w.o.Dir)
}

// natsLimit is the disk quota of one NATS node: enough for a run, and soon full.
const natsLimit = 160 << 20

func (w *World) startNATS(ctx context.Context) error {
	for i := range natsNodes {
		var routes []string
		for j := range natsNodes {
			if i == j {
				continue
			}
			at, err := w.line(fmt.Sprintf("nats%d-nats%d", i, j), w.addr(routePort+j))
			if err != nil {
				return err
			}
			routes = append(routes, "nats://"+at)
		}
		name := fmt.Sprintf("nats%d", i)
		conf := fmt.Sprintf(`server_name: %q
listen: %q
http: %q
jetstream { store_dir: %q, sync_interval: always, max_file_store: %d }
cluster { name: crossfade, listen: %q, no_advertise: true, routes: [%q, %q], ping_interval: "2s" }
ping_interval: "2s"
ping_max: 3
`, name, w.addr(natsPort+i), w.addr(healthPort+i), filepath.Join(w.o.Dir, name), natsLimit, w.addr(routePort+i), routes[0], routes[1])
		path := filepath.Join(w.o.Dir, name+".conf")
		if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
			return err
		}
		if err := w.run(name, "Server is ready", w.o.NATSServer, "-c", path); err != nil {
			return err
		}
	}
	for _, name := range names("nats", natsNodes) {
		if err := w.procs[name].says(ctx); err != nil {
			return err
		}
	}
	return nil
}

// run starts a process that is among those that are broken.
func (w *World) run(name, ready, path string, args ...string) error {
	p := newProcess(w.o.Dir, name, ready, path, args...)
	w.procs[name], w.order = p, append(w.order, name)
	return p.start(nil)
}

func (w *World) startCrossfade(ctx context.Context) error {
	for i, name := range names("api", apis) {
		conf, err := w.config(name, func(c *daemon.Config) { c.Listen.GRPC = w.addr(apiPort + i) })
		if err != nil {
			return err
		}
		if err := w.run(name, "msg=serving", w.program(i == 0), "serve", "--workers", "0", "--config", conf); err != nil {
			return err
		}
		r, err := relay.Listen(w.addr(portalPort+i), w.addr(apiPort+i))
		if err != nil {
			return err
		}
		w.relays["portal-"+name] = r
	}
	if err := w.procs["api0"].says(ctx); err != nil { // It makes the streams.
		return err
	}
	for i, name := range names("worker", workers) {
		conf, err := w.config(name, func(c *daemon.Config) { c.Workers.TaskSlots, c.Workers.PlanSlots = 6, 6 })
		if err != nil {
			return err
		}
		if err := w.run(name, "msg=working", w.program(i%2 == 0), "work", "--config", conf); err != nil {
			return err
		}
	}
	for _, name := range w.order {
		if err := w.procs[name].says(ctx); err != nil {
			return err
		}
	}
	return nil
}

// program is what a process begins with.
func (w *World) program(older bool) string {
	if older && w.o.Previous != "" {
		return w.o.Previous
	}
	return w.o.Crossfade
}

// config writes the configuration of an API or a worker, whose lines to all others
// are its own.
func (w *World) config(name string, change func(*daemon.Config)) (string, error) {
	var urls []string
	for i := range natsNodes {
		at, err := w.line(fmt.Sprintf("%s-nats%d", name, i), w.addr(natsPort+i))
		if err != nil {
			return "", err
		}
		urls = append(urls, "nats://"+at)
	}
	acs, err := w.line(name+"-acs", w.addr(emulatorPort))
	if err != nil {
		return "", err
	}
	dial := map[string]string{}
	for host := range w.dial {
		dial[host] = acs
	}
	c := daemon.Config{
		Clock: name + ".clock", Secrets: daemon.Secrets{Dir: record.SecretsDir},
		Listen:  daemon.Listen{GRPC: "127.0.0.1:0", Ops: "127.0.0.1:0"},
		NATS:    daemon.NATS{URL: strings.Join(urls, ","), Replicas: 3, MaxStore: 64 << 20},
		Network: daemon.Network{CAFile: "ca.pem", Dial: dial},
		Entra:   daemon.Entra{Authority: "https://login.microsoftonline.com/", DisableInstanceDiscovery: true},
		Workers: daemon.Workers{AckWait: 2 * time.Second},
		Log:     daemon.Log{Format: "text", Level: "debug"},
	}
	change(&c)
	b, err := yaml.MarshalWithOptions(c, yaml.OmitZero())
	if err != nil {
		return "", err
	}
	path := filepath.Join(w.o.Dir, name+".yaml")
	return path, os.WriteFile(path, b, 0o600)
}

// APIs are the addresses at which portals reach the two APIs.
func (w *World) APIs() []string {
	var out []string
	for i := range apis {
		out = append(out, w.addr(portalPort+i))
	}
	return out
}

// Now is the true time: the emulated cloud's.
func (w *World) Now() time.Time { return w.clock.Now() }

// Advance pushes every clock on.
func (w *World) Advance(d time.Duration) error {
	var errs []error
	for _, name := range append(append(names("api", apis), names("worker", workers)...), "emulator") {
		errs = append(errs, clock.AdvanceFile(w.clockFile(name), d))
	}
	return errors.Join(errs...)
}

// Seeded is who is there, and what stood where before the run.
func (w *World) Seeded() record.World { return w.seeded }

// TenantsFile is the file of the tenants that a run begins with.
func (w *World) TenantsFile() string { return filepath.Join(w.o.Dir, "tenants.yaml") }

// NewCertificate is the file of the certificate that is rotated to.
func (w *World) NewCertificate() string { return filepath.Join(w.o.Dir, "new.cer") }

// Identities are as the emulated cloud holds them now.
func (w *World) Identities(ctx context.Context) ([]record.Identity, error) {
	a, err := w.emulator.ask(ctx, order{Op: "identities"})
	return a.Identities, err
}

// Stop asks every process to end and has the journals written. What did not end in
// order is an error, as is a process that had ended by itself; the latter only
// says so in its text.
func (w *World) Stop(ctx context.Context) error {
	var errs []error
	for _, kind := range []string{"worker", "api", "nats"} {
		var all sync.WaitGroup
		ends := make([]error, len(w.order))
		for i, name := range w.order {
			if strings.HasPrefix(name, kind) {
				all.Go(func() { ends[i] = w.procs[name].stop() })
			}
		}
		all.Wait()
		errs = append(errs, ends...)
	}
	for _, r := range w.relays {
		_ = r.Close() // Nobody speaks any more.
	}
	if w.emulator != nil && len(w.dial) > 0 {
		_, err := w.emulator.ask(ctx, order{Op: "end"})
		errs = append(errs, err, w.emulator.in.Close())
		<-w.emulator.p.ended
	}
	if w.faults != nil {
		errs = append(errs, w.faults.Close())
	}
	return errors.Join(errs...)
}

// Exits are the ends of processes that nobody had asked for.
func (w *World) Exits() []string {
	var out []string
	for _, p := range w.procs {
		p.mu.Lock()
		out = append(out, p.exits...)
		p.mu.Unlock()
	}
	return out
}

// Package drive plays the portals of a torture run: it asks for rotations over
// lines that break, repeats each request under its id until it is answered,
// watches everything with watchers that are cut and go on, and reads the end.
// What it saw it writes down for the judge.
package drive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// Config of a [Driver]. All is required but Log.
type Config struct {
	Dir       string // where the records go
	Seed      int64
	World     record.World // who is there
	Rounds    int          // how often a set of rotations is made, each over tenants of its own
	RoundTime time.Duration
	APIs      []string // host:port of two APIs; each may be gone at any time
	// Crossfade is the program, for what operators do before anything is broken.
	Crossfade                   string
	TenantsFile, NewCertificate string
	Now                         func() time.Time                                 // the true time
	Advance                     func(time.Duration) error                        // pushes all clocks on
	MuddleHosts                 func(ctx context.Context, hosts []string) error  // makes ACS slow to add there, and lose answers
	FailHosts                   func(ctx context.Context, hosts []string) error  // makes ACS refuse writes there for good
	Identities                  func(context.Context) ([]record.Identity, error) // as they stand
	Log                         func(format string, args ...any)
}

// Driver drives one run.
type Driver struct {
	c        Config
	clients  []pb.RotationServiceClient
	conns    []*grpc.ClientConn
	calls    *record.Log[record.Call]
	watches  *record.Log[record.Watch]
	portals  []*portal
	watching sync.WaitGroup
	stop     context.CancelFunc // ends the watchers

	mu      sync.Mutex // guards what follows
	rand    *rand.Rand
	quiet   time.Time
	settled time.Time
	failed  []error // of writing records
	staged  int     // portals that need the clock to be pushed on
	turn    chan struct{}
}

// New returns a driver. Close ends it.
func New(c Config) (*Driver, error) {
	d := &Driver{c: c, rand: rand.New(rand.NewPCG(uint64(c.Seed), 7)), turn: make(chan struct{})} //nolint:gosec // A seed may be any bits.
	if c.Log == nil {
		d.c.Log = func(string, ...any) {}
	}
	for _, at := range c.APIs {
		conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: time.Second,
		}))
		if err != nil {
			return nil, err
		}
		d.conns, d.clients = append(d.conns, conn), append(d.clients, pb.NewRotationServiceClient(conn))
	}
	var err error
	if d.calls, err = record.Create[record.Call](c.Dir, record.CallsFile); err != nil {
		return nil, err
	}
	if d.watches, err = record.Create[record.Watch](c.Dir, record.WatchesFile); err != nil {
		return nil, err
	}
	return d, nil
}

// setUpLimit bounds what operators do before anything is broken.
const setUpLimit = 30 * time.Second

// SetUp imports the tenants and adds the new certificate, by the command line.
func (d *Driver) SetUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setUpLimit)
	defer cancel()
	for _, args := range [][]string{{"tenants", "import", d.c.TenantsFile}, {"certificate", "add", d.c.NewCertificate}} {
		cmd := exec.CommandContext(ctx, d.c.Crossfade, append([]string{"--address", d.c.APIs[0]}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// Run makes the rotations and returns when each is in a state in which it may end,
// or with an error when ctx ends before.
func (d *Driver) Run(ctx context.Context) error {
	d.portals = d.plan()
	var hosts, muddled []string
	for _, p := range d.portals {
		switch p.kind {
		case failing:
			hosts = append(hosts, d.hostsOf(p.intent.Tenants)...)
		case cancelled:
			muddled = append(muddled, d.hostsOf(p.intent.Tenants)...)
		}
	}
	if err := errors.Join(d.c.FailHosts(ctx, hosts), d.c.MuddleHosts(ctx, muddled)); err != nil {
		return err
	}
	wctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	var all sync.WaitGroup
	errs := make([]error, len(d.portals))
	begun := time.Now()
	for i, p := range d.portals {
		all.Go(func() {
			if pause(ctx, time.Until(begun.Add(time.Duration(p.round)*d.c.RoundTime))) {
				errs[i] = p.run(ctx, wctx)
			}
		})
	}
	all.Go(func() { d.keepTime(ctx) })
	all.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return err
	}
	d.mu.Lock()
	d.settled = time.Now()
	d.mu.Unlock()
	return nil
}

// World is what the judge is told of who was there and what was wanted.
func (d *Driver) World() record.World {
	w := d.c.World
	for _, p := range d.portals {
		w.Rotations = append(w.Rotations, p.intent)
	}
	return w
}

// hostsOf are the hosts of the tenants' identities.
func (d *Driver) hostsOf(tenants []string) []string {
	var out []string
	for _, id := range d.c.World.Identities {
		if slices.Contains(tenants, id.Tenant) {
			out = append(out, id.Host)
		}
	}
	return out
}

// Quiet notes that nothing is broken any more.
func (d *Driver) Quiet() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.quiet = time.Now()
}

// draw returns a number from 0 to below n.
func (d *Driver) draw(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.IntN(n)
}

// between draws a time.
func (d *Driver) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.draw(int((to-from)/time.Millisecond)+1))*time.Millisecond
}

// noted keeps an error of writing a record, which ends the run badly.
func (d *Driver) noted(err error) {
	if err != nil {
		d.mu.Lock()
		d.failed = append(d.failed, err)
		d.mu.Unlock()
	}
}

// pause waits and reports whether ctx still holds.
func pause(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(max(t, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// leads are how long before the switch the clocks are halted for a while. By a clock
// that is five minutes fast the switch is still to come in the first, and a few
// minutes ago in the second, within the margin: nothing may be removed in either.
var leads = []time.Duration{5*time.Minute + 30*time.Second, time.Minute}

// keepTime pushes the clocks on when all that is wanted before the switch is done:
// first to just before it, and after a while past it.
func (d *Driver) keepTime(ctx context.Context) {
	for {
		d.mu.Lock()
		staged, turn := d.staged, d.turn
		d.mu.Unlock()
		if staged == len(d.portals) {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-turn:
		}
	}
	for _, to := range []time.Duration{-leads[0], -leads[1], time.Minute, 11 * time.Minute, 20 * time.Minute} {
		if by := d.c.World.SwitchAt.Add(to).Sub(d.c.Now()); by > 0 {
			if err := d.c.Advance(by); err != nil {
				d.noted(err)
				return
			}
			d.c.Log("it is %s", d.c.Now().UTC().Format(time.RFC3339))
		}
		if !pause(ctx, 1500*time.Millisecond) {
			return
		}
	}
}

// ready notes that a portal needs nothing more before the switch.
func (d *Driver) ready() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.staged++
	close(d.turn)
	d.turn = make(chan struct{})
}

// Close ends the connections and returns what could not be written.
func (d *Driver) Close() error {
	var errs []error
	for _, c := range d.conns {
		errs = append(errs, c.Close())
	}
	errs = append(errs, d.calls.Close(), d.watches.Close())
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(append(errs, d.failed...)...)
}

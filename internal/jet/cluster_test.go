package jet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// built is where natsServer builds, once for all tests.
var built struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// natsServer returns the server of the version that go.mod pins.
func natsServer(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "crossfade-jet-"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", built.dir, "github.com/nats-io/nats-server/v2").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("building nats-server: %v", built.err)
	}
	return filepath.Join(built.dir, "nats-server")
}

// ports returns n ports of the loopback that were free a moment ago.
func ports(t testing.TB, n int) []int {
	t.Helper()
	out := make([]int, n)
	for i := range out {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		out[i] = l.Addr().(*net.TCPAddr).Port
	}
	return out
}

// node is one server process.
type node struct {
	bin, conf string
	cmd       *exec.Cmd
}

func (n *node) start(t testing.TB) {
	t.Helper()
	n.cmd = exec.Command(n.bin, "-c", n.conf)
	n.cmd.Stderr = testLog{t}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill is kill -9.
func (n *node) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// freeze stops the server as it stands, until it is sent SIGCONT. When it returns none of
// its threads runs any more.
func (n *node) freeze(t testing.TB) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var s syscall.WaitStatus
	if _, err := syscall.Wait4(n.cmd.Process.Pid, &s, syscall.WUNTRACED, nil); err != nil || !s.Stopped() {
		t.Fatalf("the server after SIGSTOP: status %#x, %v", s, err)
	}
}

// cluster runs three servers and returns them with the URL of all.
func cluster(t testing.TB) ([]*node, string) {
	t.Helper()
	bin, p := natsServer(t), ports(t, 6)
	var routes, urls []string
	for i := range 3 {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p[3+i]))
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", p[i]))
	}
	nodes := make([]*node, 3)
	for i := range nodes {
		dir := t.TempDir()
		conf := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\nlog_file: %q\njetstream { store_dir: %q, sync_interval: always, max_file: 64G, max_mem: 1G }\n"+
			"cluster { name: c, listen: 127.0.0.1:%d, routes: [%s] }\n", i, p[i], filepath.Join(dir, "log"), dir, p[3+i], strings.Join(routes, ", "))
		nodes[i] = &node{bin: bin, conf: filepath.Join(dir, "nats.conf")}
		if err := os.WriteFile(nodes[i].conf, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		nodes[i].start(t)
		t.Cleanup(nodes[i].kill)
	}
	return nodes, strings.Join(urls, ",")
}

// allCurrent waits until each stream has a leader and all of its replicas have what it has.
func allCurrent(t testing.TB, url string) {
	t.Helper()
	js := dialRaw(t, url)
	eventually(t, "all replicas to be current", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		streams, n := js.ListStreams(ctx), 0
		for i := range streams.Info() {
			n++
			if i.Cluster == nil || i.Cluster.Leader == "" || len(i.Cluster.Replicas) != 2 {
				return false
			}
			for _, r := range i.Cluster.Replicas {
				if !r.Current || r.Offline {
					return false
				}
			}
		}
		return streams.Err() == nil && n > 0
	})
}

// Servers of which the leader has not heard are not chosen for a stream: just after the
// start of a cluster, and here, where one is not started yet. Open waits for them.
func TestCluster_OpenWaitsForServersThatAreOffline(t *testing.T) {
	t.Parallel() // It waits more than it works.
	nodes, url := cluster(t)
	js := dialRaw(t, url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	const words = "no suitable peers for placement"
	try := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "TRY", Subjects: []string{"try"}, Replicas: 3})
		return err
	}
	eventually(t, "all three servers are there", func() bool { return try() == nil })
	if err := js.DeleteStream(t.Context(), "TRY"); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.kill()
	}
	for _, n := range nodes[:2] {
		n.start(t)
	}
	eventually(t, "the leader misses one server", func() bool {
		err := try()
		return err != nil && strings.Contains(err.Error(), words)
	})
	refused := make(chan struct{}, 1)
	if _, err := js.Conn().Subscribe("$JS.EVENT.ADVISORY.API", func(m *nats.Msg) {
		if strings.Contains(string(m.Data), words) {
			select {
			case refused <- struct{}{}:
			default:
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	c := config(t, newCert(t))
	c.Dir, c.URL, c.Replicas, c.MaxStore = "", url, 3, 1<<30
	opened := make(chan error, 1)
	go func() {
		b, err := jet.Open(t.Context(), c)
		if err == nil {
			err = b.Close(context.Background())
		}
		opened <- err
	}()
	select {
	case <-refused:
	case err := <-opened:
		t.Fatalf("Open ended before the server refused anything: %v", err)
	}
	nodes[2].start(t)
	if err := <-opened; err != nil {
		t.Errorf("Open = %v, want it to wait for the server", err)
	}
}

func TestCluster_GoesOnWhenAnyNodeIsKilled(t *testing.T) {
	t.Parallel() // It waits more than it works.
	nodes, url := cluster(t)
	cert := newCert(t)
	c := config(t, cert)
	c.Dir, c.URL, c.Replicas, c.MaxStore = "", url, 3, 1<<30
	c.AckWait = 2 * time.Second
	a, b := open(t, c), open(t, c)
	const n = 300
	planned(t, a, cert, "r1", n)
	l, _ := following(t, b)
	worked := make(chan int, 4096)
	for _, x := range []*jet.Broker{a, b} {
		consuming(t, x, 8, func(ctx context.Context, d *jet.Delivery) {
			if advance(ctx, x, d.Nudge) == nil && d.Done(ctx) == nil {
				worked <- d.Nudge.Ord
			}
		})
	}
	for round := range nodes {
		var wg sync.WaitGroup
		wg.Add(1)
		go func() { defer wg.Done(); nodes[round].kill() }()
		nudgeAll(t, a, n)
		wg.Wait()
		left := map[int]bool{}
		for ord := range n {
			left[ord] = true
		}
		late, again := time.After(patience), time.NewTicker(10*time.Second)
		defer again.Stop()
		for len(left) > 0 {
			select {
			case ord := <-worked:
				delete(left, ord)
			case <-again.C: // As the conductor does: what is not in the queue any more is sent again.
				for ord := range left {
					_ = a.NudgeTask(t.Context(), fmt.Sprintf("ns%d.example", ord), rollover.Nudge{Rotation: "r1", Ord: ord})
				}
			case <-late:
				t.Fatalf("%s after node %d was killed %d tasks are left", patience, round, len(left))
			}
		}
		nodes[round].start(t)
		eventually(t, "the cluster to be ready", func() bool { return a.Ready(t.Context()) == nil && b.Ready(t.Context()) == nil })
	}
	for ord := range n {
		id := rollover.TaskID{Rotation: "r1", Ord: ord}
		k, err := a.Task(t.Context(), id)
		if err != nil || k.Tries < len(nodes) {
			t.Fatalf("Task(%s) has %d tries, %v, want %d at least", id, k.Tries, err, len(nodes))
		}
		eventually(t, "the feed to tell of "+id.String(), l.look(func() bool { return l.seqs[id] == k.Rev }))
	}
}

// advance does what a rotator does: read, change, save, and look again when
// another was quicker.
func advance(ctx context.Context, s rollover.Store, n rollover.Nudge) error {
	for range 10 {
		k, err := s.Task(ctx, rollover.TaskID{Rotation: n.Rotation, Ord: n.Ord})
		if err != nil {
			return err
		}
		k.Phase, k.Tries = rollover.Staged, k.Tries+1
		if _, err = s.SaveTask(ctx, k); !errors.Is(err, rollover.ErrConflict) {
			return err
		}
	}
	return rollover.ErrConflict
}

// nudgeAll nudges n hosts until the queue has taken each.
func nudgeAll(t testing.TB, b *jet.Broker, n int) {
	t.Helper()
	for ord := range n {
		eventually(t, "a slot", func() bool {
			return b.NudgeTask(t.Context(), fmt.Sprintf("ns%d.example", ord), rollover.Nudge{Rotation: "r1", Ord: ord}) == nil
		})
	}
}

func TestCluster_IsAStore(t *testing.T) {
	t.Parallel() // It waits more than it works.
	_, url := cluster(t)
	cert := newCert(t)
	c := config(t, cert)
	c.Dir, c.URL, c.Replicas, c.MaxStore = "", url, 3, 1<<30
	b := open(t, c)
	rollovertest.TestStore(t, cert, func(t *testing.T) rollover.Store { return renamed{b, strings.ReplaceAll(t.Name(), "/", "-")} })
	l, err := b.Lease(t.Context(), "k", "me", time.Second)
	if err != nil || !l.Held() {
		t.Errorf("Lease = %v", err)
	}
	c.Replicas = 0 // A careless client takes no replica away.
	open(t, c)
	if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Errorf("NudgeTask = %v", err)
	}
}

// The queue and the leases are in memory with one replica, and a stream cannot be moved
// to files: they are made anew, also under a process that works with them.
func TestCluster_FromOneReplicaToThree(t *testing.T) {
	_, url := cluster(t)
	c := config(t, newCert(t))
	c.Dir, c.URL, c.Replicas, c.MaxStore = "", url, 1, 1<<30
	one := open(t, c)
	worked := make(chan struct{}, 16)
	consuming(t, one, 1, func(ctx context.Context, d *jet.Delivery) {
		if d.Done(ctx) == nil {
			worked <- struct{}{}
		}
	})
	c.Replicas = 3
	three := open(t, c)
	js := dialRaw(t, url)
	for name := range js.StreamNames(t.Context()).Name() {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().Config; got.Replicas != 3 || got.Storage != jetstream.FileStorage {
			t.Errorf("stream %s has %d replicas in %s, want 3 in files", name, got.Replicas, got.Storage)
		}
	}
	eventually(t, "the process of before to work on", func() bool {
		_ = three.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1"})
		select {
		case <-worked:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
}

// renamed gives each case of the suite rotations of its own in one store.
type renamed struct {
	*jet.Broker
	mark string
}

func (r renamed) CreateRotation(ctx context.Context, x rollover.Rotation, tenants []string) (rollover.Rotation, error) {
	id := x.ID
	x.ID += r.mark
	x, err := r.Broker.CreateRotation(ctx, x, tenants)
	x.ID = id
	return x, err
}

func (r renamed) Rotation(ctx context.Context, id string) (rollover.Rotation, error) {
	x, err := r.Broker.Rotation(ctx, id+r.mark)
	x.ID = id
	return x, err
}

func (r renamed) SaveRotation(ctx context.Context, x rollover.Rotation) (rollover.Rotation, error) {
	id := x.ID
	x.ID += r.mark
	x, err := r.Broker.SaveRotation(ctx, x)
	x.ID = id
	return x, err
}

func (r renamed) SelectedTenants(ctx context.Context, id string) ([]string, error) {
	return r.Broker.SelectedTenants(ctx, id+r.mark)
}

func (r renamed) SaveFinding(ctx context.Context, id string, ord int, f rollover.Finding) error {
	return r.Broker.SaveFinding(ctx, id+r.mark, ord, f)
}

func (r renamed) Findings(ctx context.Context, id string) (map[int]rollover.Finding, error) {
	return r.Broker.Findings(ctx, id+r.mark)
}

func (r renamed) FreezePlan(ctx context.Context, x rollover.Rotation, plan []rollover.Item) (rollover.Rotation, error) {
	id := x.ID
	x.ID += r.mark
	x, err := r.Broker.FreezePlan(ctx, x, plan)
	x.ID = id
	return x, err
}

func (r renamed) Plan(ctx context.Context, id string, from, to int) ([]rollover.Item, error) {
	return r.Broker.Plan(ctx, id+r.mark, from, to)
}

func (r renamed) Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error) {
	rot := id.Rotation
	id.Rotation += r.mark
	k, err := r.Broker.Task(ctx, id)
	k.ID.Rotation = rot
	return k, err
}

func (r renamed) SaveTask(ctx context.Context, k rollover.Task) (rollover.Task, error) {
	rot := k.ID.Rotation
	k.ID.Rotation += r.mark
	k, err := r.Broker.SaveTask(ctx, k)
	k.ID.Rotation = rot
	return k, err
}

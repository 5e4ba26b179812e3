package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
)

// cluster starts three NATS servers that keep three replicas, each in so many bytes
// (0: as many as the disk has), and returns them and their URLs.
func (f *fleet) cluster(quota int64) (nodes []*process, urls string) {
	f.t.Helper()
	var clients, routes []string
	for range 3 {
		clients, routes = append(clients, freePort(f.t)), append(routes, freePort(f.t))
	}
	limit := ""
	if quota > 0 {
		limit = fmt.Sprintf(", max_file_store: %d", quota)
	}
	for i := range 3 {
		conf := fmt.Sprintf(`
server_name: n%d
listen: %q
jetstream { store_dir: %q, sync_interval: always%s }
cluster { name: crossfade, listen: %q, routes: ["nats://%s"] }
`, i, clients[i], filepath.Join(f.dir, fmt.Sprintf("nats%d", i)), limit, routes[i], strings.Join(routes, `", "nats://`))
		path := f.file(fmt.Sprintf("nats%d.conf", i))
		if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
			f.t.Fatal(err)
		}
		nodes = append(nodes, start(f.t, natsServer, "-c", path))
	}
	for _, n := range nodes {
		n.says("Server is ready")
	}
	return nodes, "nats://" + strings.Join(clients, ",nats://")
}

// The same as with the embedded broker, against three external servers with
// three replicas; one of them is killed on the way.
func TestCluster_ThreeReplicasAndALostNode(t *testing.T) {
	t.Parallel() // It waits more than it works.
	f := newFleet(t, emulator.Config{Tenants: 60, Seed: 4, Latency: 5 * time.Millisecond})
	tr := f.truth()
	nodes, urls := f.cluster(0)
	api := f.config("api.yaml", func(c *daemon.Config) { c.NATS.URL, c.NATS.Replicas = urls, 3 })
	work := f.config("work.yaml", func(c *daemon.Config) { c.NATS.URL, c.NATS.Replicas, c.Workers.TaskSlots = urls, 3, 4 })
	f.serve("--workers", "0", "--config", api)
	for range 2 {
		start(t, crossfade, "work", "--config", work).says("msg=working")
	}
	f.setUp()
	watch := start(t, crossfade, append([]string{"--address", f.api}, f.rotateFlags("--watch")...)...)
	watch.says("running/")
	f.written(8)
	nodes[1].kill()
	watch.says("running/overlap")
	tr.check(t)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if status := watch.ends(); status != 0 {
		t.Errorf("rotate --watch ended with %d:\n%s", status, watch.said())
	}
	tr.finished(t)
}

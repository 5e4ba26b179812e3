package e2e_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// drain is how long a process may take to end after SIGTERM, whatever it has in hand.
const drain = 10 * time.Second

// Workers and the service are asked to end in the middle of a rotation, while watches
// are open and some calls to ACS are never answered: each ends in time and well, and
// what takes their place finishes the rotation.
func TestStop_EndsInTimeUnderLoad(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 60, Seed: 8, Latency: 10 * time.Millisecond})
	tr := f.truth()
	f.cloud.ACS().SetFaults(acs.Faults{Seed: 1, Rules: []acs.FaultRule{
		{PathContains: "mgmt", Kind: acs.FaultSlow, Delay: time.Hour, Probability: 0.04},
		{Method: "POST", PathContains: "ServiceIdentityKeys", Kind: acs.FaultTimeoutApplied, Probability: 0.2},
	}})
	broker, api := freePort(t), freePort(t)
	serveConfig := f.config("crossfade.yaml", func(c *daemon.Config) { c.NATS.Listen, c.Listen.GRPC = broker, api })
	workConfig := f.config("worker.yaml", func(c *daemon.Config) {
		c.NATS.URL, c.NATS.Replicas, c.Workers.TaskSlots = "nats://"+broker, 1, 8
	})
	work := func() *process {
		p := start(t, crossfade, "work", "--config", workConfig)
		p.says("msg=working")
		return p
	}
	ended := func(p *process) {
		t.Helper()
		took := p.stop()
		t.Logf("%s ended %s after SIGTERM", p.name, took.Round(time.Millisecond))
		if took > drain {
			t.Errorf("%s took %s to end after SIGTERM, want at most %s:\n%s", p.name, took, drain, p.said())
		}
		if status := p.ends(); status != 0 {
			t.Errorf("%s ended with %d after SIGTERM:\n%s", p.name, status, p.said())
		}
	}
	serve := f.serve("--config", serveConfig) // Its own workers are under load too.
	worker := work()
	f.setUp()
	name, watch := f.watched()
	f.written(4)
	ended(worker)
	tr.check(t)
	worker = work()
	f.written(4)
	ended(serve) // With the broker, and every watch, in it.
	tr.check(t)
	begun := time.Now()
	if took := worker.stop(); took > drain {
		t.Errorf("a worker without a broker took %s to end after SIGTERM, want at most %s:\n%s", took, drain, worker.said())
	}
	t.Logf("a worker without a broker ended after %s", time.Since(begun).Round(time.Millisecond))
	f.cloud.ACS().SetFaults(acs.Faults{})
	f.serve("--config", serveConfig)
	f.advance(switchAt.Sub(f.clock.Now()) + 10*time.Minute)
	if out, status := f.run("rotation", "watch", name); status != 0 {
		t.Errorf("watching to the end: exit status %d:\n%s", status, out)
	}
	tr.finished(t)
	if status := watch.ends(); status != 0 {
		t.Errorf("the watch that was cut ended with %d:\n%s", status, watch.said())
	}
}

// A broker that hangs, as one whose machine is gone, does not keep a process from
// ending.
func TestStop_EndsInTimeBesideABrokerThatHangs(t *testing.T) {
	f := newFleet(t, emulator.Config{Tenants: 20, Seed: 9, Latency: 10 * time.Millisecond})
	nodes, urls := f.cluster(0)
	api := freePort(t)
	serve := f.serve("--config", f.config("crossfade.yaml", func(c *daemon.Config) {
		c.NATS.URL, c.Listen.GRPC = urls, api
	}))
	f.setUp()
	_, _ = f.underWay(2)
	for _, n := range nodes {
		if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	if took := serve.stop(); took > drain {
		t.Errorf("took %s to end after SIGTERM beside brokers that hang, want at most %s:\n%s", took, drain, serve.said())
	} else {
		t.Logf("ended after %s", took.Round(time.Millisecond))
	}
}

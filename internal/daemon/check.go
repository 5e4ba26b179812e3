package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// checker collects what is wrong with a configuration.
type checker struct{ problems []Problem }

func (k *checker) fail(field, format string, args ...any) {
	k.problems = append(k.problems, Problem{Field: field, Text: fmt.Sprintf(format, args...)})
}

// check says all that is wrong with c.
func (c Config) check() []Problem {
	var k checker
	k.listeners(c)
	k.broker(c)
	k.identity(c)
	k.approvals(c.Approvals)
	k.work(c.Workers)
	k.network(c)
	k.drift(c.Drift)
	k.retention(c.Retention)
	k.stores(c)
	k.traces(c.Traces)
	k.limits(c.Limits)
	if len(c.Secrets.EnvPrefix) < 4 {
		k.fail("secrets.env_prefix", "want at least 4 characters: shorter, and a tenants file could name any variable")
	}
	if _, err := secrets.ParseRef(c.Audit.Key); c.Audit.Key != "" && err != nil {
		k.fail("audit.key", "%v", err)
	}
	if o := c.Audit.Origin; len(o) > 128 || strings.ContainsFunc(o, func(r rune) bool { return r <= ' ' || r > '~' }) {
		k.fail("audit.origin", "want up to 128 letters, digits and signs, without spaces")
	}
	if c.MemoryLimit != 0 && c.MemoryLimit < 128<<20 {
		k.fail("memory_limit", "want at least 128MiB, or nothing: an idle process takes half of that")
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		k.fail("log.format", "want text or json")
	}
	if _, ok := level(c.Log.Level); !ok {
		k.fail("log.level", "want debug, info, warn or error")
	}
	return k.problems
}

func (k *checker) listeners(c Config) {
	k.door(c, "listen.grpc", c.Listen.GRPC)
	k.web(c)
	k.address("listen.ops", c.Listen.Ops)
	if c.Listen.Ops == c.Listen.GRPC && !strings.HasSuffix(c.Listen.Ops, ":0") {
		k.fail("listen.ops", "is the address of listen.grpc; want another")
	}
	k.pair("tls", c.TLS.Cert, c.TLS.Key)
}

// door checks an address of the API.
func (k *checker) door(c Config, field, addr string) {
	local, ok := k.address(field, addr)
	switch {
	case !ok || local:
	case c.TLS.Cert == "" && !c.TLS.AllowPlaintext:
		k.fail(field, "others than this machine can reach it: set tls.cert and tls.key, or tls.allow_plaintext")
	case !c.Identified():
		k.fail(field, "others than this machine can reach it, and it would ask nobody who they are: set tls.client_ca or identity.issuers, and identity.rights")
	}
}

func (k *checker) broker(c Config) {
	n := c.NATS
	if n.Replicas < 1 || n.Replicas > 5 {
		k.fail("nats.replicas", "want 1 to 5")
	}
	if n.MaxStore != 0 && n.MaxStore < 64<<20 {
		k.fail("nats.max_store", "want at least 64MiB")
	}
	k.pair("nats", n.Cert, n.Key)
	if n.URL == "" {
		k.embedded(c)
		return
	}
	for _, u := range strings.Split(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(u))
		switch {
		case err != nil || (u.Scheme != "nats" && u.Scheme != "tls") || u.Hostname() == "":
			k.fail("nats.url", "want nats://host:port or tls://host:port, several with commas between them")
		case u.User != nil:
			k.fail("nats.url", "there is a name or password in it; write a credentials file into nats.creds")
		}
	}
	if n.Listen != "" {
		k.fail("nats.listen", "is for the embedded broker, and nats.url is set; remove one")
	}
	if n.LazySync {
		k.fail("nats.lazy_sync", "is for the embedded broker, and nats.url is set; an external one has its own setting")
	}
}

// embedded checks what a process with its own broker has.
func (k *checker) embedded(c Config) {
	n := c.NATS
	if c.Data == "" {
		k.fail("data", "want a folder for the embedded broker's files")
	}
	if n.Replicas > 1 {
		k.fail("nats.replicas", "the embedded broker has 1; more need nats.url")
	}
	for field, v := range map[string]string{"nats.creds": n.Creds, "nats.ca": n.CA, "nats.cert": n.Cert} {
		if v != "" {
			k.fail(field, "is for an external broker, and nats.url is not set")
		}
	}
	if n.Listen == "" {
		return
	}
	if local, ok := k.address("nats.listen", n.Listen); ok && !local {
		k.fail("nats.listen", "the embedded broker has no log-in: want a loopback address, or run a cluster and set nats.url")
	}
}

func (k *checker) work(w Workers) {
	bounds := func(field string, n, low, high int) {
		if n < low || n > high {
			k.fail(field, "want %d to %d", low, high)
		}
	}
	bounds("workers.plan_slots", w.PlanSlots, 1, 1024)
	bounds("workers.task_slots", w.TaskSlots, 1, 4096)
	bounds("workers.per_host_burst", w.PerHostBurst, 1, 1000)
	if !(w.PerHostRate >= 0.1 && w.PerHostRate <= 1000) {
		k.fail("workers.per_host_rate", "want 0.1 to 1000 calls a second")
	}
	if w.AckWait < time.Second || w.AckWait > 10*time.Minute {
		k.fail("workers.ack_wait", "want 1s to 10m")
	}
}

func (k *checker) network(c Config) {
	for host, to := range c.Network.Dial {
		if _, err := netip.ParseAddrPort(to); err != nil {
			k.fail("network.dial."+host, "want ip:port")
		}
		name := strings.TrimPrefix(host, "*.")
		if name == "" || name != strings.ToLower(name) || strings.ContainsAny(name, "*/: ") {
			k.fail("network.dial."+host, "want a host name in lower case, or *. and one")
		}
	}
	e := c.Entra
	if e.Authority != "" {
		if u, err := url.Parse(e.Authority); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			k.fail("entra.authority", "want https://host/")
		}
	} else if e.DisableInstanceDiscovery {
		k.fail("entra.disable_instance_discovery", "needs entra.authority; without it Microsoft's own are used, and they are checked")
	}
}

// address checks a host:port and reports whether only this machine reaches it.
func (k *checker) address(field, addr string) (local, ok bool) {
	host, port, err := net.SplitHostPort(addr)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		k.fail(field, "want host:port")
		return false, false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback()), true
}

// pair checks that a certificate file and its key come together.
func (k *checker) pair(section, cert, key string) {
	if cert != "" && key == "" {
		k.fail(section+".cert", "needs %s.key", section)
	}
	if cert == "" && key != "" {
		k.fail(section+".key", "needs %s.cert", section)
	}
}

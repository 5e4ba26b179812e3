package daemon

import (
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Broker is the broker's part of c. Certificate, Log and Name are the caller's.
func (c Config) Broker() jet.Config {
	return jet.Config{
		URL: c.NATS.URL, Dir: c.Data, Listen: c.NATS.Listen, Creds: c.NATS.Creds,
		CAFile: c.NATS.CA, CertFile: c.NATS.Cert, KeyFile: c.NATS.Key,
		Replicas: c.NATS.Replicas, MaxStore: int64(c.NATS.MaxStore), LazySync: c.NATS.LazySync,
		AckWait: c.Workers.AckWait,
	}
}

// Embedded reports whether the broker runs in this process.
func (c Config) Embedded() bool { return c.NATS.URL == "" }

// Outbound is what c says of other people's servers. Each slot keeps a
// connection to its host and one to its host's token endpoint.
func (c Config) Outbound() outbound.Config {
	return outbound.Config{
		CAFile: c.Network.CAFile, Dial: c.Network.Dial,
		MaxIdleConns: max(outbound.DefaultMaxIdleConns, 2*(c.Workers.TaskSlots+c.Workers.PlanSlots)),
	}
}

// Memory is what c says of the memory of this process.
func (c Config) Memory(log *slog.Logger) Memory {
	return Memory{Limit: int64(c.MemoryLimit), Log: log}
}

// Resolver is where references to secrets lead.
func (c Config) Resolver() secrets.Config {
	return secrets.Config{Dir: c.Secrets.Dir, EnvPrefix: c.Secrets.EnvPrefix, CacheFor: c.Secrets.CacheFor}
}

// OpenClock returns the machine's clock, or the test clock that c names.
func (c Config) OpenClock() (*clock.Clock, error) {
	if c.Clock == "" {
		return clock.System(), nil
	}
	return clock.Follow(c.Clock)
}

// Warnings returns what is allowed and yet may be a mistake, one sentence each,
// for the log when the process starts.
func (c Config) Warnings() []string {
	var out []string
	if c.TLS.Cert == "" && (!loopback(c.Listen.GRPC) || (c.Listen.Web != "" && !loopback(c.Listen.Web))) {
		out = append(out, "the API is served without TLS beyond this machine: whoever can write to the network can start rotations")
	}
	if !loopback(c.Listen.Ops) {
		out = append(out, "metrics and health are served beyond this machine, to anybody")
	}
	for _, u := range strings.Split(c.NATS.URL, ",") {
		if u, err := url.Parse(strings.TrimSpace(u)); err == nil && u.Scheme == "nats" && c.NATS.CA == "" && !loopback(u.Host) {
			out = append(out, "the broker is spoken to without TLS: whoever can write to the network can change what was planned")
			break
		}
	}
	if c.NATS.URL != "" && c.NATS.Replicas < 3 {
		out = append(out, "the streams have fewer than three replicas: the loss of one broker can lose or stop everything")
	}
	if c.NATS.LazySync {
		out = append(out, "writes are acknowledged before they are on the disk: a power cut may lose two minutes of records")
	}
	if c.NATS.URL != "" && c.Audit.Key == "" {
		out = append(out, "there is no audit.key: what is done is told, and this process does not sign it")
	}
	if c.Clock != "" {
		out = append(out, "the clock is a test clock: what is removed, and when, depends on its file")
	}
	if len(c.Network.Dial) > 0 {
		out = append(out, "some hosts are led to other addresses, as for an emulator")
	}
	return out
}

// loopback reports whether an address, with its port or without, is one that
// only this machine reaches.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

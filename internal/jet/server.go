package jet

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startTimeout bounds how long the embedded server may take to be ready. A
// million records reload in about a second.
const startTimeout = time.Minute

// The embedded server's own bounds are far above those of the streams, which
// alone decide. Were they near, a smaller setting at the next start would make
// the server refuse to load what it has.
const (
	serverMaxStore  = 1 << 50
	serverMaxMemory = 1 << 40
)

// startServer runs a JetStream server in this process.
func startServer(c Config) (*server.Server, error) {
	o := &server.Options{
		ServerName: "crossfade", DontListen: c.Listen == "", NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: c.Dir, SyncAlways: !c.LazySync,
		JetStreamMaxStore: serverMaxStore, JetStreamMaxMemory: serverMaxMemory,
	}
	if c.Listen != "" {
		host, port, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return nil, fmt.Errorf("listen address: %w", err)
		}
		if o.Host = host; port == "0" {
			o.Port = server.RANDOM_PORT
		} else if o.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("listen address: %w", err)
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("making the embedded server: %w", err)
	}
	s.SetLoggerV2(serverLog{c.Log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		stopServer(s)
		return nil, errors.New("starting the embedded server: it is not ready; is its directory in use, or its address?")
	}
	if !s.JetStreamEnabled() {
		stopServer(s)
		return nil, errors.New("starting the embedded server: its store did not open")
	}
	return s, nil
}

// stopServer returns when the files of s are closed.
func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

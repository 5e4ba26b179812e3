package jet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Config says where the broker is and how much it may hold. The zero value with
// a Dir is an embedded server for this process alone.
//
// There is no clock in it: acknowledgements and leases are judged by the
// server's clock, so they are timed by this machine's own, also where the rest
// of the program runs on a test clock.
type Config struct {
	// URL of an external server, or several with commas between them. Empty: a
	// server is run in this process.
	URL string
	// Dir holds the embedded server's files. Required without URL, ignored with it.
	Dir string
	// Listen is the address at which the embedded server takes in other
	// processes, such as "127.0.0.1:4222"; port 0 chooses one. It has no log-in,
	// so only loopback addresses are taken. Empty: this process alone.
	Listen string
	// Local is the path of a socket through which the embedded server takes in other
	// processes of the same user, for back-ups while it runs. It is made in a folder
	// of its own that only that user can enter. With URL it is the way to reach an
	// embedded server of another process, whatever URL says. Empty: none.
	Local string
	// Creds is a NATS credentials file for the external server.
	Creds string
	// CAFile, CertFile and KeyFile are PEM files for TLS to the external server:
	// whom to trust, and who we are. Empty: the system's, and nobody.
	CAFile, CertFile, KeyFile string
	// Replicas of each stream: 1, or 3 in a cluster. With 1 the work queue and
	// the leases live in memory. Streams that have more keep them. Default 1.
	Replicas int
	// MaxStore bounds all streams together, in bytes; each has its share. A full
	// stream refuses writes with [rollover.ErrFull] and loses nothing. 0: as the
	// streams are, 8 GiB if they are new.
	MaxStore int64
	// Shards is by how many numbers the subjects of rotations are spread. It
	// cannot change once rotations are stored. 0: as stored, 1 if new.
	Shards int
	// LazySync lets the embedded server acknowledge before its files are synced:
	// faster, and a power cut may lose up to two minutes. A killed process loses
	// nothing either way.
	LazySync bool
	// AckWait is how long a worker may be silent before its nudge goes to
	// another. Default 30 s, at least 1 s. All workers must have the same.
	AckWait time.Duration
	// Certificate returns the new credential with its bytes, by SHA-256; Task
	// needs it and keeps what it returned. An unknown one is
	// [rollover.ErrNotFound].
	Certificate func(ctx context.Context, sha256 string) (rollover.Credential, error)
	// Log takes what an operator may need to know. Default: discarded.
	Log *slog.Logger
	// Name is how this client shows up in the server's lists.
	Name string
}

// The defaults.
const (
	defaultMaxStore = 8 << 30
	defaultAckWait  = 30 * time.Second
)

// withDefaults checks c and fills in what can be known before connecting.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.URL == "" && c.Dir == "" {
		errs = append(errs, errors.New("neither a URL nor a directory is given"))
	}
	if c.URL == "" && c.Replicas > 1 {
		errs = append(errs, fmt.Errorf("replicas is %d, an embedded server has 1", c.Replicas))
	}
	if c.URL != "" && c.Listen != "" {
		errs = append(errs, errors.New("listen is for the embedded server, and a URL is given"))
	}
	if c.Listen != "" {
		errs = append(errs, checkLoopback(c.Listen))
	}
	if c.Replicas < 0 || c.Replicas > 5 || c.MaxStore < 0 || c.Shards < 0 || c.Shards > 1024 {
		errs = append(errs, errors.New("replicas must be 0 to 5, shards 0 to 1,024 and max store not negative"))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		errs = append(errs, errors.New("a certificate file needs its key file and the other way round"))
	}
	if c.AckWait == 0 {
		c.AckWait = defaultAckWait
	}
	if c.AckWait < time.Second {
		errs = append(errs, fmt.Errorf("ack wait is %s, at least 1s", c.AckWait))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Name == "" {
		c.Name = "crossfade"
	}
	return c, errors.Join(errs...)
}

// checkLoopback refuses addresses that others than this machine could reach.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen address %s: the embedded server has no log-in and takes loopback addresses only", addr)
	}
	return nil
}

package jet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// openBudget bounds Open where its context does not: a cluster that was just
// started needs some seconds to choose its leaders.
const openBudget = 30 * time.Second

// Sizes of the caches of what never changes.
const (
	cachedChunks       = 64 // of plans, about 0.2 MiB each
	cachedCertificates = 64
	cachedPlans        = 256 // how many tasks they have
	cachedSelections   = 8   // about 0.1 KiB a tenant
)

// Broker is the store, the queue, the feed, the leases and the buckets. It is
// safe for concurrent use.
type Broker struct {
	c     Config
	names names

	srv    *server.Server // nil with a URL
	local  *door          // nil: none
	unlock func()         // gives the directory back; nil with a URL
	nc     *nats.Conn
	js     jetstream.JetStream

	ctx    context.Context // ends when Close begins; what runs in the background ends with it
	cancel context.CancelFunc
	gate   sync.Mutex     // held while wg grows, so that none is added after Close
	wg     sync.WaitGroup // all that runs in the background
	closed chan struct{}  // closed when nc is
	once   sync.Once      // of Close

	commits  commits
	tellings chan *telling // audit records waiting to be written
	chunks   *lru.Cache[string, []rollover.Item]
	certs    *lru.Cache[string, rollover.Credential]
	plans    *lru.Cache[string, int]

	selections *lru.Cache[string, []string]

	listening sync.Mutex // guards heard
	heard     map[Queue]*heard

	ensuring sync.Mutex // one goroutine at a time makes what a restart took away
}

var _ rollover.Store = (*Broker)(nil)

// Open connects, or starts the embedded server, and makes or updates what is
// needed there. It tries until ctx ends or 30 s have passed, and returns an
// error that is [rollover.ErrUnavailable] if the broker cannot be reached.
func Open(ctx context.Context, c Config) (*Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, openBudget)
	defer cancel()
	return open(ctx, c, (*Broker).ensure)
}

// Dial is Open without making or changing anything there, for back-ups: of what
// the broker does, only Backup and Close are to be called.
func Dial(ctx context.Context, c Config) (*Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, openBudget)
	defer cancel()
	return open(ctx, c, func(*Broker, context.Context) error { return nil })
}

// open connects and calls ready.
func open(ctx context.Context, c Config, ready func(*Broker, context.Context) error) (*Broker, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("broker configuration: %w", err)
	}
	b := &Broker{c: c, closed: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if b.chunks, err = lru.New[string, []rollover.Item](cachedChunks); err != nil {
		return nil, fmt.Errorf("making a cache: %w", err)
	}
	if b.certs, err = lru.New[string, rollover.Credential](cachedCertificates); err != nil {
		return nil, fmt.Errorf("making a cache: %w", err)
	}
	if b.selections, err = lru.New[string, []string](cachedSelections); err != nil {
		return nil, fmt.Errorf("making a cache: %w", err)
	}
	if b.plans, err = lru.New[string, int](cachedPlans); err != nil {
		return nil, fmt.Errorf("making a cache: %w", err)
	}
	if err = b.reach(ctx); err == nil {
		err = ready(b, ctx)
	}
	if err != nil {
		b.cancel()
		b.shut()
		return nil, err
	}
	b.startCommits()
	b.startAudit()
	return b, nil
}

// reach connects, or starts the embedded server, and looks whether it may be used.
func (b *Broker) reach(ctx context.Context) (err error) {
	if b.c.URL == "" {
		if _, err := os.Stat(filepath.Join(b.c.Dir, restoringFolder)); err == nil {
			return errRestoring()
		}
		if b.unlock, err = lockDir(b.c.Dir); err != nil {
			return err
		}
		if b.srv, err = startServer(b.c); err != nil {
			return err
		}
		if b.local, err = openDoor(b.c.Local, b.srv); err != nil {
			b.c.Log.Warn("this store can be backed up only while it is stopped", "err", err)
		}
	}
	if err := again(ctx, b.connect); err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(attemptTimeout)); err != nil {
		return fmt.Errorf("opening JetStream: %w", err)
	}
	if err := again(ctx, b.checkLevel); err != nil {
		return fmt.Errorf("asking the broker what it is: %w", err)
	}
	return nil
}

// connect opens the connection. While it is down nothing is buffered: a write
// that waited in a buffer could be done long after its writer gave up.
func (b *Broker) connect(context.Context) error {
	opts := []nats.Option{
		nats.Name(b.c.Name), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 200*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.Timeout(attemptTimeout), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(5 * time.Second),
		// Credentials may be revoked a moment before the new ones are in their place,
		// and without this the second refusal would be the last try.
		nats.IgnoreAuthErrorAbort(),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if b.ctx.Err() == nil {
				b.c.Log.Warn("broker disconnected", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { b.c.Log.Info("broker reconnected", "url", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(said(b.c.Log)),
	}
	switch {
	case b.srv != nil:
		opts = append(opts, nats.InProcessServer(b.srv))
	case b.c.Local != "":
		opts = append(opts, nats.SetCustomDialer(throughDoor(b.c.Local)))
	}
	if b.c.Creds != "" {
		opts = append(opts, nats.UserCredentials(b.c.Creds))
	}
	if b.c.CAFile != "" {
		opts = append(opts, nats.RootCAs(b.c.CAFile))
	}
	if b.c.CertFile != "" {
		opts = append(opts, nats.ClientCert(b.c.CertFile, b.c.KeyFile))
	}
	nc, err := nats.Connect(b.c.URL, opts...)
	if err != nil {
		return connectError(err)
	}
	b.nc = nc
	return nil
}

// said logs what the broker says. A refusal of our log-in comes with each try,
// several times a second, and is told once in half a minute. The client calls it
// from one goroutine.
func said(log *slog.Logger) nats.ErrHandler {
	var told time.Time
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrAuthorization) {
			if time.Since(told) < 30*time.Second {
				return
			}
			told = time.Now()
		}
		log.Warn("broker says", "err", err)
	}
}

// Ready returns nil if the broker answers now and the two streams that hold
// state have leaders. A stream without one gives no answer.
func (b *Broker) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	for _, name := range []string{streamRotations, streamState} {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("asking for stream %s: %w: %w", name, rollover.ErrUnavailable, err)
		}
		if cl := s.CachedInfo().Cluster; cl != nil && cl.Name != "" && cl.Leader == "" {
			return fmt.Errorf("stream %s has no leader: %w", name, rollover.ErrUnavailable)
		}
	}
	return nil
}

// Epoch identifies the making of ROT and STATE: versions and cursors are
// comparable within one epoch only.
func (b *Broker) Epoch(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	var at [2]string
	for i, name := range []string{streamRotations, streamState} {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			return "", fmt.Errorf("asking for stream %s: %w: %w", name, rollover.ErrUnavailable, err)
		}
		at[i] = making(s.CachedInfo())
	}
	return fmt.Sprintf("%s-%s", at[0], at[1]), nil
}

// URL returns where other processes reach the embedded server, or "" if it does
// not listen or is none of ours.
func (b *Broker) URL() string {
	if b.srv == nil || b.c.Listen == "" {
		return ""
	}
	return b.srv.ClientURL()
}

// Close ends what runs in the background and waits for it, sends what is still
// to be sent, and stops the embedded server after its files are closed. ctx
// bounds the waiting but not the last step, which is short.
func (b *Broker) Close(ctx context.Context) error {
	var err error
	b.once.Do(func() {
		b.gate.Lock()
		b.cancel()
		b.gate.Unlock()
		done := make(chan struct{})
		go func() { b.wg.Wait(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
			err = fmt.Errorf("waiting for workers to end: %w", context.Cause(ctx))
		}
		if derr := b.nc.Drain(); derr == nil {
			select {
			case <-b.closed:
			case <-ctx.Done():
				err = errors.Join(err, fmt.Errorf("draining the connection: %w", context.Cause(ctx)))
			}
		}
		b.shut()
	})
	return err
}

// begin adds one to what Close waits for, unless Close has begun.
func (b *Broker) begin() bool {
	b.gate.Lock()
	defer b.gate.Unlock()
	if b.ctx.Err() != nil {
		return false
	}
	b.wg.Add(1)
	return true
}

func errClosed() error { return fmt.Errorf("the broker is closed: %w", rollover.ErrUnavailable) }

// shut closes what is open.
func (b *Broker) shut() {
	if b.nc != nil {
		b.nc.Close()
	}
	b.local.close()
	if b.srv != nil {
		stopServer(b.srv)
	}
	if b.unlock != nil {
		b.unlock()
	}
}

// both returns a context that ends with ctx or when the broker is closed.
func (b *Broker) both(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

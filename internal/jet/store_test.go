package jet_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// testLog writes to the test's output.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}

func newCert(t testing.TB) rollover.Credential {
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(2, 0, 0))
	return c
}

// open returns a broker that is closed with the test.
func open(t testing.TB, c jet.Config) *jet.Broker {
	t.Helper()
	b, err := jet.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() { shut(t, b) })
	return b
}

func shut(t testing.TB, b *jet.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// dialRaw returns what a server holds as its own library shows it, to look at and to
// damage, until the test ends.
func dialRaw(t testing.TB, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// config is an embedded server in a directory of the test.
func config(t testing.TB, certs ...rollover.Credential) jet.Config {
	return jet.Config{
		Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Certificate: rollovertestCerts(certs),
	}
}

func rollovertestCerts(certs []rollover.Credential) func(context.Context, string) (rollover.Credential, error) {
	return func(_ context.Context, sha string) (rollover.Credential, error) {
		for _, c := range certs {
			if c.SHA256 == sha {
				return c, nil
			}
		}
		return rollover.Credential{}, rollover.ErrNotFound
	}
}

func TestBroker_IsAStore(t *testing.T) {
	c := newCert(t)
	rollovertest.TestStore(t, c, func(t *testing.T) rollover.Store { return open(t, config(t, c)) })
}

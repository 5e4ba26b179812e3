package jet_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// soon is well below the time for which a read is tried again.
const soon = 3 * time.Second

// Processes that begin together on an empty store all want to make its streams, and
// none takes from another what that one reads by.
func TestOpen_ProcessesMayBeginTogether(t *testing.T) {
	for range 4 {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		first := config(t)
		first.Listen = address
		var others sync.WaitGroup
		for range 4 {
			other := first
			other.URL, other.Dir, other.Listen = "nats://"+address, "", ""
			others.Go(func() {
				for t.Context().Err() == nil { // Whoever comes before the server looks again too late to be in its way.
					if c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
						_ = c.Close()
						break
					}
				}
				b, err := jet.Open(t.Context(), other)
				if err != nil {
					t.Errorf("Open of another process = %v", err)
					return
				}
				shut(t, b)
			})
		}
		b := open(t, first)
		others.Wait()
		answers(t, b)
	}
}

// A stream without direct gets is read all the same: another process may have updated
// it from what it was before the one with the embedded server began.
func TestBroker_ReadsWhereDirectGetsAreOff(t *testing.T) {
	c := config(t)
	c.Listen = "127.0.0.1:0"
	b := open(t, c)
	js := dialRaw(t, b.URL())
	for _, name := range []string{"ROT", "STATE"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		conf := s.CachedInfo().Config
		conf.AllowDirect = false
		if _, err := js.UpdateStream(t.Context(), conf); err != nil {
			t.Fatal(err)
		}
	}
	answers(t, b)
}

// answers makes a rotation and reads it, soon.
func answers(t *testing.T, b *jet.Broker) {
	t.Helper()
	begun := time.Now()
	if _, err := b.CreateRotation(t.Context(), rollovertest.NewRotation("r1", newCert(t), rollovertest.Epoch), []string{"a"}); err != nil {
		t.Fatalf("CreateRotation = %v", err)
	}
	if _, err := b.Rotation(t.Context(), "r1"); err != nil {
		t.Errorf("Rotation = %v", err)
	}
	if _, _, err := b.Newest(t.Context()); err != nil {
		t.Errorf("Newest = %v", err)
	}
	if took := time.Since(begun); took > soon {
		t.Errorf("making and reading a rotation took %v, want less than %v", took, soon)
	}
}

// A process that begins where all streams are as it wants them updates none: of updates
// that many send at once a cluster answers one only.
func TestOpen_StreamsThatFitAreLeftAlone(t *testing.T) {
	c := config(t)
	c.Listen = "127.0.0.1:0"
	b := open(t, c)
	nc, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	updates, err := nc.SubscribeSync("$JS.API.STREAM.UPDATE.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	joined(t, b, c)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := updates.Pending(); err != nil || n != 0 {
		m, _ := updates.NextMsg(soon)
		t.Errorf("a second process sent %d updates (%v), the first %s %s, want none", n, err, m.Subject, m.Data)
	}
	c.MaxStore = 128 << 20
	joined(t, b, c)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := updates.Pending(); err != nil || n == 0 {
		t.Errorf("a process with another max_store sent %d updates (%v), want some", n, err)
	}
}

package relay_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/test/faults/relay"
)

// echo answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func open(t *testing.T) *relay.Relay {
	t.Helper()
	r, err := relay.Listen("127.0.0.1:0", echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

func dial(t *testing.T, r *relay.Relay) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// says sends a line and returns the answer, or why there is none within d.
func says(c net.Conn, d time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

const long, short = 10 * time.Second, 100 * time.Millisecond

func TestRelay_CutResetsWhatThereIsAndWhoComes(t *testing.T) {
	r := open(t)
	c := dial(t, r)
	if got, err := says(c, long); err != nil || got != "hello\n" {
		t.Fatalf("through a whole line: %q, %v", got, err)
	}
	r.Set(relay.Cut)
	if _, err := says(c, long); err == nil {
		t.Error("a line that was cut still answers")
	}
	if _, err := says(dial(t, r), long); err == nil {
		t.Error("a cut line takes in new callers")
	}
	r.Set(relay.Through)
	if got, err := says(dial(t, r), long); err != nil || got != "hello\n" {
		t.Errorf("after it was mended: %q, %v", got, err)
	}
}

func TestRelay_StallHoldsAndThenPassesOn(t *testing.T) {
	for name, mode := range map[string]relay.Mode{"stall": relay.Stall, "one way": relay.OneWay} {
		r := open(t)
		c := dial(t, r)
		if _, err := says(c, long); err != nil {
			t.Fatal(err)
		}
		r.Set(mode)
		var timeout net.Error
		if got, err := says(c, short); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %q, %v, want silence", name, got, err)
		}
		r.Set(relay.Through)
		if err := c.SetDeadline(time.Now().Add(long)); err != nil {
			t.Fatal(err)
		}
		if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != "hello\n" {
			t.Errorf("%s: what was held up came as %q, %v", name, got, err)
		}
	}
}

func TestRelay_SlowTakesItsTime(t *testing.T) {
	r := open(t)
	c := dial(t, r)
	r.Set(relay.Slow)
	begun := time.Now()
	if _, err := says(c, long); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 2*relay.Delay {
		t.Errorf("there and back took %s, want at least %s", took, 2*relay.Delay)
	}
}

package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
)

// names is a DNS server that says of every name what it is told to, another thing each
// time it is asked.
func names(t *testing.T, answers ...netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for i := 0; ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			answer := answers[i%len(answers)]
			reply, fits := say(buf[:n], answer)
			if fits {
				i++
			}
			_, _ = conn.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// say answers a question with one address, or with none if it asks for another sort.
// The form is that of RFC 1035, section 4.1.
func say(question []byte, a netip.Addr) (reply []byte, fits bool) {
	end := 12
	for question[end] != 0 {
		end += int(question[end]) + 1
	}
	end += 5
	sort := binary.BigEndian.Uint16(question[end-4:])
	reply = append([]byte{question[0], question[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end]...)
	if (sort == 1) != a.Is4() || (sort != 1 && sort != 28) {
		return reply, false
	}
	reply[7] = 1
	reply = append(reply, 0xc0, 12)
	reply = binary.BigEndian.AppendUint16(reply, sort)
	reply = append(reply, 0, 1, 0, 0, 0, 0)
	reply = binary.BigEndian.AppendUint16(reply, uint16(len(a.AsSlice()))) //nolint:gosec // 4 or 16.
	return append(reply, a.AsSlice()...), true
}

// A name is judged by the address that is dialled, not by one that was looked up
// before: it cannot lead elsewhere in between, and every address is judged.
func TestDial_ANameThatLeadsInsideIsNotFollowed(t *testing.T) {
	var seen atomic.Int64
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			seen.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, answers := range map[string][]string{
		"this machine":                     {"127.0.0.1"},
		"this machine, mapped":             {"::ffff:127.0.0.1"},
		"this machine by IPv6":             {"::1"},
		"a cloud's own service":            {"169.254.169.254"},
		"Azure's own service":              {"168.63.129.16"},
		"a private address":                {"10.1.2.3"},
		"another address each time":        {"10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "192.168.0.1"},
		"a cloud's own service through 64": {"64:ff9b::a9fe:a9fe"},
	} {
		t.Run(name, func(t *testing.T) {
			var all []netip.Addr
			for _, a := range answers {
				all = append(all, netip.MustParseAddr(a))
			}
			d := newDialer(routes{}, func(*http.Request) (*url.URL, error) { return nil, nil })
			d.guarded.Resolver = names(t, all...)
			for range 2 * len(answers) {
				conn, err := d.dial(t.Context(), "tcp", net.JoinHostPort("rebind.example.org", port))
				if !errors.Is(err, ErrForbiddenAddress) {
					t.Errorf("dialling a name that leads to %v = %v, want ErrForbiddenAddress", answers, err)
				}
				if conn != nil {
					_ = conn.Close()
				}
			}
		})
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

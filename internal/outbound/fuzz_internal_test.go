package outbound

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzGuard dials any address: every way to write an inner one is refused, and none is
// dialled that the standard library knows as loopback, link-local, private or
// multicast, also within another.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		"127.0.0.1:443", "[::1]:443", "[::ffff:169.254.169.254]:443", "[::ffff:a9fe:a9fe]:80", "[64:ff9b::a9fe:a9fe]:443", "[fe80::1%eth0]:443", "[::ffff:0:127.0.0.1]:443", "0x7f.1:443", "127.1:443",
		"2130706433:443", "[::ffff:127.0.0.1%x]:1", "8.8.8.8:443", "[2606:4700::1111]:443", "[2002:a9fe:a9fe::1]:443", "[::127.0.0.1]:443", "", "\x00", "169.254.169.254", "[::ffff:100.64.0.1]:443",
	} {
		f.Add("tcp4", s)
	}
	f.Fuzz(func(t *testing.T, network, address string) {
		err := guard(network, address, nil)
		if err != nil {
			if !errors.Is(err, ErrForbiddenAddress) {
				t.Errorf("guard(%q, %q) = %v, want ErrForbiddenAddress", network, address, err)
			}
			return
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatalf("guard lets %q through, which is no address", address)
		}
		ip := net.ParseIP(strings.Split(host, "%")[0])
		if ip == nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsPrivate() || ip.IsUnspecified() || ip.IsMulticast() || !strings.HasPrefix(network, "tcp") {
			t.Errorf("guard(%q, %q) lets it through", network, address)
		}
	})
}

// FuzzPublic judges any address: the same as IPv4, mapped into IPv6, and by NAT64.
func FuzzPublic(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "169.254.169.254", "10.0.0.1", "100.127.255.255", "168.63.129.16", "8.8.8.8", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.19.255.255"} {
		b := netip.MustParseAddr(s).As4()
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 4 {
			return
		}
		four := netip.AddrFrom4([4]byte(b))
		want := public(four)
		nat := append([]byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, b...)
		for name, a := range map[string]netip.Addr{
			"mapped": netip.AddrFrom16(four.As16()), "NAT64": netip.AddrFrom16([16]byte(nat)), "mapped with a zone": netip.AddrFrom16([16]byte(nat)).WithZone("eth0"),
		} {
			if got := public(a); got != want {
				t.Errorf("public(%s) = %v, %s %s = %v", four, want, name, a, got)
			}
		}
		six := append([]byte{0x20, 0x02}, append(b, make([]byte, 10)...)...)
		if public(netip.AddrFrom16([16]byte(six))) || public(netip.AddrFrom16([16]byte(append(make([]byte, 12), b...)))) {
			t.Errorf("%s within 6to4 or as a compatible address is taken for public", four)
		}
	})
}

// FuzzRedirect follows any Location: nothing but the same host by https is asked, once,
// and without what proves who we are.
func FuzzRedirect(f *testing.F) {
	for _, s := range []string{
		"/x", "//evil.example/", "https://evil.example/", "http://contoso.example/", "https://contoso.example:444/", "https://u:p@contoso.example/", "https://contoso.example.:443/", "https://CONTOSO.example/",
		"https://169.254.169.254/latest/meta-data/", "\\\\evil", "https:///x", "?a", "#b", "\x00", "https://contoso.example@evil.example/", "https://[::ffff:127.0.0.1]/",
	} {
		f.Add(s, "GET")
		f.Add(s, "POST")
	}
	f.Fuzz(func(t *testing.T, location, method string) {
		at, err := url.Parse("https://contoso.example/a")
		if err != nil {
			t.Fatal(err)
		}
		u, err := at.Parse(location)
		if err != nil {
			return // net/http stops there.
		}
		from := &http.Request{Method: method, URL: at}
		req := &http.Request{Method: method, URL: u, Header: http.Header{"Authorization": {"Bearer t"}, "Cookie": {"a=b"}, "Referer": {"r"}, "Proxy-Authorization": {"p"}}}
		if err := checkRedirect(req, []*http.Request{from}); err != nil {
			return
		}
		if u.Scheme != "https" || u.Host != at.Host || req.URL.User != nil || len(req.Header) != 0 || (method != "GET" && method != "HEAD") {
			t.Errorf("%s is sent on to %s (%q) with %v", method, req.URL, location, req.Header)
		}
		if checkRedirect(req, []*http.Request{from, from}) == nil {
			t.Errorf("a second redirect to %q is followed", location)
		}
	})
}

// FuzzLimitBody reads any bytes under any bound: never more, never fewer without a word.
func FuzzLimitBody(f *testing.F) {
	f.Add([]byte("abc"), int64(2))
	f.Add([]byte("abc"), int64(3))
	f.Add([]byte{}, int64(-1))
	f.Add([]byte("x"), int64(1)<<62)
	f.Fuzz(func(t *testing.T, data []byte, n int64) {
		for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data)), iotest.HalfReader(bytes.NewReader(data))} {
			got, err := ReadBody(r, n)
			tooLong := int64(len(data)) > max(n, 0)
			if tooLong != errors.Is(err, ErrTooLarge) || (!tooLong && (err != nil || !bytes.Equal(got, data))) || int64(len(got)) > max(n, 0) {
				t.Errorf("ReadBody of %d bytes with a bound of %d = %d bytes, %v", len(data), n, len(got), err)
			}
		}
	})
}

// FuzzRoutes reads any entry of dial: what is taken is reached by its own name and by
// no name outside of it.
func FuzzRoutes(f *testing.F) {
	for _, s := range []string{"example.com", "*.example.com", "*.", "*", "EXAMPLE.com", ".", "a b", "*.*.x", "[::1]", "x:1", "\x00", "*.com.", "é.example"} {
		f.Add(s, "127.0.0.1:443")
	}
	f.Add("x", "localhost:1")
	f.Add("x", "[::1%eth0]:99999")
	f.Fuzz(func(t *testing.T, host, to string) {
		r, err := newRoutes(map[string]string{host: to})
		if err != nil {
			return
		}
		name, wild := strings.CutPrefix(host, "*")
		if wild {
			name = "a" + name
		}
		if got, ok := r.find(name); strings.TrimSuffix(name, ".") == name && (!ok || got != to) {
			t.Errorf("%q is reached at %q, %v, want %q", name, got, ok, to)
		}
		for _, other := range []string{"evil.example", "xevil-" + strings.TrimPrefix(name, "a."), ""} {
			if got, ok := r.find(other); ok && !wild {
				t.Errorf("a route for %q leads %q to %q", host, other, got)
			}
		}
	})
}

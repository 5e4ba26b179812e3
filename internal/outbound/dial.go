package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrForbiddenAddress says that a host's name leads to an address that a stranger's
// name must not lead to: this machine, a private network, a cloud's own
// services.
var ErrForbiddenAddress = errors.New("address is not on the public internet")

// routes says which hosts are reached elsewhere than where their names say.
type routes struct {
	exact    map[string]string
	suffixes []string // ".suffix", longest first
	bySuffix map[string]string
}

func newRoutes(dial map[string]string) (routes, error) {
	r := routes{exact: map[string]string{}, bySuffix: map[string]string{}}
	for host, to := range dial {
		if _, err := netip.ParseAddrPort(to); err != nil {
			return routes{}, fmt.Errorf("outbound: dial entry for %q: want ip:port: %w", host, err)
		}
		name, wild := strings.CutPrefix(host, "*")
		if wild != strings.HasPrefix(name, ".") || strings.Trim(name, ".") == "" ||
			strings.ContainsAny(name, "*/: ") || name != strings.ToLower(name) {
			return routes{}, fmt.Errorf(`outbound: dial entry %q: want a host name in lower case, or "*." and one`, host)
		}
		if wild {
			r.bySuffix[name] = to
			r.suffixes = append(r.suffixes, name)
			continue
		}
		r.exact[name] = to
	}
	slices.SortFunc(r.suffixes, func(a, b string) int { return len(b) - len(a) })
	return r, nil
}

// find returns where host is really reached.
func (r routes) find(host string) (to string, ok bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if to, ok := r.exact[host]; ok {
		return to, true
	}
	for _, s := range r.suffixes {
		if strings.HasSuffix(host, s) && len(host) > len(s) {
			return r.bySuffix[s], true
		}
	}
	return "", false
}

// dialer opens the connections of one client.
type dialer struct {
	routes  routes
	proxy   func(*http.Request) (*url.URL, error)
	trusted net.Dialer // for addresses that the operator named
	guarded net.Dialer // for addresses that the public DNS named

	mu      sync.Mutex
	proxies map[string]bool // host:port of the proxies in use; the operator's, and few
}

func newDialer(r routes, proxy func(*http.Request) (*url.URL, error)) *dialer {
	plain := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	guarded := plain
	guarded.Control = guard
	return &dialer{routes: r, proxy: proxy, trusted: plain, guarded: guarded, proxies: map[string]bool{}}
}

// proxyFor returns the proxy for a request: none for a host with a route.
func (d *dialer) proxyFor(req *http.Request) (*url.URL, error) {
	if _, ok := d.routes.find(req.URL.Hostname()); ok {
		return nil, nil
	}
	u, err := d.proxy(req)
	if err != nil || u == nil {
		return u, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.proxies[proxyAddr(u)] = true
	return u, nil
}

// proxyAddr returns the host:port at which net/http will dial the proxy.
func proxyAddr(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (d *dialer) isProxy(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proxies[addr]
}

// dial opens a connection to addr: where its route leads, or else where its name
// leads, if that is outside.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dialling %q: %w", addr, err)
	}
	if to, ok := d.routes.find(host); ok {
		return d.trusted.DialContext(ctx, network, to)
	}
	if d.isProxy(addr) {
		return d.trusted.DialContext(ctx, network, addr)
	}
	return d.guarded.DialContext(ctx, network, addr)
}

// guard looks at the address that is about to be dialled, after the name was
// resolved, so that a name cannot lead elsewhere between a check and its use.
func guard(network, address string, _ syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return fmt.Errorf("dialling by %s: %w", network, ErrForbiddenAddress)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil || ap.Addr().Zone() != "" { // Only what is link-local has a zone.
		return fmt.Errorf("dialling %q: %w", address, ErrForbiddenAddress)
	}
	if !public(ap.Addr()) {
		return fmt.Errorf("dialling %s: %w", ap.Addr(), ErrForbiddenAddress)
	}
	return nil
}

// public reports whether a is a unicast address of the public internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(a) { // RFC 6052: an IPv4 address within
		b := a.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range inner() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// inner returns the blocks that netip has no question for and that lead to no
// stranger's server: IANA's special-purpose registries, RFC 6890 and its
// successors, and one address of Azure's.
func inner() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),        // this network
		netip.MustParsePrefix("100.64.0.0/10"),    // carrier-grade NAT, RFC 6598; clouds put their own services here
		netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments
		netip.MustParsePrefix("192.0.2.0/24"),     // documentation
		netip.MustParsePrefix("192.88.99.0/24"),   // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks, RFC 2544
		netip.MustParsePrefix("198.51.100.0/24"),  // documentation
		netip.MustParsePrefix("203.0.113.0/24"),   // documentation
		netip.MustParsePrefix("240.0.0.0/4"),      // reserved
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's platform services, seen from every virtual machine
		netip.MustParsePrefix("::/96"),            // IPv4-compatible, RFC 4291
		netip.MustParsePrefix("64:ff9b:1::/48"),   // NAT64 for local use, RFC 8215
		netip.MustParsePrefix("100::/64"),         // discard, RFC 6666
		netip.MustParsePrefix("2001::/23"),        // protocol assignments, Teredo among them
		netip.MustParsePrefix("2001:db8::/32"),    // documentation
		netip.MustParsePrefix("2002::/16"),        // 6to4: any IPv4 address within
		netip.MustParsePrefix("3fff::/20"),        // documentation, RFC 9637
		netip.MustParsePrefix("fec0::/10"),        // site-local, RFC 3879
	}
}

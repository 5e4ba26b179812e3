package daemon

import (
	"crypto/tls"
	"net"
	"net/url"
	"strings"
)

// maxOrigins bounds web.origins.
const maxOrigins = 64

// List returns the origins, each once as it is written.
func (w Web) List() []string {
	return strings.FieldsFunc(w.Origins, func(r rune) bool { return r == ',' || r == ' ' })
}

// web checks the door for browsers.
func (k *checker) web(c Config) {
	origins := c.Web.List()
	if c.Listen.Web == "" {
		if len(origins) > 0 {
			k.fail("web.origins", "needs listen.web: nothing serves browsers")
		}
		return
	}
	k.door(c, "listen.web", c.Listen.Web)
	for other, addr := range map[string]string{"listen.grpc": c.Listen.GRPC, "listen.ops": c.Listen.Ops} {
		if c.Listen.Web == addr && !strings.HasSuffix(addr, ":0") {
			k.fail("listen.web", "is the address of %s; want another", other)
		}
	}
	if len(origins) > maxOrigins {
		k.fail("web.origins", "want at most %d", maxOrigins)
	}
	for _, o := range origins {
		u, err := url.Parse(o)
		switch {
		case err != nil || u.Hostname() == "" || o != strings.ToLower(u.Scheme+"://"+u.Host) || strings.Contains(o, "*"):
			k.fail("web.origins", "%q is no origin; want https://host or https://host:port in lower case, without a path and without *", o)
		case u.Scheme != "https" && (u.Scheme != "http" || !thisMachine(u.Hostname())):
			k.fail("web.origins", "%q: want https; others could write into a page that comes by http", o)
		}
	}
}

func thisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// WebConfig returns the configuration of the listener for browsers: as [ServerTLS.Config],
// and with HTTP/1.1 beside HTTP/2.
func (s *ServerTLS) WebConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current().web, nil },
	}
}

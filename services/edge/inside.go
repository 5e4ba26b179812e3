package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Origin is where a call came from that another door of this process took in.
type Origin struct {
	// Addr is the caller's address. Required.
	Addr net.Addr
	// TLS is the state of the caller's connection, as this process itself saw its
	// handshake; nil: it has none.
	TLS *tls.ConnectionState
}

// Dial returns a client of s inside this process, for the calls of one connection that
// another door took in. All interceptors run, and see that connection's address and
// client certificate: the connection inside is trusted no more than what is behind it.
// Nobody outside can make one, since it never was a socket. The caller closes it.
func (s *Server) Dial(from Origin) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///inside",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.inside.dial(ctx, from) }),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithNoProxy(),
		grpc.WithReadBufferSize(insideBuffer), grpc.WithWriteBufferSize(insideBuffer),
	)
	if err != nil {
		return nil, fmt.Errorf("making a client inside: %w", err)
	}
	return conn, nil
}

// insideBuffer is what a connection inside buffers: there is one for each browser.
const insideBuffer = 4 << 10

// inside is one end of a connection within this process. It is made by passage.dial
// alone.
type inside struct {
	net.Conn
	from Origin
}

// RemoteAddr returns the address of the caller whose calls these are.
func (c *inside) RemoteAddr() net.Addr { return c.from.Addr }

// errPassageClosed says that the server has stopped.
var errPassageClosed = errors.New("the server has stopped")

// passage is the listener of the connections inside.
type passage struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPassage() *passage {
	return &passage{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// dial returns the client's end of a new connection.
func (p *passage) dial(ctx context.Context, from Origin) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- &inside{far, from}:
		return near, nil
	case <-p.closed:
		return nil, errPassageClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements [net.Listener].
func (p *passage) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, errPassageClosed
	}
}

// Close implements [net.Listener].
func (p *passage) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements [net.Listener].
func (p *passage) Addr() net.Addr { return &net.UnixAddr{Name: "inside", Net: "inside"} }

// doorman shakes hands with callers outside as the server's credentials do, and takes
// over from connections inside what their door saw.
type doorman struct {
	credentials.TransportCredentials
}

func newDoorman(c *tls.Config) credentials.TransportCredentials {
	if c == nil {
		return doorman{insecure.NewCredentials()}
	}
	return doorman{credentials.NewTLS(c)}
}

// ServerHandshake implements [credentials.TransportCredentials].
func (d doorman) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	in, ok := c.(*inside)
	switch {
	case !ok:
		return d.TransportCredentials.ServerHandshake(c)
	case in.from.TLS == nil:
		return insecure.NewCredentials().ServerHandshake(c)
	default:
		return c, credentials.TLSInfo{
			State:          *in.from.TLS,
			CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		}, nil
	}
}

// Clone implements [credentials.TransportCredentials].
func (d doorman) Clone() credentials.TransportCredentials {
	return doorman{d.TransportCredentials.Clone()}
}

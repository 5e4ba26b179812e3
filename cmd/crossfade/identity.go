package main

import (
	"context"
	"crypto/tls"
	"os"
	"os/user"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/crossfade-project/crossfade/services/edge"
)

// maxTokenFile bounds the file of a token, in bytes.
const maxTokenFile = 16 << 10

// proof is how this command proves to the service who it is.
type proof struct {
	certFile, keyFile string // a client certificate and its key; "": none
	tokenFile         string // a bearer token; "": none
}

// given reports whether there is any.
func (p proof) given() bool { return p.certFile != "" || p.tokenFile != "" }

// certificates reads the client certificate.
func (p proof) certificates() ([]tls.Certificate, error) {
	if (p.certFile == "") != (p.keyFile == "") {
		return nil, usage("--client-cert and --client-key: want both or neither")
	}
	if p.certFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return nil, usage("--client-cert: %w", err)
	}
	return []tls.Certificate{pair}, nil
}

// options adds the token to every call. secure says that nobody can read it on its way.
func (p proof) options(secure bool) ([]grpc.DialOption, error) {
	if p.tokenFile == "" {
		return nil, nil
	}
	t := tokenFile{p.tokenFile, secure}
	if _, err := t.read(); err != nil {
		return nil, err
	}
	return []grpc.DialOption{grpc.WithPerRPCCredentials(t)}, nil
}

// tokenFile is a bearer token that somebody else may renew while we watch.
type tokenFile struct {
	path   string
	secure bool
}

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (t tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := t.read()
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials]. On loopback a
// token may travel in plaintext.
func (t tokenFile) RequireTransportSecurity() bool { return t.secure }

func (t tokenFile) read() (string, error) {
	info, err := os.Stat(t.path)
	if err != nil {
		return "", usage("--token-file: %w", err)
	}
	if info.Size() > maxTokenFile {
		return "", usage("--token-file %s: longer than %d bytes; want one token and nothing else", t.path, maxTokenFile)
	}
	b, err := os.ReadFile(t.path)
	if err != nil {
		return "", usage("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \n\r\t") {
		return "", usage("--token-file %s: want one token and nothing else", t.path)
	}
	return token, nil
}

// caller returns the name that the service is told, and whether it was given. It is
// a claim; the service cannot prove it.
func (a *app) caller() (string, error) {
	if a.as != "" {
		if !edge.IsCaller(a.as) {
			return "", usage("--as %q: want 1 to 128 printable ASCII characters", a.as)
		}
		return a.as, nil
	}
	if u, err := user.Current(); err == nil && edge.IsCaller(u.Username) {
		return u.Username, nil
	}
	return "", nil // Anonymous, which is told to be too little where it matters.
}

// calling says to every call who makes it: proven where there is something to prove it
// with, else claimed.
func (a *app) calling(secure bool) ([]grpc.DialOption, error) {
	if a.proof.given() {
		if a.as != "" {
			return nil, usage("--as is a claim, and --client-cert and --token-file prove who you are: leave it out")
		}
		return a.proof.options(secure)
	}
	who, err := a.caller()
	return saying(edge.CallerHeader, who), err
}

// saying adds a header to every call; none where there is nothing to say.
func saying(header, value string) []grpc.DialOption {
	if value == "" {
		return nil
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(metadata.AppendToOutgoingContext(ctx, header, value), method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(metadata.AppendToOutgoingContext(ctx, header, value), d, cc, method, opts...)
		}),
	}
}

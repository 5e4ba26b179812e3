package main

import (
	"context"
	"crypto/tls"
	"os"
	"strings"

	"google.golang.org/grpc"
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

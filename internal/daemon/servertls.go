package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// reloadEvery is how often the listener's files are looked at, at most. A look is made
// at a handshake or a call, so nothing runs while nobody calls.
const reloadEvery = 10 * time.Second

// Server returns what the gRPC listener proves to be and whom it believes, or nil
// where there is no certificate. The files are read again when they change, all
// together; if what they then hold is wrong, what is in use stays, and the log is told.
func (t TLS) Server(now func() time.Time, log *slog.Logger) (*ServerTLS, error) {
	if t.Cert == "" {
		return nil, nil
	}
	s := &ServerTLS{t: t, now: now, log: log}
	for _, path := range []string{t.Cert, t.Key, t.ClientCA, t.ClientCRL} {
		if path != "" {
			s.files.paths = append(s.files.paths, path)
		}
	}
	if err := s.load(now()); err != nil {
		return nil, err
	}
	return s, nil
}

// ServerTLS follows the files of the listener: its certificate and key, the
// authorities of client certificates, and what those revoked.
type ServerTLS struct {
	t   TLS
	now func() time.Time
	log *slog.Logger

	mu      sync.Mutex // guards all below
	files   followed
	looked  time.Time
	config  *tls.Config
	web     *tls.Config // config, for browsers
	trusted []*x509.Certificate
	revoked *identity.Lists // nil: nobody asks
	problem error           // of the last look
}

// Config returns the configuration of the listener: TLS 1.3, and a client's
// certificate verified where it sends one.
func (s *ServerTLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current().config, nil },
	}
}

// Revoked implements [identity.Revocation]: the chain must still lead to one of the
// authorities, and none of it be revoked. It is asked at each call, since connections
// live for long.
func (s *ServerTLS) Revoked(chain []*x509.Certificate, now time.Time) error {
	c := s.current()
	root := chain[len(chain)-1]
	trusted := false
	for _, a := range c.trusted {
		trusted = trusted || a.Equal(root)
	}
	if !trusted {
		return fmt.Errorf("the authority of the client certificate is not trusted any more: %w", identity.ErrInvalid)
	}
	if c.revoked == nil {
		return nil
	}
	return c.revoked.Revoked(chain, now)
}

// Ends returns when the listener's certificate and the first of the revocation lists
// end; zero where there is none.
func (s *ServerTLS) Ends() (certificate, lists time.Time) {
	c := s.current()
	certificate = c.config.Certificates[0].Leaf.NotAfter
	if c.revoked != nil {
		lists = c.revoked.Until()
	}
	return certificate, lists
}

// Problem returns what is wrong with the files now; nil: they are what is in use.
func (s *ServerTLS) Problem() error {
	s.current()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// holds is what the files last held.
type holds struct {
	config  *tls.Config
	web     *tls.Config
	trusted []*x509.Certificate
	revoked *identity.Lists
}

func (s *ServerTLS) current() holds {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if since := now.Sub(s.looked); since < 0 || since >= reloadEvery {
		if err := s.load(now); err != nil {
			if s.problem == nil || s.problem.Error() != err.Error() {
				s.log.Error("new files of the listener cannot be used; what was in use stays", "err", err)
			}
			s.problem = err
		} else {
			s.problem = nil
		}
	}
	return holds{s.config, s.web, s.trusted, s.revoked}
}

// load reads the files if they are not those that were read last.
func (s *ServerTLS) load(now time.Time) error {
	s.looked = now
	infos, changed, err := s.files.look()
	if err != nil {
		return fmt.Errorf("the listener's files: %w", err)
	}
	if !changed {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(s.t.Cert, s.t.Key)
	if err != nil {
		return fmt.Errorf("reading the listener's certificate %s: %w", s.t.Cert, err)
	}
	c := holds{config: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}}
	if err := s.clients(&c); err != nil {
		return err
	}
	// Both are made once for these files, so that sessions can be taken up again.
	c.web = c.config.Clone()
	c.web.NextProtos = []string{"h2", "http/1.1"}
	if s.config != nil {
		s.log.Info("the listener has new files", "certificate_ends", pair.Leaf.NotAfter, "client_authorities", len(c.trusted))
	}
	s.config, s.web, s.trusted, s.revoked, s.files.seen = c.config, c.web, c.trusted, c.revoked, infos
	return nil
}

// clients reads whose client certificates are believed.
func (s *ServerTLS) clients(c *holds) error {
	if s.t.ClientCA == "" {
		return nil
	}
	b, err := os.ReadFile(s.t.ClientCA)
	if err != nil {
		return fmt.Errorf("reading tls.client_ca: %w", err)
	}
	if c.trusted, err = certificates(b); err != nil {
		return fmt.Errorf("reading tls.client_ca %s: %w", s.t.ClientCA, err)
	}
	pool := x509.NewCertPool()
	for _, a := range c.trusted {
		pool.AddCert(a)
	}
	// One who sends none may have a token, or ask for health. One who sends one of
	// another authority is not talked to.
	c.config.ClientCAs, c.config.ClientAuth = pool, tls.VerifyClientCertIfGiven
	if s.t.ClientCRL == "" {
		return nil
	}
	if b, err = os.ReadFile(s.t.ClientCRL); err != nil {
		return fmt.Errorf("reading tls.client_crl: %w", err)
	}
	if c.revoked, err = identity.ParseLists(b, c.trusted); err != nil {
		return fmt.Errorf("reading tls.client_crl %s: %w", s.t.ClientCRL, err)
	}
	return nil
}

// certificates reads PEM certificates; there must be one, and nothing else.
func certificates(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a PEM block %q in it; want certificates only", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out), err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there is no certificate in it")
	}
	return out, nil
}

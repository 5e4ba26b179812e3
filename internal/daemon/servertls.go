package daemon

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// reloadEvery is how often the certificate's files are looked at, at most. A
// look is made at a handshake, so nothing runs while nobody calls.
const reloadEvery = 10 * time.Second

// Server returns the TLS configuration of the gRPC listener, or nil where there
// is none. The files are read again when they change; if what they then hold is
// no pair, the one in use stays, and the log is told.
func (t TLS) Server(now func() time.Time, log *slog.Logger) (*tls.Config, error) {
	if t.Cert == "" {
		return nil, nil
	}
	p := &keyPair{t: t, now: now, log: log}
	if err := p.load(now()); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.certificate}, nil
}

// keyPair is a certificate with its key, as the files last held them.
type keyPair struct {
	t   TLS
	now func() time.Time
	log *slog.Logger

	mu     sync.Mutex // guards all below
	pair   *tls.Certificate
	seen   [2]fs.FileInfo
	looked time.Time
}

func (p *keyPair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now(); now.Sub(p.looked) >= reloadEvery {
		if err := p.load(now); err != nil {
			p.log.Error("new certificate of the listener cannot be used; the old one stays", "err", err)
		}
	}
	return p.pair, nil
}

// load reads the files if they are not those that were read last.
func (p *keyPair) load(now time.Time) error {
	p.looked = now
	var infos [2]fs.FileInfo
	same := p.pair != nil
	for i, path := range []string{p.t.Cert, p.t.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("looking at the listener's certificate: %w", err)
		}
		infos[i] = info
		same = same && p.seen[i] != nil && os.SameFile(info, p.seen[i]) &&
			info.ModTime().Equal(p.seen[i].ModTime()) && info.Size() == p.seen[i].Size()
	}
	if same {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(p.t.Cert, p.t.Key)
	if err != nil {
		return fmt.Errorf("reading the listener's certificate %s: %w", p.t.Cert, err)
	}
	if p.pair != nil {
		p.log.Info("the listener has a new certificate", "not_after", pair.Leaf.NotAfter)
	}
	p.pair, p.seen = &pair, infos
	return nil
}

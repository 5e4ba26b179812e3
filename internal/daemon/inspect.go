package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// Severity says whether a finding is to be mended before a process is started.
type Severity string

// The severities.
const (
	Wrong   Severity = "error"   // a process would not start, or would do harm
	Doubted Severity = "warning" // it is allowed and may be a mistake
)

// Found is one thing that [Inspect] has to say.
type Found struct {
	Problem
	Severity Severity
}

// expiresSoon is how long before its end a certificate of ours is warned about.
const expiresSoon = 21 * 24 * time.Hour

// inspector looks at the files that a configuration names.
type inspector struct {
	now   time.Time
	lines map[string]int
	found []Found
}

func (k *inspector) say(s Severity, field, format string, args ...any) {
	k.found = append(k.found, Found{Problem{Line: k.lines[field], Field: field, Text: fmt.Sprintf(format, args...)}, s})
}

// Inspect looks at everything that the configuration c, read from path ("": from
// no file), names on this machine, and returns what is wrong and what may be: files
// that cannot be read, certificates and keys that do not fit, keys that others can
// read. It opens no connection and changes nothing.
func Inspect(path string, c Config, now time.Time) []Found {
	k := &inspector{now: now, lines: linesOf(path)}
	k.pair("tls", c.TLS.Cert, c.TLS.Key)
	k.pair("nats", c.NATS.Cert, c.NATS.Key)
	k.lists(c.TLS.ClientCRL, k.authorities("tls.client_ca", c.TLS.ClientCA))
	k.authorities("nats.ca", c.NATS.CA)
	k.authorities("network.ca_file", c.Network.CAFile)
	k.authorities("traces.ca", c.Traces.CA)
	k.creds(c.NATS.Creds)
	if c.Embedded() {
		k.data(c.Data)
	}
	k.folder(c.Secrets.Dir)
	if _, err := c.OpenClock(); err != nil {
		k.say(Wrong, "clock", "%v", err)
	}
	for _, w := range c.Warnings() {
		k.say(Doubted, "", "%s", w)
	}
	return k.found
}

// linesOf returns where the fields of a file stand.
func linesOf(path string) map[string]int {
	r := binder{lines: map[string]int{}}
	if f, err := os.Open(path); err == nil {
		defer func() { _ = f.Close() }() // Opened for reading only.
		if b, err := io.ReadAll(io.LimitReader(f, maxFile)); err == nil {
			c := Default()
			r.read(b, &c)
		}
	}
	return r.lines
}

// read reads a file that must be there, and says what is wrong with it else.
func (k *inspector) read(field, path string) ([]byte, bool) {
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		k.say(Wrong, field, "there is no file %s", path)
		return nil, false
	case err != nil:
		k.say(Wrong, field, "%v", err)
		return nil, false
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		k.say(Wrong, field, "%s is no file of up to 1 MiB", path)
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		k.say(Wrong, field, "%v; this user has to be able to read it", err)
	}
	return b, err == nil
}

// private says if others than the owner and their group can get at a secret.
func (k *inspector) private(field, path string) {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" { // Modes say nothing there.
		return
	}
	// A folder may be made so by whoever mounts it, with files in it that are closed.
	severity := Wrong
	if info.IsDir() {
		severity = Doubted
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o007 != 0:
		k.say(severity, field, "everybody on this machine can get at %s (mode %04o); run: chmod o-rwx %s", path, mode, path)
	case mode&0o020 != 0:
		k.say(severity, field, "others can change %s (mode %04o); run: chmod g-w %s", path, mode, path)
	}
}

// pair looks at a certificate and its key.
func (k *inspector) pair(section, cert, key string) {
	if cert == "" || key == "" {
		return
	}
	c, ok := k.read(section+".cert", cert)
	b, kok := k.read(section+".key", key)
	if !ok || !kok {
		return
	}
	k.private(section+".key", key)
	pair, err := tls.X509KeyPair(c, b)
	if err != nil {
		k.say(Wrong, section+".cert", "%s and %s are no pair of a certificate and its key: %v", cert, key, err)
		return
	}
	k.validity(section+".cert", pair.Leaf)
	want, what := x509.ExtKeyUsageServerAuth, "a server"
	if section == "nats" {
		want, what = x509.ExtKeyUsageClientAuth, "a client"
	}
	if usages := pair.Leaf.ExtKeyUsage; len(usages) > 0 && !slices.Contains(usages, want) && !slices.Contains(usages, x509.ExtKeyUsageAny) {
		k.say(Wrong, section+".cert", "%s is not for %s: its extended key usage says other things", cert, what)
	}
	if section == "tls" && len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == 0 {
		k.say(Wrong, "tls.cert", "%s names no host (subject alternative name): no caller would take it", cert)
	}
}

// validity says when a certificate is not valid, or will not be for long.
func (k *inspector) validity(field string, c *x509.Certificate) {
	switch {
	case k.now.After(c.NotAfter):
		k.say(Wrong, field, "has expired on %s; put a new one there, see docs/own-certificates.md", c.NotAfter.UTC().Format(time.RFC3339))
	case k.now.Before(c.NotBefore):
		k.say(Wrong, field, "is valid from %s only", c.NotBefore.UTC().Format(time.RFC3339))
	case c.NotAfter.Sub(k.now) < expiresSoon:
		k.say(Doubted, field, "expires on %s; put a new one there, see docs/own-certificates.md", c.NotAfter.UTC().Format(time.RFC3339))
	}
}

// authorities looks at a file of certificates of authorities, and returns those that
// it has.
func (k *inspector) authorities(field, path string) (all []*x509.Certificate) {
	if path == "" {
		return nil
	}
	b, ok := k.read(field, path)
	if !ok {
		return nil
	}
	alive := 0
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != "CERTIFICATE" {
			k.say(Wrong, field, "block %d of %s is a %s; want certificates only", n, path, block.Type)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			k.say(Wrong, field, "certificate %d of %s cannot be read: %v", n, path, err)
		case k.now.After(c.NotAfter):
			k.say(Doubted, field, "certificate %d of %s has expired on %s; take it out", n, path, c.NotAfter.UTC().Format(time.RFC3339))
		default:
			alive++
		}
		if err == nil {
			all = append(all, c)
		}
	}
	if alive == 0 {
		k.say(Wrong, field, "%s has no certificate that is valid; want PEM certificates of authorities", path)
	}
	return all
}

// listsEndSoon is how long before its end a revocation list is warned about: after
// its end nobody is believed whom it could be about.
const listsEndSoon = 24 * time.Hour

// lists looks at a file of revocation lists.
func (k *inspector) lists(path string, authorities []*x509.Certificate) {
	if path == "" {
		return
	}
	b, ok := k.read("tls.client_crl", path)
	if !ok {
		return
	}
	l, err := identity.ParseLists(b, authorities)
	switch {
	case err != nil:
		k.say(Wrong, "tls.client_crl", "%s: %v", path, err)
	case !k.now.Before(l.Until()):
		k.say(Wrong, "tls.client_crl", "a list of %s ended on %s: nobody is believed whom it is about; put a newer one there", path, l.Until().UTC().Format(time.RFC3339))
	case l.Until().Sub(k.now) < listsEndSoon:
		k.say(Doubted, "tls.client_crl", "a list of %s ends on %s; put a newer one there before", path, l.Until().UTC().Format(time.RFC3339))
	}
}

// creds looks at a NATS credentials file.
func (k *inspector) creds(path string) {
	if path == "" {
		return
	}
	b, ok := k.read("nats.creds", path)
	if !ok {
		return
	}
	k.private("nats.creds", path)
	for _, part := range []string{"BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"} {
		if !strings.Contains(string(b), part) {
			k.say(Wrong, "nats.creds", "%s is no NATS credentials file: there is no %s in it", path, part)
		}
	}
}

// data looks at the folder of the embedded broker, which the first start makes.
func (k *inspector) data(path string) {
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		if parent, err := os.Stat(filepath.Dir(path)); err != nil || !parent.IsDir() {
			k.say(Wrong, "data", "there is no folder %s to make it in", filepath.Dir(path))
		}
	case err != nil:
		k.say(Wrong, "data", "%v", err)
	case !info.IsDir():
		k.say(Wrong, "data", "%s is no folder", path)
	default:
		k.private("data", path)
	}
}

// folder looks at the folder of secrets.
func (k *inspector) folder(path string) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		k.say(Wrong, "secrets.dir", "there is no folder %s", path)
	case err != nil:
		k.say(Wrong, "secrets.dir", "%v", err)
	case !info.IsDir():
		k.say(Wrong, "secrets.dir", "%s is no folder", path)
	default:
		if _, err := fs.ReadDir(os.DirFS(path), "."); err != nil {
			k.say(Wrong, "secrets.dir", "%v; this user has to be able to read it", err)
		}
		k.private("secrets.dir", path)
	}
}

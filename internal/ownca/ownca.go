// Package ownca makes two certificate authorities: one by which Crossfade's own
// processes know each other, and one by which callers of the API prove who they are.
// It is for a machine on which there is no authority yet; where there is one, use that.
package ownca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// The names of what Write makes: a ".pem" with the certificate and a ".key" with its
// key for each, and for each caller by its own name.
const (
	Authority = "ca"      // of the processes
	API       = "api"     // of the gRPC listener
	NATS      = "nats"    // of the NATS servers, to clients and to each other
	Client    = "client"  // of Crossfade's processes, to the NATS servers
	Callers   = "callers" // the authority of callers: the brokers let nobody in by it
	Audit     = "audit"   // not made here: the key that signs the audit log lies beside these
)

// AuthorityFile is the certificate of the authority of the processes.
const AuthorityFile = Authority + ".pem"

// backdate is against clocks that are behind.
const backdate = time.Hour

// Config says what certificates are for.
type Config struct {
	APINames, NATSNames []string      // host names and IP addresses; of the machine itself too
	Callers             []string      // who is to call the API, each by a name that is its common name and its files'
	Life                time.Duration // of the certificates; the authority's is twice that
	Now                 time.Time
}

// ErrThere says that a folder has certificates already.
var ErrThere = errors.New("there are certificates already")

// Write makes an authority and certificates in dir, which it makes if it is not
// there. Where there is an authority in dir already, it changes nothing and returns
// [ErrThere]. Keys are readable by their owner alone.
func Write(dir string, c Config) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, AuthorityFile)); err == nil {
		return ErrThere
	}
	for _, name := range c.Callers {
		if err := checkCaller(name); err != nil {
			return err
		}
	}
	callers, err := newAuthority("callers", c)
	if err != nil {
		return err
	}
	for _, name := range c.Callers {
		t := template(name, c.Now, c.Life)
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if err := callers.issue(dir, name, t); err != nil {
			return err
		}
	}
	if err := callers.write(dir, Callers); err != nil {
		return err
	}
	a, err := newAuthority("authority", c)
	if err != nil {
		return err
	}
	for name, usage := range map[string][]x509.ExtKeyUsage{
		API:    {x509.ExtKeyUsageServerAuth},
		NATS:   {x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, // Routes are dialled by servers.
		Client: {x509.ExtKeyUsageClientAuth},
	} {
		t := template("crossfade "+name, c.Now, c.Life)
		t.ExtKeyUsage = usage
		for _, h := range map[string][]string{API: c.APINames, NATS: c.NATSNames}[name] {
			if ip := net.ParseIP(h); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, h)
			}
		}
		if err := a.issue(dir, name, t); err != nil {
			return err
		}
	}
	// Last: its presence says that all is there.
	return a.write(dir, Authority)
}

// checkCaller refuses names that are no file's, or another's.
func checkCaller(name string) error {
	switch {
	case !regexp.MustCompile("^[a-z0-9][a-z0-9.-]{0,62}$").MatchString(name):
		return fmt.Errorf("caller %q: want 1 to 63 lower-case letters, digits, dots and hyphens", name)
	case slices.Contains([]string{Authority, API, NATS, Client, Callers, Audit}, name):
		return fmt.Errorf("caller %q: the name is taken by one of our own files", name)
	}
	return nil
}

// authority signs.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// write writes the authority's key and then its certificate.
func (a *authority) write(dir, name string) error {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return fmt.Errorf("encoding the key of the authority: %w", err)
	}
	if err := write(dir, name+".key", "PRIVATE KEY", key, 0o600); err != nil {
		return err
	}
	return write(dir, name+".pem", "CERTIFICATE", a.cert.Raw, 0o644)
}

func newAuthority(name string, c Config) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the authority: %w", err)
	}
	t := template("Crossfade "+name+" of "+c.Now.UTC().Format(time.DateOnly), c.Now, 2*c.Life)
	t.KeyUsage, t.BasicConstraintsValid, t.IsCA, t.MaxPathLenZero = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, true, true, true
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the authority: %w", err)
	}
	return &authority{cert, key}, nil
}

// template is what all certificates have.
func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // It does not fail: crypto/rand ends the process first.
	serial[0] = serial[0]&0x7f | 0x40
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue writes a certificate and its key, and sees that they are a pair.
func (a *authority) issue(dir, name string, t *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("making the certificate of %s: %w", name, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", name, err)
	}
	if err := write(dir, name+".pem", "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	if err := write(dir, name+".key", "PRIVATE KEY", private, 0o600); err != nil {
		return err
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")); err != nil {
		return fmt.Errorf("reading what was written for %s: %w", name, err)
	}
	return nil
}

// write writes a PEM file. What a run that did not end left is written over.
func write(dir, name, kind string, der []byte, mode os.FileMode) error {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("closing %s to others: %w", name, err)
	}
	return nil
}

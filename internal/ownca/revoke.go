package ownca

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"time"
)

// RevokedFile is the revocation list of the authority of callers.
const RevokedFile = Callers + ".crl"

// Revoke writes the list of the callers whose certificates are to be believed no more,
// all of them: it takes the place of the list before. It holds for life. Callers are
// those for whom [Write] made a certificate in dir.
func Revoke(dir string, callers []string, now time.Time, life time.Duration) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, Callers+".pem"), filepath.Join(dir, Callers+".key"))
	if err != nil {
		return fmt.Errorf("reading the authority of callers: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("reading the authority of callers: its key is not one of ours")
	}
	list := &x509.RevocationList{Number: big.NewInt(now.UnixMilli()), ThisUpdate: now.Add(-backdate), NextUpdate: now.Add(life)}
	for _, name := range callers {
		if err := checkCaller(name); err != nil {
			return err
		}
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			return fmt.Errorf("reading the certificate of %s: %w", name, err)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.Leaf.SerialNumber, RevocationTime: now,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, pair.Leaf, key)
	if err != nil {
		return fmt.Errorf("making the revocation list: %w", err)
	}
	return write(dir, RevokedFile, "X509 CRL", der, 0o644)
}

package emulator

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-project/crossfade/internal/emulator/sender"
)

// The subjects of the certificates. One certificate of CRM's serves all tenants
// of all regions here; Microsoft had one a region.
const (
	crmSubject     = "crm.dynamics.com"
	foreignSubject = "partner-gateway.example"
	loginSubject   = "crossfade-login"
)

// The spans of the certificates around the switch and around now.
const (
	twoYears      = 2 * 365 * 24 * time.Hour
	oldOutlasts   = 30 * 24 * time.Hour // the old one stays valid so long after the switch
	clockTolerant = 24 * time.Hour      // logins go by the machine's clock
)

// pairs are all certificates of a world.
type pairs struct {
	old, new, foreign, login sender.Pair
}

// newPairs makes them, at once: RSA keys take their time.
func newPairs(c Config) (p pairs, err error) {
	now := c.Now().UTC().Truncate(time.Second)
	real := time.Now().UTC()
	var g errgroup.Group
	for _, one := range []struct {
		to          *sender.Pair
		subject     string
		from, until time.Time
	}{
		{&p.old, crmSubject, now.Add(-twoYears), c.SwitchAt.Add(oldOutlasts)},
		{&p.new, crmSubject, c.SwitchAt, c.SwitchAt.Add(twoYears)},
		{&p.foreign, foreignSubject, now.Add(-twoYears), now.Add(twoYears)},
		{&p.login, loginSubject, real.Add(-clockTolerant), real.Add(twoYears)},
	} {
		g.Go(func() (err error) {
			*one.to, err = newPair(one.subject, one.from, one.until)
			return err
		})
	}
	return p, g.Wait()
}

// newPair makes a self-signed RSA certificate as CRM's were: ACS compares bytes
// and builds no chain.
func newPair(subject string, from, to time.Time) (sender.Pair, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return sender.Pair{}, fmt.Errorf("making the key of %s: %w", subject, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: subject}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return sender.Pair{}, fmt.Errorf("making the certificate of %s: %w", subject, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return sender.Pair{}, fmt.Errorf("reading the certificate of %s: %w", subject, err)
	}
	return sender.Pair{Cert: cert, DER: der, Key: key}, nil
}

// newSecret is 32 random bytes in base64, as the default management keys of ACS
// are. Secrets do not follow the seed.
func newSecret() Secret {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // It does not fail: crypto/rand ends the process first.
	return Secret(base64.StdEncoding.EncodeToString(b))
}

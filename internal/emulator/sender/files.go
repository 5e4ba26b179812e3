package sender

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The files of a sender that runs as a process of its own.
const (
	oldFile       = "old.pem"
	newFile       = "new.pem"
	endpointsFile = "endpoints.json"
)

// Save writes what a sender needs into dir, which it makes: the two
// certificates with their private keys, and the endpoints. Only the owner can
// read it.
func Save(dir string, older, newer Pair, endpoints []Endpoint) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("saving the sender: %w", err)
	}
	list, err := json.MarshalIndent(endpoints, "", "  ")
	if err != nil {
		return fmt.Errorf("saving the sender: %w", err)
	}
	files := map[string][]byte{endpointsFile: append(list, '\n')}
	for name, p := range map[string]Pair{oldFile: older, newFile: newer} {
		if files[name], err = p.PEM(); err != nil {
			return fmt.Errorf("saving the sender: %w", err)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("saving the sender: %w", err)
		}
	}
	return nil
}

// Load reads what Save wrote. The caller adds the HTTP client and the clock.
func Load(dir string) (Config, error) {
	var c Config
	list, err := os.ReadFile(filepath.Join(dir, endpointsFile))
	if err != nil {
		return c, fmt.Errorf("loading the sender: %w", err)
	}
	if err := json.Unmarshal(list, &c.Endpoints); err != nil {
		return c, fmt.Errorf("loading the sender: reading %s: %w", endpointsFile, err)
	}
	for name, to := range map[string]*Pair{oldFile: &c.Old, newFile: &c.New} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return c, fmt.Errorf("loading the sender: %w", err)
		}
		if *to, err = parsePEM(text); err != nil {
			return c, fmt.Errorf("loading the sender: reading %s: %w", name, err)
		}
	}
	return c, nil
}

// PEM is the certificate and its private key as one text. It is a secret.
func (p Pair) PEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("writing the key of %s: %w", p, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.DER})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

// parsePEM reads what PEM wrote. Its errors hold nothing of the text.
func parsePEM(text []byte) (p Pair, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			p.DER = block.Bytes
			if p.Cert, err = x509.ParseCertificate(block.Bytes); err != nil {
				return p, fmt.Errorf("parsing the certificate: %w", err)
			}
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return p, errors.New("parsing the private key: it is not PKCS#8")
			}
			signer, ok := key.(crypto.Signer)
			if !ok {
				return p, errors.New("parsing the private key: it cannot sign")
			}
			p.Key = signer
		}
	}
	if p.Cert == nil || p.Key == nil {
		return p, errors.New("a certificate and a private key are needed")
	}
	return p, nil
}

package emulator

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/crossfade-project/crossfade/internal/emulator/sender"
)

// Secrets lists every secret of the world as the texts that would give it away:
// management keys and client secrets, right ones and wrong ones, symmetric keys
// and passwords of identities, and lines of the private keys. Whoever checks
// that nothing leaks looks for each of them.
func (w *World) Secrets() ([]Secret, error) {
	var out []Secret
	for _, t := range w.Tenants {
		if t.ClientSecret != "" {
			out = append(out, t.ClientSecret)
		}
		for _, n := range t.Namespaces {
			out = append(out, n.Secret)
		}
	}
	for _, ns := range w.namespaces {
		for _, a := range ns.Accounts {
			out = append(out, Secret(a.Password))
		}
		for _, id := range ns.Identities {
			for _, k := range id.Keys {
				switch k.Type {
				case "Symmetric":
					out = append(out, Secret(base64.StdEncoding.EncodeToString(k.Value)))
				case "Password":
					out = append(out, Secret(k.Value), Secret(base64.StdEncoding.EncodeToString(k.Value)))
				}
			}
		}
	}
	texts := []Secret{w.loginPEM}
	for _, p := range []sender.Pair{w.Old, w.New} {
		text, err := p.PEM()
		if err != nil {
			return nil, fmt.Errorf("listing secrets: %w", err)
		}
		texts = append(texts, Secret(text))
	}
	for _, text := range texts {
		out = append(out, privateLines(text)...)
	}
	return out, nil
}

// privateLines are the lines of the private key in a PEM text, without the first
// ones: these hold the modulus, which is public.
func privateLines(text Secret) []Secret {
	const public = 7 // lines of 48 bytes; an RSA-2048 key in PKCS#8 begins with 300 bytes up to the exponents
	var out []Secret
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(pem.EncodeToMemory(block))), "\n")
		for _, l := range lines[1+public : len(lines)-2] {
			out = append(out, Secret(l))
		}
	}
	return out
}

package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"html"
	"net/url"
	"strings"
)

// shortest is the length from which on a needle is not found by chance.
const shortest = 12

// needles are secrets in each form in which they could be found.
type needles struct {
	secrets map[string][]byte // by name: what is secret of each
	shown   map[string][]byte // by name: what a program reads and might tell
	index   map[uint64][]needle
	first   [1 << 16]bool // of what the first eight bytes of a needle hash to
	n       int
}

type needle struct {
	of   string
	text []byte
}

func newNeedles() *needles {
	return &needles{secrets: map[string][]byte{}, shown: map[string][]byte{}, index: map[uint64][]needle{}}
}

// add adds a secret: a text, or keys in PEM, of which the numbers are looked for that
// nobody else may know. It reports whether there was anything long enough to look for.
func (n *needles) add(name, text string) bool {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "-----BEGIN") {
		return n.put(name, []byte(text), []byte(text))
	}
	found := false
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		if number := private(block); number != nil {
			found = n.put(name, number, block.Bytes) || found
		}
	}
}

// private returns the number of a private key that makes it private, nil where block is
// no private key.
func private(block *pem.Block) []byte {
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
				return nil
			}
		}
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		b, err := k.Bytes()
		if err != nil {
			return nil
		}
		return b
	case ed25519.PrivateKey:
		return k.Seed()
	case *rsa.PrivateKey:
		return k.Primes[0].Bytes()[:32]
	}
	return nil
}

func (n *needles) put(name string, secret, shown []byte) bool {
	if len(secret) < shortest {
		return false
	}
	n.secrets[name], n.shown[name] = secret, shown
	seen := map[string]bool{}
	for _, form := range sought(secret) {
		if len(form) < shortest || seen[form] {
			continue
		}
		seen[form] = true
		n.n++
		at := binary.LittleEndian.Uint64([]byte(form))
		n.index[at] = append(n.index[at], needle{name, []byte(form)})
		n.first[fold(at)] = true
	}
	return true
}

// fold makes sixteen bits of eight bytes.
func fold(v uint64) uint16 { return uint16(v * 0x9e3779b97f4a7c15 >> 48) } //nolint:gosec // Sixteen bits are left.

// sought returns the forms of a secret: as it is, in hex, and of its base64 what does not
// depend on what is before and behind it; each also escaped as in an address, in JSON and
// in a page.
func sought(secret []byte) []string {
	out := []string{hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret))}
	plain := []string{string(secret)}
	for before := range 3 {
		from, to := (before*8+5)/6, (before+len(secret))*8/6
		text := append(make([]byte, before), secret...)
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			plain = append(plain, enc.EncodeToString(text)[from:to])
		}
	}
	for _, p := range plain {
		out = append(out, p, url.QueryEscape(p), url.PathEscape(p), inPage(p))
		if b, err := json.Marshal(p); err == nil {
			out = append(out, string(b[1:len(b)-1]))
		}
	}
	return out
}

// inPage returns a text as html/template writes it.
func inPage(s string) string { return strings.ReplaceAll(html.EscapeString(s), "+", "&#43;") }

// find returns which secrets b holds, each once. Base64 is often cut into lines, so
// what is on several is looked at as one too.
func (n *needles) find(where string, b []byte) []finding {
	seen := map[string]bool{}
	var out []finding
	for _, text := range [][]byte{b, joined(b)} {
		for i := 0; i+8 <= len(text); i++ {
			at := binary.LittleEndian.Uint64(text[i:])
			if !n.first[fold(at)] {
				continue
			}
			for _, nd := range n.index[at] {
				if !seen[nd.of] && bytes.HasPrefix(text[i:], nd.text) {
					seen[nd.of] = true
					out = append(out, finding{where, nd.of, string(text[max(0, i-60):i])})
				}
			}
		}
	}
	return out
}

// joined returns b without the ends of its lines, also where these are escaped.
func joined(b []byte) []byte {
	return []byte(strings.NewReplacer("\r", "", "\n", "", `\r`, "", `\n`, "").Replace(string(b)))
}

// planted returns what a program might tell of each secret, form by form: made by other
// means than what is looked for, with something before and behind.
func (n *needles) planted() map[string]map[string][]byte {
	out := map[string]map[string][]byte{}
	put := func(form, name string, b []byte) {
		if out[form] == nil {
			out[form] = map[string][]byte{}
		}
		out[form][name] = b
	}
	for name, shown := range n.shown {
		put("as it is", name, shown)
		put("escaped", name, []byte(url.QueryEscape(string(shown))))
		put("in hex", name, []byte(hex.EncodeToString(shown)))
		put("in big hex", name, bytes.ToUpper([]byte(hex.EncodeToString(shown))))
		for before := range 3 {
			text := append([]byte("xyz"[:before]), shown...)
			text = append(text, "behind"...)
			for form, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "url-safe base64": base64.URLEncoding} {
				encoded := enc.EncodeToString(text)
				put(form+" behind "+"xyz"[:before], name, []byte(encoded))
				put(form+", escaped, behind "+"xyz"[:before], name, []byte(url.QueryEscape(encoded)))
				put(form+" in a page behind "+"xyz"[:before], name, []byte(inPage(encoded)))
			}
		}
		// What cuts into lines, and what keeps such lines in JSON.
		lines := pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: append([]byte("y"), shown...)})
		put("in lines", name, lines)
		quoted, err := json.Marshal(string(lines))
		if err == nil {
			put("in lines in JSON", name, quoted)
		}
	}
	return out
}

package jet

import (
	"fmt"
	"strings"
)

// maxToken bounds a token after escaping. NATS takes 4,096 bytes for a control
// line with two subjects in it.
const maxToken = 1024

const hexDigits = "0123456789ABCDEF"

// escape makes one legal subject token of any text. Letters, digits, '-' and '_'
// stay; every other byte becomes '=' and two upper-case hex digits; the empty
// text becomes a lone '='.
func escape(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for i := 0; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// unescape is the inverse of escape. It refuses what escape never writes.
func unescape(tok string) (string, error) {
	if tok == "=" {
		return "", nil
	}
	var b strings.Builder
	b.Grow(len(tok))
	for i := 0; i < len(tok); i++ {
		if plain(tok[i]) {
			b.WriteByte(tok[i])
			continue
		}
		if tok[i] != '=' || i+2 >= len(tok) {
			return "", fmt.Errorf("token %q: byte %d is not escaped", tok, i)
		}
		hi, lo := strings.IndexByte(hexDigits, tok[i+1]), strings.IndexByte(hexDigits, tok[i+2])
		if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) { //nolint:gosec // Both are below 16.
			return "", fmt.Errorf("token %q: byte %d is escaped wrongly", tok, i)
		}
		b.WriteByte(byte(hi<<4 | lo)) //nolint:gosec // Both are below 16.
		i += 2
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("token is empty")
	}
	return b.String(), nil
}

// plain reports whether c stands for itself in a token.
func plain(c byte) bool {
	return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// checkKey refuses keys that do not fit into a subject.
func checkKey(key string) error {
	if n := len(escape(key)); n > maxToken {
		return fmt.Errorf("key of %d bytes is too long: escaped it has %d, at most %d fit", len(key), n, maxToken)
	}
	return nil
}

package acs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
)

const (
	claimAction         = "net.windows.servicebus.action"
	claimNameIdentifier = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
	claimProvider       = "http://schemas.microsoft.com/accesscontrolservice/2010/07/claims/identityprovider"
	claimOrganization   = "http://schemas.microsoft.com/xrm/2011/Claims/Organization"
	swtSignature        = "&HMACSHA256="
)

// Pair is one name and value of a simple web token.
type Pair struct{ Name, Value string }

// SignSWT writes a simple web token of the pairs in their order, signed with
// key, in the encoding of .NET: escapes in lower-case hex, a blank as "+".
func SignSWT(pairs []Pair, key []byte) string {
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(Escape(p.Name))
		b.WriteByte('=')
		b.WriteString(Escape(p.Value))
	}
	text := b.String()
	return text + swtSignature + Escape(base64.StdEncoding.EncodeToString(swtMAC(text, key)))
}

func swtMAC(text string, key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// swt is a parsed simple web token, of which nothing is believed before
// verify says so.
type swt struct {
	text  string // what is signed
	mac   []byte
	pairs []Pair
}

// parseSWT reads a token. Its signature must be the last pair.
func parseSWT(token string) (*swt, error) {
	i := strings.LastIndex(token, swtSignature)
	if i < 0 {
		return nil, errors.New("parsing a token: it has no signature")
	}
	t := &swt{text: token[:i]}
	sig, err := url.QueryUnescape(token[i+len(swtSignature):])
	if err != nil {
		return nil, errors.New("parsing a token: its signature is not escaped well")
	}
	if t.mac, err = base64.StdEncoding.DecodeString(sig); err != nil {
		return nil, errors.New("parsing a token: its signature is not base64")
	}
	for _, part := range strings.Split(t.text, "&") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, errors.New("parsing a token: a pair has no value")
		}
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, errors.New("parsing a token: a pair is not escaped well")
		}
		t.pairs = append(t.pairs, Pair{n, v})
	}
	return t, nil
}

func (t *swt) verify(key []byte) bool { return hmac.Equal(t.mac, swtMAC(t.text, key)) }

// get returns the value of a pair that stands exactly once.
func (t *swt) get(name string) (string, bool) {
	value, n := "", 0
	for _, p := range t.pairs {
		if p.Name == name {
			value = p.Value
			n++
		}
	}
	return value, n == 1
}

// Escape writes s as .NET's HttpUtility.UrlEncode does.
func Escape(s string) string {
	const hexdigits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.!*()", c) >= 0:
			b.WriteByte(c)
		case c == ' ':
			b.WriteByte('+')
		default:
			b.WriteByte('%')
			b.WriteByte(hexdigits[c>>4])
			b.WriteByte(hexdigits[c&15])
		}
	}
	return b.String()
}

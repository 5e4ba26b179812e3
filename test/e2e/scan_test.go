package e2e_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
)

// finding is a place where a secret is, or may be.
type finding struct {
	where string // the haystack
	rule  string // a rule's name, or the secret's
	text  string // what is around it
}

func (f finding) String() string {
	return fmt.Sprintf("%s holds %s: … %q …", f.where, f.rule, f.text)
}

// shapes are those of secrets, as scanners of code and logs know them. A reference
// ("file:…", "env:…") is none.
func shapes() map[string]*regexp.Regexp {
	const b64 = `[A-Za-z0-9+/_-]`
	return map[string]*regexp.Regexp{
		"a private key":      regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`),
		"an audit log's key": regexp.MustCompile(`PRIVATE(\+|%2[bB])KEY(\+|%2[bB])[A-Za-z0-9]`),
		// What stands in the first bytes of each encoding of a key, at the beginning of its base64:
		// PKCS #8 of RSA, P-256, P-384, P-521, Ed25519 and X25519; PKCS #1; SEC 1; PKCS #8 encrypted.
		"a key in DER": regexp.MustCompile(`MII` + b64 + `{3}IBADANBgkqhkiG9w0BAQ|MI(GH|G2|Hu)AgEAM(BM|BA)GByqGSM49|MC4CAQAwBQYDK2V[uw]|MII` + b64 + `{3}IBAAK[BC]|` +
			`MHcCAQEEI|MIGkAgEBBD|MIHcAgEBBEI|MI` + b64 + `{4,10}BgkqhkiG9w0BBQ[0w]`),
		"a JSON web token": regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`),
		"a simple token":   regexp.MustCompile(`HMACSHA256(=|%3[dD])`),
		"a wrap token":     regexp.MustCompile(`(?i)wrap_(access|refresh)_token["']?\s*([:=]|%3d)\s*["']?[A-Za-z0-9%._-]{8,}|\bWRAP access_token=|"wrap_info"\s*:\s*\{|wrapping_?token["']?\s*[:=]\s*["']?[A-Za-z0-9]`),
		"a bearer token":   regexp.MustCompile(`(?i)\b(bearer|basic|wrap) [A-Za-z0-9._~+/=-]{16,}`),
		"a NATS seed":      regexp.MustCompile(`\bS[UOANC][A-Z2-7]{56}\b`),
		"a cloud's key":    regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`),
		"a webhook's key":  regexp.MustCompile(`\bwhsec_[A-Za-z0-9+/=_-]{20,}`),
		"a signature of Service Bus or storage": regexp.MustCompile(
			`SharedAccessSignature(\s|\+|%20)+s[a-z]{1,2}(=|%3[dD])|(?i)[?&;]sig(=|%3d)[A-Za-z0-9%+/=_-]{20,}|SharedAccessKey(=|%3d)[A-Za-z0-9%+/=_-]{16,}`),
		"a vault's token":       regexp.MustCompile(`(?i)x-vault-token["']?[:=\s]+["'\[]*[A-Za-z0-9._-]{8,}|\bh?v[sbr]\.[A-Za-z0-9_-]{20,}|\bs\.[A-Za-z0-9]{24}\b`),
		"an address with a key": regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@"'<>\\]{1,64}:[^\s/@"'<>\\]{1,128}@`),
		"an assignment": regexp.MustCompile(
			`(?i)(password|passwd|pwd|client_secret|client_assertion|access_token|refresh_token|assertion|api[_-]?key|shared_?access_?key|secret_id|hmac_key|private_key)["']?\s*[:=]\s*["']?[A-Za-z0-9+/=_~.%-]{12,}`),
	}
}

// specimens are texts of each shape, for the proof that the rules find them.
func specimens() map[string][]string {
	filler := strings.Repeat("Ab3d", 12)
	return map[string][]string{
		"a private key":      {"-----BEGIN EC PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----"},
		"an audit log's key": {"PRIVATE+KEY+crossfade-audit+b0872874+" + filler, "PRIVATE%2BKEY%2Bcrossfade-audit"},
		"a key in DER": {
			"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "MIGHAgEAMBMGByqGSM49AgEG", "MIG2AgEAMBAGByqGSM49AgEG", "MIHuAgEAMBAGByqGSM49AgEG", "MC4CAQAwBQYDK2VwBCIEI",
			"MIIEowIBAAKCAQEA", "MIICXAIBAAKBgQ", "MHcCAQEEIA", "MIGkAgEBBDA", "MIIFHDBOBgkqhkiG9w0BBQ0wQT",
		},
		"a JSON web token": {"eyJhbGciOiJub25lIn0.eyJzdWIiOiJqYW5lIn0."},
		"a simple token":   {"&HMACSHA256%3dabc", "HMACSHA256=abc"},
		"a wrap token":     {"wrap_access_token=net.windows.servicebus", `"wrap_access_token": "abcdefgh"`, `WRAP access_token="x"`, `"wrap_info": {"token"`, "wrapping_token: hvs"},
		"a bearer token":   {"Authorization: Bearer abcdefghijklmnopqrstuvwxyz"},
		"a NATS seed":      {"SU" + strings.Repeat("A", 56)},
		"a cloud's key":    {"AKIAABCDEFGHIJKLMNOP"},
		"a webhook's key":  {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		"a signature of Service Bus or storage": {
			"SharedAccessSignature sr=https%3a%2f%2fx", "https://x.blob.core.windows.net/c?sv=1&sig=" + filler, "Endpoint=sb://x/;SharedAccessKey=" + filler, "%26amp&sig%3D" + filler,
		},
		"a vault's token":       {"X-Vault-Token: abcdefgh", `"X-Vault-Token":["abcdefgh"]`, "hvs.CAESIJ0123456789abcdefgh", " s.abcdefghijklmnopqrstuvwx "},
		"an address with a key": {"https://jane:hunter2@example.com/", "nats://user:pass@broker:4222"},
		"an assignment":         {`"client_secret":"abcdefghijklmnop"`, "password=correct.horse.battery", "secret_id: 0123456789abcdef"},
		highEntropy:             {`"key":"q8Jz0Lw3Xh7VtRkYb5NcPf2MsGd9AeTu6HiKoZy1WxE="`, "token q8Jz0Lw3Xh7VtRkYb5NcPf2M end", `"leaf":["x"],"y":"q8Jz0Lw3Xh7VtRkYb5NcPf2MsGd9AeTu6HiKoZy1WxE="`},
	}
}

// highEntropy is the rule for what no other rule knows: a text of 24 letters and digits or
// more, in no order, that is nothing of what is allowed.
const highEntropy = "what looks like a key"

var (
	certificate = regexp.MustCompile(`-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----`)
	token       = regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}={0,2}`)
	// known are names and digests, which have no secret in them: ids of RFC 9562, SHA-1,
	// SHA-256, and the ids of traces and spans. A key in hex cannot be told from a digest;
	// those that there are, are looked for by themselves.
	known = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[0-9a-f]{64}|[0-9a-fA-F]{40}|[0-9a-f]{32}|[0-9a-f]{16}`)
	// allowed are texts of which it is known what they are: what is before them, and they.
	allowed = map[string]*regexp.Regexp{
		"the key that verifies the audit log":     regexp.MustCompile(`(^|[^+])crossfade-audit\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$`),
		"a signature of a checkpoint":             regexp.MustCompile(`(—|\\u2014) crossfade-audit ([A-Za-z0-9+/]|&#43;){1,92}={0,2}$`),
		"the root of a checkpoint":                regexp.MustCompile(`crossfade-audit/1(\n|\\n)[0-9]+(\n|\\n)([A-Za-z0-9+/]|&#43;){1,44}=?$`), // In a page "+" is escaped.
		"the leaf of a checkpoint":                regexp.MustCompile(`"leaf":\["([A-Za-z0-9+/]{43}=",")*[A-Za-z0-9+/]{43}=$`),
		"the path of a proof":                     regexp.MustCompile(`"path":\s*\[\s*"([A-Za-z0-9+/]{43}=",\s*")*[A-Za-z0-9+/]{43}=$`),
		"the details of a refusal":                regexp.MustCompile(`"type":\s*"google\.rpc\.[A-Za-z]+",\s*"value":\s*"[A-Za-z0-9+/]*={0,2}$`), // In protobuf; needles are looked for in it.
		"a folder of a test":                      regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/Test[A-Za-z_]+[0-9]+/[A-Za-z0-9/_-]*$`),
		"a signature of a webhook":                regexp.MustCompile(`(?i)webhook-signature: v1,[A-Za-z0-9+/]{43}=$`),
		"a page token, which is sealed":           regexp.MustCompile(`"next_?[pP]age_?[tT]oken":\s*"[A-Za-z0-9_-]+$`),
		"the id of a webhook's message":           regexp.MustCompile(`msg_[A-Z2-7]{26}$`),
		"the name of a NATS server or its client": regexp.MustCompile(`\b[NC][A-Z2-7]{55}$`),
	}
)

// entropy returns the bits in each byte of b, from how often each comes.
func entropy(b []byte) float64 {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	out := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(b))
			out -= p * math.Log2(p)
		}
	}
	return out
}

// keyLike reports whether a text could be a key: of letters of both sizes and digits, in
// no order.
func keyLike(b []byte) bool {
	b = known.ReplaceAll(b, nil)
	return len(b) >= 24 && entropy(b) >= 3.9 && bytes.ContainsAny(b, "0123456789") &&
		bytes.ContainsAny(b, "abcdefghijklmnopqrstuvwxyz") && bytes.ContainsAny(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

// mayBeSecret reports whether the text b[from:to] is like a key and is none of what is
// allowed: public certificates, what proves, cursors.
func mayBeSecret(b []byte, from, to int) bool {
	if from > 0 && b[from-1] == '\\' { // The letter is an escape's, as in "\n".
		from++
	}
	if !keyLike(b[from:to]) {
		return false
	}
	for _, re := range allowed {
		begin := max(0, from-256)
		if l := bytes.LastIndexAny(b[:from], "[{"); l >= 0 && b[l] == '[' { // A list is looked at from its beginning.
			begin = min(begin, max(0, l-16))
		}
		if re.Match(b[begin:to]) {
			return false
		}
	}
	text := strings.TrimRight(string(b[from:to]), "=")
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		raw, err := enc.DecodeString(text)
		if err != nil {
			continue
		}
		if _, err := x509.ParseCertificate(raw); err == nil {
			return false
		}
		if printable(raw) && len(look("", raw)) == 0 { // A cursor, which is JSON; what is in it is looked at.
			return false
		}
	}
	return true
}

// public returns nothing of a certificate in PEM, and all of what is none.
func public(text []byte) []byte {
	if block, _ := pem.Decode(text); block != nil {
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			return nil
		}
	}
	return text
}

func printable(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' })
}

// look returns where b has anything of the shape of a secret.
func look(where string, b []byte) []finding {
	var out []finding
	found := func(rule string, from, to int) {
		out = append(out, finding{where, rule, string(b[max(0, from-60):min(len(b), to+20)])})
	}
	all := shapes()
	for _, rule := range slices.Sorted(maps.Keys(all)) {
		for _, at := range all[rule].FindAllIndex(b, 5) {
			found(rule, at[0], at[1])
		}
	}
	n := 0
	b = certificate.ReplaceAllFunc(b, public)
	for _, at := range token.FindAllIndex(b, -1) {
		if mayBeSecret(b, at[0], at[1]) {
			if n++; n <= 20 {
				found(highEntropy, at[0], at[1])
			}
		}
	}
	return out
}

// scan returns where a haystack holds a needle, or anything of the shape of a secret.
func scan(hay map[string][]byte, n *needles) []finding {
	var out []finding
	for _, where := range slices.Sorted(maps.Keys(hay)) {
		out = append(append(out, n.find(where, hay[where])...), look(where, hay[where])...)
	}
	return out
}

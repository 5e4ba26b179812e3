package certs_test

import (
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/certs"
)

// codes returns what findings say, as "severity code".
func codes(findings []certs.Finding) []string {
	out := []string{}
	for _, f := range findings {
		out = append(out, string(f.Severity)+" "+f.Code)
	}
	return out
}

func TestJudge_FindsWhatMatters(t *testing.T) {
	november := time.Date(2016, 11, 1, 1, 0, 0, 0, time.UTC)
	for _, k := range []struct {
		name, file string
		now        time.Time // zero: a day after it begins
		want       []string
	}{
		{"the new one before its day", "new.pem", november, []string{"info not_yet_valid"}},
		{"the new one at its first instant", "new.pem", time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC), nil},
		{"the old one in its last month", "old.pem", november, []string{"warning expires_soon"}},
		{"exactly 30 days before the end", "old.pem", time.Date(2016, 10, 31, 0, 0, 0, 0, time.UTC), nil},
		{"at its last instant", "old.pem", time.Date(2016, 11, 30, 0, 0, 0, 0, time.UTC), []string{"warning expires_soon"}},
		{"after its last instant", "old.pem", time.Date(2016, 11, 30, 0, 0, 1, 0, time.UTC), []string{"error expired"}},
		{"1024 bits", "rsa1024.pem", time.Time{}, []string{"error weak_key"}},
		{"an elliptic curve", "ec.pem", time.Time{}, []string{"error not_rsa"}},
		{"Ed25519", "ed25519.pem", time.Time{}, []string{"error not_rsa"}},
		{"SHA-1", "sha1.pem", time.Time{}, []string{"warning sha1_signature"}},
		{"MD5", "md5.pem", time.Time{}, []string{"warning md5_signature"}},
		{"for servers only", "server.pem", time.Time{}, []string{"warning eku"}},
		{"for encipherment only", "encipher.pem", time.Time{}, []string{"warning key_usage"}},
		{"self-signed by openssl req", "selfsigned.pem", time.Time{}, []string{"info ca_certificate"}},
		{"an authority", "root.pem", time.Time{}, []string{"warning key_usage", "info ca_certificate"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := read(t, k.file)
			now := k.now
			if now.IsZero() {
				now = c.NotBefore.AddDate(0, 0, 1)
			}
			if got := codes(certs.Judge(c, now)); !slices.Equal(got, k.want) {
				t.Errorf("Judge(%s, %s) = %v, want %v", k.file, now, got, k.want)
			}
		})
	}
	if got := codes(certs.Judge(certs.Certificate{}, november)); !slices.Equal(got, []string{"error unreadable"}) {
		t.Errorf("Judge of nothing = %v, want unreadable", got)
	}
}

func TestCompare_FindsWhatMatters(t *testing.T) {
	for _, k := range []struct {
		name, old, new string
		want           []string
	}{
		{"a rotation as it should be", "old.pem", "new.pem", nil},
		{"the same", "old.pem", "old.pem", []string{"info same_certificate"}},
		{"over the old key", "old.pem", "samekey.pem", []string{"warning same_key"}},
		{"for another name", "old.pem", "other.pem", []string{"warning subject_differs"}},
		{"with a gap", "old.pem", "late.pem", []string{"error validity_gap"}},
		{"the wrong way round", "new.pem", "old.pem", []string{"warning ends_sooner"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			if got := codes(certs.Compare(read(t, k.old), read(t, k.new))); !slices.Equal(got, k.want) {
				t.Errorf("Compare(%s, %s) = %v, want %v", k.old, k.new, got, k.want)
			}
		})
	}
}

func TestWorst_IsTheWeightiest(t *testing.T) {
	all := []certs.Finding{{Severity: certs.Warning}, {Severity: certs.Error}, {Severity: certs.Info}}
	for n, want := range []certs.Severity{"", certs.Warning, certs.Error, certs.Error} {
		if got := certs.Worst(all[:n]); got != want {
			t.Errorf("Worst of the first %d = %q, want %q", n, got, want)
		}
	}
}

func TestParseThumbprint_TakesWhatPeoplePaste(t *testing.T) {
	const sha1 = "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233"
	const sha256 = sha1 + "445566778899aabbccddeeff"
	for _, k := range []struct{ name, in, want string }{
		{"plain", sha1, sha1},
		{"upper case", "0F1E2D3C4B5A69788796A5B4C3D2E1F000112233", sha1},
		{"from Windows' dialog", "\u200e0f 1e 2d 3c 4b 5a 69 78 87 96 a5 b4 c3 d2 e1 f0 00 11 22 33\u200e", sha1},
		{"with colons", "0F:1E:2D:3C:4B:5A:69:78:87:96:A5:B4:C3:D2:E1:F0:00:11:22:33", sha1},
		{"with hyphens, no-break spaces and a byte order mark", "\ufeff0f1e2d3c-4b5a6978-8796a5b4\u00a0c3d2e1f0\t00112233\r\n", sha1},
		{"SHA-256", sha256, sha256},
	} {
		if got, err := certs.ParseThumbprint(k.in); got != k.want || err != nil {
			t.Errorf("%s: ParseThumbprint(%q) = %q, %v, want %q", k.name, k.in, got, err, k.want)
		}
	}
	for _, in := range []string{"", sha1[1:], sha1 + "0", sha256 + "00", "g" + sha1[1:], "0x" + sha1, "\uff10" + sha1[1:]} {
		if got, err := certs.ParseThumbprint(in); err == nil {
			t.Errorf("ParseThumbprint(%q) = %q, want an error", in, got)
		}
	}
}

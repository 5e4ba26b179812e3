package dataverse_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

func TestOrganisation_SignsInAgainOnceWhenTheTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	w.organisation(orgHost)
	c := w.client()
	if _, err := c.Organisation(t.Context(), login()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	for token := range w.tokens {
		w.revoked[token] = true
	}
	w.mu.Unlock()
	if _, err := c.Organisation(t.Context(), login()); err != nil {
		t.Errorf("Organisation with a revoked token in memory: %v", err)
	}
	if got := w.issued(); got != 2 {
		t.Errorf("%d tokens issued, want 2", got)
	}
}

func TestOrganisation_HandsOverWhenEveryTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	w.organisation(orgHost).before = func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("WWW-Authenticate", "Bearer authorization_uri=https://evil.example.test/x, resource_id=https://evil.example.test/")
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err := w.client().Organisation(t.Context(), login())
	w.wantMark(err, rollover.HandedOver, rollover.NoAccess)
	if got := w.asked(orgHost); got != 2 {
		t.Errorf("organisation asked %d times, want 2", got)
	}
}

func TestOrganisation_KeepsOneLoginATenant(t *testing.T) {
	const other = "fabrikam.crm4.dynamics.com"
	w := newWorld(t)
	w.organisation(orgHost)
	w.organisation(other)
	c := w.client(func(c *dataverse.Config) { c.Logins = 1 })
	read := func(host, secret string, entraCalls int, why string) {
		t.Helper()
		before := w.asked(entraHost)
		l := login()
		l.Organization, l.Secret = "https://"+host, secrets.NewSecret(secret)
		_, _ = c.Organisation(t.Context(), l) // Entra refuses one of them; only its calls count here.
		if got := w.asked(entraHost) - before; got != entraCalls {
			t.Errorf("%s: Entra asked %d times, want %d", why, got, entraCalls)
		}
	}
	w.entra = func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case w.discover(rw, r):
		case r.PostFormValue("client_secret") != password:
			answer(rw, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "AADSTS7000215: x"})
		default:
			w.issue(rw, r)
		}
	}
	read(orgHost, password, 2, "first time: discovery and token")
	read(orgHost, password, 0, "again")
	read(other, password, 1, "another organisation of the directory: a token of its own")
	read(orgHost, password+"!", 2, "another secret is another login")
	read(orgHost, password, 2, "of two logins one was forgotten")
}

func TestOrganisation_SaysWhatEntraMeans(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		word    string
		text    string // error_description
		retry   string // Retry-After
		outcome rollover.Outcome
		reason  rollover.Reason
		after   time.Duration
		want    string
	}{
		{"not consented", 400, "unauthorized_client", "AADSTS700016: Application with identifier", "", rollover.HandedOver, rollover.NoAccess, 0, "AADSTS700016: the application is not in this directory"},
		{"no such tenant", 400, "invalid_request", "AADSTS90002: Tenant", "", rollover.HandedOver, rollover.NoAccess, 0, "AADSTS90002"},
		{"wrong secret", 401, "invalid_client", "AADSTS7000215: Invalid client secret provided: " + password, "", rollover.HandedOver, rollover.NoAccess, 0, "AADSTS7000215"},
		{"expired secret", 401, "invalid_client", "AADSTS7000222: " + password, "", rollover.HandedOver, rollover.NoAccess, 0, "expired"},
		{"certificate unknown", 401, "invalid_client", "AADSTS700027: ", "", rollover.HandedOver, rollover.NoAccess, 0, "AADSTS700027"},
		{"conditional access", 400, "access_denied", "AADSTS53003: ", "", rollover.HandedOver, rollover.NoAccess, 0, "AADSTS53003"},
		{"a number that we do not know", 400, "invalid_grant", "AADSTS99999: ", "", rollover.HandedOver, rollover.NoAccess, 0, "AADSTS99999"},
		{"echo in the word", 400, password, "no number: " + password, "", rollover.HandedOver, rollover.NoAccess, 0, "Entra answered 400"},
		{"no JSON at all", 403, "", "", "", rollover.HandedOver, rollover.NoAccess, 0, "403"},
		{"not available", 400, "temporarily_unavailable", "AADSTS90033: x", "", rollover.Open, "", 0, "AADSTS90033"},
		{"server error", 500, "", "", "", rollover.Open, "", 0, "500"},
		{"unavailable for a while", 503, "", "", "90", rollover.Open, "", 90 * time.Second, "503"},
		{"throttled", 429, "", "", "", rollover.Open, "", time.Minute, "429"},
		{"throttled with a time", 429, "", "", "20", rollover.Open, "", 20 * time.Second, "429"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.organisation(orgHost)
			posts := 0
			w.entra = func(rw http.ResponseWriter, r *http.Request) {
				if w.discover(rw, r) {
					return
				}
				posts++
				if tt.retry != "" {
					rw.Header().Set("Retry-After", tt.retry)
				}
				if tt.word == "" {
					http.Error(rw, "<html>"+r.PostFormValue("client_secret")+"</html>", tt.status)
					return
				}
				answer(rw, tt.status, map[string]string{"error": tt.word, "error_description": tt.text})
			}
			_, err := w.client().Organisation(t.Context(), login())
			w.wantMark(err, tt.outcome, tt.reason)
			if _, _, after := marked(err); after != tt.after {
				t.Errorf("again after %s, want %s", after, tt.after)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Organisation: %v, want %q in it", err, tt.want)
			}
			if posts > 2 { // MSAL itself tries a 5xx once more.
				t.Errorf("Entra was asked %d times for a token", posts)
			}
			if w.asked(orgHost) != 0 {
				t.Error("the organisation was asked without a token")
			}
		})
	}
}

func TestOrganisation_TriesAgainWhenEntraCannotBeReached(t *testing.T) {
	w := newWorld(t)
	w.organisation(orgHost)
	w.entra = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	_, err := w.client().Organisation(t.Context(), login())
	w.wantMark(err, rollover.Open, rollover.NoReason)
}

func TestOrganisation_HandsOverWithoutALogin(t *testing.T) {
	for name, change := range map[string]func(*dataverse.Login){
		"no secret":       func(l *dataverse.Login) { l.Secret = secrets.Secret{} },
		"no client":       func(l *dataverse.Login) { l.ClientID = "" },
		"no directory":    func(l *dataverse.Login) { l.EntraTenant = "" },
		"odd directory":   func(l *dataverse.Login) { l.EntraTenant = "../x" },
		"bad certificate": func(l *dataverse.Login) { l.Certificate = secrets.NewSecret(password) },
	} {
		w := newWorld(t)
		w.organisation(orgHost)
		l := login()
		change(&l)
		_, err := w.client().Organisation(t.Context(), l)
		w.wantMark(err, rollover.HandedOver, rollover.NoAccess)
		if w.asked(orgHost)+w.asked(entraHost) != 0 {
			t.Errorf("%s: someone was asked", name)
		}
	}
}

// rsaPair makes a certificate and key for the login.
func rsaPair(t *testing.T) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return certificateFor(t, key.Public(), key), key
}

func certificateFor(t *testing.T, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "crossfade login"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pemOf(t *testing.T, kind string, der []byte) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestOrganisation_SignsInWithACertificate(t *testing.T) {
	cert, key := rsaPair(t)
	other, _ := rsaPair(t)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pfx, err := pkcs12.Modern.Encode(key, cert, []*x509.Certificate{other}, "")
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pemOf(t, "CERTIFICATE", cert.Raw)
	for name, file := range map[string]string{
		"PEM with PKCS#8":              certPEM + pemOf(t, "PRIVATE KEY", pkcs8),
		"PEM with PKCS#1, key first":   pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)) + certPEM,
		"PEM with another certificate": pemOf(t, "CERTIFICATE", other.Raw) + certPEM + pemOf(t, "PRIVATE KEY", pkcs8),
		"PKCS#12 of today":             string(pfx),
		"PKCS#12 in base64":            base64.StdEncoding.EncodeToString(pfx),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.organisation(orgHost)
			w.entra = func(rw http.ResponseWriter, r *http.Request) {
				if w.discover(rw, r) {
					return
				}
				if err := checkAssertion(r, cert); err != nil {
					t.Errorf("assertion: %v", err)
				}
				w.issue(rw, r)
			}
			l := login()
			l.Secret, l.Certificate = secrets.Secret{}, secrets.NewSecret(file)
			if _, err := w.client().Organisation(t.Context(), l); err != nil {
				t.Errorf("Organisation: %v", err)
			}
		})
	}
}

// checkAssertion checks what Entra checks: signed with PS256 by the registered
// certificate, which is named by its thumbprint, and made for this endpoint.
func checkAssertion(r *http.Request, cert *x509.Certificate) error {
	sum := sha256.Sum256(cert.Raw)
	claims := jwt.RegisteredClaims{}
	tok, err := jwt.ParseWithClaims(r.PostFormValue("client_assertion"), &claims, func(k *jwt.Token) (any, error) {
		if got, want := k.Header["x5t#S256"], base64.StdEncoding.EncodeToString(sum[:]); got != want {
			return nil, fmt.Errorf("x5t#S256 %v, want %s", got, want)
		}
		return cert.PublicKey, nil
	}, jwt.WithValidMethods([]string{"PS256"}), jwt.WithAudience("https://"+entraHost+"/"+directory+"/oauth2/v2.0/token"),
		jwt.WithIssuer(clientID), jwt.WithSubject(clientID), jwt.WithExpirationRequired())
	if err != nil || !tok.Valid {
		return fmt.Errorf("not valid: %w", err)
	}
	return nil
}

func TestOrganisation_RefusesOtherCertificateFiles(t *testing.T) {
	cert, key := rsaPair(t)
	other, otherKey := rsaPair(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := pkcs12.Modern.Encode(key, cert, nil, "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	certPEM := pemOf(t, "CERTIFICATE", cert.Raw)
	for _, tt := range []struct{ name, file, want string }{
		{"no key", certPEM, "no private key"},
		{"no certificate", keyPEM, "no certificate"},
		{"two keys", certPEM + keyPEM + pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(otherKey)), "several private keys"},
		{"another's certificate", pemOf(t, "CERTIFICATE", other.Raw) + keyPEM, "no certificate in it belongs"},
		{"elliptic", pemOf(t, "CERTIFICATE", certificateFor(t, ec.Public(), ec).Raw) + pemOf(t, "EC PRIVATE KEY", ecDER), "not an RSA key"},
		{"encrypted", certPEM + pemOf(t, "ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted or malformed"},
		{"PKCS#12 with a password", string(locked), "has a password"},
		{"something else", "hello " + password, "neither PEM nor PKCS#12"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.organisation(orgHost)
			l := login()
			l.Secret, l.Certificate = secrets.Secret{}, secrets.NewSecret(tt.file)
			_, err := w.client().Organisation(t.Context(), l)
			w.wantMark(err, rollover.HandedOver, rollover.NoAccess)
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Organisation: %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestOrganisation_LogsNoSecret(t *testing.T) {
	var logged bytes.Buffer
	w := newWorld(t)
	o := w.organisation(orgHost)
	c := w.client(func(c *dataverse.Config) {
		c.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for _, status := range []int{401, 403, 429, 500} {
		o.before = func(rw http.ResponseWriter, r *http.Request) bool {
			refuse(rw, status, "", "you sent "+r.Header.Get("Authorization"))
			return true
		}
		if _, err := c.Organisation(t.Context(), login()); err == nil {
			t.Errorf("%d: no error", status)
		}
	}
	if logged.Len() == 0 {
		t.Error("nothing was logged; the test looks at nothing")
	}
	for token := range w.tokens {
		if strings.Contains(logged.String(), token) || strings.Contains(logged.String(), password) {
			t.Errorf("a secret was logged: %s", logged.String())
		}
	}
}

func TestNew_NeedsAClockAndASafeAuthority(t *testing.T) {
	if _, err := dataverse.New(dataverse.Config{}); err == nil {
		t.Error("New without Now: no error")
	}
	for _, a := range []string{"http://login.example.test", "login.example.test", "https://", "\x7f"} {
		if _, err := dataverse.New(dataverse.Config{Now: time.Now, Authority: a}); err == nil {
			t.Errorf("New with authority %q: no error", a)
		}
	}
}

func TestErrorCode_ReadsAllThreeForms(t *testing.T) {
	for in, want := range map[string]uint32{
		"0x80072322": 0x80072322, "0X80072322": 0x80072322, "-2147015902": 0x80072322, "2147951394": 0x80072322,
		"": 0, "nonsense": 0, "0x": 0, "0x1234567890": 0, "99999999999": 0, "-99999999999": 0,
	} {
		if got := dataverse.ErrorCode(in); got != want {
			t.Errorf("ErrorCode(%q) = %#x, want %#x", in, got, want)
		}
	}
}

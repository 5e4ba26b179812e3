package vault_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/secrets/vault"
)

// vaultServer answers as Vault does: KV version 2 at kv/, AppRole, tokens that end.
type vaultServer struct {
	t    *testing.T
	tls  *httptest.Server
	ca   string
	role string
	key  string

	mu      sync.Mutex
	tokens  map[string]bool // those that are good
	issued  int
	logins  int
	looked  int // after itself, by a token
	renewed int
	reads   int
	unknown int  // answered to a token that looks after itself; 0: as usual
	lease   int  // seconds
	status  int  // answered to every read; 0: as usual
	spent   bool // tokens are used up before their first read
	data    map[string]map[string]any
}

func newVault(t *testing.T) *vaultServer {
	t.Helper()
	v := &vaultServer{t: t, role: "role-1", key: "secret-id-4711", tokens: map[string]bool{}, lease: 3600, data: map[string]map[string]any{
		"crossfade/contoso": {"acs_key": "the-management-key", "number": 7, "empty": ""},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/kv/data/{path...}", v.read)
	mux.HandleFunc("PUT /v1/auth/approle/login", v.login)
	mux.HandleFunc("POST /v1/auth/approle/login", v.login)
	mux.HandleFunc("PUT /v1/auth/token/renew-self", v.renew)
	mux.HandleFunc("GET /v1/auth/token/lookup-self", v.lookUp)
	v.tls = httptest.NewTLSServer(mux)
	t.Cleanup(v.tls.Close)
	v.ca = filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.tls.Certificate().Raw})
	if err := os.WriteFile(v.ca, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
}

func (v *vaultServer) read(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reads++
	switch d, ok := v.data[r.PathValue("path")]; {
	case v.status != 0:
		refuse(w, v.status, "the-management-key may be quoted here")
	case !v.tokens[r.Header.Get("X-Vault-Token")], strings.HasPrefix(r.PathValue("path"), "others/"):
		refuse(w, http.StatusForbidden, "permission denied") // Vault does not say which.
	case r.PathValue("path") == "crossfade/deleted":
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": nil, "metadata": map[string]any{"version": 2, "deletion_time": "2026-11-01T00:00:00Z", "destroyed": false, "created_time": "2026-10-01T00:00:00Z"}}})
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{}})
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": d, "metadata": map[string]any{"version": 1, "created_time": "2026-10-01T00:00:00Z"}}})
	}
}

func (v *vaultServer) login(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.logins++
	var body struct {
		Role   string `json:"role_id"`
		Secret string `json:"secret_id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Role != v.role || body.Secret != v.key {
		refuse(w, http.StatusBadRequest, "invalid role or secret ID "+body.Secret)
		return
	}
	v.grant(w)
}

func (v *vaultServer) grant(w http.ResponseWriter) {
	v.issued++
	token := fmt.Sprintf("hvs.token-%d", v.issued)
	v.tokens[token] = !v.spent
	policies := []string{"crossfade"}
	if v.unknown == 0 { // Vault names those of the role, and "default" unless it is left out.
		policies = append(policies, "default")
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": token, "policies": policies, "lease_duration": v.lease, "renewable": true}})
}

func (v *vaultServer) lookUp(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looked++
	switch {
	case v.unknown != 0:
		refuse(w, v.unknown, "no")
	case !v.tokens[r.Header.Get("X-Vault-Token")]:
		refuse(w, http.StatusForbidden, "permission denied")
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"id": r.Header.Get("X-Vault-Token"), "policies": []string{"default", "crossfade"}}})
	}
}

func (v *vaultServer) renew(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	token := r.Header.Get("X-Vault-Token")
	if !v.tokens[token] {
		refuse(w, http.StatusForbidden, "permission denied")
		return
	}
	v.renewed++
	_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": v.lease, "renewable": true}})
}

func value(text string) func(context.Context) (secrets.Secret, error) {
	return func(context.Context) (secrets.Secret, error) { return secrets.NewSecret(text), nil }
}

func (v *vaultServer) store(adjust func(*vault.Config)) *vault.Store {
	v.t.Helper()
	c := vault.Config{Address: v.tls.URL, CAFile: v.ca, RoleID: value(v.role), SecretID: value(v.key)}
	if adjust != nil {
		adjust(&c)
	}
	s, err := vault.New(c)
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

// revoke ends all tokens.
func (v *vaultServer) revoke() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tokens = map[string]bool{}
}

const (
	contoso   = secrets.Ref("vault://kv/crossfade/contoso#acs_key")
	forbidden = secrets.Ref("vault://kv/others/contoso#acs_key")
)

func TestGet_ByAppRole(t *testing.T) {
	v := newVault(t)
	s := v.store(nil)
	for range 3 {
		got, err := s.Get(t.Context(), contoso)
		if err != nil || got.Reveal() != "the-management-key" {
			t.Fatalf("Get = %v, %v", got, err)
		}
	}
	if v.logins != 1 {
		t.Errorf("it signed in %d times, want once", v.logins)
	}
}

func TestGet_ByTokenThatIsReadEachTime(t *testing.T) {
	v := newVault(t)
	v.tokens["hvs.one"] = true
	now := "hvs.one"
	s := v.store(func(c *vault.Config) {
		c.RoleID, c.SecretID = nil, nil
		c.Token = func(context.Context) (secrets.Secret, error) { return secrets.NewSecret(now), nil }
	})
	if _, err := s.Get(t.Context(), contoso); err != nil {
		t.Fatal(err)
	}
	v.tokens = map[string]bool{"hvs.two": true} // An agent has renewed it in its file.
	now = "hvs.two"
	if _, err := s.Get(t.Context(), contoso); err != nil {
		t.Errorf("with the new token: %v", err)
	}
}

// A token that was revoked is taken for a new one once. A path that the policy forbids
// costs no log-in.
func TestGet_SignsInAgainOnlyWhereTheTokenIsRefused(t *testing.T) {
	v := newVault(t)
	s := v.store(nil)
	if _, err := s.Get(t.Context(), contoso); err != nil {
		t.Fatal(err)
	}
	v.revoke()
	if _, err := s.Get(t.Context(), contoso); err != nil || v.logins != 2 || v.looked != 1 {
		t.Errorf("after the token was revoked: %v, %d log-ins, %d look-ups, want 2 and 1", err, v.logins, v.looked)
	}
	reads := v.reads
	for range 3 {
		if _, err := s.Get(t.Context(), forbidden); !errors.Is(err, secrets.ErrForbidden) {
			t.Errorf("where the policy forbids: %v, want ErrForbidden", err)
		}
	}
	if v.logins != 2 || v.reads != reads+3 {
		t.Errorf("three forbidden paths cost %d log-ins and %d reads, want none and 3", v.logins-2, v.reads-reads)
	}
	v.mu.Lock()
	v.unknown = http.StatusForbidden // As for tokens without the policy "default".
	v.mu.Unlock()
	if _, err := s.Get(t.Context(), forbidden); !errors.Is(err, secrets.ErrForbidden) || v.logins != 3 {
		t.Errorf("where tokens may not look after themselves: %v, %d log-ins, want ErrForbidden after one more", err, v.logins)
	}
}

// What is wrong with our own log-in is no word on the secret: whoever needs it waits, and
// is not told that there is none.
func TestGet_AFailedLogInSaysNothingOfTheSecret(t *testing.T) {
	v := newVault(t)
	v.tokens["hvs.given"] = true
	given := func(s secrets.Secret, err error) func(*vault.Config) {
		return func(c *vault.Config) {
			c.RoleID, c.SecretID = nil, nil
			c.Token = func(context.Context) (secrets.Secret, error) { return s, err }
		}
	}
	gone := fmt.Errorf("reading secret file:vault-token: no such file: %w", secrets.ErrMissing)
	for name, c := range map[string]struct {
		adjust func(*vault.Config)
		answer int // to a token that looks after itself
		ref    secrets.Ref
	}{
		"a secret id that has ended": {func(c *vault.Config) { c.SecretID = value("another-secret-id") }, 0, contoso},
		"no file of the secret id": {func(c *vault.Config) {
			c.SecretID = func(context.Context) (secrets.Secret, error) { return secrets.Secret{}, gone }
		}, 0, contoso},
		"no file of the role id": {func(c *vault.Config) {
			c.RoleID = func(context.Context) (secrets.Secret, error) { return secrets.Secret{}, gone }
		}, 0, contoso},
		"a reference not allowed":    {given(secrets.Secret{}, fmt.Errorf("x: %w", secrets.ErrForbidden)), 0, contoso},
		"an agent rewrites the file": {given(secrets.Secret{}, gone), 0, contoso},
		"a token that has ended":     {given(secrets.NewSecret("hvs.ended"), nil), 0, contoso},
		"nobody says if it is good":  {given(secrets.NewSecret("hvs.given"), nil), http.StatusServiceUnavailable, forbidden},
	} {
		v.mu.Lock()
		v.unknown = c.answer
		v.mu.Unlock()
		_, err := v.store(c.adjust).Get(t.Context(), c.ref)
		if err == nil || errors.Is(err, secrets.ErrForbidden) || errors.Is(err, secrets.ErrMissing) || errors.Is(err, secrets.ErrRef) {
			t.Errorf("%s: %v, want an error that asking again may mend", name, err)
			continue
		}
		for _, secret := range []string{"the-management-key", v.key, "another-secret-id", "hvs."} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells a secret: %v", name, err)
			}
		}
	}
	v.mu.Lock()
	v.unknown = 0
	v.mu.Unlock()
	if _, err := v.store(given(secrets.NewSecret("hvs.given"), nil)).Get(t.Context(), forbidden); !errors.Is(err, secrets.ErrForbidden) {
		t.Errorf("a path forbidden to a good token: %v, want ErrForbidden", err)
	}
}

// A role may limit the uses of its tokens, and many ask at the same time: a token that
// others have used up is no word on the secret.
func TestGet_ATokenThatWasUsedUpSaysNothingOfTheSecret(t *testing.T) {
	v := newVault(t)
	v.spent = true
	_, err := v.store(nil).Get(t.Context(), contoso)
	if err == nil || errors.Is(err, secrets.ErrForbidden) || v.logins != 2 {
		t.Errorf("Get = %v after %d log-ins, want an error that asking again may mend after 2", err, v.logins)
	}
}

// An agent that renews the token in its file between two looks is followed at once.
func TestGet_TakesTheTokenThatStandsThereNow(t *testing.T) {
	v := newVault(t)
	v.tokens["hvs.two"] = true
	asked := 0
	s := v.store(func(c *vault.Config) {
		c.RoleID, c.SecretID = nil, nil
		c.Token = func(context.Context) (secrets.Secret, error) {
			asked++
			return secrets.NewSecret([]string{"hvs.one", "hvs.two"}[min(asked-1, 1)]), nil
		}
	})
	if _, err := s.Get(t.Context(), contoso); err != nil || asked != 2 {
		t.Errorf("Get = %v after %d looks at the token, want the secret after 2", err, asked)
	}
}

// Vault locks out who is refused again and again, and every secret of every tenant leads
// to a log-in.
func TestGet_ARefusedLogInIsNotRepeatedAtOnce(t *testing.T) {
	v := newVault(t)
	now, id := time.Now(), "ended"
	s := v.store(func(c *vault.Config) {
		c.Now = func() time.Time { return now }
		c.SecretID = func(context.Context) (secrets.Secret, error) { return secrets.NewSecret(id), nil }
	})
	get := func(wantErr bool, logins int) {
		t.Helper()
		for range 5 {
			if _, err := s.Get(t.Context(), contoso); (err != nil) != wantErr || errors.Is(err, secrets.ErrForbidden) {
				t.Errorf("Get = %v, want an error that asking again may mend: %t", err, wantErr)
			}
		}
		if v.logins != logins {
			t.Errorf("it signed in %d times, want %d", v.logins, logins)
		}
	}
	get(true, 1)
	now = now.Add(61 * time.Second)
	get(true, 2)
	id = v.key // A new one is tried at once.
	get(false, 3)
}

func TestGet_RenewsItsTokenBeforeItEnds(t *testing.T) {
	v := newVault(t)
	now := time.Now()
	s := v.store(func(c *vault.Config) { c.Now = func() time.Time { return now } })
	if _, err := s.Get(t.Context(), contoso); err != nil {
		t.Fatal(err)
	}
	now = now.Add(50 * time.Minute)
	if _, err := s.Get(t.Context(), contoso); err != nil || v.renewed != 1 || v.logins != 1 {
		t.Errorf("Get = %v with %d renewals and %d log-ins, want one each", err, v.renewed, v.logins)
	}
	v.revoke() // It cannot be renewed any more.
	now = now.Add(50 * time.Minute)
	if _, err := s.Get(t.Context(), contoso); err != nil || v.logins != 2 {
		t.Errorf("Get = %v with %d log-ins, want a second one", err, v.logins)
	}
}

func TestGet_SaysWhatIsWrongAndNoMore(t *testing.T) {
	v := newVault(t)
	for name, c := range map[string]struct {
		ref    secrets.Ref
		status int
		want   error
		mounts []string
	}{
		"no such secret": {"vault://kv/crossfade/nobody#acs_key", 0, secrets.ErrMissing, nil},
		"deleted":        {"vault://kv/crossfade/deleted#acs_key", 0, secrets.ErrMissing, nil},
		"no such field":  {"vault://kv/crossfade/contoso#nothing", 0, secrets.ErrMissing, nil},
		"no text":        {"vault://kv/crossfade/contoso#number", 0, secrets.ErrMissing, nil},
		"empty":          {"vault://kv/crossfade/contoso#empty", 0, secrets.ErrMissing, nil},
		"forbidden":      {forbidden, 0, secrets.ErrForbidden, nil},
		"another mount":  {contoso, 0, secrets.ErrForbidden, []string{"other"}},
		"sealed":         {contoso, http.StatusServiceUnavailable, nil, nil},
		"throttled":      {contoso, http.StatusTooManyRequests, nil, nil},
		"another scheme": {"env:X", 0, secrets.ErrRef, nil},
	} {
		v.mu.Lock()
		v.status = c.status
		v.mu.Unlock()
		got, err := v.store(func(cfg *vault.Config) { cfg.Mounts = c.mounts }).Get(t.Context(), c.ref)
		if err == nil || !got.IsZero() || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
			continue
		}
		if c.want == nil && (errors.Is(err, secrets.ErrMissing) || errors.Is(err, secrets.ErrForbidden)) {
			t.Errorf("%s: %v, want an error that asking again may mend", name, err)
		}
		for _, secret := range []string{"the-management-key", v.key, "hvs."} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells a secret: %v", name, err)
			}
		}
	}
	v.mu.Lock()
	v.status = 0
	v.mu.Unlock()
	v.tls.Close()
	if _, err := v.store(nil).Get(t.Context(), contoso); err == nil || errors.Is(err, secrets.ErrForbidden) || errors.Is(err, secrets.ErrMissing) {
		t.Errorf("of a server that is away: %v, want an error that asking again may mend", err)
	}
}

func TestGet_TrustsOnlyItsAuthorities(t *testing.T) {
	v := newVault(t)
	s := v.store(func(c *vault.Config) { c.CAFile = "" })
	if _, err := s.Get(t.Context(), contoso); err == nil || v.logins != 0 {
		t.Errorf("Get = %v with %d log-ins, want that a stranger's certificate is refused", err, v.logins)
	}
	s = v.store(func(c *vault.Config) {
		c.CAFile, c.RoleID, c.SecretID, c.Token = "", nil, nil, value("hvs.given")
	})
	long := secrets.Ref("vault://kv/crossfade/" + strings.Repeat("a", 100) + "#acs_key")
	if _, err := s.Get(t.Context(), long); err == nil || !strings.HasSuffix(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("Get of a long path = %v, want the cause to its end", err)
	}
}

func TestNew_RefusesWhatCannotBeMeant(t *testing.T) {
	one := value("x")
	for name, c := range map[string]vault.Config{
		"no address":     {Token: one},
		"http":           {Address: "http://vault.example", Token: one},
		"a password":     {Address: "https://u:p@vault.example", Token: one},
		"nobody":         {Address: "https://vault.example"},
		"both":           {Address: "https://vault.example", Token: one, RoleID: one, SecretID: one},
		"half a role":    {Address: "https://vault.example", RoleID: one},
		"no authorities": {Address: "https://vault.example", Token: one, CAFile: "/nowhere"},
	} {
		if _, err := vault.New(c); err == nil {
			t.Errorf("%s: New = nil, want an error", name)
		}
	}
}

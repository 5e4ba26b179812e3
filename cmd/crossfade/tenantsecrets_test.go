package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// aVault answers as a Vault that is signed in to by token, and counts what is read of it.
// Beneath others/ everything is forbidden.
type aVault struct {
	mu    sync.Mutex
	reads map[string]int
}

func (v *aVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, read := strings.CutPrefix(r.URL.Path, "/v1/kv/data/")
	v.mu.Lock()
	if read {
		v.reads[path]++
	}
	v.mu.Unlock()
	switch {
	case r.Header.Get("X-Vault-Token") != "hvs.the-token-of-vault", strings.HasPrefix(path, "others/"):
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors": ["permission denied"]}`))
	case !read: // lookup-self
		_, _ = w.Write([]byte(`{"data": {"policies": ["default"]}}`))
	case path == "shared":
		_, _ = w.Write([]byte(`{"data": {"data": {"key": "the-key-in-vault"}, "metadata": {"version": 1, "created_time": "2026-10-01T00:00:00Z"}}}`))
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors": []}`))
	}
}

// inventoryWith makes a folder with a configuration, a Vault, and a store with tenants that
// a process has open.
func inventoryWith(t *testing.T, ts ...tenants.Tenant) (config string, v *aVault) {
	t.Helper()
	v = &aVault{reads: map[string]int{}}
	srv := httptest.NewTLSServer(v)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})),
		"token":  "hvs.the-token-of-vault\n", "login": "the-client-secret\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config = writeConfig(t, dir, "data: data\nsecrets:\n  dir: .\n  vault: {address: \""+srv.URL+"\", ca: ca.pem, token: \"file:token\"}\n")
	data := filepath.Join(dir, "data")
	b, err := jet.Open(t.Context(), jet.Config{Dir: data, Local: jet.LocalSocket(data), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	kept, err := b.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := b.Bucket("endpoints")
	if err != nil {
		t.Fatal(err)
	}
	inventory := tenants.New(kept, endpoints)
	for _, tn := range ts {
		if _, _, err := inventory.Put(t.Context(), tn); err != nil {
			t.Fatal(err)
		}
	}
	return config, v
}

// unsaid fails where an answer holds a secret.
func unsaid(t *testing.T, text string) {
	t.Helper()
	for _, s := range []string{"the-key-in-vault", "the-client-secret", "the-token-of-vault"} {
		if strings.Contains(text, s) {
			t.Errorf("no-secret-out: the answer holds %q:\n%s", s, text)
		}
	}
}

func TestTenantsSecrets_SaysWhatIsThereAndShowsNone(t *testing.T) {
	off := aTenant("litware", "file:not-there", "vault://kv/nobody#key")
	off.Disabled = true
	gold := aTenant("contoso", "file:login", "vault://kv/shared#key")
	gold.Labels = map[string]string{"tier": "gold"}
	config, v := inventoryWith(t, gold,
		aTenant("fabrikam", "file:not-there", "vault://kv/shared#key"),
		aTenant("northwind", "file:login", "vault://kv/others/northwind#key"), off)
	out, errOut, status := command(t, "tenants", "secrets", "--config", config)
	unsaid(t, out+errOut)
	for _, want := range []string{
		"found        contoso  login.secret  file:login\n",
		"found        contoso  namespaces[0].secret (contoso-sb.accesscontrol.windows.net)  vault://kv/shared#key\n",
		"missing      fabrikam  login.secret  file:not-there  no such file: secret is missing\n",
		"forbidden    northwind  namespaces[0].secret (northwind-sb.accesscontrol.windows.net)  vault://kv/others/northwind#key  the vault refuses it with 403",
		"3 tenants, 6 secrets, 4 different: 4 found, 1 missing, 1 forbidden, 0 unreachable\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("tenants secrets = %q, want %q in it", out, want)
		}
	}
	if status != exitFailures || !strings.Contains(errOut, "not found: 2 secrets of 2 tenants") || strings.Contains(out, "litware") {
		t.Errorf("tenants secrets = %d, %q, %q, want 1, the sum, and nothing of disabled tenants", status, out, errOut)
	}
	if v.reads["shared"] != 1 || v.reads["others/northwind"] != 1 {
		t.Errorf("the vault was read %v, want each path once", v.reads)
	}

	out, errOut, status = command(t, "--json", "tenants", "secrets", "--config", config, "--select", `id != "contoso"`)
	unsaid(t, out+errOut)
	results := map[string]int{}
	for line := range strings.Lines(out) {
		var o struct {
			Kind, Tenant, Field, Ref, Result, Reason string
			OK                                       bool
			Tenants, Missing, Forbidden              int
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if results[o.Kind+" "+o.Result]++; o.Kind == "secrets" && (o.OK || o.Tenants != 3 || o.Missing != 3 || o.Forbidden != 1) {
			t.Errorf("the sum is %s", line)
		}
		if o.Kind == "secret" && (o.Tenant == "" || o.Field == "" || o.Ref == "" || (o.Reason == "") != (o.Result == "found")) {
			t.Errorf("a line is %s", line)
		}
	}
	if status != exitFailures || results["secret found"] != 2 || results["secret missing"] != 3 || results["secret forbidden"] != 1 || results["secrets "] != 1 {
		t.Errorf("tenants secrets --json = %d, %v, want 1 and the disabled tenant that was asked for", status, results)
	}
	if out, errOut, status = command(t, "tenants", "secrets", "--config", config, "--select", `labels.tier = "gold"`); status != 0 || !strings.Contains(out, "2 found, 0 missing") {
		t.Errorf("of a tenant that has all: %d, %q, %q, want 0", status, out, errOut)
	}
	if _, errOut, status = command(t, "tenants", "secrets", "--config", config, "--select", "tier >"); status != exitUsage || errOut == "" {
		t.Errorf("a broken filter: %d, %q, want 2 and why", status, errOut)
	}
}

// A log-in of ours that is refused says of no secret that it is not there.
func TestTenantsSecrets_AStoreThatRefusesUsIsUnreachable(t *testing.T) {
	config, _ := inventoryWith(t, aTenant("contoso", "file:login", "vault://kv/shared#key"))
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "token"), []byte("hvs.ended"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, status := command(t, "tenants", "secrets", "--config", config)
	if status != exitFailures || !strings.Contains(out, "unreachable  contoso  namespaces[0].secret") || !strings.Contains(out, "the vault refuses our token") || strings.Contains(out+errOut, "hvs.") {
		t.Errorf("tenants secrets = %d, %q, %q, want 1 and unreachable, with the reason and without the token", status, out, errOut)
	}
}

// resolverOfMany counts, and has some stores that are away.
type resolverOfMany struct{ asked, away atomic.Int64 }

func (r *resolverOfMany) Secret(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r.asked.Add(1)
	if strings.HasPrefix(string(ref), "azkv:") {
		r.away.Add(1)
		return secrets.Secret{}, fmt.Errorf("%w: no answer", secrets.ErrAway)
	}
	return secrets.NewSecret("x"), nil
}

// A whole fleet is looked at in the time of its different references, and a store that is
// away is not waited for ten thousand times.
func TestLookUp_AsksForEachReferenceOnce(t *testing.T) {
	var uses []secretUse
	for i := range 10000 {
		tn := aTenant(fmt.Sprintf("t%d", i), "env:CROSSFADE_SECRET_ALL", secrets.Ref(fmt.Sprintf("azkv://fleet.vault.azure.net/key-%d", i)))
		tn.Namespaces[0].Secret = secrets.Ref(fmt.Sprintf("vault://kv/group-%d#key", i%10))
		uses = append(uses, usesOf(tn)...)
		if i%10 == 0 {
			uses = append(uses, secretUse{tn.ID, "login.certificate", "", secrets.Ref(fmt.Sprintf("azkv://fleet.vault.azure.net/key-%d", i))})
		}
	}
	r := &resolverOfMany{}
	answers, err := lookUp(t.Context(), r, uses)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.asked.Load() - r.away.Load(); got != 11 || len(answers) != 1011 {
		t.Errorf("%d references were looked up for %d answers, want 11 for 1011", got, len(answers))
	}
	if got := r.away.Load(); got < lookupsLost || got > lookupsLost+lookupsOnce {
		t.Errorf("a store that is away was asked %d times, want it given up after %d", got, lookupsLost)
	}
	for ref, a := range answers {
		if _, away := ref.KeyVault(); away != (a.result == secretUnreachable) {
			t.Errorf("%s is %s", ref, a.result)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lookUp(ctx, r, uses); !errors.Is(err, context.Canceled) {
		t.Errorf("lookUp of somebody who has gone = %v", err)
	}
}

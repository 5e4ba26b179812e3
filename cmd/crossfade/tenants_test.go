package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/tenants"
)

// console runs commands as an admin of a castle.
type console struct {
	c    *castle
	args []string
}

func openConsole(t *testing.T) *console {
	t.Helper()
	c, dir := openCastle(t), t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	write(t, ca, c.office.pem())
	write(t, token, []byte(c.issuer.token(t, "root", "admins")))
	return &console{c, []string{"--address", c.addr, "--ca", ca, "--server-name", "api.test", "--token-file", token}}
}

// run runs a command and returns what it says, with what went wrong.
func (c *console) run(t *testing.T, args ...string) (out, errOut string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	err = run(t.Context(), append(args, c.args...), &o, &e)
	return o.String(), e.String(), err
}

func tenantsFile(t *testing.T, ids ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tenants.jsonl")
	var lines strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&lines, `{"id":%q,"organization":"https://%s.crm4.dynamics.com","entra_tenant":"%s.example.com","login":{"client_id":"0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37","secret":"env:CROSSFADE_SECRET_X"},"labels":{"wave":"1"}}`+"\n", id, id, id)
	}
	write(t, path, []byte(lines.String()))
	return path
}

func TestTenants_ImportedChangedAndDeleted(t *testing.T) {
	c := openConsole(t)
	const id = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	file := tenantsFile(t, "contoso", "fabrikam")
	out, errOut, err := c.run(t, "tenants", "import", file, "--request-id", id)
	if want := "2 tenants: 2 new, 0 changed, 0 unchanged, 0 refused\ninventoryJobs/" + id + "\n"; err != nil || out != want {
		t.Fatalf("import = %q, %q, %v, want %q", out, errOut, err, want)
	}
	out, _, err = c.run(t, "tenants", "import", file, "--request-id", id, "--json")
	var line map[string]any
	if err != nil || json.Unmarshal([]byte(out), &line) != nil || line["kind"] != "import" || line["created"] != 2.0 || line["failed"] != 0.0 || line["job"] != "inventoryJobs/"+id {
		t.Errorf("the same import again = %q, %v, want the first answer", out, err)
	}
	if _, _, err := c.run(t, "tenants", "import", file, "--request-id", "x"); exitStatus(err) != exitUsage {
		t.Errorf("a request id that is none = %v, want wrong use", err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a job", []string{"jobs", "show", id}, "state          succeeded"},
		{"all jobs", []string{"jobs", "list"}, "2 rows, 0 refused, by corp:root"},
		{"a job as JSON", []string{"jobs", "show", "inventoryJobs/" + id, "--json"}, `"state":"STATE_SUCCEEDED"`},
		{"labels, only tried", []string{"set", "contoso", "--label", "tier=gold", "--check"}, "labels         tier=gold wave=1\n"},
		{"labels", []string{"set", "contoso", "--label", "wave=2", "--disabled"}, "labels         wave=2\ndisabled       true"},
		{"a label less", []string{"set", "contoso", "--without-label", "wave", "--display-name", "Contoso"}, "display name   Contoso"},
		{"as JSON", []string{"set", "tenants/contoso", "--disabled=false", "--json"}, `"display_name":"Contoso"`},
		{"whether it can be deleted", []string{"delete", "contoso", "--check"}, "tenants/contoso can be deleted\n"},
		{"deleted", []string{"delete", "contoso"}, "tenants/contoso is deleted\n"},
		{"deleted, as JSON", []string{"delete", "fabrikam", "--force", "--json"}, `"name":"tenants/fabrikam"`},
	} {
		if out, errOut, err := c.run(t, append([]string{"tenants"}, tt.args...)...); err != nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %q, %q, %v, want %q", tt.name, out, errOut, err, tt.want)
		}
	}
	for name, args := range map[string][]string{
		"cancel what has ended": {"jobs", "cancel", id}, "delete what is gone": {"delete", "contoso"}, "set what is gone": {"set", "contoso", "--disabled"},
	} {
		if _, _, err := c.run(t, append([]string{"tenants"}, args...)...); exitStatus(err) != exitRefused {
			t.Errorf("%s = %v, want that it is refused", name, err)
		}
	}
	for name, args := range map[string][]string{
		"nothing to change": {"set", "contoso"}, "a label without a value": {"set", "contoso", "--label", "x"},
	} {
		if _, _, err := c.run(t, append([]string{"tenants"}, args...)...); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Large tenants make smaller chunks: a message of the service has a bound in bytes.
func TestChunkFrom_FitsAMessage(t *testing.T) {
	ts := make([]tenants.Tenant, 2500)
	for i := range ts {
		ts[i] = tenants.Tenant{ID: fmt.Sprintf("t%d", i), DisplayName: strings.Repeat("x", 10_000)}
	}
	ts[7].DisplayName = strings.Repeat("x", chunkBytes)
	n := 0
	for n < len(ts) {
		chunk := chunkFrom(ts, n)
		if chunk.GetFirstRow() != int64(n) || len(chunk.GetTenants()) == 0 || len(chunk.GetTenants()) > chunkRows {
			t.Fatalf("a chunk from row %d begins at %d and has %d rows", n, chunk.GetFirstRow(), len(chunk.GetTenants()))
		}
		bytes := 0
		for _, r := range chunk.GetTenants() {
			bytes += len(r.GetDisplayName())
		}
		if bytes > chunkBytes && len(chunk.GetTenants()) > 1 {
			t.Errorf("a chunk from row %d has %d bytes", n, bytes)
		}
		n += len(chunk.GetTenants())
	}
}

package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadTargets_EveryFormat(t *testing.T) {
	want := []string{"tenants/contoso", "tenants/fabrikam/endpoints/aaaaaaaa-0000-0000-0000-000000000001"}
	for name, text := range map[string]string{
		"list.txt":  "# two\ncontoso\n\nfabrikam/AAAAAAAA-0000-0000-0000-000000000001\n",
		"list":      "tenants/contoso\ntenants/fabrikam/endpoints/aaaaaaaa-0000-0000-0000-000000000001\n",
		"list.csv":  "\ufeffnote,tenant,endpoint\nx,contoso,\ny,fabrikam,aaaaaaaa-0000-0000-0000-000000000001\n",
		"list.json": `["contoso", "fabrikam/aaaaaaaa-0000-0000-0000-000000000001"]`,
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readTargets(path, ""); err != nil || !slices.Equal(got, want) {
			t.Errorf("readTargets(%s) = %q, %v, want %q", name, got, err, want)
		}
	}
	for name, text := range map[string]string{
		"empty.txt": "# nothing\n", "wrong.csv": "organisation\ncontoso\n", "empty.csv": "", "wrong.json": `{"tenant":"contoso"}`,
		"many.txt": strings.Repeat("contoso\n", maxTargets+1), "many.csv": "tenant\n" + strings.Repeat("contoso\n", maxTargets+1),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readTargets(path, ""); exitStatus(err) != exitUsage {
			t.Errorf("readTargets(%s) = %d rows, %v, want wrong use", name, len(got), err)
		}
	}
}

func TestRotate_OneWayToSayForWhom(t *testing.T) {
	err := run(t.Context(), []string{"rotate", "--certificate", "x", "--targets", "a", "--select", "b"}, io.Discard, io.Discard)
	if exitStatus(err) != exitUsage || !strings.Contains(err.Error(), "--select and --targets") {
		t.Errorf("rotate with two ways = %v, want wrong use that names both", err)
	}
}

func TestBlockSubject_FileOrHash(t *testing.T) {
	sha1, sha256 := strings.Repeat("ab", 20), strings.Repeat("ab", 32)
	for _, tt := range []struct {
		arg  string
		key  bool
		want string // of the field, or "" for wrong use
	}{
		{strings.ToUpper(sha1), false, sha1}, {sha256, false, sha256}, {sha256, true, sha256}, {sha1, true, ""}, {"no/such/file", false, ""},
	} {
		f := blockFlags{key: tt.key, reason: "r"}
		req, err := f.subject(tt.arg)
		if tt.want == "" {
			if exitStatus(err) != exitUsage {
				t.Errorf("subject(%q) = %v, %v, want wrong use", tt.arg, req, err)
			}
			continue
		}
		if got := req.GetSha1() + req.GetSha256() + req.GetKeyHash(); err != nil || got != tt.want || tt.key != (req.GetKeyHash() != "") || req.GetRequestId() == "" {
			t.Errorf("subject(%q) = %v, %v, want %s", tt.arg, req, err, tt.want)
		}
	}
}

package secrets_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// write puts a file beneath dir.
func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, dir, name, to string) {
	t.Helper()
	if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestResolver_FindsSecrets(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "key", value+"\n")
	write(t, dir, "windows", value+"\r\n")
	write(t, dir, "bare", value)
	write(t, dir, "two", value+"\n\n")
	write(t, dir, "sub/key", value)
	write(t, dir, "pfx", "\x30\x82\x00\xff\n")
	link(t, dir, "inside", "sub/key") // As Kubernetes mounts them.
	t.Setenv("CROSSFADE_SECRET_A", value+"\n")
	t.Setenv("OTHER_A", value)
	r := secrets.New(secrets.Config{Dir: dir})
	for ref, want := range map[secrets.Ref]string{
		"file:key": value, "file:windows": value, "file:bare": value, "file:two": value + "\n", "file:sub/key": value, "file:inside": value,
		"file:pfx": "\x30\x82\x00\xff\n", "env:CROSSFADE_SECRET_A": value,
	} {
		if got, err := r.Secret(t.Context(), ref); err != nil || got.Reveal() != want {
			t.Errorf("Secret(%s) = %q, %v, want %q", ref, got.Reveal(), err, want)
		}
	}
	other := secrets.New(secrets.Config{EnvPrefix: "OTHER_"})
	if got, err := other.Secret(t.Context(), "env:OTHER_A"); err != nil || got.Reveal() != value {
		t.Errorf("Secret(env:OTHER_A) with that prefix = %q, %v, want it", got.Reveal(), err)
	}
}

func TestResolver_SeesAChangedFile(t *testing.T) {
	dir := t.TempDir()
	r := secrets.New(secrets.Config{Dir: dir})
	for _, want := range []string{"first", "second"} {
		write(t, dir, "key", want)
		if got, err := r.Secret(t.Context(), "file:key"); err != nil || got.Reveal() != want {
			t.Errorf("Secret = %q, %v, want %q", got.Reveal(), err, want)
		}
	}
}

func TestResolver_RefusesWhatNoReferenceMayName(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "key", value)
	dir := t.TempDir()
	write(t, dir, "long", strings.Repeat(value, 10))
	write(t, dir, "empty", "\n")
	write(t, dir, "sub/key", value)
	link(t, dir, "out", filepath.Join(outside, "key"))
	link(t, dir, "up", "../"+filepath.Base(outside)+"/key")
	link(t, dir, "dirout", outside)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME_KEY", value)
	t.Setenv("CROSSFADE_SECRET_EMPTY", "")
	t.Setenv("CROSSFADE_SECRET_LONG", strings.Repeat(value, 10))
	r := secrets.New(secrets.Config{Dir: dir, MaxBytes: 100})
	for _, k := range []struct {
		name string
		r    *secrets.Resolver
		ref  secrets.Ref
		want error // nil: any
	}{
		{"a link to a file outside", r, "file:out", secrets.ErrForbidden},
		{"a link upwards", r, "file:up", secrets.ErrForbidden},
		{"through a linked folder", r, "file:dirout/key", secrets.ErrForbidden},
		{"a folder", r, "file:sub", secrets.ErrForbidden},
		{"a named pipe", r, "file:pipe", secrets.ErrForbidden},
		{"no such file", r, "file:nothing", secrets.ErrMissing},
		{"an empty file", r, "file:empty", secrets.ErrMissing},
		{"too long", r, "file:long", nil},
		{"a path upwards", r, "file:../key", secrets.ErrRef},
		{"an absolute path", r, secrets.Ref("file:" + filepath.Join(outside, "key")), secrets.ErrRef},
		{"no folder configured", secrets.New(secrets.Config{}), "file:key", secrets.ErrForbidden},
		{"a folder that is not there", secrets.New(secrets.Config{Dir: filepath.Join(dir, "x")}), "file:key", secrets.ErrMissing},
		{"a variable without the prefix", r, "env:HOME_KEY", secrets.ErrForbidden},
		{"a variable that is not set", r, "env:CROSSFADE_SECRET_NOTHING", secrets.ErrMissing},
		{"an empty variable", r, "env:CROSSFADE_SECRET_EMPTY", secrets.ErrMissing},
		{"a variable too long", r, "env:CROSSFADE_SECRET_LONG", nil},
		{"the value itself", r, secrets.Ref(value), secrets.ErrRef},
		{"nothing", r, "", secrets.ErrRef},
	} {
		t.Run(k.name, func(t *testing.T) {
			got, err := k.r.Secret(t.Context(), k.ref)
			if err == nil || !got.IsZero() || (k.want != nil && !errors.Is(err, k.want)) {
				t.Fatalf("Secret(%s) = %q, %v, want %v", k.ref, got.Reveal(), err, k.want)
			}
			if leaked(err.Error()) || strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), outside) && !errors.Is(k.want, secrets.ErrRef) {
				t.Errorf("Secret(%s) shows the value or the machine's paths: %v", k.ref, err)
			}
			if !errors.Is(k.want, secrets.ErrRef) && !strings.Contains(err.Error(), string(k.ref)) {
				t.Errorf("Secret(%s) = %v, want the reference named", k.ref, err)
			}
		})
	}
}

func TestResolver_StopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := secrets.New(secrets.Config{}).Secret(ctx, "env:CROSSFADE_SECRET_A"); !errors.Is(err, context.Canceled) {
		t.Errorf("Secret with a cancelled context = %v, want Canceled", err)
	}
}

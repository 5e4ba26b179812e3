package backup_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/backup"
	"github.com/crossfade-project/crossfade/internal/jet"
)

// store returns an embedded store with something in it.
func store(t *testing.T) *jet.Broker {
	t.Helper()
	b, err := jet.Open(t.Context(), jet.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	k, err := b.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"adatum", "contoso"} {
		if _, err := k.Put(t.Context(), key, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

var at = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func TestWrite_CanBeReadAndRestored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	m, err := backup.Write(t.Context(), dir, store(t), at)
	if err != nil {
		t.Fatalf("Write = %v", err)
	}
	again, err := backup.Check(dir)
	if err != nil || again.Digest != m.Digest || !again.MadeAt.Equal(at) || len(again.Streams) != len(m.Streams) {
		t.Errorf("Check = %+v, %v, want %+v", again, err, m)
	}
	for _, e := range []string{dir, filepath.Join(dir, "manifest.json"), filepath.Join(dir, "B_TENANTS.s2")} {
		if info, err := os.Stat(e); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v, want it closed to others", e, info.Mode(), err)
		}
	}
	into := jet.Config{Dir: t.TempDir()}
	if _, err := backup.Restore(t.Context(), dir, into, false, at); err != nil {
		t.Fatalf("Restore = %v", err)
	}
	b, err := jet.Open(t.Context(), into)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(t.Context()) }()
	k, err := b.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := k.Keys(t.Context()); err != nil || strings.Join(keys, " ") != "adatum contoso" {
		t.Errorf("Keys = %v, %v, want adatum and contoso", keys, err)
	}
}

// A back-up of nothing that was ever written is one, too.
func TestWrite_OfAnEmptyStore(t *testing.T) {
	b, err := jet.Open(t.Context(), jet.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(t.Context()) }()
	dir := filepath.Join(t.TempDir(), "b")
	if _, err := backup.Write(t.Context(), dir, b, at); err != nil {
		t.Fatalf("Write = %v", err)
	}
	into := jet.Config{Dir: t.TempDir()}
	if _, err := backup.Restore(t.Context(), dir, into, false, at); err != nil {
		t.Fatalf("Restore = %v", err)
	}
	again, err := jet.Open(t.Context(), into)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	if err := again.Close(t.Context()); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// failing is a source that breaks in the middle.
type failing struct{}

func (failing) Backup(_ context.Context, create func(string) (io.WriteCloser, error)) ([]jet.Cut, error) {
	w, err := create("ROT")
	if err != nil {
		return nil, err
	}
	_, _ = w.Write([]byte("half"))
	return nil, errors.Join(errors.New("the broker is gone"), w.Close())
}

func TestWrite_LeavesNothingOfAFailure(t *testing.T) {
	parent := t.TempDir()
	if _, err := backup.Write(t.Context(), filepath.Join(parent, "b"), failing{}, at); err == nil {
		t.Error("Write = nil, want an error")
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v, want nothing", left, err)
	}
	// What is there is never written into, whole or not.
	for _, name := range []string{"b", "c.partial"} {
		if err := os.Mkdir(filepath.Join(parent, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Write(t.Context(), filepath.Join(parent, strings.TrimSuffix(name, ".partial")), failing{}, at); err == nil {
			t.Errorf("Write where %s is = nil, want an error", name)
		}
		if _, err := backup.Check(filepath.Join(parent, name)); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("Check(%s) = %v, want %v", name, err, backup.ErrDamaged)
		}
	}
}

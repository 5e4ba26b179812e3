package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// onError calls a function at each error that is logged.
type onError struct {
	slog.Handler
	f func(text string)
}

func (h onError) Enabled(context.Context, slog.Level) bool { return true }

func (h onError) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelError {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		h.f(text)
	}
	return nil
}

// A key that cannot be read now keeps nobody from working: it is looked for again.
func TestKeepAudit_AKeyThatCannotBeReadEndsNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said []string
	n := &node{
		secrets: secrets.New(secrets.Config{Dir: dir}), metrics: daemon.NewMetrics(daemon.NewRegistry()),
		c: nodeConfig{auditKey: "file:audit.key", log: slog.New(onError{slog.DiscardHandler, func(text string) {
			said = append(said, text)
			cancel()
		}})},
	}
	if err := n.keepAudit(ctx); err != nil {
		t.Errorf("keepAudit without a key = %v, want nil when it is told to end", err)
	}
	if len(said) != 1 || !strings.Contains(said[0], "the audit log is not signed") {
		t.Errorf("it says %q, want once that the log is not signed", said)
	}

	// It is put back, first torn.
	key, _, err := audit.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	n.c.log = slog.New(onError{slog.DiscardHandler, func(string) {
		tries++
		text := key[:20]
		if tries > 1 {
			text = key
		}
		if err := os.WriteFile(filepath.Join(dir, "audit.key"), []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}})
	if k := n.awaitKeeper(t.Context(), time.Millisecond); k == nil || tries != 2 {
		t.Errorf("awaitKeeper = %v after %d tries, want who signs after 2", k, tries)
	}
}

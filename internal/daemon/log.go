package daemon

import (
	"context"
	"io"
	"log/slog"

	"github.com/crossfade-project/crossfade/internal/spans"
)

// NewLogger returns a logger that writes to w as l says. A level or a format
// that [Config.Check] refuses counts as the default.
func NewLogger(l Log, w io.Writer) *slog.Logger {
	lv, _ := level(l.Level)
	o := &slog.HandlerOptions{Level: lv}
	if l.Format == "json" {
		return slog.New(Traced(slog.NewJSONHandler(w, o)))
	}
	return slog.New(Traced(slog.NewTextHandler(w, o)))
}

// Traced returns a handler that adds the id of its trace to whatever is logged within
// one, as "trace".
func Traced(h slog.Handler) slog.Handler { return traced{h} }

type traced struct{ slog.Handler }

// Handle implements [slog.Handler].
func (t traced) Handle(ctx context.Context, r slog.Record) error {
	if id := spans.ID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("trace", id))
	}
	return t.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (t traced) WithAttrs(as []slog.Attr) slog.Handler { return traced{t.Handler.WithAttrs(as)} }

// WithGroup implements [slog.Handler].
func (t traced) WithGroup(name string) slog.Handler { return traced{t.Handler.WithGroup(name)} }

// level returns the level that a name stands for.
func level(name string) (slog.Level, bool) {
	switch name {
	case "debug":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	}
	return slog.LevelInfo, false
}

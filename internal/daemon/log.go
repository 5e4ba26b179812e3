package daemon

import (
	"io"
	"log/slog"
)

// NewLogger returns a logger that writes to w as l says. A level or a format
// that [Config.Check] refuses counts as the default.
func NewLogger(l Log, w io.Writer) *slog.Logger {
	lv, _ := level(l.Level)
	o := &slog.HandlerOptions{Level: lv}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

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

package obs

import (
	"io"
	"log/slog"
)

// NewLogger returns a logger that writes to w. format is "json" or "text", level is
// "debug", "info", "warn" or "error"; both are checked where settings are read, and
// an unknown word here means json and info.
func NewLogger(w io.Writer, format, level string) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	var l slog.Level
	if l.UnmarshalText([]byte(level)) == nil {
		options.Level = l
	}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// Discard returns a logger that writes nothing, for tests and tools.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

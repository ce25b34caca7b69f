package daemon

import (
	"log/slog"
	"strings"
	"testing"
)

// A line of the log says nothing about what is empty.
func TestLogSaysNothingEmpty(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		NewLogger(&out, format, slog.LevelInfo).Info("tried", "kind", "message", "err", "", "attempt", 0)
		if got := out.String(); strings.Contains(got, "err") || !strings.Contains(got, "attempt") || !strings.Contains(got, "message") {
			t.Errorf("%s: %s, want no err and all else", format, got)
		}
	}
}

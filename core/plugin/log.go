package plugin

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core/text"
)

// guestLog passes a guest's lines on: cut, made printable, and limited in rate.
type guestLog struct {
	to *slog.Logger

	mu      sync.Mutex // guards the rest
	tokens  float64
	at      time.Time
	dropped int
}

// A guest may log this many lines at once, and so many a second.
const (
	logBurst = 50
	logRate  = 10
)

func newGuestLog(l *slog.Logger) *guestLog { return &guestLog{to: l, tokens: logBurst, at: time.Now()} }

func (g *guestLog) admit() (dropped int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.tokens = min(logBurst, g.tokens+now.Sub(g.at).Seconds()*logRate)
	g.at = now
	if g.tokens < 1 {
		g.dropped++
		return 0, false
	}
	g.tokens--
	dropped, g.dropped = g.dropped, 0
	return dropped, true
}

// line logs one line. Levels: 0 debug, 1 info, 2 warn, 3 error.
func (g *guestLog) line(level int32, from string, hook Hook, text []byte) {
	l := [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[max(0, min(level, 3))]
	if !g.to.Enabled(context.Background(), l) {
		return
	}
	dropped, ok := g.admit()
	if !ok {
		return
	}
	args := []any{"hook", string(hook), "text", printable(strings.ToValidUTF8(string(text), "?"))}
	if dropped > 0 {
		args = append(args, "dropped", dropped)
	}
	g.to.Log(context.Background(), l, "plugin says", append(args, "from", from)...)
}

// stream logs what a guest wrote to a standard stream, line by line.
func (g *guestLog) stream(from string, hook Hook, b []byte) {
	b = b[:min(len(b), maxLog)]
	for line := range bytes.SplitSeq(bytes.TrimSpace(b), []byte("\n")) {
		if len(bytes.TrimSpace(line)) > 0 {
			g.line(1, from, hook, line)
		}
	}
}

// printable makes a guest's text safe for a log and a terminal, on one line. Its lines are joined by " | ".
func printable(s string) string {
	return text.Line(strings.ReplaceAll(strings.TrimSpace(s), "\n", " | "), 0)
}

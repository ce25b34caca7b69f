package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// watchEvery is how often a watched status is drawn anew.
const watchEvery = 2 * time.Second

// The sequences of a terminal that a watched status needs (ECMA-48, xterm).
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l\x1b[?7l" // another screen, without a cursor, that cuts lines
	screenClose = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineClear   = "\x1b[K" // before the line: behind it, in the last column, it would take the last cell
	screenRest  = "\x1b[J"
)

// watchStatus shows the status again and again until ctx is done. On a terminal
// it is drawn in place, and the terminal is as before when it ends. The daemon
// may go and come again.
func watchStatus(ctx context.Context, a *cli.App) error {
	if _, err := api.Status.Call(ctx, a, api.None{}); err != nil {
		return err // as without a daemon
	}
	screen := a.Colours(a.Out) && !a.JSON
	if screen {
		io.WriteString(a.Out, screenOpen)
		defer io.WriteString(a.Out, screenClose)
	}
	quiet := *a
	quiet.Err = io.Discard // no spinner in the picture
	for {
		var text bytes.Buffer
		s, err := api.Status.Call(ctx, &quiet, api.None{})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, control.ErrNoDaemon):
			return err
		case a.JSON:
			line, err := json.Marshal(s, json.Deterministic(true))
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, "%s\n", term.SafeJSON(line))
		case err != nil:
			fmt.Fprintf(&text, "%s  No daemon is running.\n", time.Now().Format(time.TimeOnly))
		default:
			fmt.Fprintf(&text, "%s  every %v, Ctrl-C ends it\n\n", time.Now().Format(time.TimeOnly), watchEvery)
			showStatus(a, &text, s)
		}
		if screen {
			draw(a, text.String())
		} else {
			a.Out.Write(text.Bytes())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// cutTo cuts a line to a terminal's width, with an ellipsis in its last cell. Sequences
// that colour it take no room, and stay.
func cutTo(line string, width int) string {
	if width <= 0 {
		return line
	}
	return ansi.Truncate(line, width, "…")
}

// draw puts a text in place of the one before, in one write so that it does not
// flicker. What does not fit on the screen is cut.
func draw(a *cli.App, text string) {
	width, height := term.SizeOf(a.Out)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if height > 1 && len(lines) >= height {
		lines = append(lines[:height-2], "…")
	}
	var b strings.Builder
	b.WriteString(screenHome)
	for _, line := range lines {
		b.WriteString(lineClear + cutTo(line, width) + "\n")
	}
	b.WriteString(screenRest)
	io.WriteString(a.Out, b.String())
}

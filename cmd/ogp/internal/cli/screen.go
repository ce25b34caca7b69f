package cli

import (
	"io"
	"time"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
)

// Colours reports whether w takes colours: a terminal, and neither NO_COLOR
// (no-color.org) nor TERM=dumb says otherwise.
func (a *App) Colours(w io.Writer) bool {
	return term.IsTerminal(w) && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb"
}

// Styled writes in a colour (an SGR code), where w takes colours.
func (a *App) Styled(w io.Writer, code, s string) string {
	if !a.Colours(w) {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Bold is bold where w takes colours.
func (a *App) Bold(w io.Writer, s string) string { return a.Styled(w, "1", s) }

// spinAfter is how long a wait may be before it shows that it goes on.
const spinAfter = 300 * time.Millisecond

var spinnerFrames = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// Spin shows on a terminal's standard error that something goes on, once it takes
// longer. The function that it returns ends it and leaves no trace.
func (a *App) Spin(what string) func() {
	if a.JSON || !a.Colours(a.Err) {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-done:
			return
		case <-time.After(spinAfter):
		}
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			io.WriteString(a.Err, "\r"+spinnerFrames[i%len(spinnerFrames)]+" "+what+"\x1b[K")
			select {
			case <-done:
				io.WriteString(a.Err, "\r\x1b[K")
				return
			case <-ticker.C:
			}
		}
	}()
	return func() { close(done); <-gone }
}

package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// isTerminal reports whether a person looks at what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colours reports whether w takes colours: a terminal, and neither NO_COLOR
// (no-color.org) nor TERM=dumb says otherwise.
func (a *app) colours(w io.Writer) bool {
	return isTerminal(w) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

func (a *app) styled(w io.Writer, code, s string) string {
	if !a.colours(w) {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (a *app) bold(w io.Writer, s string) string { return a.styled(w, "1", s) }

// spinAfter is how long a wait may be before it shows that it goes on.
const spinAfter = 300 * time.Millisecond

var spinnerFrames = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// spin shows on a terminal's standard error that something goes on, once it takes
// longer. The function that it returns ends it and leaves no trace.
func (a *app) spin(what string) func() {
	if a.json || !a.colours(a.err) {
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
			io.WriteString(a.err, "\r"+spinnerFrames[i%len(spinnerFrames)]+" "+what+"\x1b[K")
			select {
			case <-done:
				io.WriteString(a.err, "\r\x1b[K")
				return
			case <-ticker.C:
			}
		}
	}()
	return func() { close(done); <-gone }
}

// Package term writes for people: tables that fit a terminal, and texts from outside
// that cannot act on one.
package term

import (
	"cmp"
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal reports whether a person looks at what is written to w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ReadHidden reads a line from the terminal r, which does not show it.
func ReadHidden(r io.Reader) (string, error) {
	f, ok := r.(*os.File)
	if !ok {
		return "", os.ErrInvalid
	}
	text, err := term.ReadPassword(int(f.Fd()))
	return string(text), err
}

// Dash shows that a column is empty.
func Dash(s string) string { return cmp.Or(s, "-") }

// Optional is s behind what goes before it, or nothing where s is empty.
func Optional(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

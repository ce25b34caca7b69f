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

// Dash shows that a column is empty.
func Dash(s string) string { return cmp.Or(s, "-") }

// Optional is s behind what goes before it, or nothing where s is empty.
func Optional(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

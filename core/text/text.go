// Package text makes words from outside safe to show, and finds the name that
// somebody meant. What a plugin's author uses for the same is in package sdk,
// which imports nothing of ours.
package text

import (
	"strings"
	"unicode"
)

// Acts reports whether a terminal, a log or a reader of lines may do more with a
// character than show it, or shows nothing of it: control characters, invisible
// formatting (marks that turn the direction of text among them), the separators of
// lines and paragraphs, letters and symbols that look like nothing, and marks that
// choose among forms of a letter. The two marks that make a symbol an emoji do not act.
//
// docs/threat-model.md#t6
func Acts(r rune) bool {
	switch {
	case ' ' <= r && r <= '~': // most of all
		return false
	case r == '\uFE0E', r == '\uFE0F':
		return false
	}
	return unicode.IsControl(r) || r == '\u2800' ||
		unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Line is s on one line: a space stands for each character that Acts, U+FFFD for
// what is no UTF-8, no white space at either end. What is longer than maxRunes
// characters is cut, and an ellipsis follows; zero means no bound.
//
// docs/threat-model.md#t6
func Line(s string, maxRunes int) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if Acts(r) {
			r = ' '
		}
		if n++; maxRunes > 0 && n > maxRunes {
			b.WriteRune('…')
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// Block is s with its line ends and tabs: U+FFFD stands for every other character
// that Acts, and for what is no UTF-8.
func Block(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !Acts(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

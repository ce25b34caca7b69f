package sdk

import (
	"strconv"
	"unicode/utf8"
)

// Clean makes a stranger's text safe to show: control characters, marks that turn the
// direction of text, and invisible characters that can carry hidden words are gone; every
// kind of line break is a newline; tabs stay. What is over maxBytes is cut between
// characters, and cut says how many bytes of the cleaned text are missing.
func Clean(s string, maxBytes int) (text string, cut int) {
	b := make([]byte, 0, min(len(s), maxBytes+utf8.UTFMax))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '\r' && i+1 < len(s) && s[i+1] == '\n' {
			n++
		}
		i += n
		switch r {
		case '\r', '\v', '\f', 0x85, 0x2028, 0x2029:
			r = '\n'
		}
		if hidden(r) {
			continue
		}
		if size := utf8.RuneLen(r); cut > 0 || len(b)+size > maxBytes {
			cut += size
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b), cut
}

// hidden says that a character shows nothing and may carry what people do not see.
func hidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0: // C0, DEL, C1
	case r == 0xad, r == 0x61c, r == 0x180e, r == 0xfeff: // soft hyphen, bidi mark, separators
	case r == 0x200b, r == 0x200e, r == 0x200f: // zero width space, bidi marks; joiners stay: scripts and emoji need them
	case r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f: // bidi overrides and isolates, invisible operators
	case r >= 0xfff9 && r <= 0xfffb: // interlinear annotation
	case r >= 0xe0000 && r <= 0xe0fff: // tags and supplementary variation selectors
	default:
		return false
	}
	return true
}

// Line is Clean on one line: runs of spaces, tabs and newlines become one space, and a cut
// is marked with an ellipsis.
func Line(s string, maxBytes int) string {
	text, cut := Clean(s, maxBytes)
	b := make([]byte, 0, len(text)+3)
	for i := range len(text) {
		c := text[i]
		if c == '\n' || c == '\t' {
			c = ' '
		}
		if c == ' ' && (len(b) == 0 || b[len(b)-1] == ' ') {
			continue
		}
		b = append(b, c)
	}
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if cut > 0 {
		b = append(b, "…"...)
	}
	return string(b)
}

// Fence puts a stranger's text between two marks that name what it is and carry id, which
// the stranger must not know beforehand: an event's ID is right. The text is cleaned and
// cannot hold a mark.
func Fence(id, what, s string, maxBytes int) string {
	text, cut := Clean(s, maxBytes)
	b := append([]byte("<<<"), what...)
	b = append(append(b, ' '), id...)
	b = append(b, ">>>\n"...)
	for i := range len(text) {
		b = append(b, text[i])
		if n := len(b); n >= 2 && (text[i] == '<' || text[i] == '>') && b[n-2] == text[i] {
			b = append(b, ' ') // no run of three
		}
	}
	if cut > 0 {
		b = append(b, "\n… cut here, "...)
		b = strconv.AppendInt(b, int64(cut), 10)
		b = append(b, " bytes more"...)
	}
	b = append(b, "\n<<<END "...)
	b = append(append(append(b, what...), ' '), id...)
	return string(append(b, ">>>"...))
}

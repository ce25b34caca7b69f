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
		if n := plain(s[i:]); n > 0 {
			fits := 0
			if cut == 0 {
				fits = min(n, max(0, maxBytes-len(b)))
			}
			b, cut = append(b, s[i:i+fits]...), cut+n-fits
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '\r' && i+1 < len(s) && s[i+1] == '\n' {
			n++
		}
		i += n
		switch r {
		case '\r', '\v', '\f', 0x85, 0x2028, 0x2029:
			r = '\n'
		}
		if hidden(r) || joiner(r) && !joins(lastRune(b), s[i:]) {
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

// plain is how many bytes at the beginning of a text are ASCII that shows: most texts are
// little else, and copying them at once takes a fraction of the time.
func plain(s string) int {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return i
		}
	}
	return len(s)
}

func lastRune(b []byte) rune {
	r, _ := utf8.DecodeLastRune(b)
	return r
}

// joiner says that a character only tells its neighbours whether to join.
func joiner(r rune) bool { return r == 0x200c || r == 0x200d }

// joins says that a joiner stands within a word of a script that has joiners, or within
// an emoji: elsewhere it shows nothing.
func joins(before rune, rest string) bool {
	for { // what shows nothing will be gone
		after, n := utf8.DecodeRuneInString(rest)
		if n > 0 && hidden(after) {
			rest = rest[n:]
			continue
		}
		return joined(before) && joined(after)
	}
}

func joined(r rune) bool {
	switch {
	case r >= 0x600 && r <= 0x1aaf: // Arabic, the scripts of India and South-East Asia, Mongolian
	case r >= 0x2190 && r <= 0x2bff, r >= 0x1f000 && r <= 0x1faff: // arrows, symbols, emoji
	case r >= 0xfb50 && r <= 0xfdff, r >= 0xfe70 && r <= 0xfefe: // forms of Arabic
	default:
		return false
	}
	return true
}

// hidden says that a character shows nothing and may carry what people do not see.
func hidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0: // C0, DEL, C1
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0xfeff: // soft hyphen, grapheme joiner, bidi mark, byte order mark
	case r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, r == 0x2800: // fillers of Hangul, the blank Braille pattern
	case r == 0x17b4, r == 0x17b5, r >= 0x180b && r <= 0x180f: // Khmer's inherent vowels, Mongolian selectors
	case r == 0x200b, r == 0x200e, r == 0x200f: // zero width space, bidi marks
	case r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f: // bidi overrides and isolates, invisible operators
	case r >= 0xfe00 && r <= 0xfe0f: // variation selectors
	case r >= 0xfff0 && r <= 0xfffb: // interlinear annotation
	case r >= 0x13430 && r <= 0x1345f: // joins and blanks of hieroglyphs
	case r >= 0x1bca0 && r <= 0x1bca3, r >= 0x1d173 && r <= 0x1d17a: // controls of shorthand and of music
	case r >= 0xe0000 && r <= 0xe0fff: // tags and supplementary variation selectors
	default:
		return false
	}
	return true
}

// Line is Clean on one line: runs of spaces, tabs and newlines become one space, and a cut
// is marked with an ellipsis. No marks of a Fence are left in it: what we have said may
// repeat what a peer wanted said.
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
	return string(unmark(make([]byte, 0, len(b)), string(b)))
}

// Fence puts a stranger's text between two marks that name what it is and carry id, which
// the stranger must not know beforehand: an event's ID is right. The text is cleaned and
// cannot hold a mark.
func Fence(id, what, s string, maxBytes int) string {
	text, cut := Clean(s, maxBytes)
	b := append([]byte("<<<"), what...)
	b = append(append(b, ' '), id...)
	b = append(b, ">>>\n"...)
	b = unmark(b, text)
	if cut > 0 {
		b = append(b, "\n… cut here, "...)
		b = strconv.AppendInt(b, int64(cut), 10)
		b = append(b, " bytes more"...)
	}
	b = append(b, "\n<<<END "...)
	b = append(append(append(b, what...), ' '), id...)
	return string(append(b, ">>>"...))
}

// unmark appends a text to b with a space where three marks of one side, or what looks
// like them, would stand together.
func unmark(b []byte, text string) []byte {
	side, run := rune(0), 0
	for i, r := range text {
		if r < utf8.RuneSelf && r != '<' && r != '>' {
			b, side, run = append(b, text[i]), 0, 0
			continue
		}
		as, n := mark(r)
		switch {
		case as == 0 || as != side:
			run = 0
		case run+n > 2:
			b, run = append(b, ' '), 0
		}
		side, run = as, run+n
		if n > 2 { // one character that is three
			b = append(b, byte(as), byte(as), ' ', byte(as))
			run = 1
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

// mark says whether a character looks like the < or > of our marks, and like how many.
func mark(r rune) (as rune, n int) {
	switch r {
	case '<', '\uff1c', '\ufe64', '\u2039', '\u2329', '\u3008', '\u27e8', '\u276e', '\u276c', '\u2770', '\u02c2', '\u1438', '\u29fc', '\u2991', '\u227a', '\u16b2', '\U0001d236':
		return '<', 1
	case '>', '\uff1e', '\ufe65', '\u203a', '\u232a', '\u3009', '\u27e9', '\u276f', '\u276d', '\u2771', '\u02c3', '\u1433', '\u29fd', '\u2992', '\u227b', '\U00016f3f', '\U0001d237':
		return '>', 1
	case '\u00ab', '\u300a', '\u27ea', '\u226a', '\u2a9d', '\u2aa1', '\u2abb':
		return '<', 2
	case '\u00bb', '\u300b', '\u27eb', '\u226b', '\u2a9e', '\u2aa2', '\u2abc':
		return '>', 2
	case '\u22d8', '\u2af7':
		return '<', 3
	case '\u22d9', '\u2af8':
		return '>', 3
	}
	return 0, 0
}

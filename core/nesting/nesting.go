// Package nesting bounds how large a text is and how deep it nests before a parser
// that calls itself sees it: such a parser needs stack for every bracket, and the
// end of the stack ends the program.
//
// The bound on the size holds whatever the text is: a stack for so many brackets is
// always there. The depth is what a mistake is told by, and it is read as the
// grammar has it, so that brackets within strings and comments do not count.
//
// docs/threat-model.md#d4
package nesting

import (
	"bytes"
	"fmt"
)

const (
	// MaxBytes is the longest text for which nothing else was chosen.
	MaxBytes = 64 << 10
	// MaxDepth is how deep brackets may stand within brackets, and how many parts a
	// dotted key may have.
	MaxDepth = 64
)

// TOML checks a text in TOML before it is parsed: at most maxBytes long, with arrays,
// inline tables and dotted keys no deeper than MaxDepth. It says nothing about
// whether the text is right.
func TOML(text []byte, maxBytes int) error {
	return check(text, maxBytes, grammar{lineComment: "#", triple: true, keys: true})
}

// JSON5 is TOML for JSON and JSON5.
func JSON5(text []byte, maxBytes int) error {
	return check(text, maxBytes, grammar{lineComment: "//", comments: true, escapesInSingle: true})
}

// grammar is what a scan must know of a language to tell brackets from text.
type grammar struct {
	lineComment     string
	comments        bool // /* and */
	triple          bool // """ and '''
	escapesInSingle bool // \ within '
	keys            bool // dotted
}

func check(text []byte, maxBytes int, g grammar) error {
	if len(text) > maxBytes {
		return fmt.Errorf("%d bytes, at most %d", len(text), maxBytes)
	}
	depth, dots, line := 0, 0, 1
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '"', '\'':
			end := g.stringEnd(text, i)
			line += bytes.Count(text[i:end], []byte("\n"))
			i = end
			continue
		case '\n':
			line++
			dots = 0
		case '[', '{', '(':
			dots = 0
			if depth++; depth > MaxDepth {
				return fmt.Errorf("line %d: nested deeper than %d", line, MaxDepth)
			}
		case ']', '}', ')':
			depth = max(depth-1, 0)
		case '=', ',', ':':
			dots = 0
		case '.':
			if dots++; g.keys && dots >= MaxDepth {
				return fmt.Errorf("line %d: a key of more than %d parts", line, MaxDepth)
			}
		}
		if end := g.commentEnd(text, i); end > i {
			line += bytes.Count(text[i:end], []byte("\n"))
			i = end
			continue
		}
		i++
	}
	return nil
}

// stringEnd gives the end of the string that begins at i. One of a single line ends
// with the line, as every parser gives up there.
func (g grammar) stringEnd(text []byte, i int) int {
	quote := text[i]
	triple := g.triple && i+2 < len(text) && text[i+1] == quote && text[i+2] == quote
	if triple {
		i += 2
	}
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && (quote == '"' || g.escapesInSingle):
			i++
		case c == '\n' && !triple:
			return i
		case c == quote && !triple:
			return i + 1
		case c == quote && i+2 < len(text) && text[i+1] == quote && text[i+2] == quote:
			for i += 3; i < len(text) && text[i] == quote; i++ { // up to two more belong to the text
			}
			return i
		}
	}
	return len(text)
}

// commentEnd gives the end of the comment that begins at i, or i where none does.
func (g grammar) commentEnd(text []byte, i int) int {
	rest := text[i:]
	switch {
	case bytes.HasPrefix(rest, []byte(g.lineComment)):
		for i < len(text) && text[i] != '\n' {
			i++
		}
	case g.comments && bytes.HasPrefix(rest, []byte("/*")):
		if end := bytes.Index(rest[2:], []byte("*/")); end >= 0 {
			return i + 2 + end + 2
		}
		return len(text)
	}
	return i
}

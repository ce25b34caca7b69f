package sdk

import (
	"strconv"
	"unicode/utf8"
)

// Kind says what sort of JSON a [Value] is. The zero Kind is of a value that is not there.
type Kind uint8

// The kinds of JSON values.
const (
	Missing Kind = iota
	Null
	Bool
	Number
	Text
	Array
	Map
)

// maxDepth is how deep arrays and objects may lie within each other. The host allows less.
const maxDepth = 128

// Value is one value of a JSON text. The zero Value is a missing one, and looking into a missing value gives missing
// values again, so that v.Get("a").Get("b").Text() needs no check on the way. Nothing is built of a text: Get and
// Each walk over it, so that a policy pays for what it looks at. A Value keeps its whole text alive.
type Value struct {
	text string // its own JSON
}

// JSONError says where a text stops being JSON.
type JSONError struct {
	Offset int    // in bytes from the start
	Reason string // a few words
}

func (e *JSONError) Error() string {
	return "sdk: not json: " + e.Reason + " at byte " + strconv.Itoa(e.Offset)
}

// Parse checks that a text is one JSON value (RFC 8259) and nothing after it. Strings must be valid UTF-8.
// Of members with the same name, Get finds the first. The error is a [*JSONError].
func Parse(text string) (Value, error) {
	p := parser{text: text}
	p.space()
	start := p.at
	if !p.value(0) {
		return Value{}, &JSONError{p.at, p.reason}
	}
	end := p.at
	p.space()
	if p.at != len(text) {
		return Value{}, &JSONError{p.at, "more after the value"}
	}
	return Value{text[start:end]}, nil
}

type parser struct {
	text   string
	at     int
	reason string
}

func (p *parser) fail(reason string) bool {
	if p.reason == "" {
		p.reason = reason
	}
	return false
}

func (p *parser) space() {
	text, i := p.text, p.at
	for i < len(text) && text[i] <= ' ' && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	p.at = i
}

// peek gives the byte at hand, or 0 at the end: no JSON token begins with 0.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) value(depth int) bool {
	if depth > maxDepth {
		return p.fail("too deep")
	}
	switch c := p.peek(); c {
	case '"':
		return p.str()
	case '{':
		return p.members(depth)
	case '[':
		return p.elements(depth)
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.number()
	}
	if p.at == len(p.text) {
		return p.fail("unexpected end")
	}
	return p.fail("unexpected character")
}

func (p *parser) members(depth int) bool {
	p.at++ // {
	p.space()
	if p.peek() == '}' {
		p.at++
		return true
	}
	for {
		p.space()
		if p.peek() != '"' {
			return p.fail("a member's name expected")
		}
		if !p.str() {
			return false
		}
		p.space()
		if p.peek() != ':' {
			return p.fail("':' expected")
		}
		p.at++
		p.space()
		if !p.value(depth + 1) {
			return false
		}
		p.space()
		switch p.peek() {
		case ',':
			p.at++
		case '}':
			p.at++
			return true
		default:
			return p.fail("',' or '}' expected")
		}
	}
}

func (p *parser) elements(depth int) bool {
	p.at++ // [
	p.space()
	if p.peek() == ']' {
		p.at++
		return true
	}
	for {
		p.space()
		if !p.value(depth + 1) {
			return false
		}
		p.space()
		switch p.peek() {
		case ',':
			p.at++
		case ']':
			p.at++
			return true
		default:
			return p.fail("',' or ']' expected")
		}
	}
}

func (p *parser) word(w string) bool {
	if len(p.text)-p.at < len(w) || p.text[p.at:p.at+len(w)] != w {
		return p.fail("unexpected character")
	}
	p.at += len(w)
	return true
}

func (p *parser) digits() bool {
	from := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > from || p.fail("a digit expected")
}

func (p *parser) number() bool {
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if !p.digits() {
		return false
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return false
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		return p.digits()
	}
	return true
}

// str steps over a string. It keeps the place in a local variable, as wasm's compilers do not.
func (p *parser) str() bool {
	text := p.text
	i := p.at + 1 // "
	start, ascii := i, true
	for i < len(text) {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			if c >= utf8.RuneSelf {
				ascii = false
			}
			i++
			continue
		}
		p.at = i
		switch c {
		case '"':
			if !ascii && !utf8.ValidString(text[start:i]) {
				return p.fail("invalid utf-8 in a string")
			}
			p.at++
			return true
		case '\\':
			if !p.escape() {
				return false
			}
			i = p.at
		default:
			return p.fail("a control character in a string")
		}
	}
	p.at = i
	return p.fail("unexpected end in a string")
}

func (p *parser) escape() bool {
	p.at++ // backslash
	switch p.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		p.at++
		return true
	case 'u':
		if _, ok := hex4(p.text, p.at+1); !ok {
			return p.fail("four hex digits expected")
		}
		p.at += 5
		return true
	}
	return p.fail("unknown escape")
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func hex4(s string, at int) (rune, bool) {
	if at+4 > len(s) {
		return 0, false
	}
	var r rune
	for i := at; i < at+4; i++ {
		d, ok := hexDigit(s[i])
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

// unescape turns the inside of a valid JSON string into text. Half a surrogate pair
// becomes U+FFFD.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, _ := hex4(s, i+1)
			i += 4
			if r >= 0xd800 && r < 0xdc00 && i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
				if low, ok := hex4(s, i+3); ok && low >= 0xdc00 && low < 0xe000 {
					r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

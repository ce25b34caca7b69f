// Package jsjson writes JSON as JavaScript would: Stringify gives the bytes of
// JSON.stringify(JSON.parse(text)).
//
// TypeScript gateways sign what JSON.stringify gave them and some verify what it
// gives after a parse, so both sides must come to the same bytes. The rules are
// ECMA-262's JSON.parse, JSON.stringify, Number::toString and
// OrdinaryOwnPropertyKeys.
package jsjson

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/opengatewayprotocol/ogp/core"
)

// MaxDepth is how many arrays and objects may lie within one another.
const MaxDepth = 64

// Stringify returns the bytes that JSON.stringify(JSON.parse(raw)) gives: no
// spaces, numbers as float64 in JavaScript's writing (beyond float64: null),
// strings with as few escapes as JavaScript uses, integer-like names first and
// ascending, and of a name that comes twice the last value at the first place.
//
// It returns core.Malformed for what is no JSON, holds invalid UTF-8, or lies
// deeper than MaxDepth; a byte order mark and anything after the value count as
// no JSON. Where raw is in that form already, the same slice comes back;
// otherwise the caller owns the result. The time is linear in len(raw), which the
// caller bounds. Safe for concurrent use.
func Stringify(raw []byte) ([]byte, error) {
	w := writers.Get().(*writer)
	defer w.release()
	w.in, w.pos = raw, 0
	w.space()
	if err := w.value(0); err != nil {
		return nil, err
	}
	w.space()
	if w.pos != len(raw) {
		return nil, w.fail("text after the value")
	}
	if bytes.Equal(w.out, raw) {
		return raw, nil
	}
	return bytes.Clone(w.out), nil
}

// writer reads in and writes out in one pass. Objects whose members must move are
// put in order when they end.
type writer struct {
	in      []byte
	pos     int
	out     []byte
	scratch []byte
	members []member // of all open objects, outermost first
}

// member is one member of an object as it stands in out: "name":value.
type member struct {
	name, colon int   // offsets
	value, end  int   // offsets; of the last value, where a name comes twice
	index       int64 // of an integer-like name; otherwise noIndex
}

func (w *writer) name(m member) []byte { return w.out[m.name:m.colon] }

// noIndex sorts behind every integer-like name.
const noIndex = math.MaxInt64

var writers = sync.Pool{New: func() any { return new(writer) }}

// maxKeptBytes is the largest buffer that waits for the next call.
const maxKeptBytes = 1 << 20

func (w *writer) release() {
	if cap(w.out)+cap(w.scratch) > maxKeptBytes {
		return
	}
	*w = writer{out: w.out[:0], scratch: w.scratch[:0], members: w.members[:0]}
	writers.Put(w)
}

func (w *writer) fail(what string) error {
	return core.Refusef(core.Malformed, "invalid JSON: %s at byte %d", what, w.pos)
}

// peek is the next byte, or 0 at the end: a byte that no JSON text holds.
func (w *writer) peek() byte {
	if w.pos < len(w.in) {
		return w.in[w.pos]
	}
	return 0
}

func (w *writer) space() {
	for w.pos < len(w.in) {
		switch w.in[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

// value reads one value; the space before it is behind us.
func (w *writer) value(depth int) error {
	switch c := w.peek(); c {
	case '{', '[':
		if depth == MaxDepth {
			return w.fail("nested too deep")
		}
		if c == '{' {
			return w.object(depth + 1)
		}
		return w.array(depth + 1)
	case '"':
		return w.text()
	case 't':
		return w.word("true")
	case 'f':
		return w.word("false")
	case 'n':
		return w.word("null")
	default:
		return w.number()
	}
}

func (w *writer) word(word string) error {
	if !bytes.HasPrefix(w.in[w.pos:], []byte(word)) {
		return w.fail("unknown word")
	}
	w.pos += len(word)
	w.out = append(w.out, word...)
	return nil
}

func (w *writer) array(depth int) error {
	w.pos++
	w.out = append(w.out, '[')
	w.space()
	if w.peek() == ']' {
		w.pos++
		w.out = append(w.out, ']')
		return nil
	}
	for {
		w.space()
		if err := w.value(depth); err != nil {
			return err
		}
		w.space()
		switch c := w.peek(); c {
		case ',', ']':
			w.pos++
			w.out = append(w.out, c)
			if c == ']' {
				return nil
			}
		default:
			return w.fail("want , or ]")
		}
	}
}

func (w *writer) object(depth int) error {
	w.pos++
	w.out = append(w.out, '{')
	first := len(w.members)
	w.space()
	if w.peek() == '}' {
		w.pos++
		w.out = append(w.out, '}')
		return nil
	}
	for {
		w.space()
		if err := w.member(depth); err != nil {
			return err
		}
		w.space()
		switch c := w.peek(); c {
		case ',':
			w.pos++
			w.out = append(w.out, c)
		case '}':
			w.pos++
			w.arrange(first)
			w.members = w.members[:first]
			w.out = append(w.out, c)
			return nil
		default:
			return w.fail("want , or }")
		}
	}
}

func (w *writer) member(depth int) error {
	m := member{name: len(w.out)}
	if w.peek() != '"' {
		return w.fail("want a name")
	}
	if err := w.text(); err != nil {
		return err
	}
	w.space()
	if w.peek() != ':' {
		return w.fail("want :")
	}
	w.pos++
	m.colon = len(w.out)
	m.index = index(w.out[m.name+1 : m.colon-1])
	w.out = append(w.out, ':')
	m.value = len(w.out)
	w.space()
	if err := w.value(depth); err != nil {
		return err
	}
	m.end = len(w.out)
	w.members = append(w.members, m)
	return nil
}

// index reads an array index: the canonical decimal of 0 to 2^32-2. Any other
// name, "4294967295" and "01" among them, is an ordinary one.
func index(name []byte) int64 {
	if len(name) == 0 || len(name) > 10 || name[0] == '0' && len(name) > 1 {
		return noIndex
	}
	n := int64(0)
	for _, c := range name {
		if c < '0' || c > '9' {
			return noIndex
		}
		n = 10*n + int64(c-'0')
	}
	if n > math.MaxUint32-1 {
		return noIndex
	}
	return n
}

// manyMembers is the size from which duplicates are found by a map.
const manyMembers = 12

// arrange puts the object's members, those from first on, in JavaScript's order.
func (w *writer) arrange(first int) {
	members := w.members[first:]
	from := members[0].name
	unique := w.merge(members)
	if len(unique) == len(members) && slices.IsSortedFunc(unique, byIndex) {
		return
	}
	slices.SortStableFunc(unique, byIndex)
	w.scratch = w.scratch[:0]
	for i, m := range unique {
		if i > 0 {
			w.scratch = append(w.scratch, ',')
		}
		w.scratch = append(append(w.scratch, w.name(m)...), ':')
		w.scratch = append(w.scratch, w.out[m.value:m.end]...)
	}
	w.out = append(w.out[:from], w.scratch...)
}

func byIndex(a, b member) int { return cmp.Compare(a.index, b.index) }

// merge gives each name its last value at its first place. It works within
// members and returns the head of it that remains.
func (w *writer) merge(members []member) []member {
	var seen map[string]int
	if len(members) > manyMembers {
		seen = make(map[string]int, len(members))
	}
	unique := members[:0]
	for _, m := range members {
		at, twice := 0, false
		if seen != nil {
			if at, twice = seen[string(w.name(m))]; !twice {
				seen[string(w.name(m))] = len(unique)
			}
		} else {
			at = slices.IndexFunc(unique, func(u member) bool { return bytes.Equal(w.name(u), w.name(m)) })
			twice = at >= 0
		}
		if twice {
			unique[at].value, unique[at].end = m.value, m.end
		} else {
			unique = append(unique, m)
		}
	}
	return unique
}

// text reads a string and writes it as JSON.stringify does.
func (w *writer) text() error {
	w.pos++
	w.out = append(w.out, '"')
	from := w.pos
	for w.pos < len(w.in) {
		c := w.in[w.pos]
		switch {
		case c == '"':
			w.out = append(append(w.out, w.in[from:w.pos]...), '"')
			w.pos++
			return nil
		case c == '\\':
			w.out = append(w.out, w.in[from:w.pos]...)
			if err := w.escape(); err != nil {
				return err
			}
			from = w.pos
		case c < ' ':
			return w.fail("control character in a string")
		case c < utf8.RuneSelf:
			w.pos++
		default:
			r, size := utf8.DecodeRune(w.in[w.pos:])
			if r == utf8.RuneError && size == 1 {
				return w.fail("invalid UTF-8")
			}
			w.pos += size
		}
	}
	return w.fail("string without an end")
}

// escape reads one escape, or two that make a surrogate pair.
func (w *writer) escape() error {
	if w.pos+1 >= len(w.in) {
		return w.fail("string without an end")
	}
	c := w.in[w.pos+1]
	if c != 'u' {
		plain, ok := escapes[c]
		if !ok {
			return w.fail("unknown escape")
		}
		w.pos += 2
		w.unit(rune(plain))
		return nil
	}
	r, ok := w.hex4(w.pos)
	if !ok {
		return w.fail("want four hex digits")
	}
	w.pos += 6
	if utf16.IsSurrogate(r) {
		if low, ok := w.hex4(w.pos); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				w.pos += 6
				r = pair
			}
		}
	}
	w.unit(r)
	return nil
}

// hex4 reads the \uXXXX at pos.
func (w *writer) hex4(pos int) (rune, bool) {
	if pos+6 > len(w.in) || w.in[pos] != '\\' || w.in[pos+1] != 'u' {
		return 0, false
	}
	r, err := strconv.ParseUint(string(w.in[pos+2:pos+6]), 16, 16)
	return rune(r), err == nil
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unit writes one character, or a lone half of a surrogate pair: ECMA-262's
// QuoteJSONString.
func (w *writer) unit(r rune) {
	const digits = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		w.out = append(w.out, '\\', byte(r))
	case r == '\b':
		w.out = append(w.out, `\b`...)
	case r == '\f':
		w.out = append(w.out, `\f`...)
	case r == '\n':
		w.out = append(w.out, `\n`...)
	case r == '\r':
		w.out = append(w.out, `\r`...)
	case r == '\t':
		w.out = append(w.out, `\t`...)
	case r < ' ' || utf16.IsSurrogate(r):
		w.out = append(w.out, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
	default:
		w.out = utf8.AppendRune(w.out, r)
	}
}

// number reads a number and writes the float64 it is.
func (w *writer) number() error {
	from := w.pos
	if w.peek() == '-' {
		w.pos++
	}
	whole := w.digits()
	if whole == 0 {
		return w.fail("want a value")
	}
	if lead := w.pos - whole; w.in[lead] == '0' && whole > 1 {
		w.pos = lead
		return w.fail("leading zero")
	}
	integer := true
	if w.peek() == '.' {
		integer = false
		w.pos++
		if w.digits() == 0 {
			return w.fail("want a digit")
		}
	}
	if c := w.peek(); c == 'e' || c == 'E' {
		integer = false
		w.pos++
		if c := w.peek(); c == '+' || c == '-' {
			w.pos++
		}
		if w.digits() == 0 {
			return w.fail("want a digit")
		}
	}
	text := w.in[from:w.pos]
	if integer && whole <= 15 && text[0] != '-' { // exact in a float64, and written alike
		w.out = append(w.out, text...)
		return nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !math.IsInf(f, 0) {
		return w.fail("not a number")
	}
	w.out = appendNumber(w.out, f)
	return nil
}

func (w *writer) digits() int {
	from := w.pos
	for w.pos < len(w.in) && '0' <= w.in[w.pos] && w.in[w.pos] <= '9' {
		w.pos++
	}
	return w.pos - from
}

// appendNumber writes f as ECMA-262's Number::toString, and what is not finite as
// null, as JSON.stringify does.
func appendNumber(out []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(out, "null"...)
	}
	if f == 0 { // minus zero too
		return append(out, '0')
	}
	if size := math.Abs(f); 1e-6 <= size && size < 1e21 {
		return strconv.AppendFloat(out, f, 'f', -1, 64)
	}
	from := len(out)
	out = strconv.AppendFloat(out, f, 'e', -1, 64)
	// Go writes at least two digits of exponent, JavaScript no leading zero.
	if n := len(out); n-from > 4 && out[n-2] == '0' && (out[n-3] == '-' || out[n-3] == '+') {
		out[n-2] = out[n-1]
		out = out[:n-1]
	}
	return out
}

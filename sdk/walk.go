package sdk

import "math/bits"

// walk goes once over the members of an object, or the elements of an array: a question's text is long, and each
// look at it costs the guest some nanoseconds a byte. After next, a value is at hand, which value, str or
// pass takes, or object with took.
type walk struct {
	text string
	at   int    // where the value at hand begins; once it was taken, where it ends
	name string // of the member at hand
}

// walk is over the value's members, or over nothing when it is no object.
func (v Value) walk() walk {
	if v.Kind() != Map {
		return walk{}
	}
	return walk{text: v.text, at: 1}
}

// element steps to the next element of an array.
func (w *walk) element() bool {
	text, i := w.text, w.at
	for i < len(text) && (text[i] <= ' ' || text[i] == ',') {
		i++
	}
	w.at = i
	return i < len(text) && text[i] != ']' && text[i] != '}'
}

// next steps to the next member of an object.
func (w *walk) next() bool {
	text, i := w.text, w.at
	for i < len(text) && (text[i] <= ' ' || text[i] == ',') {
		i++
	}
	w.at = i
	if i >= len(text) || text[i] != '"' {
		return false
	}
	name, end := unquote(text, i)
	w.name = name
	for end < len(text) && (text[end] <= ' ' || text[end] == ':') {
		end++
	}
	w.at = end
	return end < len(text)
}

// value takes the value at hand.
func (w *walk) value() Value {
	from := w.at
	w.at = skip(w.text, from)
	return Value{w.text[from:w.at]}
}

// str takes the value at hand: a string's text, or "" for anything else.
func (w *walk) str() (text string) {
	if w.text[w.at] != '"' {
		w.pass()
		return ""
	}
	text, w.at = unquote(w.text, w.at)
	return text
}

// pass leaves the value at hand.
func (w *walk) pass() { w.at = skip(w.text, w.at) }

// object begins with the members of the value at hand, where it is an object; they are to be walked over to their end.
func (w *walk) object() (members walk, ok bool) {
	return walk{text: w.text, at: w.at + 1}, w.text[w.at] == '{'
}

// took takes the object whose members were walked over.
func (w *walk) took(members *walk) Value {
	from := w.at
	w.at = min(members.at+1, len(w.text))
	return Value{w.text[from:w.at]}
}

// unquote is the text of the string that begins at i, and where the string ends.
func unquote(text string, i int) (string, int) {
	end, plain := quoted(text, i)
	switch {
	case end-i < 2:
		return "", end
	case plain:
		return text[i+1 : end-1], end
	}
	return unescape(text[i+1 : end-1]), end
}

func space(text string, i int) int {
	for i < len(text) && text[i] <= ' ' {
		i++
	}
	return i
}

// quoted gives the end of the string that begins at i, and whether nothing in it is escaped. It looks at eight bytes at
// a time.
func quoted(text string, i int) (end int, plain bool) {
	plain = true
	for i++; i < len(text); {
		if i+8 <= len(text) {
			s := text[i : i+8]
			eight := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
				uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
			found := zeros(eight^quotes) | zeros(eight^backslashes)
			if found == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(found) >> 3
		}
		switch text[i] {
		case '"':
			return i + 1, plain
		case '\\':
			i++
			plain = false
		}
		i++
	}
	return len(text), plain
}

const (
	ones        = 0x0101010101010101
	quotes      = '"' * ones
	backslashes = '\\' * ones
)

// zeros has the highest bit of the first byte that is zero, and none below it.
func zeros(eight uint64) uint64 { return (eight - ones) &^ eight & (0x80 * ones) }

// skip gives the end of the value that begins at i.
func skip(text string, i int) int {
	if i >= len(text) {
		return len(text)
	}
	switch text[i] {
	case '"':
		end, _ := quoted(text, i)
		return end
	case '{', '[':
		for depth := 0; i < len(text); {
			switch text[i] {
			case '"':
				i, _ = quoted(text, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(text)
	}
	for i < len(text) && text[i] > ' ' && text[i] != ',' && text[i] != '}' && text[i] != ']' { // a number or a word
		i++
	}
	return i
}

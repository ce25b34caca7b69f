// Package lookup finds attributes in JSON that is only read.
package lookup

import (
	"bytes"
	"iter"

	"github.com/go-json-experiment/json/jsontext"
)

// Path finds the value at a dotted path in a JSON object, as text: a string without its quotes, a list with
// its elements joined by newlines, anything else as it is written. A null and what is not there are not found.
// It never reads outside of doc, whatever doc holds. The text may share doc's bytes.
func Path(doc, path []byte) (text []byte, ok bool) {
	value, ok := Value(doc, path)
	if !ok {
		return nil, false
	}
	return plain(value)
}

// Value finds the value at a dotted path in a JSON object, as it is written. It shares doc's bytes.
func Value(doc, path []byte) (value []byte, ok bool) {
	for {
		name, rest, more := bytes.Cut(path, []byte("."))
		if doc = from(doc, name); doc == nil {
			return nil, false
		}
		if !more {
			end := skip(doc, 0)
			return doc[:max(end, 0)], end >= 0
		}
		path = rest
	}
}

// Doc is a document that several paths are looked up in: the member that was looked into last is found at once.
type Doc struct {
	doc, name, inside []byte
}

// Set begins with another document.
func (d *Doc) Set(doc []byte) { d.doc, d.name, d.inside = doc, d.name[:0], nil }

// Len is the document's size in bytes.
func (d *Doc) Len() int { return len(d.doc) }

// Path is [Path] in the document.
func (d *Doc) Path(path []byte) (text []byte, ok bool) {
	name, rest, more := bytes.Cut(path, []byte("."))
	if !more {
		return Path(d.doc, path)
	}
	if d.inside == nil || !bytes.Equal(name, d.name) {
		inside := from(d.doc, name)
		if inside == nil {
			return nil, false
		}
		d.name, d.inside = append(d.name[:0], name...), inside
	}
	return Path(d.inside, rest)
}

// from gives the rest of doc from a member's value on; nil: it has no such member.
func from(doc, name []byte) []byte {
	for key, rest := range members(doc) {
		if bytes.Equal(key, name) {
			return rest
		}
	}
	return nil
}

// Members are the names and values of the object that doc begins with, up to where it stops being one. Values are
// as they are written, and share doc's bytes.
func Members(doc []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for key, rest := range members(doc) {
			if end := skip(rest, 0); end < 0 || !yield(key, rest[:end]) {
				return
			}
		}
	}
}

// members are the names of the object that doc begins with, each with the rest of doc from its value on.
func members(doc []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, rest []byte) bool) {
		i := space(doc, 0)
		if i >= len(doc) || doc[i] != '{' {
			return
		}
		i = space(doc, i+1)
		for i < len(doc) && doc[i] == '"' {
			end := quoted(doc, i)
			if end < 0 {
				return
			}
			key := doc[i+1 : end-1]
			if bytes.IndexByte(key, '\\') >= 0 {
				key, _ = jsontext.AppendUnquote(nil, doc[i:end])
			}
			if i = space(doc, end); i >= len(doc) || doc[i] != ':' {
				return
			}
			if i = space(doc, i+1); i >= len(doc) || !yield(key, doc[i:]) {
				return
			}
			if i = skip(doc, i); i < 0 {
				return
			}
			if i = space(doc, i); i >= len(doc) || doc[i] != ',' {
				return
			}
			i = space(doc, i+1)
		}
	}
}

// Text is a string's text, and nil for any other value. It may share the value's bytes.
func Text(value []byte) []byte {
	if len(value) == 0 || value[0] != '"' {
		return nil
	}
	text, _ := plain(value)
	return text
}

// plain turns one value into text.
func plain(v []byte) ([]byte, bool) {
	switch {
	case len(v) == 0, string(v) == "null":
		return nil, false
	case v[0] == '"':
		if bytes.IndexByte(v, '\\') < 0 {
			return v[1 : len(v)-1], true
		}
		s, err := jsontext.AppendUnquote(nil, v)
		return s, err == nil
	case v[0] == '[':
		var out []byte
		for i, n := space(v, 1), 0; i < len(v) && v[i] != ']'; n++ {
			end := skip(v, i)
			if end < 0 {
				return nil, false
			}
			if n > 0 {
				out = append(out, '\n')
			}
			s, _ := plain(v[i:end])
			if v[i] == '[' {
				s = v[i:end]
			}
			out = append(out, s...)
			if i = space(v, end); i < len(v) && v[i] == ',' {
				i = space(v, i+1)
			}
		}
		return out, true
	}
	return v, true
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// quoted gives the end of the string that begins at i, or -1. Most are short, and long ones are left to what is
// made for them.
func quoted(b []byte, i int) int {
	start := i
	for i++; i < len(b) && i < start+24; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	for i < len(b) {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		slashes := 0
		for slashes < n && b[i+n-1-slashes] == '\\' {
			slashes++
		}
		if i += n + 1; slashes%2 == 0 {
			return i
		}
	}
	return -1
}

// ends says whether a byte cannot be of a number or a word.
func ends(c byte) bool {
	switch c {
	case ',', ':', ']', '}', ' ', '\n', '\t', '\r':
		return true
	}
	return false
}

// skip gives the end of the value that begins at i, or -1.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return quoted(b, i)
	case '{', '[':
		for depth := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				if i = quoted(b, i) - 1; i < 0 {
					return -1
				}
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return -1
	case ',', ':', '}', ']':
		return -1
	}
	start := i
	for i < len(b) && !ends(b[i]) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// Package lookup finds attributes in JSON that is only read.
package lookup

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Path finds the value at a dotted path in a JSON object, as text: a string without its quotes, a list with
// its elements joined by newlines, anything else as it is written. A null and what is not there are not found.
// It never reads outside of doc, whatever doc holds. The text may share doc's bytes.
func Path(doc, path []byte) (text []byte, ok bool) {
	for {
		name, rest, more := bytes.Cut(path, []byte("."))
		if doc, ok = member(doc, name); !ok {
			return nil, false
		}
		if !more {
			return plain(doc)
		}
		path = rest
	}
}

// member gives the value of a name in the object that doc begins with.
func member(doc, name []byte) (value []byte, ok bool) {
	i := space(doc, 0)
	if i >= len(doc) || doc[i] != '{' {
		return nil, false
	}
	i = space(doc, i+1)
	for i < len(doc) && doc[i] == '"' {
		end := quoted(doc, i)
		if end < 0 {
			return nil, false
		}
		key := doc[i+1 : end-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			key, _ = jsontext.AppendUnquote(nil, doc[i:end])
		}
		if i = space(doc, end); i >= len(doc) || doc[i] != ':' {
			return nil, false
		}
		i = space(doc, i+1)
		if end = skip(doc, i); end < 0 {
			return nil, false
		}
		if bytes.Equal(key, name) {
			return doc[i:end], true
		}
		if i = space(doc, end); i >= len(doc) || doc[i] != ',' {
			return nil, false
		}
		i = space(doc, i+1)
	}
	return nil, false
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

// quoted gives the end of the string that begins at i, or -1.
func quoted(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
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
	for i < len(b) && !bytes.ContainsRune([]byte(",:]} \n\t\r"), rune(b[i])) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

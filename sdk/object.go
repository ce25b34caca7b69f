package sdk

import (
	"strconv"
	"unicode/utf8"
)

// Object writes one JSON object, member after member. The zero Object is empty and ready.
// Each name may be added once: the host refuses an answer that has one twice.
type Object struct{ b []byte }

func (o *Object) name(name string) {
	if len(o.b) == 0 {
		o.b = append(make([]byte, 0, 128), '{')
	} else {
		o.b = append(o.b, ',')
	}
	o.b = appendText(o.b, name)
	o.b = append(o.b, ':')
}

// Text adds a string. Invalid UTF-8 in it becomes U+FFFD.
func (o *Object) Text(name, text string) *Object {
	o.name(name)
	o.b = appendText(o.b, text)
	return o
}

// TextIf adds a string unless it is empty.
func (o *Object) TextIf(name, text string) *Object {
	if text == "" {
		return o
	}
	return o.Text(name, text)
}

// Int adds a whole number.
func (o *Object) Int(name string, n int64) *Object {
	o.name(name)
	o.b = strconv.AppendInt(o.b, n, 10)
	return o
}

// Bool adds true or false.
func (o *Object) Bool(name string, yes bool) *Object {
	o.name(name)
	o.b = strconv.AppendBool(o.b, yes)
	return o
}

// Texts adds an array of strings.
func (o *Object) Texts(name string, texts []string) *Object {
	o.name(name)
	o.b = append(o.b, '[')
	for i, t := range texts {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendText(o.b, t)
	}
	o.b = append(o.b, ']')
	return o
}

// Value adds a value that was parsed; a missing one as null.
func (o *Object) Value(name string, v Value) *Object {
	if !v.Exists() {
		return o.Raw(name, "null")
	}
	return o.Raw(name, v.JSON())
}

// Raw adds a text that must be JSON already.
func (o *Object) Raw(name, json string) *Object {
	o.name(name)
	o.b = append(o.b, json...)
	return o
}

// Object adds an object.
func (o *Object) Object(name string, inner *Object) *Object { return o.Raw(name, inner.JSON()) }

// Objects adds an array of objects.
func (o *Object) Objects(name string, inner []*Object) *Object {
	o.name(name)
	o.b = append(o.b, '[')
	for i, e := range inner {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = append(o.b, e.JSON()...)
	}
	o.b = append(o.b, ']')
	return o
}

// JSON gives the object's text as it stands. More members may be added afterwards.
func (o *Object) JSON() string {
	if len(o.b) == 0 {
		return "{}"
	}
	return string(append(o.b, '}'))
}

// Quote writes a text as a JSON string.
func Quote(text string) string { return string(appendText(nil, text)) }

const hexDigits = "0123456789abcdef"

func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		from := i
		for i < len(s) && s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
			i++
		}
		if b = append(b, s[from:i]...); i == len(s) {
			break
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
	}
	return append(b, '"')
}

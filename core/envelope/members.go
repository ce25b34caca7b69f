package envelope

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// MaxDepth bounds how deep objects and arrays may nest in a letter.
const MaxDepth = 32

// member is one name and its raw value, a part of the text it was read from.
type member struct {
	name  string
	value jsontext.Value
}

// members is an object's members in their order. A body or a signed text has a
// dozen at the most, so a walk beats a map.
type members []member

// readMembers reads the top level of an object. It returns nil members for a
// text that is an array, as old gateways treat that like an empty object, and an
// error of kind Malformed for anything that is no strict JSON.
func readMembers(text []byte) (members, error) {
	if tooDeep(text) {
		return nil, core.Refuse(core.Malformed, "JSON nests too deep")
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	if d.PeekKind() != '{' {
		if err := checkValue(d); err != nil {
			return nil, err
		}
		return nil, nil
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, malformed(err)
	}
	ms := make(members, 0, 10)
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, malformed(err)
		}
		name := token.String()
		end := d.InputOffset()
		value, err := d.ReadValue()
		if err != nil {
			return nil, malformed(err)
		}
		// The decoder's buffer is its own; cut the same bytes out of the text.
		stop := d.InputOffset()
		start := stop - int64(len(value))
		if start < end || stop > int64(len(text)) {
			return nil, core.Refuse(core.Malformed, "Malformed JSON")
		}
		ms = append(ms, member{name, jsontext.Value(text[start:stop:stop])})
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, malformed(err)
	}
	if err := atEnd(d); err != nil {
		return nil, err
	}
	return ms, nil
}

func checkValue(d *jsontext.Decoder) error {
	if err := d.SkipValue(); err != nil {
		return malformed(err)
	}
	return atEnd(d)
}

func atEnd(d *jsontext.Decoder) error {
	if rest := bytes.TrimLeft(d.UnreadBuffer(), " \t\r\n"); len(rest) > 0 {
		return core.Refuse(core.Malformed, "Malformed JSON")
	}
	return nil
}

func malformed(err error) error {
	return &core.Error{Kind: core.Malformed, Public: "Malformed JSON", Err: err}
}

// tooDeep counts brackets outside strings.
func tooDeep(text []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// raw returns a member's value, or nil.
func (ms members) raw(name string) jsontext.Value {
	for i := range ms {
		if ms[i].name == name {
			return ms[i].value
		}
	}
	return nil
}

// text returns a member that is a non-empty string; ok is false for anything
// else.
func (ms members) text(name string) (s string, ok bool) {
	v := ms.raw(name)
	if v.Kind() != '"' {
		return "", false
	}
	if err := json.Unmarshal(v, &s); err != nil {
		return "", false
	}
	return s, s != ""
}

// object returns a member that is an object, or nil.
func (ms members) object(name string) jsontext.Value {
	if v := ms.raw(name); v.Kind() == '{' {
		return v
	}
	return nil
}

func (ms members) has(name string) bool { return ms.raw(name) != nil }

// equal reports whether two JSON values say the same, whatever their spacing,
// escapes and order of members.
func equal(a, b jsontext.Value) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	a, b = slices.Clone(a), slices.Clone(b)
	if a.Canonicalize() != nil || b.Canonicalize() != nil {
		return false
	}
	return bytes.Equal(a, b)
}

// decode reads a verified text into v. The text has been read by readMembers, so
// that an error here means a member of the wrong type.
func decode(text []byte, v any, what string) error {
	if err := json.Unmarshal(text, v); err != nil {
		return &core.Error{Kind: core.Malformed, Public: "Invalid " + what, Err: err}
	}
	return nil
}

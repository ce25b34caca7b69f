package envelope

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// MaxDepth bounds how deep objects and arrays may nest in an envelope.
const MaxDepth = 32

// member is one name, unescaped, and its raw value, a part of the text it was
// read from.
type member struct {
	name  []byte
	value jsontext.Value
}

// members is an object's members in their order. A body or a signed text has a
// dozen at the most, so a walk beats a map.
type members []member

// readMembers reads the top level of an object. It returns nil members for a
// text that is an array or a bare value, as old gateways treat those like an
// empty object, and an error of kind Malformed for anything that is no strict
// JSON (RFC 7493: UTF-8, names that come once) or nests too deep.
//
// docs/threat-model.md#l2
func readMembers(text []byte) (members, error) {
	if tooDeep(text) {
		return nil, core.Refuse(core.Malformed, "JSON nests too deep")
	}
	if !jsontext.Value(text).IsValid() {
		return nil, core.Refuse(core.Malformed, "Malformed JSON")
	}
	return cut(text), nil
}

// cut cuts valid JSON into the members of its top level.
func cut(text []byte) members { return cutInto(make(members, 0, 12), text) }

// cutInto is cut, with the room that the members take.
func cutInto(ms members, text []byte) members {
	i := afterSpace(text, 0)
	if text[i] != '{' {
		return nil
	}
	for i = afterSpace(text, i+1); text[i] == '"'; {
		end := afterString(text, i)
		name := unquoted(text[i:end])
		i = afterSpace(text, afterSpace(text, end)+1) // the colon
		end = afterValue(text, i)
		ms = append(ms, member{name, jsontext.Value(text[i:end:end])})
		if i = afterSpace(text, end); text[i] == ',' {
			i = afterSpace(text, i+1)
		}
	}
	return ms
}

// afterSpace, afterString and afterValue say where what begins at i ends. The
// text is valid JSON.
func afterSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

func afterString(text []byte, i int) int {
	for i++; ; {
		end := i + bytes.IndexByte(text[i:], '"')
		escape := bytes.IndexByte(text[i:end], '\\')
		if escape < 0 {
			return end + 1
		}
		i += escape + 2
	}
}

func afterValue(text []byte, i int) int {
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '"':
			i = afterString(text, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// tooDeep counts brackets outside strings, in text that may be anything.
func tooDeep(text []byte) bool {
	if bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) <= MaxDepth {
		return false
	}
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

// unquoted gives what a valid JSON string says. Without escapes it is a part of
// the text itself.
func unquoted(v []byte) []byte {
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1 : len(v)-1]
	}
	s, _ := jsontext.AppendUnquote(make([]byte, 0, len(v)), v) // valid, so that nothing can go wrong
	return s
}

// raw returns a member's value, or nil.
func (ms members) raw(name string) jsontext.Value {
	for i := range ms {
		if string(ms[i].name) == name {
			return ms[i].value
		}
	}
	return nil
}

// bytes returns what a member says that is a non-empty string, and nil for
// anything else.
func (ms members) bytes(name string) []byte {
	v := ms.raw(name)
	if len(v) <= 2 || v[0] != '"' {
		return nil
	}
	return unquoted(v)
}

// text returns a member that is a non-empty string; ok is false for anything
// else.
func (ms members) text(name string) (s string, ok bool) {
	b := ms.bytes(name)
	return string(b), b != nil
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
// escapes and order of members. Integers must be written alike: two that only
// float64 takes for one are different to many readers.
func equal(a, b jsontext.Value) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	a, b = slices.Clone(a), slices.Clone(b)
	exact := jsontext.CanonicalizeRawInts(false)
	if a.Canonicalize(exact) != nil || b.Canonicalize(exact) != nil {
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

// decodeMessage is decode for messages, from members that are cut already.
func decodeMessage(ms members) (m core.Message, err error) {
	for _, member := range ms {
		var into *string
		switch string(member.name) {
		case "intent":
			into = &m.Intent
		case "from":
			into = &m.From
		case "to":
			into = &m.To
		case "toAgent":
			into = &m.ToAgent
		case "nonce":
			into = (*string)(&m.Nonce)
		case "timestamp":
			into = &m.Timestamp
		case "replyTo":
			into = &m.ReplyTo
		case "conversationId":
			into = &m.ConversationID
		case "projectId":
			into = &m.ProjectID
		case "hops":
			into = &m.Hops
		case "payload":
			m.Payload = core.Raw(member.value)
			continue
		default:
			continue
		}
		switch member.value.Kind() {
		case '"':
			*into = string(unquoted(member.value))
		case 'n':
		default:
			return m, core.Refuse(core.Malformed, "Invalid message")
		}
	}
	return m, nil
}

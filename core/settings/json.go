package settings

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// typescriptNames are the names that config.json has for what init writes.
var typescriptNames = map[string]string{
	"display_name":          "displayName",
	"email":                 "email",
	"gateway_url":           "gatewayUrl",
	"openclaw_url":          "openclawUrl",
	"openclaw_hooks_token":  "openclawHooksToken",
	"rendezvous.enabled":    "rendezvous.enabled",
	"rendezvous.url":        "rendezvous.url",
	"rendezvous.public_url": "rendezvous.publicUrl",
}

// JSON sets a value in the TypeScript gateway's config.json, and leaves every
// other byte as it is.
func JSON(text []byte, s Setting) ([]byte, error) {
	name, ok := typescriptNames[s.Key]
	if !ok || s.Value == nil {
		return nil, fmt.Errorf("config.json is of a TypeScript gateway, and %s is not edited there", s.Key)
	}
	return PlaceJSON(text, strings.Split(name, "."), s.Value)
}

// PlaceJSON sets a member of a JSON text, with the objects around it, and leaves every
// other byte as it is.
func PlaceJSON(text []byte, path []string, value any) ([]byte, error) {
	literal, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	d := jsontext.NewDecoder(bytes.NewReader(text))
	open, members := 0, 0
	for i, name := range path {
		if token, err := d.ReadToken(); err != nil {
			return nil, err
		} else if token.Kind() != '{' {
			return nil, errCannotEdit
		}
		open, members = int(d.InputOffset()), 0
		found := false
		for !found && d.PeekKind() == '"' {
			key, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			members++
			if found = key.String() == name; found {
				break
			}
			if err := d.SkipValue(); err != nil {
				return nil, err
			}
		}
		if !found { // a new member, with the objects around it
			for j := len(path) - 1; j > i; j-- {
				literal = fmt.Appendf(nil, "{%q: %s}", path[j], literal)
			}
			member := fmt.Sprintf("\n  %q: %s", name, literal)
			if members > 0 || d.PeekKind() == '"' {
				member += ","
			} else {
				member += "\n"
			}
			return splice(text, span{open, open}, member), nil
		}
	}
	old, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(d.InputOffset())
	return splice(text, span{end - len(old), end}, string(literal)), nil
}

// RemoveJSON takes a member out of a JSON text, if it is there, and leaves every other
// byte as it is but the comma and the line that were the member's.
func RemoveJSON(text []byte, path []string) ([]byte, error) {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for i, name := range path {
		if token, err := d.ReadToken(); err != nil {
			return nil, err
		} else if token.Kind() != '{' {
			return text, nil
		}
		from, first := int(d.InputOffset()), true
		for {
			if d.PeekKind() != '"' {
				return text, nil
			}
			key, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			if is := key.String() == name; is && i < len(path)-1 {
				break
			} else if err := d.SkipValue(); err != nil {
				return nil, err
			} else if is {
				return cutMember(text, from, int(d.InputOffset()), first), nil
			}
			from, first = int(d.InputOffset()), false
		}
	}
	return text, nil
}

// cutMember cuts a member that reaches from the end of what is before it to its own end.
func cutMember(text []byte, from, to int, first bool) []byte {
	if rest := bytes.TrimLeft(text[to:], " \t\r\n"); first && len(rest) > 0 && rest[0] == ',' {
		to = len(text) - len(rest) + 1
	}
	return splice(text, span{from, to}, "")
}

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
	return placeJSON(text, strings.Split(name, "."), s.Value)
}

func placeJSON(text []byte, path []string, value any) ([]byte, error) {
	literal, err := json.Marshal(value)
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

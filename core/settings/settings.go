// Package settings writes single settings into a configuration file, line by line, and
// leaves every other byte as it is.
package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
)

// Setting is one value to write: a key as config.toml names it, and what TOML reads:
// a string, a bool, a list of strings ([]any). A nil value takes the setting away.
type Setting struct {
	Key   string
	Value any

	literal string // how the value is written; empty: from Value, a string or a bool
}

// Parse makes a setting of a text such as a flag has.
func Parse(key, text string) (Setting, error) {
	literal, known, err := config.TOML(key, text)
	if err != nil {
		return Setting{}, err
	}
	if !known && !strings.HasPrefix(key, "plugins.") {
		e := core.Refusef(core.NotFound, "no setting is named %q", key)
		e.Hint = `"ogp config example" shows them all`
		if near := config.NearestKey(key); near == key {
			e = core.Refusef(core.Unsupported, "%s has a table of its own in config.toml, and is written there", key)
			e.Hint = `"ogp config example" shows how`
		} else if near != "" {
			e.Hint = fmt.Sprintf("did you mean %s?", near)
		}
		return Setting{}, e
	}
	var v struct {
		V any `toml:"v"`
	}
	if !known { // of a plugin's own table: TOML, or else a text
		literal = text
		if toml.Unmarshal([]byte("v = "+literal), &v) == nil && v.V != nil {
			return Setting{key, v.V, literal}, nil
		}
		literal = config.TOMLString(text)
	}
	if err := toml.Unmarshal([]byte("v = "+literal), &v); err != nil {
		return Setting{}, core.Refusef(core.Malformed, "%s: this cannot be written", key)
	}
	return Setting{key, v.V, literal}, nil
}

// Literal writes the value as TOML.
func (s Setting) Literal() string {
	if s.literal != "" {
		return s.literal
	}
	switch v := s.Value.(type) {
	case string:
		return config.TOMLString(v)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = Setting{Value: item}.Literal()
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(s.Value)
}

// errCannotEdit is for files that are written in a way that we do not change.
var errCannotEdit = errors.New("it is written in a way that ogp does not edit")

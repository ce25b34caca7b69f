// Package settings writes single settings into a configuration file, line by line, and
// leaves every other byte as it is.
package settings

import (
	"errors"
	"fmt"
	"strings"
)

// Setting is one value to write: a key as config.toml names it, and a string or a
// bool.
type Setting struct {
	Key   string
	Value any
}

// Literal writes the value as TOML.
func (s Setting) Literal() string {
	if text, ok := s.Value.(string); ok {
		return tomlString(text)
	}
	return fmt.Sprint(s.Value)
}

// tomlString writes a basic string. https://toml.io/en/v1.0.0#string
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// errCannotEdit is for files that are written in a way that we do not change.
var errCannotEdit = errors.New("the file is written in a way that is not edited by a program")

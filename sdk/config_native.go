//go:build !wasip1

package sdk

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// nativeConfig is the configuration of a native run: what [config] of the plugin.toml in the
// working directory has, and over it the case's own.
func nativeConfig(own Value) (string, error) {
	text, err := os.ReadFile("plugin.toml")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	defaults, err := configOf(strings.TrimPrefix(string(text), "\ufeff")) // editors write one
	if err != nil {
		return "", err
	}
	var merged Object
	defaults.Each(func(name string, v Value) bool {
		if !own.Get(name).Exists() {
			merged.Value(name, v)
		}
		return true
	})
	own.Each(func(name string, v Value) bool {
		merged.Value(name, v)
		return true
	})
	return merged.JSON(), nil
}

// configOf reads the table [config] of a manifest. It knows the part of TOML that is usual
// there; what it cannot read is an error that says so, and the gateway reads all of it.
func configOf(text string) (Value, error) {
	t := tomlText{s: text, line: 1}
	var config Object
	inside := false
	for t.space(true); t.s != ""; t.space(true) {
		if t.s[0] == '[' {
			head, _, _ := strings.Cut(t.s, "\n")
			head, _, _ = strings.Cut(head, "#")
			head = strings.TrimSpace(head)
			inside = head == "[config]"
			if strings.HasPrefix(head, "[config.") {
				return Value{}, t.cannot("a table within [config]")
			}
			t.skipLine()
			continue
		}
		if !inside {
			t.skipLine()
			continue
		}
		key, err := t.key()
		if err != nil {
			return Value{}, err
		}
		value, err := t.value()
		if err != nil {
			return Value{}, err
		}
		config.Raw(key, value)
		t.space(false)
		if t.s != "" && t.s[0] != '\n' && t.s[0] != '\r' {
			return Value{}, t.cannot("what follows the value of " + key)
		}
	}
	return Parse(config.JSON())
}

// tomlText is what is left of a TOML text.
type tomlText struct {
	s    string
	line int
}

func (t *tomlText) cannot(what string) error {
	return errors.New("plugin.toml: line " + strconv.Itoa(t.line) + ": a native run cannot read " + what + `; "ogp plugin test" can`)
}

func (t *tomlText) take(n int) {
	t.line += strings.Count(t.s[:n], "\n")
	t.s = t.s[n:]
}

func (t *tomlText) skipLine() {
	if i := strings.IndexByte(t.s, '\n'); i >= 0 {
		t.take(i + 1)
		return
	}
	t.s = ""
}

// space steps over blanks and comments, and over ends of lines where they mean nothing.
func (t *tomlText) space(lines bool) {
	for t.s != "" {
		switch c := t.s[0]; {
		case c == ' ' || c == '\t', lines && (c == '\n' || c == '\r'):
			t.take(1)
		case c == '#':
			i := strings.IndexByte(t.s, '\n')
			if i < 0 {
				i = len(t.s)
			}
			t.take(i)
		default:
			return
		}
	}
}

// key reads a name and the "=" behind it.
func (t *tomlText) key() (string, error) {
	var name string
	if t.s[0] == '"' || t.s[0] == '\'' {
		text, err := t.str()
		if err != nil {
			return "", err
		}
		v, err := Parse(text)
		if err != nil {
			return "", t.cannot("this name")
		}
		name = v.Text()
	} else {
		n := 0
		for n < len(t.s) && (t.s[n] == '_' || t.s[n] == '-' || isAlphanumeric(t.s[n])) {
			n++
		}
		name = t.s[:n]
		t.take(n)
	}
	t.space(false)
	if name == "" || t.s == "" || t.s[0] != '=' {
		return "", t.cannot("this name")
	}
	t.take(1)
	return name, nil
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// value reads one value and gives it as JSON.
func (t *tomlText) value() (string, error) {
	t.space(false)
	if t.s == "" {
		return "", t.cannot("a missing value")
	}
	switch t.s[0] {
	case '"', '\'':
		return t.str()
	case '[':
		return t.list('[', ']', t.value)
	case '{':
		return t.list('{', '}', func() (string, error) {
			name, err := t.key()
			if err != nil {
				return "", err
			}
			v, err := t.value()
			return Quote(name) + ":" + v, err
		})
	}
	n := strings.IndexAny(t.s, ",]}#\n\r \t")
	if n < 0 {
		n = len(t.s)
	}
	word := strings.ReplaceAll(t.s[:n], "_", "")
	word = strings.TrimPrefix(word, "+")
	if _, err := Parse(word); err != nil {
		return "", t.cannot(t.s[:n])
	}
	t.take(n)
	return word, nil
}

// list reads what stands between two brackets.
func (t *tomlText) list(open, end byte, item func() (string, error)) (string, error) {
	out := string(open)
	t.take(1)
	for {
		t.space(true)
		if t.s == "" {
			return "", t.cannot("a list without an end")
		}
		if t.s[0] == end {
			t.take(1)
			return out + string(end), nil
		}
		if len(out) > 1 {
			out += ","
		}
		v, err := item()
		if err != nil {
			return "", err
		}
		out += v
		t.space(true)
		if t.s != "" && t.s[0] == ',' {
			t.take(1)
		} else if t.s == "" || t.s[0] != end {
			return "", t.cannot("this list")
		}
	}
}

// str reads a string of one line and gives it as JSON.
func (t *tomlText) str() (string, error) {
	quote := t.s[0]
	if strings.HasPrefix(t.s, strings.Repeat(string(quote), 3)) {
		return "", t.cannot("a string of several lines")
	}
	for i := 1; i < len(t.s) && t.s[i] != '\n'; i++ {
		switch {
		case t.s[i] == '\\' && quote == '"':
			i++
		case t.s[i] == quote:
			text := t.s[:i+1]
			t.take(i + 1)
			if quote == '\'' {
				return Quote(text[1:i]), nil
			}
			if _, err := Parse(text); err != nil {
				return "", t.cannot(text)
			}
			return text, nil
		}
	}
	return "", t.cannot("a string without an end")
}

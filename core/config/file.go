package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	tomlparser "github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/nesting"
)

// The configuration file of a state directory, and that of a TypeScript gateway.
const (
	FileName   = "config.toml"
	FormerName = "config.json"
)

const (
	// maxFileBytes bounds a configuration file, and with it how deep the TOML
	// parser recurses: a key of 500,000 dots overflows the stack.
	maxFileBytes = 128 << 10
)

// file reads the configuration file, if there is one.
func (l *loader) file(o Options) error {
	home := o.Home
	if home == "" && o.File == "" {
		var err error
		if home, err = Home(o.Env); err != nil {
			return err
		}
	}
	candidates := []string{o.File}
	if o.File == "" {
		candidates = []string{filepath.Join(home, FileName), filepath.Join(home, FormerName)}
	}
	for _, path := range candidates {
		text, mode, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) && o.File == "" {
			continue
		}
		if err != nil {
			return fmt.Errorf("config: %w", err)
		}
		l.path, l.mode = path, mode
		if strings.EqualFold(filepath.Ext(path), ".json") {
			return l.json(path, text)
		}
		return l.toml(path, text)
	}
	return nil
}

// maxFileDepth bounds tables and lists within one another. No setting is as deep;
// koanf takes quadratic time to copy what is.
const maxFileDepth = 32

var tooDeep = fmt.Sprintf("tables or lists more than %d deep", maxFileDepth)

func isDeeper(v any, depth int) bool {
	switch x := v.(type) {
	case map[string]any:
		for _, one := range x {
			if depth == 0 || isDeeper(one, depth-1) {
				return true
			}
		}
	case []any:
		for _, one := range x {
			if depth == 0 || isDeeper(one, depth-1) {
				return true
			}
		}
	}
	return false
}

func readFile(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err := files.ReadTextOf(f, path, maxFileBytes)
	return text, info.Mode(), err
}

func (l *loader) toml(path string, text []byte) error {
	if !utf8.Valid(text) {
		l.problem("", path, "not UTF-8 text", "")
		return nil
	}
	if err := nesting.TOML(text, maxFileBytes); err != nil {
		l.problem("", path, err.Error(), "")
		return nil
	}
	table, err := tomlparser.Parser().Unmarshal(text)
	if err != nil {
		l.brokenTOML(path, text, err)
		return nil
	}
	if isDeeper(table, maxFileDepth) {
		l.problem("", path, tooDeep, "")
		return nil
	}
	lines, _ := tomlLines(text)
	where := func(key string) string {
		for ; key != ""; key = parent(key) {
			if line, ok := lines[key]; ok {
				return fmt.Sprintf("%s:%d", path, line)
			}
		}
		return path
	}
	return l.load(confmap.Provider(table, ""), layer{name: LayerFile, where: where})
}

// brokenTOML complains of what is no TOML, with its line and what is probably meant.
func (l *loader) brokenTOML(path string, text []byte, err error) {
	line := 0
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, _ = at.Position()
	} else if _, again := tomlLines(text); again > 0 {
		line = again
	}
	where, written := path, ""
	if lines := strings.Split(string(text), "\n"); line > 0 && line <= len(lines) {
		where, written = fmt.Sprintf("%s:%d", path, line), lines[line-1]
	}
	what := "no valid TOML"
	if said := strings.TrimPrefix(err.Error(), "toml: "); !regexp.MustCompile(ofParser).MatchString(said) {
		what += ": " + said
	}
	l.problem("", where, what, tomlHint(written))
}

// ofParser matches what the parser says for itself, and nobody else.
const ofParser = `U\+[0-9A-F]|-bit|(basic|literal) string|keyword|expected|greater|toml: |unmarshal|decode|parser`

// tomlHints are what people write that is nearly TOML, a regular expression for the line, with
// what to write instead. They are compiled where one is needed, as a program has no time for
// that at its start.
var tomlHints = []struct{ line, hint string }{
	{`[\x{201C}\x{201D}\x{2018}\x{2019}]`, `use plain quotes: key = "value"`},
	{`^\s*\[+[^\]]*$`, "the name of a table ends with ]"},
	{`(?i)=\s*(yes|no|on|off)\s*(#.*)?$`, "write true or false"},
	{`=\s*(True|TRUE|False|FALSE)\s*(#.*)?$`, "write true or false, in small letters"},
	{`^\s*[\w.-]+\s*:`, `write key = value, with "=" and not ":"`},
	{`=\s*"[^"]*$`, "the text has no closing quote"},
	{`=\s*"[A-Za-z]:\\`, `write a Windows path in single quotes: 'C:\folder'`},
	{`=\s*[^"'\[{\s#]*[^0-9"'\[{\s#.+_:TZ-]`, `text stands in quotes: key = "value"`},
	{`=\s*(#.*)?$`, `a value is missing: key = "value"`},
	{`^\s*\[`, "each table stands once in the file: put its settings together"},
	{`^\s*[\w.-]+\s*=`, "each setting stands once in the file"},
}

func tomlHint(line string) string {
	for _, h := range tomlHints {
		if regexp.MustCompile(h.line).MatchString(line) {
			return h.hint
		}
	}
	return "\"ogp config example\" shows how settings are written"
}

// tomlLines finds the line on which each key stands, and the first on which one
// stands again (0: none), which the parser's error does not tell. Keys within
// inline tables and arrays are found by the key around them.
func tomlLines(text []byte) (lines map[string]int, again int) {
	lines = map[string]int{}
	defined := map[string]bool{}
	tables := map[string]int{} // how many [[x]] there were
	prefix := ""
	line, counted := 1, 0
	p := unstable.Parser{}
	p.Reset(text)
	for p.NextExpression() {
		node := p.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable, unstable.KeyValue:
		default:
			continue
		}
		path := prefix
		if node.Kind != unstable.KeyValue {
			path = ""
		}
		for it := node.Key(); it.Next(); {
			if at := int(it.Node().Raw.Offset); at > counted {
				line += strings.Count(string(text[counted:at]), "\n")
				counted = at
			}
			if path != "" {
				path += "."
			}
			path += string(it.Node().Data)
			if n := tables[path]; n > 0 && !(node.Kind == unstable.ArrayTable && it.IsLast()) {
				path += "[" + strconv.Itoa(n-1) + "]"
			}
			if _, ok := lines[path]; !ok {
				lines[path] = line
			}
		}
		if node.Kind != unstable.ArrayTable {
			if defined[path] && again == 0 {
				again = line
			}
			defined[path] = true
		}
		switch node.Kind {
		case unstable.ArrayTable:
			tables[path]++
			path += "[" + strconv.Itoa(tables[path]-1) + "]"
			lines[path] = line
			prefix = path
		case unstable.Table:
			prefix = path
		}
	}
	return lines, again
}

// warnOfOpenFile warns of a file that others can read and that holds a secret.
func (l *loader) warnOfOpenFile() {
	if l.path == "" || l.mode.Perm()&0o077 == 0 {
		return
	}
	holds := func(key string, s Secret) bool {
		return s.String() == redacted && l.origins.Of(key).Layer == LayerFile
	}
	open := holds("openclaw_token", l.cfg.OpenClawToken) || holds("openclaw_hooks_token", l.cfg.OpenClawHooksToken)
	for name, p := range l.cfg.Plugins {
		for _, s := range p.Secrets {
			open = open || holds("plugins."+name+".secrets", s)
		}
	}
	if open {
		l.warnings = append(l.warnings, Warning(fmt.Sprintf("%s holds a secret and has mode %04o: chmod 600 %s", l.path, l.mode.Perm(), l.path)))
	}
}

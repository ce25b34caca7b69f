package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	tomlparser "github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/opengatewayprotocol/ogp/core/nesting"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/core/text"
)

// Options say where Load looks. The zero value looks where a user's shell would.
type Options struct {
	// Home is the state directory. Empty: Home(Env).
	Home string
	// File is the file to read, TOML or (by its ending) JSON. It must be there.
	// Empty: config.toml in Home, or where there is none config.json, or neither.
	File string
	// Env is the environment, "NAME=value" each. Nil: os.Environ().
	Env []string
	// Flags is a parsed set on which Flags was called. Nil: no flags.
	Flags *pflag.FlagSet
}

// Warning is something the operator should look at that does not stop the start.
type Warning string

// Layers, lowest first.
const (
	LayerDefault = "default"
	LayerFile    = "file"
	LayerEnv     = "environment"
	LayerFlag    = "flag"
)

// Origin is where a value came from.
type Origin struct {
	// Layer is one of the Layer constants.
	Layer string
	// Where is the file and line, the variable or the flag. Empty for defaults.
	Where string
}

// String is "default", or where the value stands.
func (o Origin) String() string {
	if o.Where == "" {
		return LayerDefault
	}
	return o.Where
}

// Origins are the origins of the settings that no default set, by key.
type Origins map[string]Origin

// Of returns a setting's origin, that of its table where the setting itself has none.
func (o Origins) Of(key string) Origin {
	for key != "" {
		if origin, ok := o[key]; ok {
			return origin
		}
		key = parent(key)
	}
	return Origin{Layer: LayerDefault}
}

// parent is the path of the table around a key: a.b[0].c, a.b[0], a.b, a.
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

const (
	tomlName = "config.toml"
	jsonName = "config.json"
	// maxFileBytes bounds a configuration file, and with it how deep the TOML
	// parser recurses: a key of 500,000 dots overflows the stack.
	maxFileBytes = 128 << 10
	// publicURLAlias is the specification's name for OGP_RENDEZVOUS_PUBLIC_URL.
	publicURLAlias = "OGP_PUBLIC_URL"
)

// notSettings are OGP_ variables that are read elsewhere.
var notSettings = map[string]bool{
	"OGP_HOME":           true, // Home
	"OGP_KEY_PASSPHRASE": true, // core/keys
	"OGP_KEYPAIR_SECRET": true, // import of a TypeScript gateway's sealed key
	"OGP_CORPORA":        true, // tests
}

// testPrefix begins variables for end-to-end tests.
const testPrefix = "OGP_E2E_"

// Home is the state directory: OGP_HOME, or .ogp in the user's home directory.
// env is as in Options.
func Home(env []string) (string, error) {
	if env == nil {
		env = os.Environ()
	}
	home := ""
	for _, one := range env {
		if v, ok := strings.CutPrefix(one, "OGP_HOME="); ok {
			home = v
		}
	}
	if home != "" {
		return home, nil
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("config: no home directory: %w", err)
	}
	return filepath.Join(dir, ".ogp"), nil
}

// Load reads every layer and returns the settings, where each came from, and what
// the operator should look at. Mistakes in the settings come as Problems, all at
// once. It writes nothing and is safe for concurrent use.
func Load(o Options) (*Config, Origins, []Warning, error) {
	if o.Env == nil {
		o.Env = os.Environ()
	}
	l := &loader{cfg: Default(), origins: Origins{}}
	if err := l.file(o); err != nil {
		return nil, nil, nil, err
	}
	unknown, err := l.environment(o.Env)
	if err != nil {
		return nil, nil, nil, err
	}
	if o.Flags != nil {
		if err := l.flags(o.Flags); err != nil {
			return nil, nil, nil, err
		}
	}
	l.unknownVariables(unknown)
	if len(l.problems) == 0 {
		l.validate()
	}
	if len(l.problems) > 0 {
		return nil, nil, nil, l.problems
	}
	l.warnOfOpenFile()
	if l.cfg.DisplayName == "" {
		l.cfg.DisplayName = userAtHost()
	}
	return &l.cfg, l.origins, l.warnings, nil
}

type loader struct {
	cfg      Config
	origins  Origins
	warnings []Warning
	problems Problems

	path string      // of the file that was read, or empty
	mode fs.FileMode // of that file
}

// layer is one source of settings, as koanf holds it.
type layer struct {
	name   string
	where  func(key string) string
	isText bool // values are text to be parsed
}

func (l *loader) problem(key, where, what, hint string) {
	l.problems = append(l.problems, Problem{Key: key, Where: where, What: what, Hint: hint})
}

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
		candidates = []string{filepath.Join(home, tomlName), filepath.Join(home, jsonName)}
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
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, 0, err
	}
	if len(text) > maxFileBytes {
		return nil, 0, fmt.Errorf("%s: more than %d bytes", path, maxFileBytes)
	}
	return text, info.Mode(), nil
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
		where := path
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ := at.Position()
			where = fmt.Sprintf("%s:%d", path, line)
		} else if _, again := tomlLines(text); again > 0 {
			where = fmt.Sprintf("%s:%d", path, again)
		}
		l.problem("", where, err.Error(), "")
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

// environment applies the OGP_ variables and returns those that are no setting.
func (l *loader) environment(environ []string) (unknown []string, err error) {
	names := map[string]string{} // key to variable
	values := map[string]string{}
	provider := env.Provider(".", env.Opt{
		Prefix:      "OGP_",
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			if notSettings[name] || strings.HasPrefix(name, testPrefix) {
				return "", nil
			}
			s := schema().byEnv[name]
			if s == nil {
				unknown = append(unknown, name)
				return "", nil
			}
			if other, ok := names[s.Key]; ok && other != name && values[other] != value {
				l.problem(s.Key, name, fmt.Sprintf("%s differs from %s, which sets the same", name, other), "unset one of them")
			}
			names[s.Key], values[name] = name, value
			return s.Key, value
		},
	})
	where := func(key string) string { return names[key] }
	return unknown, l.load(provider, layer{name: LayerEnv, where: where, isText: true})
}

// unknownVariables complains of OGP_ variables that nobody reads: they are
// neither settings nor what a secret refers to.
func (l *loader) unknownVariables(names []string) {
	named := map[string]bool{l.cfg.OpenClawToken.variable(): true, l.cfg.OpenClawHooksToken.variable(): true}
	for _, p := range l.cfg.Plugins {
		for _, s := range p.Secrets {
			named[s.variable()] = true
		}
	}
	for _, name := range names {
		if named[name] {
			continue
		}
		what := fmt.Sprintf("unknown variable %s", name)
		if strings.HasPrefix(name, "OGP_AGENTS") || strings.HasPrefix(name, "OGP_PLUGINS") {
			l.problem(name, "environment", what, "agents and plugins are set in "+tomlName)
			continue
		}
		hint := "unset it: names that begin with OGP_ are settings"
		if near, _ := text.Nearest(strings.TrimPrefix(name, "OGP_"), sortedTrimmed(schema().byEnv)); near != "" {
			hint = "did you mean OGP_" + near + "?"
		}
		l.problem(name, "environment", what, hint)
	}
}

func sortedTrimmed(byEnv map[string]*Setting) []string {
	names := sortedKeys(byEnv)
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "OGP_")
	}
	return names
}

func (l *loader) flags(set *pflag.FlagSet) error {
	names := map[string]string{}
	provider := posflag.ProviderWithFlag(set, ".", nil, func(f *pflag.Flag) (string, any) {
		key := keyOf(f)
		names[key] = "--" + f.Name
		return key, f.Value.String()
	})
	where := func(key string) string { return names[key] }
	return l.load(provider, layer{name: LayerFlag, where: where, isText: true})
}

// load reads one layer through koanf and lays it over those before.
func (l *loader) load(p koanf.Provider, from layer) error {
	k := koanf.New(".")
	if err := k.Load(p, nil); err != nil {
		return fmt.Errorf("config: %s: %w", from.name, err)
	}
	l.table(reflect.ValueOf(&l.cfg).Elem(), k.Raw(), "", from)
	return nil
}

// table sets the fields of a struct from a table of the same names.
func (l *loader) table(v reflect.Value, raw map[string]any, prefix string, from layer) {
	fields := fieldsOf(v.Type())
	for _, name := range sortedKeys(raw) {
		key := prefix + name
		i, ok := fields[name]
		if !ok {
			l.unknownKey(v.Type(), key, prefix, from)
			continue
		}
		f := v.Type().Field(i)
		sub, isMap := raw[name].(map[string]any)
		wanted := "a table"
		switch {
		case isTable(f.Type):
			if isMap {
				l.table(v.Field(i), sub, key+".", from)
				continue
			}
		case f.Type == agentsType:
			if l.agents(raw[name], key, from) {
				continue
			}
			wanted = "tables [[agents]]"
		case f.Type == pluginsType:
			if isMap {
				l.plugins(sub, key, from)
				continue
			}
		default:
			err := assign(v.Field(i), raw[name], from.isText)
			if err == nil {
				l.origins[key] = Origin{Layer: from.name, Where: from.where(key)}
				continue
			}
			wanted = err.Error()
		}
		l.problem(key, from.where(key), key+shown(f, raw[name])+": want "+wanted, "")
	}
}

// agents sets the list of agents and reports whether it had the form of one.
func (l *loader) agents(raw any, key string, from layer) bool {
	list, ok := raw.([]any)
	if !ok {
		return false
	}
	agents := make([]Agent, len(list))
	for i, one := range list {
		table, ok := one.(map[string]any)
		if !ok {
			return false
		}
		agents[i].Skills = []string{}
		l.table(reflect.ValueOf(&agents[i]).Elem(), table, fmt.Sprintf("%s[%d].", key, i), from)
	}
	l.cfg.Agents = agents
	l.origins[key] = Origin{Layer: from.name, Where: from.where(key)}
	return true
}

func (l *loader) plugins(raw map[string]any, key string, from layer) {
	for _, name := range sortedKeys(raw) {
		at := key + "." + name
		table, ok := raw[name].(map[string]any)
		if !ok {
			l.problem(at, from.where(at), at+": want a table", "")
			continue
		}
		var p PluginConfig
		l.table(reflect.ValueOf(&p).Elem(), table, at+".", from)
		l.cfg.Plugins[name] = p
		l.origins[at] = Origin{Layer: from.name, Where: from.where(at)}
	}
}

// unknownKey complains of a key with the known one that is nearest to it: of the
// same table, unless one elsewhere is nearer.
func (l *loader) unknownKey(t reflect.Type, key, prefix string, from layer) {
	near, distance := text.Nearest(strings.TrimPrefix(key, prefix), sortedKeys(fieldsOf(t)))
	if near != "" {
		near = prefix + near
	}
	if elsewhere, d := text.Nearest(key, schema().keys); near == "" || elsewhere != "" && d < distance {
		near = elsewhere
	}
	hint := ""
	if near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	l.problem(key, from.where(key), "unknown key "+strconv.Quote(key), hint)
}

// fieldsOf maps the names of a struct's settings to its fields.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		fields[t.Field(i).Tag.Get("koanf")] = i
	}
	return fields
}

// maxShownBytes bounds a value in an error.
const maxShownBytes = 60

// shown is " = value" for an error, or nothing where the value may be secret.
func shown(f reflect.StructField, raw any) string {
	var s string
	switch x := raw.(type) {
	case string:
		s = strconv.Quote(x)
	case bool, int64, float64:
		s = fmt.Sprint(x)
	case []any:
		s = fmt.Sprintf("%q", x)
	default:
		return ""
	}
	isSecret := f.Type == secretType || f.Type.Kind() == reflect.Map || strings.Contains(s, "@")
	if isSecret || len(s) > maxShownBytes {
		return ""
	}
	return " = " + s
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

// userAtHost is the display name of who has not chosen one.
func userAtHost() string {
	name := os.Getenv("USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	if name == "" {
		name = "ogp"
	}
	if full := name + "@" + host; isClean(full) && len(full) <= maxNameLength {
		return full
	}
	return "ogp"
}

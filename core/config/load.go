package config

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/files"
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
	// Strict makes a mistake of an OGP_ variable that nobody reads. Load otherwise
	// warns of it, as others set such variables, too; but not where the name is
	// nearly that of a setting.
	Strict bool
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

// Overrides are the settings that count more than the file, by key, and which variable or
// flag sets them.
func (o Origins) Overrides() map[string]string {
	out := map[string]string{}
	for key, origin := range o {
		if origin.Layer == LayerEnv || origin.Layer == LayerFlag {
			out[key] = origin.Where
		}
	}
	return out
}

// parent is the path of the table around a key: a.b[0].c, a.b[0], a.b, a.
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

// Home is the state directory: OGP_HOME, or .ogp in the user's home directory.
// env is as in Options. ~ and variables in OGP_HOME are expanded, as a service
// manager leaves that to us; what is not absolute then is refused, as it would be
// somewhere below whatever directory we were started in.
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
		dir := ExpandHome(env, home)
		if !filepath.IsAbs(dir) {
			return "", core.Refusef(core.Malformed, "OGP_HOME %q is not an absolute path", home).WithHint("write it from the root on, such as OGP_HOME=/var/lib/ogp")
		}
		return dir, nil
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("config: no home directory: %w", err)
	}
	return filepath.Join(dir, ".ogp"), nil
}

// ExpandHome puts the user's home directory in the place of a ~ at the beginning of
// a path, and the environment's values in the place of variables. A path with a
// variable that is not set comes back as it is.
func ExpandHome(env []string, path string) string {
	user, err := os.UserHomeDir()
	if home := Getenv(env, "HOME"); home != "" {
		user, err = home, nil
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		if err != nil {
			return path
		}
		path = filepath.Join(user, strings.TrimPrefix(path, "~"))
	}
	unset := false
	expanded := os.Expand(path, func(name string) string {
		v := Getenv(env, name)
		if name == "HOME" && err == nil {
			v = user
		}
		unset = unset || v == ""
		return v
	})
	if unset {
		return path
	}
	return expanded
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
	l.unknownVariables(unknown, o.Strict)
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

// WithRules reads a text with [[rules]] as if it stood in the place of the rules of c: what
// the text does not say of policies is as in c, and all else is as by default. name is the
// text's, for its mistakes, which come as Problems.
func (c *Config) WithRules(name string, text []byte) (*Config, error) {
	l := &loader{cfg: Default(), origins: Origins{}}
	l.cfg.Policy = c.Policy
	text, err := files.ReadTextOf(bytes.NewReader(text), name, maxFileBytes)
	if err != nil {
		return nil, err
	}
	if err := l.toml(name, text); err != nil {
		return nil, err
	}
	if len(l.problems) == 0 {
		l.validate()
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return &l.cfg, nil
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
	fields := byName(v.Type())
	for _, name := range sortedKeys(raw) {
		key := prefix + name
		f, ok := fields[name]
		if !ok {
			l.unknownKey(v.Type(), key, prefix, from)
			continue
		}
		sub, isMap := raw[name].(map[string]any)
		wanted := "a table"
		switch {
		case isTable(f.Type):
			if isMap {
				l.table(v.FieldByIndex(f.Index), sub, key+".", from)
				continue
			}
		case f.Type == agentsType:
			if tablesOf(l, &l.cfg.Agents, raw[name], key, from) {
				continue
			}
			wanted = "tables [[agents]]"
		case f.Type == rulesType:
			if tablesOf(l, &l.cfg.Rules, raw[name], key, from) {
				continue
			}
			wanted = "tables [[rules]]; their settings are in [policy.rules]"
		case f.Type == pluginsType:
			if isMap {
				l.plugins(sub, key, from)
				continue
			}
		default:
			err := assign(v.FieldByIndex(f.Index), raw[name], from.isText)
			if err == nil {
				l.origins[key] = Origin{Layer: from.name, Where: from.where(key)}
				continue
			}
			wanted = err.Error()
		}
		l.problem(key, from.where(key), key+shown(f, raw[name])+": want "+wanted, "")
	}
}

// tablesOf sets a list of tables and reports whether it had the form of one.
func tablesOf[T any](l *loader, to *[]T, raw any, key string, from layer) bool {
	list, ok := raw.([]any)
	if !ok {
		return false
	}
	out := make([]T, len(list))
	for i, one := range list {
		table, ok := one.(map[string]any)
		if !ok {
			return false
		}
		v := reflect.ValueOf(&out[i]).Elem()
		for f, field := range v.Fields() {
			if f.Type.Kind() == reflect.Slice {
				field.Set(reflect.MakeSlice(f.Type, 0, 0))
			}
		}
		l.table(v, table, fmt.Sprintf("%s[%d].", key, i), from)
	}
	l.origins[key] = Origin{Layer: from.name, Where: from.where(key)}
	*to = out
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

// gone are settings of earlier versions, with why nobody needs them any more. They
// are warnings and set nothing.
var gone = map[string]string{
	"compat.unsigned_approvals": "gateways before 0.7 are asked whether they have approved us",
}

// isGone warns of a setting that is gone.
func (l *loader) isGone(key, where string) bool {
	why, ok := gone[key]
	if ok {
		l.warnings = append(l.warnings, Warning(fmt.Sprintf("%s: %s is gone and sets nothing: %s", where, key, why)))
	}
	return ok
}

// unknownKey complains of a key with the known one that is nearest to it: of the
// same table, unless one elsewhere is nearer.
func (l *loader) unknownKey(t reflect.Type, key, prefix string, from layer) {
	if l.isGone(key, from.where(key)) {
		return
	}
	near, distance := text.Nearest(strings.TrimPrefix(key, prefix), sortedKeys(byName(t)))
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

// byName maps the names of a table's settings to its fields.
func byName(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, f := range fieldsOf(t) {
		fields[f.Tag.Get("koanf")] = f
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

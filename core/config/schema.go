package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Setting describes one setting, for help texts and documents.
type Setting struct {
	Key  string // as in config.toml: "network.allow_private"
	Env  string // "OGP_NETWORK_ALLOW_PRIVATE"; empty for agents and plugins
	Flag string // "network-allow-private"; empty for agents, plugins and secrets
	Unit string // what a value is: "duration", "bytes", "full|summary"
	Doc  string // one or two sentences
	// Default is written as in config.toml. Empty for agents and plugins.
	Default string

	field reflect.StructField
	index []int
}

// Settings returns every setting in the order of config.example.toml. The caller
// must not change it.
func Settings() []Setting { return schema().settings }

type schemaData struct {
	settings []Setting
	byKey    map[string]*Setting
	byEnv    map[string]*Setting
	keys     []string // of settings and of tables
}

var schema = sync.OnceValue(func() *schemaData {
	s := &schemaData{byKey: map[string]*Setting{}, byEnv: map[string]*Setting{}}
	defaults := Default()
	s.collect(reflect.TypeFor[Config](), "", nil, reflect.ValueOf(defaults))
	for i := range s.settings {
		one := &s.settings[i]
		s.byKey[one.Key] = one
		if one.Env != "" {
			s.byEnv[one.Env] = one
		}
	}
	s.byEnv[publicURLAlias] = s.byKey["rendezvous.public_url"]
	return s
})

func (s *schemaData) collect(t reflect.Type, prefix string, index []int, defaults reflect.Value) {
	for _, f := range fieldsOf(t) {
		key := prefix + f.Tag.Get("koanf")
		at := slices.Concat(index, f.Index)
		s.keys = append(s.keys, key)
		if isTable(f.Type) {
			s.collect(f.Type, key+".", at, defaults)
			continue
		}
		one := Setting{Key: key, Unit: unitOf(f), Doc: f.Tag.Get("doc"), field: f, index: at}
		if isPlain(f.Type) {
			one.Env = envOf(key)
			one.Default = tomlValue(defaults.FieldByIndex(at))
			if f.Type != secretType {
				one.Flag = strings.NewReplacer(".", "-", "_", "-").Replace(key)
			}
		}
		s.settings = append(s.settings, one)
	}
}

// fieldsOf are the fields of a table, those of the structs that it embeds among them.
func fieldsOf(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Anonymous })
}

// envOf is the environment's name of a setting.
func envOf(key string) string { return "OGP_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_")) }

var (
	durationType   = reflect.TypeFor[time.Duration]()
	prefixType     = reflect.TypeFor[netip.Prefix]()
	rateType       = reflect.TypeFor[core.RateLimit]()
	bytesType      = reflect.TypeFor[core.ByteLimit]()
	secretType     = reflect.TypeFor[Secret]()
	anyType        = reflect.TypeFor[any]()
	agentsType     = reflect.TypeFor[[]Agent]()
	expressionType = reflect.TypeFor[Expression]()
	rulesType      = reflect.TypeFor[[]Rule]()
	pluginsType    = reflect.TypeFor[map[string]PluginConfig]()
)

// isTable reports whether a type is a table of settings rather than a value.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != prefixType && t != rateType && t != bytesType && t != secretType
}

// isPlain reports whether a setting can be written as one line of text, in the
// environment or as a flag.
func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice:
		return !isTable(t.Elem())
	case reflect.Map:
		return t.Elem().Kind() == reflect.String
	}
	return true
}

// isTables reports whether a setting is written as tables of its own: agents, plugins.
func isTables(t reflect.Type) bool {
	return (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) && isTable(t.Elem())
}

// wordsOf are the words that a setting may have; nil: it is not one of a few words.
func wordsOf(tag reflect.StructTag) []string {
	switch words := tag.Get("oneof"); words {
	case "":
		return nil
	case "hooks":
		return core.HookNames()
	default:
		return strings.Split(words, "|")
	}
}

// unitOf says what a value is, in a word or two.
func unitOf(f reflect.StructField) string {
	if words := strings.Join(wordsOf(f.Tag), "|"); words != "" {
		switch f.Type.Kind() {
		case reflect.Slice:
			return "list of " + words
		case reflect.Map:
			return "table of topic = " + words
		}
		return words
	}
	if unit := f.Tag.Get("unit"); unit != "" {
		return unit
	}
	switch f.Type.Kind() {
	case reflect.Bool:
		return "true|false"
	case reflect.Pointer:
		return "true|false"
	case reflect.Int, reflect.Int64:
		return "number"
	case reflect.Slice, reflect.Map:
		return "tables"
	}
	return "text"
}

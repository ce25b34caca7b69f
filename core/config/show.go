package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Show returns the settings as a config.toml, secrets redacted, each with its
// origin as a comment where wanted. Load reads it back to the same values, but
// for the secrets.
func (c *Config) Show(origins Origins, withOrigin bool) string {
	var b strings.Builder
	w := &tomlWriter{b: &b}
	if withOrigin {
		w.origins = origins
	}
	w.table(reflect.ValueOf(c).Elem(), "", "")
	for i, a := range c.Agents {
		b.WriteString("\n[[agents]]\n")
		w.table(reflect.ValueOf(a), fmt.Sprintf("agents[%d].", i), "")
	}
	for i, r := range c.Rules {
		b.WriteString("\n[[rules]]\n")
		w.table(reflect.ValueOf(r), fmt.Sprintf("rules[%d].", i), "")
	}
	for _, name := range sortedKeys(c.Plugins) {
		written := "plugins." + tomlKey(name)
		fmt.Fprintf(&b, "\n[%s]\n", written)
		w.table(reflect.ValueOf(c.Plugins[name]), "plugins."+name+".", written+".")
	}
	return b.String()
}

// tomlWriter writes tables: first a table's values, then the tables within.
type tomlWriter struct {
	b       *strings.Builder
	origins Origins // nil: not shown
}

func (w *tomlWriter) table(v reflect.Value, prefix, written string) {
	for _, f := range fieldsOf(v.Type()) {
		field, name := v.FieldByIndex(f.Index), f.Tag.Get("koanf")
		if isTable(f.Type) || !isWritten(field) {
			continue
		}
		line := name + " = " + tomlValue(field)
		if w.origins != nil {
			line += "  # " + w.origins.Of(prefix+name).String()
		}
		w.b.WriteString(line + "\n")
	}
	for _, f := range fieldsOf(v.Type()) {
		if !isTable(f.Type) {
			continue
		}
		field, name := v.FieldByIndex(f.Index), f.Tag.Get("koanf")
		if hasValues(f.Type) {
			fmt.Fprintf(w.b, "\n[%s]\n", written+name)
		}
		w.table(field, prefix+name+".", written+name+".")
	}
}

// isWritten leaves out what is written as tables of its own, and what is unset.
func isWritten(v reflect.Value) bool {
	switch v.Interface().(type) {
	case []Agent, []Rule, map[string]PluginConfig:
		return false
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		return !v.IsNil()
	}
	return true
}

// hasValues reports whether a table has values beside the tables within.
func hasValues(t reflect.Type) bool {
	for _, f := range fieldsOf(t) {
		if !isTable(f.Type) {
			return true
		}
	}
	return false
}

// Text is a setting's value as a flag takes it, a list with commas, and whether one text
// can say it: tables cannot. A secret is redacted.
func (c *Config) Text(s Setting) (text string, ok bool) {
	switch v := jsonOf(reflect.ValueOf(c).Elem().FieldByIndex(s.index)).(type) {
	case string:
		return v, true
	case []any:
		words := make([]string, len(v))
		for i, word := range v {
			if words[i], ok = word.(string); !ok {
				return "", false
			}
		}
		return strings.Join(words, ","), s.Key != "agents" && s.Key != "rules"
	case map[string]any, nil:
		return "", false
	default:
		return fmt.Sprint(v), true
	}
}

// JSON returns the settings as one JSON object, secrets redacted: the settings
// under "config", and where wanted their origins by key under "origins".
func (c *Config) JSON(origins Origins, withOrigin bool) ([]byte, error) {
	out := map[string]any{"config": jsonOf(reflect.ValueOf(c).Elem())}
	if withOrigin {
		from := map[string]string{}
		for _, s := range Settings() {
			from[s.Key] = origins.Of(s.Key).String()
		}
		for key, origin := range origins {
			from[key] = origin.String()
		}
		out["origins"] = from
	}
	text, err := json.Marshal(out, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return append(text, '\n'), nil
}

// jsonOf is the value for ogp config show --json: durations, ranges and rates in
// their written form, secrets redacted.
func jsonOf(v reflect.Value) any {
	switch v.Type() {
	case durationType, prefixType, rateType, bytesType, secretType:
		return textOf(v)
	}
	switch v.Kind() {
	case reflect.Struct:
		table := map[string]any{}
		for _, f := range fieldsOf(v.Type()) {
			table[f.Tag.Get("koanf")] = jsonOf(v.FieldByIndex(f.Index))
		}
		return table
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = jsonOf(v.Index(i))
		}
		return list
	case reflect.Map:
		table := map[string]any{}
		for _, k := range mapKeys(v) {
			table[k] = jsonOf(v.MapIndex(reflect.ValueOf(k)))
		}
		return table
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return jsonOf(v.Elem())
	}
	return v.Interface()
}

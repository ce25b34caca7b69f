package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Example returns the text of config.example.toml: every setting with its default,
// commented out, with its unit and what it means.
func Example() string {
	var b strings.Builder
	b.WriteString(exampleHead)
	w := exampleWriter{b: &b}
	w.table(reflect.ValueOf(Default()), "")
	return b.String()
}

const exampleHead = `# Settings of ogp. Copy this file to ~/.ogp/config.toml (or $OGP_HOME/config.toml)
# and remove the "#" before what you change, and before the [name] of its table.
# The values are the defaults; those of [[agents]], [[rules]] and [plugins.example] are examples.
#
# The environment overrides this file, and flags override both:
#   [network] allow_private = ["127.0.0.0/8"]
#   OGP_NETWORK_ALLOW_PRIVATE="127.0.0.0/8"
#   ogp start --network-allow-private 127.0.0.0/8
# Secrets, agents, rules and plugins have no flags; agents, rules and plugins no variables.
#
# "ogp config check" finds mistakes, "ogp config show --origin" shows what is in force and why.
`

var (
	exampleAgent = Agent{ID: "main", DisplayName: "Ada", Role: "primary", Skills: []string{"calendar"}}

	exampleRule = Rule{Name: "long questions wait", When: `message.intent == "agent-comms" && size(message.text) > 4000`, Then: "hold", Reason: "long question"}

	examplePlugin = PluginConfig{
		Path:    "office-hours.wasm",
		Order:   10,
		Hooks:   []string{"message"},
		Grants:  PluginGrants{HTTP: []string{}, KV: []string{}, AtMost: AtMost{Intents: []string{}, Rate: "100/1h", Bytes: "256KiB/1h", Topics: []string{}}},
		Config:  map[string]any{"from": int64(9), "until": int64(17)},
		Secrets: map[string]Secret{"token": NewSecret("${PLUGIN_TOKEN}")},
	}
)

// exampleWriter writes tables as comments, their heads, too: a table that somebody
// pastes into the file must not stand there already.
type exampleWriter struct{ b *strings.Builder }

// table writes the values of a table, and then the tables within.
func (w exampleWriter) table(v reflect.Value, prefix string) {
	for _, f := range fieldsOf(v.Type()) {
		if isTable(f.Type) || isTables(f.Type) {
			continue
		}
		value := "true" // of an unset enabled
		if f.Type.Kind() != reflect.Pointer {
			value = tomlValue(v.FieldByIndex(f.Index))
		}
		fmt.Fprintf(w.b, "\n# %s (%s)\n#%s = %s\n", f.Tag.Get("doc"), unitOf(f), f.Tag.Get("koanf"), value)
	}
	for _, f := range fieldsOf(v.Type()) {
		name := prefix + f.Tag.Get("koanf")
		switch {
		case isTable(f.Type):
			if hasValues(f.Type) {
				fmt.Fprintf(w.b, "\n\n# %s\n#[%s]\n", f.Tag.Get("doc"), name)
			}
			w.table(v.FieldByIndex(f.Index), name+".")
		case f.Type == agentsType:
			fmt.Fprintf(w.b, "\n\n# %s\n#[[%s]]\n", f.Tag.Get("doc"), name)
			w.table(reflect.ValueOf(exampleAgent), name+".")
		case f.Type == rulesType:
			fmt.Fprintf(w.b, "\n\n# %s\n#[[%s]]\n", f.Tag.Get("doc"), name)
			w.table(reflect.ValueOf(exampleRule), name+".")
		case f.Type == pluginsType:
			fmt.Fprintf(w.b, "\n\n# %s\n#[%s.example]\n", f.Tag.Get("doc"), name)
			w.table(reflect.ValueOf(examplePlugin), name+".example.")
		}
	}
}

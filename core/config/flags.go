package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// annotation marks a flag of ours with its key.
const annotation = "ogp.config.key"

// everyday are the settings whose flags help texts show. The others work as well.
var everyday = map[string]bool{
	"daemon_port":           true,
	"listen":                true,
	"gateway_url":           true,
	"display_name":          true,
	"openclaw_url":          true,
	"rendezvous.enabled":    true,
	"rendezvous.url":        true,
	"rendezvous.public_url": true,
	"network.allow_private": true,
	"log.level":             true,
	"log.format":            true,
}

// Flags registers a flag for every setting but agents, plugins and secrets, which
// other users of the machine could read in the list of processes. Flags for what
// is rarely set are hidden from help. A list is given with commas, or by giving
// the flag again.
func Flags(set *pflag.FlagSet) {
	for _, s := range Settings() {
		if s.Flag == "" {
			continue
		}
		value := &flagValue{kind: s.field.Type.Kind(), unit: s.Unit}
		f := set.VarPF(value, s.Flag, "", s.Doc)
		f.Annotations = map[string][]string{annotation: {s.Key}}
		f.DefValue = strings.Trim(s.Default, `"[]{}`)
		f.Hidden = !everyday[s.Key]
		if value.kind == reflect.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// keyOf is the key of a flag of ours, or empty.
func keyOf(f *pflag.Flag) string {
	if key := f.Annotations[annotation]; len(key) == 1 {
		return key[0]
	}
	return ""
}

// FlagError says of an unknown flag which one is near.
// Other errors come back as they are. It suits cobra's SetFlagErrorFunc.
func FlagError(set *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	set.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	name, hint := unknown.GetSpecifiedName(), ""
	typed := "--" + name
	if letters := unknown.GetSpecifiedShortnames(); letters != "" {
		typed = "-" + name
	} else if near, _ := text.Nearest(name, names); near != "" {
		hint = "did you mean --" + near + "?"
	}
	return &core.Error{Kind: core.Malformed, Public: "unknown flag " + typed, Hint: hint}
}

// flagValue keeps a flag's text for Load, which parses it with all the others.
type flagValue struct {
	text  string
	isSet bool
	kind  reflect.Kind
	unit  string
}

func (v *flagValue) String() string { return v.text }

// Set keeps the text. A list given again grows.
func (v *flagValue) Set(text string) error {
	if isList := v.kind == reflect.Slice || v.kind == reflect.Map; isList && v.isSet && v.text != "" {
		text = v.text + "," + text
	}
	v.text, v.isSet = text, true
	return nil
}

// Type is the word that help texts show for the value.
func (v *flagValue) Type() string {
	switch v.kind {
	case reflect.Bool:
		return "bool"
	case reflect.Slice, reflect.Map:
		return "list"
	}
	switch v.unit {
	case "duration", "URL":
		return v.unit
	case "text", "":
		return "string"
	}
	return strings.ReplaceAll(v.unit, " ", "-")
}

// Given is a setting that a flag has set.
type Given struct {
	Key  string // as in config.toml
	Flag string // without dashes
	Text string // as it was given
}

// GivenFlags lists the settings that flags have set, in the order of the example.
func GivenFlags(set *pflag.FlagSet) []Given {
	var out []Given
	for _, s := range Settings() {
		if f := set.Lookup(s.Flag); s.Flag != "" && f != nil && f.Changed && keyOf(f) == s.Key {
			out = append(out, Given{s.Key, s.Flag, f.Value.String()})
		}
	}
	return out
}

// TOML writes a value as config.toml has it. text is as a flag or a variable gives
// it. ok is false for a key that no flag and no variable has: a table, or none.
func TOML(key, text string) (literal string, ok bool, err error) {
	s := schema().byKey[key]
	if s == nil || s.Env == "" {
		return "", false, nil
	}
	v := reflect.New(s.field.Type).Elem()
	if err := assignText(v, text); err != nil {
		return "", true, Problems{{Key: key, What: fmt.Sprintf("%s: want %v", key, err)}}
	}
	return tomlValue(v), true, nil
}

// NearestKey is the setting that was meant by a name that is none; empty: none near.
func NearestKey(name string) string {
	near, _ := text.Nearest(name, schema().keys)
	return near
}

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

// IsFlagOf reports whether an error of pflag's is of a flag that there is.
func IsFlagOf(err error) bool {
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	return errors.As(err, &value) || errors.As(err, &missing)
}

// FlagError says in words what pflag says of a flag: that there is none such, with the
// nearest one; that its value is missing; or what a value should have been. It suits
// cobra's SetFlagErrorFunc.
func FlagError(set *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &value):
		return core.Refusef(core.Malformed, "--%s %q: want %s", value.GetFlag().Name, value.GetValue(), wantOfFlag(value))
	case errors.As(err, &missing):
		return core.Refusef(core.Malformed, "--%s needs a value: --%s <%s>", missing.GetFlag().Name, missing.GetFlag().Name, missing.GetFlag().Value.Type())
	case !errors.As(err, &unknown):
		return err
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" { // one letter, behind one dash
		return core.Refusef(core.Malformed, "unknown flag -%s", name)
	}
	e := core.Refusef(core.Malformed, "unknown flag --%s", name)
	var names []string
	set.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near, _ := text.Nearest(name, names); near != "" {
		e.Hint = "did you mean --" + near + "?"
	}
	return e
}

// wantOfFlag is what a value should have been: of a flag of Go's own types, or what a
// flag of ours says itself.
func wantOfFlag(e *pflag.InvalidValueError) string {
	switch t := e.GetFlag().Value.Type(); {
	case t == "bool":
		return "true or false"
	case strings.HasPrefix(t, "int"):
		return "a whole number"
	case strings.HasPrefix(t, "uint"):
		return "a whole number, 0 or more"
	case e.Unwrap() != nil:
		return strings.TrimPrefix(e.Unwrap().Error(), "want ")
	}
	return "another value"
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

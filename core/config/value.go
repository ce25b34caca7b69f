package config

import (
	"encoding"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opengatewayprotocol/ogp/core"
)

// A wanted error says what a value should have been.
type wanted struct{ what string }

func (w wanted) Error() string { return w.what }

func want(what string) error { return wanted{what} }

// assign sets v, a value without a name, from what a parser gave (string, int64,
// float64, bool, []any, map[string]any). Text, of the environment or a flag, is
// split and parsed.
func assign(v reflect.Value, raw any, isText bool) error {
	if isText {
		if text, ok := raw.(string); ok {
			return assignText(v, text)
		}
	}
	switch v.Type() {
	case durationType, prefixType, rateType, bytesType, secretType:
		s, ok := raw.(string)
		if !ok {
			return want(wantOf(v.Type()))
		}
		return assignText(v, s)
	}
	switch v.Kind() {
	case reflect.String:
		if s, ok := raw.(string); ok {
			return assignText(v, s)
		}
	case reflect.Bool:
		if b, ok := raw.(bool); ok {
			v.SetBool(b)
			return nil
		}
	case reflect.Int, reflect.Int64:
		if n, ok := raw.(int64); ok && !v.OverflowInt(n) {
			v.SetInt(n)
			return nil
		}
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if err := assign(p.Elem(), raw, isText); err != nil {
			return err
		}
		v.Set(p)
		return nil
	case reflect.Slice:
		if list, ok := raw.([]any); ok {
			return assignList(v, list)
		}
	case reflect.Map:
		if table, ok := raw.(map[string]any); ok {
			return assignTable(v, table)
		}
	}
	return want(wantOf(v.Type()))
}

func assignList(v reflect.Value, list []any) error {
	out := reflect.MakeSlice(v.Type(), len(list), len(list))
	for i, one := range list {
		if err := assign(out.Index(i), one, false); err != nil {
			return want("a list, each " + err.Error())
		}
	}
	v.Set(out)
	return nil
}

func assignTable(v reflect.Value, table map[string]any) error {
	out := reflect.MakeMapWithSize(v.Type(), len(table))
	for _, k := range sortedKeys(table) {
		one := reflect.New(v.Type().Elem()).Elem()
		if v.Type().Elem() == anyType {
			if err := checkFree(table[k], 0); err != nil {
				return err
			}
			one.Set(reflect.ValueOf(table[k]))
		} else if err := assign(one, table[k], false); err != nil {
			return want("a table, each value " + err.Error())
		}
		if !isClean(k) {
			return want("names without control characters")
		}
		out.SetMapIndex(reflect.ValueOf(k), one)
	}
	v.Set(out)
	return nil
}

// parsers read the types that have a written form of their own.
var parsers = map[reflect.Type]func(string) (any, error){
	durationType: func(s string) (any, error) { return core.ParseDuration(s) },
	prefixType:   func(s string) (any, error) { return parsePrefix(s) },
	rateType:     func(s string) (any, error) { return core.ParseRate(s) },
	bytesType:    func(s string) (any, error) { return core.ParseByteLimit(s) },
	secretType:   func(s string) (any, error) { return parseSecret(s) },
}

func assignText(v reflect.Value, s string) error {
	if parse, ok := parsers[v.Type()]; ok {
		x, err := parse(s)
		if err != nil {
			return want(strings.TrimPrefix(err.Error(), "want "))
		}
		v.Set(reflect.ValueOf(x))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		checked := s
		if v.Type() == expressionType {
			checked = strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(s)
		}
		if !isClean(checked) {
			return want("text without control characters")
		}
		v.SetString(s)
		return nil
	case reflect.Bool:
		if b, ok := parseBool(s); ok {
			v.SetBool(b)
			return nil
		}
	case reflect.Int, reflect.Int64:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && !v.OverflowInt(n) {
			v.SetInt(n)
			return nil
		}
	case reflect.Slice:
		return assignTextList(v, s)
	case reflect.Map:
		return assignTextTable(v, s)
	}
	return want(wantOf(v.Type()))
}

func assignTextList(v reflect.Value, s string) error {
	parts := splitList(s)
	out := reflect.MakeSlice(v.Type(), len(parts), len(parts))
	for i, part := range parts {
		if err := assignText(out.Index(i), part); err != nil {
			return want("a comma-separated list, each " + err.Error())
		}
	}
	v.Set(out)
	return nil
}

func assignTextTable(v reflect.Value, s string) error {
	parts := splitList(s)
	out := reflect.MakeMapWithSize(v.Type(), len(parts))
	for _, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		one := reflect.New(v.Type().Elem()).Elem()
		if !ok || assignText(one, strings.TrimSpace(value)) != nil {
			return want("a comma-separated list of name=value")
		}
		out.SetMapIndex(reflect.ValueOf(strings.TrimSpace(name)), one)
	}
	v.Set(out)
	return nil
}

// parseBool reads what people write for yes and no, in any case.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, true
	case "false", "no", "off", "0":
		return false, true
	}
	return false, false
}

func parseSecret(s string) (Secret, error) {
	if !isClean(s) {
		return Secret{}, want("text without control characters")
	}
	secret := NewSecret(s)
	return secret, secret.check()
}

// maxFreeDepth bounds the tables of a plugin's own settings.
const maxFreeDepth = 16

// checkFree holds a plugin's own settings to what JSON can carry to the plugin.
func checkFree(raw any, depth int) error {
	if depth > maxFreeDepth {
		return want(fmt.Sprintf("tables at most %d deep", maxFreeDepth))
	}
	switch x := raw.(type) {
	case string:
		if !utf8.ValidString(x) {
			return want("UTF-8 text")
		}
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return want("a finite number")
		}
	case bool, int64:
	case []any:
		for _, one := range x {
			if err := checkFree(one, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, one := range x {
			if err := checkFree(one, depth+1); err != nil {
				return err
			}
		}
	default: // TOML's dates and times have no JSON form
		return want("text, numbers, true or false, lists and tables of these")
	}
	return nil
}

func wantOf(t reflect.Type) string {
	switch t {
	case durationType:
		return `a duration such as "90s", "5m", "24h" or "90d"`
	case prefixType:
		return `a range such as "10.0.0.0/8" or "fd00::/8"`
	case rateType:
		return `a rate such as "100/3600" (requests/seconds)`
	case bytesType:
		return `a size in a time such as "64KiB/1h"`
	case secretType:
		return `a secret, "${VARIABLE}" or "file:/path"`
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool, reflect.Pointer:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list, each " + wantOf(t.Elem())
	case reflect.Map:
		return "a table"
	}
	return t.String()
}

// splitList splits at commas. Nothing between two commas counts for nothing. A list
// of quoted texts, as the file has it, is taken as well.
func splitList(s string) []string {
	parts := []string{}
	if inner, ok := strings.CutPrefix(strings.TrimSuffix(s, "]"), "["); ok && strings.HasSuffix(s, "]") && strings.ContainsAny(inner, `"'`) {
		for part := range strings.SplitSeq(inner, ",") {
			if part = strings.Trim(strings.TrimSpace(part), `"'`); part != "" {
				parts = append(parts, part)
			}
		}
		return parts
	}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// isClean reports whether a text is UTF-8 without control characters, so that it
// can be shown, signed and written back.
func isClean(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// parsePrefix reads a range or a single address. Bits beyond the range's length
// are cleared.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, want(wantOf(prefixType))
	}
	return p.Masked(), nil
}

// textOf is the value as the environment and flags write it.
func textOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return core.FormatDuration(x)
	case core.RateLimit:
		return x.String()
	case core.ByteLimit:
		return x.String()
	case Secret:
		return x.String()
	case encoding.TextMarshaler:
		text, _ := x.MarshalText() // a netip.Prefix, which does not fail
		return string(text)
	}
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = textOf(v.Index(i))
		}
		return strings.Join(parts, ",")
	case reflect.Map:
		var parts []string
		for _, k := range mapKeys(v) {
			parts = append(parts, k+"="+textOf(v.MapIndex(reflect.ValueOf(k))))
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}

// tomlValue is the value as config.toml writes it, on one line.
func tomlValue(v reflect.Value) string {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Interface().(type) {
	case time.Duration, core.RateLimit, core.ByteLimit, Secret, netip.Prefix:
		return TOMLString(textOf(v))
	}
	switch v.Kind() {
	case reflect.String:
		return TOMLString(v.String())
	case reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return s
	case reflect.Pointer:
		return tomlValue(v.Elem())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = tomlValue(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		var parts []string
		for _, k := range mapKeys(v) {
			parts = append(parts, tomlKey(k)+" = "+tomlValue(v.MapIndex(reflect.ValueOf(k))))
		}
		if len(parts) == 0 {
			return "{}"
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	return fmt.Sprint(v.Interface())
}

func mapKeys(v reflect.Value) []string {
	keys := map[string]bool{}
	for _, k := range v.MapKeys() {
		keys[k.String()] = true
	}
	return sortedKeys(keys)
}

func tomlKey(k string) string {
	bare := k != ""
	for _, c := range k {
		bare = bare && (c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	if bare {
		return k
	}
	return TOMLString(k)
}

// TOMLString quotes a text as a TOML basic string. https://toml.io/en/v1.0.0#string
func TOMLString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case unicode.IsControl(c):
			fmt.Fprintf(&b, "\\u%04X", c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

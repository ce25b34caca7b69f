package config

import "reflect"

// Change is a setting that two configurations have different.
type Change struct {
	Key      string
	From, To string // as in config.toml; secrets are not shown
	Restart  bool   // counts only from the next start on
}

// Difference lists what changes from a to b, in the order of config.example.toml.
func Difference(a, b *Config) []Change {
	var out []Change
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for _, s := range schema().settings {
		v, w := x.FieldByIndex(s.index), y.FieldByIndex(s.index)
		if reflect.DeepEqual(v.Interface(), w.Interface()) {
			continue
		}
		c := Change{Key: s.Key, Restart: s.field.Tag.Get("restart") != ""}
		if s.Key != "agents" && s.Key != "plugins" {
			c.From, c.To = tomlValue(v), tomlValue(w)
		}
		out = append(out, c)
	}
	return out
}

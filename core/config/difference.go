package config

import "reflect"

// Change is a setting that two configurations have different.
type Change struct {
	Key      string
	From, To string // as in config.toml; secrets are not shown
	Restart  bool   // counts only from the next start on
}

// Difference lists what changes from a to b, in the order of config.example.toml.
// inForce makes of a configuration all that a reload puts in force, and nothing
// else: a setting that changes nothing of it counts from the next start on.
func Difference(a, b *Config, inForce func(*Config) any) []Change {
	var out []Change
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	before := inForce(a)
	for _, s := range schema().settings {
		v, w := x.FieldByIndex(s.index), y.FieldByIndex(s.index)
		if reflect.DeepEqual(v.Interface(), w.Interface()) {
			continue
		}
		one := *a
		reflect.ValueOf(&one).Elem().FieldByIndex(s.index).Set(w)
		c := Change{Key: s.Key, Restart: reflect.DeepEqual(inForce(&one), before)}
		if s.Key != "agents" && s.Key != "rules" && s.Key != "plugins" {
			c.From, c.To = tomlValue(v), tomlValue(w)
		}
		out = append(out, c)
	}
	return out
}

// InForce is what counts in a process that began with start and has read now since: of
// the settings that count only from the next start on, those of start, whose keys are
// ofStart. inForce is as in Difference.
func InForce(start, now *Config, inForce func(*Config) any) (in *Config, ofStart []string) {
	out := *now
	to, from := reflect.ValueOf(&out).Elem(), reflect.ValueOf(start).Elem()
	for _, c := range Difference(start, now, inForce) {
		if c.Restart {
			index := schema().byKey[c.Key].index
			to.FieldByIndex(index).Set(from.FieldByIndex(index))
			ofStart = append(ofStart, c.Key)
		}
	}
	return &out, ofStart
}

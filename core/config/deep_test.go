package config

import (
	"strings"
	"testing"
)

// A file is bounded; whatever its depth, Load answers.
func TestD4DeepFilesAreRefused(t *testing.T) {
	n := maxFileBytes/2 - 64
	for name, text := range map[string]string{
		"arrays":      "a = " + strings.Repeat("[", n) + strings.Repeat("]", n),
		"config":      "plugins.x.config.a = " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
		"open":        "a = " + strings.Repeat("[", n),
		"inline":      "a = " + strings.Repeat("{a=", n/2),
		"dotted keys": strings.Repeat("a.", n-10) + "a = 1",
	} {
		t.Run(name, func(t *testing.T) {
			problemsOf(t, Options{Home: home(t, "config.toml", text)})
		})
	}
	problemsOf(t, Options{Home: home(t, "config.json", `{"a":`+strings.Repeat("[", n)+strings.Repeat("]", n)+"}")})
}

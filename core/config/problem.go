package config

import (
	"maps"
	"slices"
	"strings"
)

// Problem is one mistake in the settings.
type Problem struct {
	// Key is the setting, as config.toml names it.
	Key string
	// Where is the file and line, the environment variable or the flag.
	Where string
	// What is wrong, with the value (unless it is a secret) and what is expected.
	What string
	// Hint is what to do, or empty.
	Hint string
}

// Problems are all the mistakes that Load found. It is the error that Load returns
// for mistakes in the settings; a file that cannot be read is another.
type Problems []Problem

// Error tells each mistake on a line of its own.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = "config: " + one.What
		if one.Where != "" {
			lines[i] = "config: " + one.Where + ": " + one.What
		}
	}
	return strings.Join(lines, "\n")
}

// Hint says what to do next, one line for each mistake that has a hint.
func (p Problems) Hint() string {
	var lines []string
	for _, one := range p {
		if one.Hint != "" {
			lines = append(lines, one.Hint)
		}
	}
	return strings.Join(lines, "\n")
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

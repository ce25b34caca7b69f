package config

import (
	"cmp"
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

// nearest returns the known name that looks most like name and how many envelopes
// differ, or empty where none is near. Case and the separators . _ - do not count: the TypeScript gateway's
// daemonPort is as near to daemon_port as can be.
func nearest(name string, known []string) (string, int) {
	best, bestDistance := "", len(name)
	n := plain(name)
	for _, k := range known {
		d := distance(n, plain(k))
		if d < bestDistance || d == bestDistance && best != "" && cmp.Less(k, best) {
			best, bestDistance = k, d
		}
	}
	if bestDistance > max(2, len(n)/3) || bestDistance >= len(n) {
		return "", 0
	}
	return best, bestDistance
}

func plain(name string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "_", "", "-", "").Replace(name))
}

// maxNameBytes is where distance gives up: no name of ours is so long.
const maxNameBytes = 64

// distance is Levenshtein's.
func distance(a, b string) int {
	if len(a) > maxNameBytes || len(b) > maxNameBytes {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

package text

import (
	"slices"
	"strings"
)

// Nearest returns the known name that looks most like name, and how many
// characters differ; empty where none is near. Case and the separators . _ - do
// not count: the TypeScript gateway's daemonPort is as near to daemon_port as can
// be. So is a name of which the written one is a whole word, if there is one only.
func Nearest(name string, known []string) (near string, distance int) {
	best, least := "", len(name)
	n := plain(name)
	for _, k := range known {
		d := Distance(n, plain(k))
		if d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	if least <= max(1, min(2, (len(n)-1)/2), len(n)/3) && least < len(n) { // of a short name, less than half
		return best, least
	}
	holder := ""
	for _, k := range known {
		if slices.Contains(strings.FieldsFunc(k, isSeparator), strings.ToLower(name)) {
			if holder != "" {
				return "", 0
			}
			holder = k
		}
	}
	if holder == "" {
		return "", 0
	}
	return holder, Distance(n, plain(holder))
}

func isSeparator(r rune) bool { return strings.ContainsRune("._-", r) }

func plain(name string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "_", "", "-", "").Replace(name))
}

// maxNameBytes is where Distance gives up: no name of ours is so long.
const maxNameBytes = 64

// Distance is Levenshtein's, in bytes, with two neighbours that change places as one
// difference; the length of the longer text where one has more than 64.
func Distance(a, b string) int {
	if len(a) > maxNameBytes || len(b) > maxNameBytes {
		return max(len(a), len(b))
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			substitute := row[j]
			if a[i] != b[j] {
				substitute++
			}
			next[j+1] = min(substitute, next[j]+1, row[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

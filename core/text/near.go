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

// Distance is Levenshtein's, in bytes; the length of the longer text where one has
// more than 64.
func Distance(a, b string) int {
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

package ogp_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// countedAsPlural are texts whose number is never one, or is a measure that a reader of
// machine code reads; every other number goes with text.Count, as there is no "1 times".
var countedAsPlural = []string{
	"%d of its %d cases fail",     // one is said otherwise
	"1 of its %d cases fails",     // of several
	"%d of %d checks failed",      // there are more than one
	"Wrote %d pages to",           // one for each command
	"over 1 second to %d days",    // a constant
	"more than %d requests in",    // a constant
	"there are %d rules: want",    // above a bound
	"more than %d times",          // a constant
	"%d links, at most",           // of several
	"%d headers, at most",         // above a bound
	"%d intents, and a peer",      // above a bound
	"could be any of %d peers",    // of several
	"none of %d secrets opens it", // of several
	"%d of %d changes that were",  // of several
	"a key of more than %d parts", // a constant
	"and has %d completers",       // for who writes commands
	"memory %d KiB, host calls",   // a measure
}

// TestPlurals: a number that may be one has its noun from text.Count.
func TestPlurals(t *testing.T) {
	plural := regexp.MustCompile(`%d [a-z]+s\b`)
	measure := regexp.MustCompile(`%d (bytes|units|files|is|has|was|does|ms|as|pages, )`)
	for _, name := range files(t, "") {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || !strings.HasPrefix(name, "core/") && !strings.HasPrefix(name, "cmd/") ||
			strings.HasPrefix(name, "core/plugin/meter/") || strings.HasPrefix(name, "core/store/storetest/") || name == "core/text/people.go" {
			continue
		}
		data, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
	lines:
		for n, line := range strings.Split(string(data), "\n") {
			found := plural.FindString(line)
			if found == "" || measure.MatchString(line) {
				continue
			}
			for _, fine := range countedAsPlural {
				if strings.Contains(line, fine) {
					continue lines
				}
			}
			t.Errorf("%s:%d: %q: text.Count says it for one and for many", name, n+1, found)
		}
	}
}

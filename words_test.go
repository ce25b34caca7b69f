package ogp_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// gone holds words that were in use here and have a better one: a part of the word
// that is quick to find, the word, and what is said instead.
var gone = []struct {
	part, word, better string
}{
	{"letter", `core\.Letter|ogp[._]letters?\b|EachLetter|(?i:\b(bad|every|approved|old|these|of our|of their) letters?\b)|\b[A-Za-z]*Letters?[A-Z]\w*|\b(Test|Bench)\w*Letters?\b`,
		"envelope, message or request; Receipt for the record of a nonce"},
	{"doorman", `(?i)\bdoorm[ae]n\b`, "scope.Checker"},
	{"courier", `(?i)\bcouriers?\b`, "dispatcher"},
	{"back", `(?i)\bask(s|ed|ing)? ?back\b`, "confirm, or asked too"},
	{"mend", `(?i)\bmend(s|ed|ing)?\b`, "fix"},
	{"owed", `\bOwed\b`, "Pending"},
	{"told", `\bTold\b|[a-z]Told\b`, "Notified"},
	{"extension", `core/extension\b|\bopenExtensions\b|\bextension\.[A-Z]`, "core/hooks"},
	{"resting", `(?i)\bresting\b`, "paused after repeated failures"},
	{"moves", `\bmaxMoves\b|(?i)\bmoves? of trust\b`, "transition"},
	{"wire", `type Wire interface`, "Transport"},
}

// TestWords: one thing has one word. Who gives a thing a better one adds a line.
func TestWords(t *testing.T) {
	words := make([]*regexp.Regexp, len(gone))
	for i, g := range gone {
		words[i] = regexp.MustCompile(g.word)
		if g.part != strings.ToLower(g.part) {
			t.Fatalf("%q is looked for in lower case", g.part)
		}
	}
	for _, name := range files(t, "") {
		switch path.Ext(name) {
		case ".go", ".md", ".toml", ".txtar", ".h", ".rs", ".ts":
		default:
			continue
		}
		// Schema 1 has the names that it had, and the change log says what was.
		if name == "words_test.go" || strings.HasPrefix(name, "core/store/sqlite/migrations/") || name == "CHANGELOG.md" {
			continue
		}
		data, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		lower := strings.ToLower(text)
		for i, g := range gone {
			if !strings.Contains(lower, g.part) {
				continue
			}
			for n, line := range strings.Split(text, "\n") {
				if m := words[i].FindString(line); m != "" && !strings.Contains(line, "unicode.IsLetter") {
					t.Errorf("%s:%d: %q: the word is %s", name, n+1, m, g.better)
				}
			}
		}
	}
}

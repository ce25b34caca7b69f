package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// ownMetrics are the names of the metrics that the daemon's files declare.
func ownMetrics(ts *testscript.TestScript) []string {
	files, err := filepath.Glob(filepath.Join("..", "..", "core", "daemon", "*.go"))
	ts.Check(err)
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		ts.Check(err)
		for _, m := range regexp.MustCompile(`= metric\("([a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
			names = append(names, "ogp_"+m[1])
		}
	}
	if len(names) == 0 {
		ts.Fatalf("core/daemon declares no metrics")
	}
	return names
}

// documentedMetrics are the names with this beginning in a document's tables. In
// a cell, `_more` goes on with the first name's beginning.
func documentedMetrics(ts *testscript.TestScript, document, prefix string) []string {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", document))
	ts.Check(err)
	var names []string
	code := regexp.MustCompile("`(" + prefix + "[a-z_]+|_[a-z_]+)(?:\\{[^}]*\\})?`")
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `"+prefix) {
			continue
		}
		for _, m := range code.FindAllStringSubmatch(line, -1) {
			if name, ok := strings.CutPrefix(m[1], "_"); ok {
				names = append(names, prefix+name)
			} else {
				names = append(names, m[1])
			}
		}
	}
	if len(names) == 0 {
		ts.Fatalf("docs/%s has no table of metrics", document)
	}
	return names
}

// observed gateway|rendezvous: the last output has every metric that is declared
// and documented, and none of ours that the declarations do not know.
func observedCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: observed gateway|rendezvous")
	}
	var want []string
	switch args[0] {
	case "gateway":
		want = ownMetrics(ts)
		for _, name := range documentedMetrics(ts, "operating.md", "ogp_") {
			if !slices.Contains(want, name) {
				ts.Fatalf("docs/operating.md has %s, which is no metric", name)
			}
		}
	case "rendezvous":
		want = documentedMetrics(ts, "rendezvous.md", "ogp_rendezvous_")
	}
	text := ts.ReadFile("stdout")
	for _, name := range want {
		if !regexp.MustCompile(`(?m)^` + name + `(\{[^}]*\})? `).MatchString(text) {
			ts.Fatalf("no sample of %s in:\n%s", name, text)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^(ogp_[a-z_]+)[{ ]`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(want, m[1]) {
			ts.Fatalf("%s is not documented", m[1])
		}
	}
}

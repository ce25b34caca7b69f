package sdk_test

import (
	"go/build/constraint"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// heavy are packages that a module cannot afford, with what each adds to one.
var heavy = map[string]string{
	"encoding/json": "1.5 MB", "fmt": "400 KB", "net/http": "8 MB", "reflect": "400 KB", "time": "260 KB", "os": "350 KB", "regexp": "500 KB", "text/template": "2 MB",
}

// What goes into a module imports none of the heavy packages: the SDK, the shipped plugins
// and the examples that are built on it.
func TestModulesImportNothingHeavy(t *testing.T) {
	var files []string
	for _, pattern := range []string{
		"*.go", "policy/*.go", "notify/*.go", "handle/*.go", "wording/*.go", "../plugins/*/*.go",
		"../examples/plugins/approve-by-domain/*.go", "../examples/plugins/free-busy/*.go",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	looked := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || !inModule(t, file) {
			continue
		}
		looked++
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if adds, ok := heavy[name]; ok {
				t.Errorf("%s imports %s, which adds %s to a module", file, name, adds)
			}
		}
	}
	if looked < 15 {
		t.Errorf("looked at %d files, want all that go into modules", looked)
	}
}

// inModule says whether a file's build constraint holds for wasip1.
func inModule(t *testing.T, file string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if !constraint.IsGoBuild(line) {
		return true
	}
	x, err := constraint.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	return x.Eval(func(tag string) bool { return tag == "wasip1" || tag == "wasm" })
}

package plugins_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var built = flag.String("built", "", "languages whose modules were just built: write down their sources")

// sdks says where the SDK of each language lies, seen from the root.
var sdks = map[string][]string{
	"go": {"sdk", "sdk/notify", "sdk/policy", "sdk/handle", "sdk/wording"}, "rust": {"sdk/rust/src"}, "assemblyscript": {"sdk/assemblyscript/assembly"}, "c": {"sdk/c"}, "rego": nil,
}

// mains are the files that show a plugin's language; its sources are beside them.
var mains = map[string]string{"go": "main.go", "rust": "src/lib.rs", "assemblyscript": "assembly/index.ts", "c": "plugin.c", "rego": "policy.rego"}

// extensions are the files that a compiler reads.
var extensions = map[string][]string{"go": {".go", ".mod", ".sum"}, "rust": {".rs"}, "assemblyscript": {".ts"}, "c": {".c", ".h"}, "rego": {".rego"}}

// folders says where the sources of a language's modules lie, seen from the root.
func folders(t *testing.T, language string) []string {
	all := slices.Clone(sdks[language])
	for _, of := range []string{"plugins/*/", "examples/plugins/*/"} {
		found, err := fs.Glob(os.DirFS(".."), of+mains[language])
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			all = append(all, path.Dir(file))
		}
	}
	return all
}

// TestModulesAreOfTheseSources finds a committed module whose sources were changed after it
// was built. It needs no compiler: build.sh writes down the sources that it built from, and
// this compares. That the bytes are right is what build.sh --check shows.
func TestModulesAreOfTheseSources(t *testing.T) {
	const list = "sources.sum"
	noted := map[string]string{}
	data, err := os.ReadFile(list)
	if err != nil && *built == "" {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		language, sum, _ := strings.Cut(line, " ")
		noted[language] = sum
	}
	var lines []string
	for language := range sdks {
		sum := sourcesSum(t, language)
		switch {
		case slices.Contains(strings.Fields(*built), language):
			noted[language] = sum
		case noted[language] != sum && *built == "":
			t.Errorf("the %s sources were changed after their modules were built: run LANGS=%s plugins/build.sh", language, language)
		}
		lines = append(lines, language+" "+noted[language]+"\n")
	}
	if *built != "" {
		slices.Sort(lines)
		if err := os.WriteFile(list, []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sourcesSum is the SHA-256 over names and texts of all files that modules of a language are
// built from, tests left out.
func sourcesSum(t *testing.T, language string) string {
	root := os.DirFS("..")
	var files []string
	for _, folder := range folders(t, language) {
		before := len(files)
		for _, extension := range extensions[language] {
			found, err := fs.Glob(root, folder+"/*"+extension)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
		if len(files) == before {
			t.Fatalf("no sources of %s in %s", language, folder)
		}
	}
	slices.Sort(files)
	all := sha256.New()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(all, "%s %x\n", file, sha256.Sum256(text))
	}
	return fmt.Sprintf("%x", all.Sum(nil))
}

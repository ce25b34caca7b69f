package licenses

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is linked in here is in the list, in the version that go.mod has. CI compares the
// whole file, for all platforms.
func TestListIsWhatIsLinked(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "./cmd/ogp")
	cmd.Dir = filepath.Join("..", "..", "..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range Modules() {
		listed = append(listed, m.Path+" "+m.Version)
	}
	linked := 0
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "github.com/opengatewayprotocol/ogp") {
			continue
		}
		linked++
		if !slices.Contains(listed, line) {
			t.Errorf("%s is linked in, and licenses.txt does not have it: go generate ./cmd/ogp/internal/licenses", line)
		}
	}
	if linked == 0 || len(listed) < 50 {
		t.Errorf("%d packages of modules are linked in, %d modules listed", linked, len(listed))
	}
	if plain, err := os.ReadFile("licenses.txt"); err != nil || string(plain) != Text() {
		t.Errorf("licenses.txt and licenses.txt.gz differ: go generate ./cmd/ogp/internal/licenses (%v)", err)
	}
	for _, text := range []string{"Copyright 2009 The Go Authors", "Apache License", "github.com/spf13/cobra\n"} {
		if !strings.Contains(Text(), text) {
			t.Errorf("licenses.txt has no %q", text)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/manual"
)

// TestCLIDocument compares docs/cli.md with the commands.
func TestCLIDocument(t *testing.T) {
	t.Setenv("HOME", "/home/ada") // no default may depend on it
	golden(t, filepath.Join("..", "..", "docs", "cli.md"), manual.Markdown(newRoot()))
}

// TestDocumentHasEverything names every command, flag and example that users see.
func TestDocumentHasEverything(t *testing.T) {
	text := manual.Markdown(newRoot())
	for _, cmd := range everyCommand(newRoot()) {
		if cmd.Hidden {
			if strings.Contains(text, "## "+cmd.CommandPath()+"\n") {
				t.Errorf("%s is hidden, and documented", cmd.CommandPath())
			}
			continue
		}
		_, section, ok := strings.Cut(text, "\n## "+cmd.CommandPath()+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if !ok {
			t.Errorf("%s is not documented", cmd.CommandPath())
		}
		for _, line := range examples(cmd.Long) {
			if !strings.Contains(section, line+"\n") {
				t.Errorf("%s: no example %q in:\n%s", cmd.CommandPath(), line, section)
			}
		}
		if status := "--status string"; cmd.CommandPath() == "ogp federation list" && !strings.Contains(section, status) {
			t.Errorf("no %s in:\n%s", status, section)
		}
	}
	for _, want := range []string{"| 3 | the peer refused |", "| 5 | no daemon is running |", "--home string"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the document", want)
		}
	}
}

// golden compares a text with a file, or writes it there.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the program makes; go test ./cmd/ogp -update writes it anew. It makes:\n%s", path, got)
	}
}

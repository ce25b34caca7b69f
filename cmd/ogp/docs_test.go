package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCLIDocument compares docs/cli.md with the commands.
func TestCLIDocument(t *testing.T) {
	t.Setenv("HOME", "/home/ada") // no default may depend on it
	golden(t, filepath.Join("..", "..", "docs", "cli.md"), markdownOf(documented(newRoot())))
}

// TestDocumentHasEverything names every command, flag and example that users see.
func TestDocumentHasEverything(t *testing.T) {
	text := markdownOf(documented(newRoot()))
	for _, cmd := range ours(newRoot()) {
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

// TestManPages holds every page to the requests of man(7), and where groff is
// installed, to its warnings.
func TestManPages(t *testing.T) {
	known := []string{".TH", ".SH", ".B", ".BR", ".PP", ".TP", ".nf", ".fi"}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Log("groff is not installed here: its warnings are not looked at")
	}
	names := map[string]bool{}
	for _, cmd := range documented(newRoot()) {
		page := manPage(cmd)
		if names[manName(cmd)] {
			t.Errorf("two pages are named %s", manName(cmd))
		}
		names[manName(cmd)] = true
		for line := range strings.Lines(page) {
			request, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(line, ".") && !slices.Contains(known, request) || strings.HasPrefix(line, "'") {
				t.Errorf("%s: %q is no request of ours", manName(cmd), line)
			}
		}
		for _, want := range []string{".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH EXIT STATUS\n"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q", manName(cmd), want)
			}
		}
		if groff == "" {
			continue
		}
		c := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8")
		c.Stdin = strings.NewReader(page)
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: groff: %v\n%s", manName(cmd), err, out)
		}
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", ".TH x": `\&.TH x`, "a\n'b": "a\n\\&'b", `\fB--x`: `\efB\-\-x`,
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
}

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/manual"
)

// TestManPages holds every page to the requests of man(7), and where groff is
// installed, to its warnings.
func TestManPages(t *testing.T) {
	known := []string{".TH", ".SH", ".B", ".BR", ".PP", ".TP", ".nf", ".fi"}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Log("groff is not installed here: its warnings are not looked at")
	}
	names := map[string]bool{}
	for _, cmd := range manual.Commands(newRoot()) {
		page := manual.Page(cmd)
		if names[manual.Name(cmd)] {
			t.Errorf("two pages are named %s", manual.Name(cmd))
		}
		names[manual.Name(cmd)] = true
		for line := range strings.Lines(page) {
			request, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(line, ".") && !slices.Contains(known, request) || strings.HasPrefix(line, "'") {
				t.Errorf("%s: %q is no request of ours", manual.Name(cmd), line)
			}
		}
		for _, want := range []string{".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH EXIT STATUS\n"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q", manual.Name(cmd), want)
			}
		}
		if groff == "" {
			continue
		}
		c := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8")
		c.Stdin = strings.NewReader(page)
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: groff: %v\n%s", manual.Name(cmd), err, out)
		}
	}
}

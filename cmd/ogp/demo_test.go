package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

//go:generate go test -run ^TestDemoIsAsDocumented$ -update .

var update = flag.Bool("update", false, "write docs/demo.txt anew")

// variable are the parts of the demo's output that differ from run to run.
var variable = []struct {
	of *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`/\S*ogp-demo-\d+`), "/tmp/ogp-demo"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+|localhost:\d+`), "localhost:18790"},
	{regexp.MustCompile(`\b[A-Z2-7]{4}(-[A-Z2-7]{4}){7}\b`), "K7QF-3MZA-PR4T-EB2A-OZQV-4KXG-GIDB-HZ3N"},
	{regexp.MustCompile(`\b[a-z0-9]{6}(-[A-Z2-7]{4}){3}\b`), "a3f7k2-K7QF-3MZA-PR4T"},
	{regexp.MustCompile(`(invite code: |federation accept |Connected to )[a-z0-9]{6}\b`), "${1}a3f7k2"},
	{regexp.MustCompile(`\b[A-Z2-7]{4}(-[A-Z2-7]{4})+\b`), "K7QF-3MZA"},
	{regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{26}\b`), "01JD8V6Q3W7T5R2YB9XK4MZC0E"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "5b1a3f5e-4f0c-4d7e-9b58-2a6f0c3d9e71"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?Z?`), "2026-11-21 20:12:43"},
	{regexp.MustCompile(`\bpid \d+`), "pid 4711"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), strings.Repeat("0", 64)},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|µs|s)\b|\b\d+(\.\d+)? (ms|s|KiB|MiB|seconds?)\b`), "1 s"},
	{regexp.MustCompile(`  +`), "  "}, // columns are as wide as what is in them
	{regexp.MustCompile(`(?m) +$`), ""},
}

// TestDemoIsAsDocumented plays the demo and compares what it prints, but for what
// differs each time, with docs/demo.txt. Run it with -update to write that.
func TestDemoIsAsDocumented(t *testing.T) {
	if testing.Short() {
		t.Skip("short: plays the whole demonstration with real gateways")
	}
	tmp := t.TempDir()
	cmd := exec.Command("ogp", "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp, "TZ=UTC")
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil || problems.Len() > 0 {
		t.Fatalf("ogp demo = %v\n%s\n%s", err, out.String(), problems.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	got := out.String()
	for _, v := range variable {
		got = v.of.ReplaceAllString(got, v.as)
	}
	got = "$ ogp demo\n" + got
	golden := filepath.Join("..", "..", "docs", "demo.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the demo printed\n%s\nbut docs/demo.txt has\n%s\nif that is meant: go generate ./cmd/ogp", got, want)
	}
}

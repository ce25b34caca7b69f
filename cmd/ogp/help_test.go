package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/former"
)

// newRoot is the command tree as a user has it, with nobody to talk to.
func newRoot() *cobra.Command {
	a := &cli.App{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}
	root := root(a)
	root.InitDefaultCompletionCmd()
	return root
}

// everyCommand lists every command but cobra's own and the words of before, which have no help
// and a script of their own.
func everyCommand(cmd *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.Name() != "completion" && sub.Name() != "help" && !former.Is(sub) {
			list = append(list, everyCommand(sub)...)
		}
	}
	return list
}

// examples are the command lines at the end of a help text: its last paragraph, if
// that is indented.
func examples(long string) []string {
	paragraphs := strings.Split(strings.TrimRight(long, "\n"), "\n\n")
	var lines []string
	for _, line := range strings.Split(paragraphs[len(paragraphs)-1], "\n") {
		text, ok := strings.CutPrefix(line, "  ")
		if !ok {
			return nil
		}
		lines = append(lines, text)
	}
	return lines
}

func TestEveryHelpEndsWithAnExampleThatParses(t *testing.T) {
	root := newRoot()
	for _, cmd := range everyCommand(root) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("Short = %q, want a few words without a full stop", cmd.Short)
			}
			lines := examples(cmd.Long)
			if len(lines) == 0 {
				t.Fatalf("the help does not end with an example:\n%s", cmd.Long)
			}
			own := false
			for _, line := range lines {
				found, err := parses(line)
				if err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				own = own || cmd == root || strings.HasPrefix(found.CommandPath()+" ", cmd.CommandPath()+" ")
			}
			if !own {
				t.Errorf("no example is of %q itself: %q", cmd.CommandPath(), lines)
			}
		})
	}
}

// parses reads a command line as a shell and ogp do, up to running it.
func parses(line string) (*cobra.Command, error) {
	words := shellWords(line)
	if i := slices.IndexFunc(words, func(w string) bool { return w == ">" || w == "|" || w == "<" }); i >= 0 {
		words = words[:i]
	}
	for len(words) > 0 && setsVariable.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 || words[0] != "ogp" {
		return nil, errNotOgp
	}
	cmd, rest, err := newRoot().Find(words[1:])
	if err != nil {
		return nil, err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return nil, err
	}
	return cmd, cmd.ValidateArgs(cmd.Flags().Args())
}

// setsVariable fits what a shell reads as a variable of the command behind it.
var setsVariable = regexp.MustCompile(`^[A-Z_]+=`)

type textError string

func (e textError) Error() string { return string(e) }

const errNotOgp = textError("this is no command line of ogp")

var shellWord = regexp.MustCompile(`(?:[^\s"'#]+|"[^"]*"|'[^']*')+`)

// shellWords splits a line at spaces outside of quotes, up to a comment.
func shellWords(line string) []string {
	line, _, _ = strings.Cut(line, " # ")
	words := shellWord.FindAllString(line, -1)
	for i, w := range words {
		words[i] = strings.NewReplacer(`"`, "", `'`, "").Replace(w)
	}
	return words
}

func TestExamplesThatDoNotParseAreFound(t *testing.T) {
	for _, line := range []string{
		"ogp federation aprove bob", "ogp federation approve", "ogp federation list --statsu pending", "cp a b", "ogp inbox list --limit many",
	} {
		if _, err := parses(line); err == nil {
			t.Errorf("parses(%q) = nil, want an error", line)
		}
	}
	for _, text := range []string{"", "Do it.", "Do it.\n\n  ogp status\nand so on"} {
		if lines := examples(text); lines != nil {
			t.Errorf("examples(%q) = %q, want none", text, lines)
		}
	}
	if cmd, err := parses(`ogp federation send ben message '{"text":"hello"}' > answer.json`); err != nil || cmd.Name() != "send" {
		t.Errorf("parses = %v, %v, want send", cmd, err)
	}
}

// TestEveryCommandIsRunByAScript holds the list of commands against the scripts:
// each is run, and each is run with --json.
func TestEveryCommandIsRunByAScript(t *testing.T) {
	root, run, withJSON := newRoot(), map[string]bool{}, map[string]bool{}
	for _, line := range scriptLines(t) {
		words := shellWords(line)
		i := slices.Index(words, "ogp")
		switch {
		case len(words) > 2 && (words[0] == "exits" || words[0] == "poll"):
			words = words[2:]
		case i >= 0:
			words = words[i+1:]
		case slices.Contains(words, "mcp"): // it speaks JSON in any case
			run["ogp mcp"], withJSON["ogp mcp"] = true, true
			continue
		case len(words) > 1 && words[0] == "daemon":
			words = []string{"start"}
		default:
			continue
		}
		cmd, _, err := root.Find(words)
		if err != nil {
			continue // a script about mistakes
		}
		run[cmd.CommandPath()] = true
		if slices.Contains(words, "--json") {
			withJSON[cmd.CommandPath()] = true
		}
	}
	for _, cmd := range everyCommand(root) {
		path := cmd.CommandPath()
		if !run[path] {
			t.Errorf("no script runs %q", path)
		}
		if !withJSON[path] && !cmd.HasSubCommands() {
			t.Errorf("no script runs %q with --json", path)
		}
	}
}

func scriptLines(t *testing.T) []string {
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join("testdata", "script", "*", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, more...)
	var lines []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut(string(text), "\n-- ")
		lines = append(lines, strings.Split(script, "\n")...)
	}
	return lines
}

// command finds what the texts of the program and its plugins say to type.
var command = regexp.MustCompile(`\\?"ogp ([a-z][a-z0-9-]*)(?: ([a-z][a-z0-9-]*))?`)

// A hint names a command that there is.
func TestHintsNameCommands(t *testing.T) {
	root, seen := newRoot(), 0
	for _, dir := range []string{"../../core", "../../cmd", "../../plugins", "../../sdk"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range command.FindAllStringSubmatch(string(text), -1) {
				if m[1] == "derive" || m[1] == "last" { // no hints, but marks of ours in bytes
					continue
				}
				seen++
				cmd, _, err := root.Find([]string{m[1]})
				if err != nil || cmd == root {
					t.Errorf("%s says %q: there is no such command", path, m[0])
				} else if sub, _, err := root.Find(m[1:]); m[2] != "" && cmd.HasSubCommands() && (err != nil || sub == cmd) {
					t.Errorf("%s says %q: %s has no such command", path, m[0], m[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("%d commands found: the pattern does not fit any more", seen)
	}
}

package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEveryArgumentSaysHowItIsCompleted holds usage lines to words that have a
// completer, also where it completes nothing.
func TestEveryArgumentSaysHowItIsCompleted(t *testing.T) {
	for _, cmd := range ours(newRoot()) {
		for _, name := range argumentNames(cmd) {
			if _, ok := placeholders[name]; !ok {
				t.Errorf("%s: no completer for <%s>: add it to placeholders in complete.go", cmd.CommandPath(), name)
			}
		}
		if own, ok := argumentsOf[cmd.CommandPath()]; ok && len(own) != len(argumentNames(cmd)) {
			t.Errorf("%s takes %q, and has %d completers", cmd.CommandPath(), argumentNames(cmd), len(own))
		}
	}
	paths := map[string]bool{}
	for _, cmd := range ours(newRoot()) {
		paths[cmd.CommandPath()] = true
	}
	for path := range argumentsOf {
		if !paths[path] {
			t.Errorf("argumentsOf has %q, which is no command", path)
		}
	}
}

func TestArgumentNames(t *testing.T) {
	for use, want := range map[string][]string{
		"list": nil, "show <peer>": {"peer"}, "send <peer> <intent> [payload]": {"peer", "intent", "payload"},
		"accept <code or link>": {"code or link"}, "broken <": nil,
	} {
		if got := argumentNames(&cobra.Command{Use: use}); !slices.Equal(got, want) {
			t.Errorf("argumentNames(%q) = %q, want %q", use, got, want)
		}
	}
}

// TestMistypedFlagsAreFound drops a letter of every flag of every command, and
// wants to hear which one was meant.
func TestMistypedFlagsAreFound(t *testing.T) {
	for _, cmd := range ours(newRoot()) {
		for _, flag := range flagsOf(cmd) {
			if len(flag) < 5 {
				continue
			}
			typed := flag[:2] + flag[3:]
			if flagsHave(cmd, typed) {
				continue
			}
			var said strings.Builder
			a := &app{in: strings.NewReader(""), out: io.Discard, err: &said}
			args := append(strings.Fields(cmd.CommandPath())[1:], "--"+typed)
			if code := a.run(t.Context(), args); code != exitUsage || !strings.Contains(said.String(), "did you mean --") {
				t.Errorf("ogp %s: exit status %d, %q", strings.Join(args, " "), code, said.String())
			}
		}
	}
}

// TestMistypedCommandsAreFound drops a letter of every command.
func TestMistypedCommandsAreFound(t *testing.T) {
	for _, cmd := range ours(newRoot()) {
		words := strings.Fields(cmd.CommandPath())[1:]
		if len(words) == 0 || cmd.Hidden || len(cmd.Name()) < 4 {
			continue
		}
		typed := slices.Clone(words)
		last := typed[len(typed)-1]
		typed[len(typed)-1] = last[:1] + last[2:]
		var said strings.Builder
		a := &app{in: strings.NewReader(""), out: io.Discard, err: &said}
		if code := a.run(t.Context(), typed); code != exitUsage || !strings.Contains(said.String(), "did you mean") {
			t.Errorf("ogp %s: exit status %d, %q", strings.Join(typed, " "), code, said.String())
		}
	}
}

func flagsOf(cmd *cobra.Command) (names []string) {
	cmd.InheritedFlags() // merges them
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

func flagsHave(cmd *cobra.Command, name string) bool { return cmd.Flags().Lookup(name) != nil }

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/complete"
)

// TestEveryArgumentSaysHowItIsCompleted holds usage lines to words that have a
// completer, also where it completes nothing.
func TestEveryArgumentSaysHowItIsCompleted(t *testing.T) {
	root := newRoot()
	complete.Register(&cli.App{}, root) // would panic
	root.AddCommand(&cobra.Command{Use: "new <thing>"})
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "no completer for <thing>") {
			t.Errorf("an argument without a completer: %s", said)
		}
	}()
	complete.Register(&cli.App{}, root)
}

// TestMistypedFlagsAreFound drops a letter of every flag of every command, and
// wants to hear which one was meant.
func TestMistypedFlagsAreFound(t *testing.T) {
	for _, cmd := range everyCommand(newRoot()) {
		for _, flag := range flagsOf(cmd) {
			if len(flag) < 5 {
				continue
			}
			typed := flag[:2] + flag[3:]
			if flagsHave(cmd, typed) {
				continue
			}
			var said strings.Builder
			a := &cli.App{In: strings.NewReader(""), Out: io.Discard, Err: &said}
			args := append(strings.Fields(cmd.CommandPath())[1:], "--"+typed)
			if code := run(t.Context(), a, args); code != cli.Usage || !strings.Contains(said.String(), "did you mean --") {
				t.Errorf("ogp %s: exit status %d, %q", strings.Join(args, " "), code, said.String())
			}
		}
	}
}

// TestMistypedCommandsAreFound drops a letter of every command.
func TestMistypedCommandsAreFound(t *testing.T) {
	for _, cmd := range everyCommand(newRoot()) {
		words := strings.Fields(cmd.CommandPath())[1:]
		if len(words) == 0 || cmd.Hidden || len(cmd.Name()) < 4 {
			continue
		}
		typed := slices.Clone(words)
		last := typed[len(typed)-1]
		typed[len(typed)-1] = last[:1] + last[2:]
		var said strings.Builder
		a := &cli.App{In: strings.NewReader(""), Out: io.Discard, Err: &said}
		if code := run(t.Context(), a, typed); code != cli.Usage || !strings.Contains(said.String(), "did you mean") {
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

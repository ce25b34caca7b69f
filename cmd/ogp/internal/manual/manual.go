// Package manual writes manual pages and docs/cli.md from the commands.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// exitStatuses say what a command's exit status means.
var exitStatuses = []struct {
	code int
	says string
}{

	{cli.Done, "done"},
	{cli.Failed, "failed; the message says why, and often what to do"},
	{cli.Usage, "wrong usage: nothing was tried"},
	{cli.Refused, "the peer refused"},
	{cli.Unreachable, "the peer was out of reach"},
	{cli.NoDaemon, "no daemon is running"},
}

// Command is "ogp man".
func Command(a *cli.App) *cobra.Command {
	var markdown bool
	cmd := &cobra.Command{
		Use: "man [folder]", Short: "Write the manual pages", Args: cobra.MaximumNArgs(1),
		Long: "Write a manual page for each command into a folder, or with --markdown print all of them as one document.\n\n  ogp man share/man/man1\n  ogp man --markdown > docs/cli.md",
		RunE: func(cmd *cobra.Command, args []string) error {
			pages := Commands(cmd.Root())
			switch {
			case markdown == (len(args) == 1):
				return cli.Usagef("want either a folder or --markdown")
			case markdown && a.JSON:
				a.WriteJSON(map[string]string{"markdown": Markdown(cmd.Root())})
				return nil
			case markdown:
				fmt.Fprint(a.Out, Markdown(cmd.Root()))
				return nil
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			for _, c := range pages {
				if err := os.WriteFile(filepath.Join(args[0], Name(c)+".1"), []byte(Page(c)), 0o644); err != nil {
					return err
				}
			}
			return a.Done(map[string]any{"folder": args[0], "pages": len(pages)}, "Wrote %d pages to %s", len(pages), args[0])
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print one document of all commands")
	return cmd
}

// Commands lists the commands that users see, each after the one it is part of.
func Commands(cmd *cobra.Command) []*cobra.Command {
	cmd.InitDefaultHelpFlag()
	list := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			list = append(list, Commands(sub)...)
		}
	}
	return list
}

// helpOf is a command's help text, and the command lines at its end.
func helpOf(cmd *cobra.Command) (text string, examples []string) {
	paragraphs := strings.Split(strings.TrimRight(cmd.Long, "\n"), "\n\n")
	last := len(paragraphs) - 1
	for line := range strings.Lines(paragraphs[last]) {
		command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "  ")
		if !ok {
			return cmd.Long, nil
		}
		examples = append(examples, command)
	}
	return strings.Join(paragraphs[:last], "\n\n"), examples
}

// ownFlags are the flags that a command has of its own; those of ogp stand there.
func ownFlags(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return cmd.NonInheritedFlags().FlagUsages()
	}
	return cmd.PersistentFlags().FlagUsages()
}

// Markdown is docs/cli.md.
func Markdown(root *cobra.Command) string {
	pages := Commands(root)
	prose := strings.NewReplacer("<", `\<`, "*", `\*`, "_", `\_`, "`", "\\`").Replace
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# The command line\n\nWritten from the commands themselves by `go generate ./cmd/ogp`; a test compares the two.\n")
	line("A command prints its result on standard output and everything else on standard error. With `--json`, the result is one JSON value with stable")
	line("names (one a line for what goes on, such as `ogp events`), and so is an error. Colours are for terminals, and never with `NO_COLOR`.\n")
	line("## Exit statuses\n\n| status | says |\n|---|---|")
	for _, s := range exitStatuses {
		line("| %d | %s |", s.code, s.says)
	}
	line("\n## Commands\n\n| command | |\n|---|---|")
	for _, c := range pages {
		line("| [`%s`](#%s) | %s |", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), prose(c.Short))
	}
	for _, c := range pages {
		text, examples := helpOf(c)
		line("\n## %s\n", c.CommandPath())
		if c.Name() == "completion" || c.Parent() != nil && c.Parent().Name() == "completion" {
			text = c.Short + ". `--help` says how to load it." // the rest is cobra's, and long
			line("%s", text)
		} else {
			text = prose(text)
			if rest, ok := strings.CutPrefix(text, "ogp "); ok { // or it would read as a command line
				text = "**ogp** " + rest
			}
			line("%s", text)
		}
		if !c.HasSubCommands() {
			line("\n```\n%s\n```", c.UseLine())
		}
		if len(examples) > 0 {
			line("\n```sh\n%s\n```", strings.Join(examples, "\n"))
		}
		if flags := ownFlags(c); flags != "" {
			line("\n```\n%s```", flags)
		}
	}
	return b.String()
}

// Name is the name of a command's page.
func Name(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// roff makes a text safe for troff: nothing in it is a request or an escape, and
// a dash is what one types.
func roff(s string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// Page is a command's page for section 1 (man(7)).
func Page(cmd *cobra.Command) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	verbatim := func(text string) { line(".nf\n%s\n.fi", roff(strings.TrimRight(text, "\n"))) }
	text, examples := helpOf(cmd)
	line(`.TH "%s" "1" "" "ogp" "OGP manual"`, strings.ToUpper(roff(Name(cmd))))
	line(".SH NAME\n%s \\- %s", roff(Name(cmd)), roff(cmd.Short))
	line(".SH SYNOPSIS\n.B %s", roff(cmd.UseLine()))
	line(".SH DESCRIPTION")
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			line(".PP")
		}
		line("%s", roff(p))
	}
	if flags := ownFlags(cmd); flags != "" {
		line(".SH OPTIONS")
		verbatim(flags)
	}
	if cmd.HasParent() {
		line(".SH GLOBAL OPTIONS")
		verbatim(cmd.InheritedFlags().FlagUsages())
	}
	if len(examples) > 0 {
		line(".SH EXAMPLES")
		verbatim(strings.Join(examples, "\n"))
	}
	line(".SH EXIT STATUS")
	for _, s := range exitStatuses {
		line(".TP\n.B %d\n%s", s.code, roff(s.says))
	}
	var see []string
	if cmd.HasParent() {
		see = append(see, Name(cmd.Parent()))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			see = append(see, Name(sub))
		}
	}
	if len(see) > 0 {
		line(".SH SEE ALSO")
		for i, name := range see {
			line(".BR %s (1)%s", roff(name), map[bool]string{true: ","}[i < len(see)-1])
		}
	}
	return b.String()
}

// Package complete gives shells what can stand in a place of a command line.
package complete

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/control"
)

// completeWithin is how long a shell may wait for names of the daemon. Without an
// answer there are none, and nothing is said.
const completeWithin = 500 * time.Millisecond

// completer gives what can stand in a place.
type completer struct {
	words func(a *cli.App, c completing) []string // each with a description after a tab; nil: none
	files bool                                    // where no word goes on as typed, files may
}

// completing is what is on the command line so far.
type completing struct {
	cmd   *cobra.Command
	args  []string // before
	typed string
}

func fixed[T ~string](list ...T) completer {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return completer{words: func(*cli.App, completing) []string { return words }}
}

// takesFile reports whether a flag's value is the name of a file or folder.
func takesFile(f *pflag.Flag) bool {
	return slices.ContainsFunc([]string{"home", "config", "file", "cert", "snapshot", "identity", "case", "import"}, func(word string) bool {
		return f.Name == word || strings.HasSuffix(f.Name, "-"+word)
	})
}

// AddDefaults adds the commands "help" and "completion" of cobra, which here say
// what was meant by a word that they do not know.
func AddDefaults(a *cli.App, root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.AddCommand(installCommand(a, root))
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	root.SetHelpCommand(&cobra.Command{
		Use: "help [command]", Short: "Show the help of a command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) (out []string, _ cobra.ShellCompDirective) {
			cmd, _, err := root.Find(args)
			if err == nil {
				for _, sub := range cmd.Commands() {
					if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), typed) {
						out = append(out, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 && cmd.HasSubCommands() {
				err = cmd.ValidateArgs(rest)
			}
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	})
}

// Register gives every command its completers. It panics where an argument has none, not
// even one that completes nothing: that is a line missing in placeholders or argumentsOf.
func Register(a *cli.App, cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		Register(a, sub)
	}
	if cmd.ValidArgsFunction == nil {
		arguments := argumentsFor(cmd)
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) >= len(arguments) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return complete(a, arguments[len(args)], completing{cmd, args, typed})
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		c, ok := flagValues[cmd.CommandPath()+" --"+f.Name]
		if !ok {
			c, ok = flagValues[f.Name]
		}
		if !ok && takesFile(f) {
			return // the shell completes files by itself
		}
		if !ok {
			c = nothing
		}
		if _, ok := cmd.GetFlagCompletionFunc(f.Name); ok {
			return
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			return complete(a, c, completing{cmd, args, typed})
		}) // the flag is there
	})
}

// argumentsFor are the completers of a command's arguments, in order.
func argumentsFor(cmd *cobra.Command) []completer {
	names := argumentNames(cmd)
	if own, ok := argumentsOf[cmd.CommandPath()]; ok {
		if len(own) != len(names) {
			panic(fmt.Sprintf("%s takes %q, and has %d completers", cmd.CommandPath(), names, len(own)))
		}
		return own
	}
	var out []completer
	for _, name := range names {
		c, ok := placeholders[name]
		if !ok {
			panic(fmt.Sprintf("%s: no completer for <%s>: add it to placeholders", cmd.CommandPath(), name))
		}
		out = append(out, c)
	}
	return out
}

// argumentNames reads the arguments in a usage line: <needed> and [optional].
func argumentNames(cmd *cobra.Command) []string {
	var names []string
	rest := cmd.Use
	for {
		i := strings.IndexAny(rest, "<[")
		if i < 0 {
			return names
		}
		end := strings.IndexAny(rest[i:], ">]")
		if end < 0 {
			return names
		}
		names = append(names, strings.Trim(rest[i+1:i+end], "<[."))
		rest = rest[i+end+1:]
	}
}

// complete gives what goes on from what is typed. Of a list, only the last is.
func complete(a *cli.App, c completer, at completing) ([]string, cobra.ShellCompDirective) {
	before := at.typed[:strings.LastIndex(at.typed, ",")+1]
	at.typed = at.typed[len(before):]
	var out []string
	if c.words != nil {
		for _, s := range c.words(a, at) {
			value, description, _ := strings.Cut(s, "\t")
			if strings.HasPrefix(strings.ToLower(value), strings.ToLower(at.typed)) {
				out = append(out, before+value+term.Optional("\t", description))
			}
		}
	}
	if len(out) == 0 && c.files {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// soon asks the daemon, if one runs and answers soon; otherwise the answer is empty.
func soon[P, R any](a *cli.App, m control.Method[P, R], params P) R {
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	quiet := *a
	quiet.Err = io.Discard
	r, _ := m.Call(ctx, &quiet, params) // a shell has no use for why
	return r
}

// each is a word for each of what the daemon lists.
func each[P, R any](a *cli.App, m control.Method[P, []R], params P, word func(R) string) (out []string) {
	for _, x := range soon(a, m, params) {
		out = append(out, word(x))
	}
	return out
}

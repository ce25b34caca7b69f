// Command ogp is a federated front door for an AI agent gateway: a daemon that
// exchanges signed messages with other gateways, the rendezvous that helps them
// find each other, and the commands to run both.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/agents"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/backup"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/complete"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/conform"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/demo"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/doctor"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/former"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/key"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/licenses"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/logs"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/manual"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/migrate"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/notify"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/page"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/rendezvous"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/service"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/setup"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/text"
)

//go:generate sh -c "go run . man --markdown > ../../docs/cli.md"

// commands lists the top-level commands: one line adds one.
var commands = []func(*cli.App) *cobra.Command{
	setup.Command,
	startCommand,
	demo.Command,
	stopCommand,
	statusCommand,
	doctor.Command,
	eventsCommand,
	logs.Command,
	service.Command,
	manual.Command,
	whoamiCommand,
	key.Command,
	key.SignerCommand,
	federationCommand,
	inboxCommand,
	outboxCommand,
	deliveryCommand,
	rendezvous.Command,
	pluginCommand,
	policyCommand,
	notify.Command,
	agents.MCPCommand,
	agents.Command,
	a2aCommand,
	page.Command,
	peersCommand,
	migrate.Command,
	backup.Command,
	backup.RestoreCommand,
	backup.StoreCommand,
	conform.Command,
	configCommand,
	versionCommand,
	licenses.Command,
}

func main() {
	plugin.CompileChildMain()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what does not end by itself
	a := &cli.App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Environ()}
	code := run(ctx, a, os.Args[1:])
	stop()
	os.Exit(code)
}

// run runs one command line and returns the exit status.
func run(ctx context.Context, a *cli.App, args []string) int {
	a.Version = programVersion()
	root := root(a)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) { // or its form without descriptions
		complete.Register(a, root)
	}
	args, err := typed(args)
	cmd := root
	if err == nil {
		root.SetArgs(args)
		cmd, err = root.ExecuteContextC(ctx)
	}
	if err == nil {
		return cli.Done
	}
	for _, arg := range args { // the command line may not have been read to its end
		if arg == "--" {
			break
		}
		a.JSON = a.JSON || arg == "--json"
	}
	return a.Fail(cmd, err)
}

// typed is the command line as it is meant: a key that is pasted as PEM begins with
// dashes, and is no flag.
func typed(args []string) ([]string, error) {
	args = slices.Clone(args)
	for i, arg := range args {
		if !utf8.ValidString(arg) {
			return args, cli.Usagef("argument %d is not UTF-8 text: %q", i+1, arg)
		}
		if strings.HasPrefix(arg, "-----BEGIN ") {
			args[i] = " " + arg
		}
	}
	return args, nil
}

// again runs one more command line, within another.
func again(a *cli.App) former.Run {
	return func(ctx context.Context, args ...string) error {
		cmd := root(a)
		cmd.SetArgs(args)
		return cmd.ExecuteContext(ctx)
	}
}

// freeText are usage lines with an argument that may begin with a dash.
var freeText = regexp.MustCompile(`[<[](payload|message|text or JSON)[]>]`)

func root(a *cli.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "ogp",
		Short: "A federated front door for your agent gateway",
		Long: `ogp lets two people who own AI agent gateways connect them: discover each
other, ask, approve, exchange signed messages within granted scopes, and part.

Start the gateway, and ask another one:

  ogp start
  ogp federation request https://ogp.example.org --alias ben`,
		SuggestionsMinimumDistance: 2,
		Version:                    a.Version, // --version, as old command lines have it
		SilenceErrors:              true,
		SilenceUsage:               true,
		Args:                       cobra.NoArgs,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.PersistentFlags().StringVar(&a.Home, "home", "", "state directory (default $OGP_HOME, else ~/.ogp)")
	root.PersistentFlags().StringVar(&a.File, "config", "", "configuration file (default config.toml in the state directory)")
	root.PersistentFlags().BoolVar(&a.JSON, "json", false, "print one JSON value")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		isFlag := config.IsFlagOf(err)
		err = config.FlagError(cmd.Flags(), err)
		if unknown, ok := errors.AsType[*core.Error](err); ok {
			_, name, _ := strings.Cut(unknown.Public, "unknown flag --")
			unknown.Hint = cmp.Or(former.FlagHint(name), unknown.Hint)
		}
		usage := cli.UsageError{Err: err}
		if freeText.MatchString(cmd.Use) && !isFlag {
			usage.Hint = "put \"--\" before arguments that begin with a dash"
		}
		return usage
	})
	root.Version = a.Version
	root.SetVersionTemplate(versionLine())
	root.CompletionOptions.HiddenDefaultCmd = false
	for _, make := range commands {
		root.AddCommand(make(a))
	}
	root.AddCommand(former.Commands(a, again(a))...)
	former.AddGone(root)
	complete.AddDefaults(a, root)
	wrapArgs(root)
	return root
}

// wrapArgs makes every wrong count of arguments a usage error, and a group's
// unknown subcommand one with a suggestion.
func wrapArgs(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	check := cmd.Args
	cmd.Args = func(c *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(c, args); err != nil {
			if c.HasSubCommands() && len(args) > 0 {
				text := fmt.Sprintf("unknown command %q", args[0])
				if near := nearest(args[0], c.SuggestionsFor(args[0])); near != "" {
					text += fmt.Sprintf("; did you mean %q?", near)
				}
				return cli.UsageError{Err: errors.New(text)}
			}
			return cli.UsageError{Err: errors.New(count(c, args, err)), Usage: c.UseLine()}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// nearest is the first of these suggestions that looks like what was typed. Two wrong
// letters in a word of four are another word ("tcsh" is no "bash"), unless the first
// letter or all the letters are the same.
func nearest(typed string, suggestions []string) string {
	letters := func(word string) string {
		all := []byte(strings.ToLower(word))
		slices.Sort(all)
		return string(all)
	}
	for _, name := range suggestions {
		if len(typed) > 4 || typed != "" && name != "" && strings.EqualFold(typed[:1], name[:1]) ||
			letters(typed) == letters(name) || text.Distance(strings.ToLower(typed), name) < 2 {
			return name
		}
	}
	return ""
}

// countForm is what cobra says of a wrong count of arguments.
var countForm = regexp.MustCompile(`^(accepts|requires) (?:(at least|at most|between) )?(\d+)(?: and (\d+))? arg\(s\), `)

// count says of a wrong count of arguments what was given and what is taken.
func count(c *cobra.Command, args []string, err error) string {
	given := "no argument was given"
	if len(args) > 0 {
		given = fmt.Sprintf("%s given", text.Count(len(args), "argument was", "arguments were"))
	}
	m := countForm.FindStringSubmatch(err.Error())
	switch {
	case m == nil && len(args) > 0: // cobra.NoArgs
		return fmt.Sprintf("%q is too much: %s takes no arguments", args[0], c.CommandPath())
	case m == nil:
		return err.Error()
	case m[2] == "between":
		return fmt.Sprintf("%s, and it takes %s to %s", given, m[3], m[4])
	case m[2] != "":
		return fmt.Sprintf("%s, and it takes %s %s", given, m[2], m[3])
	}
	return fmt.Sprintf("%s, and it takes %s", given, m[3])
}

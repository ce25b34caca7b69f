// Command ogp is a federated front door for an AI agent gateway: a daemon that
// exchanges signed messages with other gateways, the rendezvous that helps them
// find each other, and the commands to run both.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// The exit statuses. docs/cli.md
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3 // the peer said no
	exitUnreachable = 4 // the peer gave no answer
	exitNoDaemon    = 5
)

// commands lists the top-level commands: one line adds one.
var commands = []func(*app) *cobra.Command{
	initCommand,
	startCommand,
	demoCommand,
	stopCommand,
	statusCommand,
	doctorCommand,
	eventsCommand,
	logsCommand,
	serviceCommand,
	manCommand,
	whoamiCommand,
	federationCommand,
	inboxCommand,
	outboxCommand,
	rendezvousCommand,
	pluginCommand,
	peersCommand,
	importCommand,
	backupCommand,
	restoreCommand,
	conformanceCommand,
	configCommand,
	versionCommand,
}

// app is what a command has: its streams, its environment, and the flags that
// every command takes.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      []string

	home string // --home
	file string // --config
	json bool   // --json

	log *logWriter // of a daemon in the background; nil: standard error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what does not end by itself
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Environ()}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run runs one command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	for _, arg := range args { // the command line may not have been read to its end
		if arg == "--" {
			break
		}
		a.json = a.json || arg == "--json"
	}
	return a.fail(cmd, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ogp",
		Short: "A federated front door for your agent gateway",
		Long: `ogp lets two people who own AI agent gateways connect them: discover each
other, ask, approve, exchange signed messages within granted scopes, and part.

Start the gateway, and ask another one:

  ogp start
  ogp federation request https://ogp.example.org --alias ben`,
		SuggestionsMinimumDistance: 2,

		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.PersistentFlags().StringVar(&a.home, "home", "", "state directory (default $OGP_HOME, else ~/.ogp)")
	root.PersistentFlags().StringVar(&a.file, "config", "", "configuration file (default config.toml in the state directory)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print one JSON value")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{config.FlagError(cmd.Flags(), err)}
	})
	root.CompletionOptions.HiddenDefaultCmd = false
	for _, make := range commands {
		root.AddCommand(make(a))
	}
	addDefaults(root)
	wrapArgs(root)
	a.completions(root)
	return root
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

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
				if near := c.SuggestionsFor(args[0]); len(near) > 0 {
					text += fmt.Sprintf("; did you mean %q?", near[0])
				}
				return usageError{errors.New(text)}
			}
			return usageError{fmt.Errorf("%w\nusage: %s", err, c.UseLine())}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// group makes a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	first := subs[0].Long
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, SuggestionsMinimumDistance: 2,
		Long: short + ".\n\n" + first[strings.LastIndex(first, "\n\n")+2:], // an example
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(subs...)
	return cmd
}

// errPrinted is returned by commands that have said what went wrong already.
type errPrinted int

func (e errPrinted) Error() string { return "" }

// fail says what went wrong and what to do next, and returns the exit status.
func (a *app) fail(cmd *cobra.Command, err error) int {
	var printed errPrinted
	if errors.As(err, &printed) {
		return int(printed)
	}
	view, code := describe(err)
	if a.json {
		a.writeJSON(map[string]api.ErrorView{"error": view})
		return code
	}
	fmt.Fprintf(a.err, "%s: %s\n", cmd.CommandPath(), safeText(view.Message))
	for _, c := range view.Candidates {
		fmt.Fprintf(a.err, "  %s\n", c)
	}
	if view.Hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", strings.ReplaceAll(view.Hint, "\n", "\n      "))
	}
	return code
}

func describe(err error) (api.ErrorView, int) {
	view := api.ErrorOf(err)
	var usage usageError
	var settings config.Problems
	var e *core.Error
	if errors.As(err, &settings) {
		view.Kind, view.Hint = "config", settings.Hint()
	}
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		return api.ErrorView{Kind: "no-daemon", Message: "no daemon is running",
			Hint: `"ogp start" runs it here, "ogp start --background" in the background`}, exitNoDaemon
	case errors.As(err, &usage), slices.ContainsFunc(settings, onFlag):
		view.Kind = "usage"
		return view, exitUsage
	case errors.Is(err, context.Canceled):
		view.Kind, view.Message = "canceled", "interrupted"
		return view, exitFailed
	case errors.As(err, &e):
		switch e.Kind {
		case core.Refused:
			return view, exitRefused
		case core.Unreachable:
			return view, exitUnreachable
		}
	}
	return view, exitFailed
}

// onFlag reports whether a mistake in the settings was made on the command line.
func onFlag(p config.Problem) bool { return strings.HasPrefix(p.Where, "--") }

func (a *app) writeJSON(v any) {
	text, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err != nil {
		panic(err) // our own views
	}
	fmt.Fprintf(a.out, "%s\n", safeJSON(text))
}

// stateDir is the state directory, whether it is there or not. It is absolute, as
// the control socket's place is made from it.
func (a *app) stateDir() (string, error) {
	if a.home != "" {
		return filepath.Abs(a.home)
	}
	dir, err := config.Home(a.env)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// daemon returns a client of the running daemon.
func (a *app) daemon() (*control.Client, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	return control.Dial(control.Path(dir)), nil
}

// Call calls the running daemon.
func (a *app) Call(ctx context.Context, method string, params, result any) error {
	d, err := a.daemon()
	if err != nil {
		return err
	}
	stop := a.spin(method)
	defer stop()
	return d.Call(ctx, method, params, result)
}

// answers reports whether a daemon runs.
func (a *app) answers(ctx context.Context) bool {
	_, err := api.Status.Call(ctx, a, api.None{})
	return err == nil
}

// getenv reads the app's environment.
func (a *app) getenv(name string) string {
	for i := len(a.env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(a.env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// Package cli is what every command has: streams, environment, common flags, the way
// to the daemon, errors with their exit statuses, and JSON out.
package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// The exit statuses. docs/cli.md
const (
	Done        = 0
	Failed      = 1
	Usage       = 2
	Refused     = 3 // the peer said no
	Unreachable = 4 // the peer gave no answer
	NoDaemon    = 5
)

// ToFileFlag is the hidden flag of "ogp start" that lets it log to a file, as a daemon
// in the background and some services do.
const ToFileFlag = "log-to-file"

// App is what a command has: its streams, its environment, and the flags that
// every command takes.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Env      []string
	Version  string // of the program

	Home string // --home
	File string // --config
	JSON bool   // --json

	// LogFile is where Out and Err lead to in a daemon in the background; empty: where
	// they did when the process started.
	LogFile string
}

var _ control.Caller = (*App)(nil)

// UsageError is a mistake on the command line.
type UsageError struct {
	Err   error
	Usage string // how the command is called, where the mistake is about that
	Hint  string
}

// Error is what Err says.
func (u UsageError) Error() string { return u.Err.Error() }

// Unwrap returns Err.
func (u UsageError) Unwrap() error { return u.Err }

// Usagef is a mistake on the command line, in words.
func Usagef(format string, args ...any) error { return UsageError{Err: fmt.Errorf(format, args...)} }

// Group makes a command that only holds others.
func Group(use, short string, subs ...*cobra.Command) *cobra.Command {
	first := subs[0].Long
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, SuggestionsMinimumDistance: 2,
		Long: short + ".\n\n" + first[strings.LastIndex(first, "\n\n")+2:], // an example
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(subs...)
	return cmd
}

// ErrPrinted is returned by commands that have said what went wrong already.
type ErrPrinted int

func (e ErrPrinted) Error() string { return "" }

// UsageHint is a mistake on the command line, in words, and what to do instead.
func UsageHint(hint, format string, args ...any) error {
	return UsageError{Err: fmt.Errorf(format, args...), Hint: hint}
}

// StateDir is the state directory, whether it is there or not. It is absolute, as
// the control socket's place is made from it.
func (a *App) StateDir() (string, error) {
	if a.Home != "" {
		dir := config.ExpandHome(a.Env, a.Home)
		if strings.HasPrefix(dir, "~") || strings.Contains(dir, "$") { // not expanded: no name that anybody means
			return "", Usagef("--home %q cannot be expanded: write the path from the root on", a.Home)
		}
		return filepath.Abs(dir)
	}
	dir, err := config.Home(a.Env)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// Here puts --home and --config into the commands that a line of a text begins with, or
// that it names in quotes, where they were given as flags: typed without them, they would
// act on another gateway. A text that has them stays as it is.
func (a *App) Here(text string) string {
	place := a.place()
	if place == "" {
		return text
	}
	var pairs []string
	for _, before := range []string{`"ogp `, "\nogp "} {
		pairs = append(pairs, before+place, before+place, before, before+place) // once, however often it is called
	}
	return strings.NewReplacer(pairs...).Replace("\n" + text)[1:]
}

// HereFormat is Here for a format of fmt.
func (a *App) HereFormat(format string) string {
	escaped := &App{Home: strings.ReplaceAll(a.Home, "%", "%%"), File: strings.ReplaceAll(a.File, "%", "%%")}
	return escaped.Here(format)
}

// Sayf prints what we say: --home is put into the commands of the format, as Here does, and
// the arguments, which may be anybody's words, stay as they are.
func (a *App) Sayf(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, a.HereFormat(format), args...)
}

// Command is a command line for this gateway, as it can be typed.
func (a *App) Command(words ...string) string { return "ogp " + a.place() + Quoted(words...) }

// place is the flags that say which gateway is meant, as given, or "".
func (a *App) place() string {
	var words []string
	if a.Home != "" {
		words = append(words, "--home", a.Home)
	}
	if a.File != "" {
		words = append(words, "--config", a.File)
	}
	if words == nil {
		return ""
	}
	return Quoted(words...) + " "
}

// Daemon returns a client of the running daemon.
func (a *App) Daemon() (*control.Client, error) {
	dir, err := a.StateDir()
	if err != nil {
		return nil, err
	}
	return control.Dial(control.Path(dir)), nil
}

// Call calls the running daemon.
func (a *App) Call(ctx context.Context, method string, params, result any) error {
	d, err := a.Daemon()
	if err != nil {
		return err
	}
	stop := a.Spin(method)
	defer stop()
	return d.Call(ctx, method, params, result)
}

// Answers reports whether a daemon runs.
func (a *App) Answers(ctx context.Context) bool {
	_, err := api.Status.Call(ctx, a, api.None{})
	return err == nil
}

// Getenv reads the app's environment.
func (a *App) Getenv(name string) string { return config.Getenv(a.Env, name) }

// Load reads the configuration.
func (a *App) Load(cmd *cobra.Command) (*config.Config, config.Origins, []config.Warning, error) {
	return config.Load(a.LoadOptions(cmd))
}

// LoadOptions say where the configuration is. cmd has flags for settings; nil: none.
func (a *App) LoadOptions(cmd *cobra.Command) config.Options {
	o := config.Options{Home: config.ExpandHome(a.Env, a.Home), File: a.File, Env: a.Env}
	if cmd != nil {
		o.Flags = cmd.Flags()
	}
	return o
}

// Quoted writes words as a shell wants them.
func Quoted(words ...string) string {
	out := make([]string, len(words))
	for i, s := range words {
		if s == "" || strings.ContainsAny(s, " \t\n'\"\\!$`?*<>|&;()[]{}~#") {
			s = "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
		out[i] = s
	}
	return strings.Join(out, " ")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/settings"
)

func configSetCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "set <key> <value>", Short: "Set a value in the configuration file", Args: cobra.ExactArgs(2),
		Long: `Set a value in the configuration file, written as for a flag: separate the items of
a list with commas. Only that line changes. A running gateway reloads the file by
itself.

  ogp config set gateway_url https://ogp.example.org`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := settings.Parse(args[0], args[1])
			if err != nil {
				return cli.UsageError{Err: err}
			}
			if s.Literal() == `"[redacted]"` {
				return cli.Usagef("a secret does not belong on a command line: give '${VARIABLE}' or file:/path")
			}
			return writeSetting(cmd.Context(), a, s, "Set")
		},
	}
}

func configUnsetCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "unset <key>", Short: "Remove a value from the configuration file", Args: cobra.ExactArgs(1),
		Long: `Remove a value from the configuration file, so that the default applies. Its line
becomes a comment; nothing else changes.

  ogp config unset gateway_url`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeSetting(cmd.Context(), a, settings.Setting{Key: args[0]}, "Unset")
		},
	}
}

// writeSetting changes the file, and says what counts now where that is not the file.
func writeSetting(ctx context.Context, a *cli.App, s settings.Setting, done string) error {
	dir, err := a.StateDir()
	if err != nil {
		return err
	}
	_, origins, _, err := a.Load(nil)
	if err != nil {
		return err
	}
	was := origins.Of(s.Key).Layer
	if s.Value == nil && was != config.LayerFile {
		if _, err := settings.Parse(s.Key, ""); errors.Is(err, core.NotFound) {
			return cli.UsageError{Err: err}
		}
	}
	path := settings.Path(a.File, dir)
	if s.Value == nil && len(settings.Differing(path, []settings.Setting{s})) == 0 {
		return a.Done(map[string]string{"key": s.Key, "file": path}, "%s is not set in %s", s.Key, path)
	}
	err = settings.Write(a.Env, dir, path, []settings.Setting{s})
	if wrong, ok := errors.AsType[config.Problems](err); ok && slices.ContainsFunc(wrong, func(p config.Problem) bool { return p.Key == s.Key }) {
		return cli.UsageError{Err: err} // other mistakes are the file's
	}
	if err != nil {
		return err
	}
	where := ""
	if was == config.LayerEnv {
		where = origins.Of(s.Key).Where
	}
	if v, err := api.Config.Call(ctx, a, api.ConfigParams{}); err == nil { // its environment is not ours
		if where = v.Overrides[s.Key]; where != "" {
			where += " where the gateway runs"
		}
	}
	if where != "" {
		fmt.Fprintf(a.Err, "note: %s is set by %s, which overrides the file\n", s.Key, where)
	}
	return a.Done(map[string]string{"key": s.Key, "file": path}, "%s %s in %s", done, s.Key, path)
}

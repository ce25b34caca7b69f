package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

func configCommand(a *cli.App) *cobra.Command {
	return cli.Group("config", "Check, show and change the configuration", configCheckCommand(a), configShowCommand(a), configSetCommand(a), configUnsetCommand(a), configExampleCommand(a))
}

func configCheckCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration", Args: cobra.NoArgs,
		Long: "Check the configuration: file, environment and flags. Every mistake is named with its place.\n\n  ogp config check",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := a.LoadOptions(cmd)
			o.Strict = true
			cfg, origins, warnings, err := config.Load(o)
			if err != nil {
				return err
			}
			if bad := cfg.CheckSecrets(origins); len(bad) > 0 {
				return bad
			}
			found, err := checkParts(cmd, a)
			if err != nil {
				return err
			}
			warnings = append(warnings, found...)
			if a.JSON {
				texts := []string{}
				for _, w := range warnings {
					texts = append(texts, fmt.Sprint(w))
				}
				a.WriteJSON(map[string]any{"ok": true, "warnings": texts})
				return nil
			}
			for _, w := range warnings {
				fmt.Fprintln(a.Err, "warning:", w)
			}
			fmt.Fprintln(a.Out, "The configuration is good.")
			return nil
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

// checkParts looks at what the configuration makes of plugins and notifiers: what cannot
// work is an error, as in "ogp doctor".
func checkParts(cmd *cobra.Command, a *cli.App) (warnings []config.Warning, err error) {
	installed, _, err := cli.OnState(cmd.Context(), a, api.PluginInstalled, api.None{}, false)
	if err != nil {
		return nil, err
	}
	o, err := a.DaemonOptions(cmd)
	if err != nil {
		return nil, err
	}
	checks, err := daemon.CheckConfigured(cmd.Context(), o, installed)
	if err != nil {
		return nil, err
	}
	var bad config.Problems
	for _, c := range checks {
		what := c.Name + ": " + c.Text
		if c.State == api.CheckFail {
			bad = append(bad, config.Problem{Key: c.Name, What: what, Hint: c.Fix})
			continue
		}
		warnings = append(warnings, config.Warning(what+term.Optional("\n  fix: ", c.Fix)))
	}
	if len(bad) > 0 {
		return nil, bad
	}
	return warnings, nil
}

func configShowCommand(a *cli.App) *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show the configuration in force", Args: cobra.NoArgs,
		Long: "Show every setting, as a file would have it; with --origin, which layer set it. Secrets are not shown.\n\n  ogp config show --origin",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, origins, _, err := a.Load(cmd)
			if err != nil {
				return err
			}
			if a.JSON {
				text, err := cfg.JSON(origins, origin)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "%s\n", text)
				return nil
			}
			fmt.Fprint(a.Out, cfg.Show(origins, origin))
			return nil
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	config.Flags(cmd.Flags())
	return cmd
}

func configExampleCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "example", Short: "Print a configuration file with every setting", Args: cobra.NoArgs,
		Long: "Print a configuration file with every setting, its default and its unit.\n\n  ogp config example > config.toml",
		RunE: func(*cobra.Command, []string) error {
			if a.JSON {
				a.WriteJSON(map[string]string{"toml": config.Example()})
				return nil
			}
			fmt.Fprint(a.Out, config.Example())
			return nil
		},
	}
}

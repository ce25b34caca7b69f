package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core/config"
)

func configCommand(a *app) *cobra.Command {
	return group("config", "Check and show the configuration", configCheckCommand(a), configShowCommand(a), configExampleCommand(a))
}

func configCheckCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration", Args: cobra.NoArgs,
		Long: "Check the configuration: file, environment and flags. Every mistake is named with its place.\n\n  ogp config check",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := a.loadOptions(cmd)
			o.Strict = true
			cfg, origins, warnings, err := config.Load(o)
			if err != nil {
				return err
			}
			if unreadable := cfg.CheckSecrets(origins); len(unreadable) > 0 {
				return unreadable
			}
			if a.json {
				texts := []string{}
				for _, w := range warnings {
					texts = append(texts, fmt.Sprint(w))
				}
				a.writeJSON(map[string]any{"ok": true, "warnings": texts})
				return nil
			}
			for _, w := range warnings {
				fmt.Fprintln(a.err, "warning:", w)
			}
			fmt.Fprintln(a.out, "The configuration is good.")
			return nil
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func configShowCommand(a *app) *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show the configuration in force", Args: cobra.NoArgs,
		Long: "Show every setting, as a file would have it; with --origin, which layer set it. Secrets are not shown.\n\n  ogp config show --origin",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, origins, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			if a.json {
				text, err := cfg.JSON(origins, origin)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%s\n", text)
				return nil
			}
			fmt.Fprint(a.out, cfg.Show(origins, origin))
			return nil
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	config.Flags(cmd.Flags())
	return cmd
}

func configExampleCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "example", Short: "Print a configuration file with every setting", Args: cobra.NoArgs,
		Long: "Print a configuration file with every setting, its default and its unit.\n\n  ogp config example > config.toml",
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				a.writeJSON(map[string]string{"toml": config.Example()})
				return nil
			}
			fmt.Fprint(a.out, config.Example())
			return nil
		},
	}
}

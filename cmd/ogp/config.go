package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

func configCommand(a *cli.App) *cobra.Command {
	return cli.Group("config", "Check, show and change the configuration", configCheckCommand(a), configShowCommand(a), configSetCommand(a), configUnsetCommand(a), configExampleCommand(a))
}

func configCheckCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration", Args: cobra.NoArgs,
		Long: "Check the configuration: file, environment and flags. It reports every mistake and where it is.\n\n  ogp config check",
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
		warnings = append(warnings, config.Warning(what+term.Optional("\n  fix: ", a.Here(c.Fix))))
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
		Long: `Show every setting that is in force in the running daemon, in the form of a
configuration file, and where its file differs. Without a running daemon, or with
settings as flags, show what the next start would use. --origin adds where each
value comes from. Secrets are not shown.

  ogp config show --origin`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, note, err := shownConfig(cmd, a, api.ConfigParams{Origin: origin})
			if err != nil {
				return err
			}
			if a.JSON {
				v.TOML = "" // the same once more
				a.WriteJSON(v)
				return nil
			}
			fmt.Fprint(a.Out, term.SafeText(v.TOML))
			for _, line := range append([]string{note}, differences(v)...) {
				fmt.Fprintln(a.Err, "note:", term.SafeText(line))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	config.Flags(cmd.Flags())
	return cmd
}

// shownConfig is the configuration of the daemon or, where there is none or flags set
// something, what a start would put in force; note says which.
func shownConfig(cmd *cobra.Command, a *cli.App, p api.ConfigParams) (v api.ConfigView, note string, err error) {
	o, err := a.DaemonOptions(cmd)
	if err != nil {
		return v, "", err
	}
	note = "no daemon is running on " + o.Dir + ": this is what a start would put in force"
	if len(config.GivenFlags(cmd.Flags())) > 0 || a.File != "" {
		note = "this is what a start with these flags would put in force"
	} else if v, err = api.Config.Call(cmd.Context(), a, p); !errors.Is(err, control.ErrNoDaemon) {
		return v, fmt.Sprintf("in force in the daemon (pid %d)", v.PID), err
	}
	v, err = daemon.Configuration(o, p)
	return v, note, err
}

// differences say where the file of a daemon says otherwise than is in force.
func differences(v api.ConfigView) []string {
	var out []string
	if v.FileError != nil {
		out = append(out, v.File+" cannot be used, so the settings read before it stay in force: "+v.FileError.Message)
	}
	for _, d := range v.Differs {
		line := d.Key
		if d.InForce != "" {
			line += " = " + d.InForce
		}
		line += " (" + d.From + "), and "
		switch {
		case d.FileAt == config.LayerDefault && v.File == "":
			line += "no file sets it"
		case d.FileAt == config.LayerDefault:
			line += v.File + " does not set it"
		case d.File == "":
			line += d.FileAt + " says otherwise"
		default:
			line += d.FileAt + " says " + d.File
		}
		if d.Restart {
			line += ", which takes effect at the next start"
		}
		out = append(out, line)
	}
	return out
}

func configExampleCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "example", Short: "Print a configuration file with every setting", Args: cobra.NoArgs,
		Long: "Print a configuration file with every setting, its default and its unit.\n\n  ogp config example > config.toml",
		RunE: func(*cobra.Command, []string) error {
			return a.Print(map[string]string{"toml": config.Example()}, func() {
				fmt.Fprint(a.Out, config.Example())
			})
		},
	}
}

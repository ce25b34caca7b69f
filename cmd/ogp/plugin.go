package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/trial"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/sdk/scaffold"
)

func pluginCommand(a *cli.App) *cobra.Command {
	return cli.Group("plugin", "Write, test, install and monitor plugins", pluginListCommand(a), pluginInspectCommand(a), trial.RunCommand(a),
		trial.TestCommand(a), trial.BenchCommand(a), pluginInstallCommand(a), pluginRemoveCommand(a), pluginReloadCommand(a),
		pluginKVCommand(a), pluginNewCommand(a))
}

func policyCommand(a *cli.App) *cobra.Command {
	return cli.Group("policy", "Explain what rules and policies decide, and try others", trial.ExplainCommand(a), trial.ReplayCommand(a))
}

func pluginListCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List plugins and their state", Args: cobra.NoArgs,
		Long: "List the plugins in force in the order in which policies are asked: their hooks, calls, refused messages and failures. Without a running daemon, these are the plugins that the next start would load.\n\n  ogp plugin list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, running, err := cli.OnState(cmd.Context(), a, api.Plugins, api.None{}, false)
			if err != nil {
				return err
			}
			return a.Print(map[string]any{"running": running, "plugins": list}, func() {
				if len(list) == 0 {
					a.Sayf(a.Err, "No plugins. \"ogp plugin new my-policy\" begins one.\n")
					return
				}
				rows := make([][]string, len(list))
				for i, v := range list {
					rows[i] = []string{v.Name, v.State, trial.Hooks(v.Hooks), fmt.Sprint(v.Order), fmt.Sprint(v.Calls), fmt.Sprint(v.Refusals), fmt.Sprint(v.Failures),
						v.Source, fmt.Sprintf("%.12s", v.SHA256)}
				}
				term.Table(a.Out, []string{"NAME", "STATE", "HOOKS", "ORDER", "CALLS", "REFUSED", "FAILED", "FROM", "SHA-256"}, rows)
				for _, v := range list {
					for _, p := range v.Problems {
						fmt.Fprintf(a.Err, "%s: %s\n", v.Name, term.SafeText(p.Text))
					}
					if v.Approves {
						fmt.Fprintf(a.Err, "%s: may approve strangers, with at most these grants: %s\n", v.Name, term.SafeText(plugin.GrantWords(v.AtMost)))
					}
					if v.Replies {
						fmt.Fprintf(a.Err, "%s: may answer peers' messages\n", v.Name)
					}
				}
				if !running {
					fmt.Fprintln(a.Err, "No daemon is running; this is what a start would load.")
				}
			})
		},
	}
}

type inspectView struct {
	Name        string            `json:"name"`
	Version     string            `json:"version,omitempty"`
	Description string            `json:"description,omitempty"`
	Author      string            `json:"author,omitempty"`
	License     string            `json:"license,omitempty"`
	Kind        plugin.ModuleKind `json:"kind"`
	Hooks       []plugin.Hook     `json:"hooks"`
	Intents     []string          `json:"intents,omitempty"`
	Batch       bool              `json:"batch,omitempty"`
	Path        string            `json:"path,omitempty"`
	Size        int               `json:"size"` // bytes
	SHA256      string            `json:"sha256"`
	Imports     []string          `json:"imports"`
	Limits      limitsView        `json:"limits"`
	Asks        api.AsksView      `json:"asks"`
	Missing     []string          `json:"missing,omitempty"` // asked and not granted in this gateway
	SelfTests   int               `json:"selfTests"`
	Approves    bool              `json:"approves"` // it may approve strangers in this gateway
	AtMost      []core.Grant      `json:"atMost,omitempty"`
	Replies     bool              `json:"replies"` // it may answer peers' messages in this gateway
}

type limitsView struct {
	Timeout   string `json:"timeout"`
	MemoryMiB int64  `json:"memoryMiB"`
	Fuel      int64  `json:"fuel"`
	Instances int    `json:"instances"`
}

// askLines say what is asked, for people.
func askLines(v api.AsksView) (out []string) {
	for _, l := range v.Lines() {
		out = append(out, term.SafeText(l.Words))
	}
	return out
}

func pluginInspectCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "inspect <file, folder or name>", Short: "Show what a plugin is and what it asks for", Args: cobra.ExactArgs(1),
		Long: "Show a plugin's kind, hooks, imports, size and hash, and what it asks for. The plugin is not run, and no daemon is needed.\n\n  ogp plugin inspect openclaw",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := trial.Find(cmd.Context(), a, args[0])
			if err != nil {
				return err
			}
			m, l := f.Module.Manifest, f.Module.Manifest.Limits
			v := inspectView{Name: m.Name, Version: m.Version, Description: m.Description, Author: m.Author, License: m.License, Kind: f.Module.Kind,
				Hooks: m.Hooks, Intents: m.Intents, Batch: m.Batch, Path: f.Spec.Path, Size: f.Module.Size, SHA256: f.Module.SHA256,
				Imports: f.Module.Imports, Asks: api.AsksOf(m), SelfTests: len(m.SelfTests),
				Limits: limitsView{durationText(l.Timeout), l.MemoryMiB, l.Fuel, l.Instances}}
			if f.Granted != nil {
				v.Missing = f.Granted.Missing(m.Asks())
				v.Approves, v.AtMost, v.Replies = f.Granted.Approves, f.Granted.AtMost, f.Granted.Replies
			}
			return a.Print(v, func() {
				showInspect(a, v)
			})
		},
	}
}

func durationText(d plugin.Duration) string {
	text, _ := d.MarshalText() // has no error
	return string(text)
}

func showInspect(a *cli.App, v inspectView) {
	line := func(k, text string) {
		if text != "" {
			fmt.Fprintf(a.Out, "%-9s %s\n", k, term.SafeText(text))
		}
	}
	line("Name", v.Name+term.Optional(" ", v.Version)+term.Optional("  ", v.Description))
	line("Author", v.Author+term.Optional("  ", v.License))
	line("Kind", string(v.Kind))
	line("Hooks", trial.Hooks(v.Hooks)+term.Optional("  for ", strings.Join(v.Intents, ", ")))
	line("File", v.Path)
	line("Size", fmt.Sprintf("%d bytes", v.Size))
	line("SHA-256", v.SHA256)
	line("Limits", fmt.Sprintf("%s and %d units of work a call, %d MiB, %d at once", v.Limits.Timeout, v.Limits.Fuel, v.Limits.MemoryMiB, v.Limits.Instances))
	if v.Approves {
		line("Power", "may approve strangers, with at most these grants: "+plugin.GrantWords(v.AtMost))
	}
	if v.Replies {
		line("Power", "may answer peers' messages")
	}
	line("Imports", term.Dash(strings.Join(v.Imports, " ")))
	asks := askLines(v.Asks)
	if len(asks) == 0 {
		line("Asks", "nothing")
	}
	for i, text := range asks {
		line([]string{"Asks", ""}[min(i, 1)], text)
	}
	for i, text := range v.Missing {
		line([]string{"Missing", ""}[min(i, 1)], text)
	}
}

func pluginNewCommand(a *cli.App) *cobra.Command {
	var lang, hook string
	cmd := &cobra.Command{
		Use: "new <name> [folder]", Short: "Create a plugin project", Args: cobra.RangeArgs(1, 2),
		Long: "Write the project of a new plugin, with a test case and a Makefile, into a new folder. It builds offline; only extism-go needs Extism's PDK first.\n\n  ogp plugin new small-only --lang go --hook message",
		RunE: func(_ *cobra.Command, args []string) error {
			if lang != "" && !slices.Contains(scaffold.Langs, lang) {
				return cli.Usagef("--lang %q: want one of %s", lang, strings.Join(scaffold.Langs, ", "))
			}
			if hook == "policy" {
				hook = scaffold.Hooks[0]
			}
			if hook != "" && !slices.Contains(scaffold.Hooks, hook) {
				return cli.Usagef("--hook %q: want one of %s", hook, strings.Join(scaffold.Hooks, ", "))
			}
			name, dir := args[0], args[len(args)-1]
			if err := scaffold.Write(dir, name, lang, hook); err != nil {
				return errors.New(strings.TrimPrefix(err.Error(), "scaffold: "))
			}
			return a.Print(map[string]string{"name": name, "folder": dir, "lang": lang, "hook": hook}, func() {
				fmt.Fprintf(a.Out, "Wrote %s\n", dir)
				a.Sayf(a.Err, "Next: cd %s, make test, make, then \"ogp plugin install %s.wasm\"; its README has more\n", cli.Quoted(dir), name)
			})
		},
	}
	cmd.Flags().StringVar(&lang, "lang", scaffold.Langs[0], strings.Join(scaffold.Langs, ", "))
	cmd.Flags().StringVar(&hook, "hook", scaffold.Hooks[0], strings.Join(scaffold.Hooks, ", "))
	return cmd
}

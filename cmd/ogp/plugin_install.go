package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/trial"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/text"
)

type installResult struct {
	Plugin     hooks.View       `json:"plugin"`
	Running    bool             `json:"running"`
	Asks       api.AsksView     `json:"asks"`
	Difference hooks.Difference `json:"difference"`
	Cases      int              `json:"cases"` // that were run before
	Next       []string         `json:"next,omitempty"`
}

func pluginInstallCommand(a *cli.App) *cobra.Command {
	var p api.InstallParams
	var how installHow
	cmd := &cobra.Command{
		Use: "install <file or folder>", Short: "Install a plugin and grant what it asks for", Args: cobra.ExactArgs(1),
		Long: "Show what a plugin asks for, grant it that, and copy the plugin into the state directory. Its self-tests and the cases beside it run first. A running gateway uses it at once; an installed plugin of the same name is replaced.\n\n  ogp plugin install ./small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			how.ordered = cmd.Flags().Changed("order")
			r, err := install(cmd.Context(), a, args[0], p, how)
			if err != nil {
				return err
			}
			return a.Print(r, func() {
				verb := "Installed"
				if !r.Difference.New {
					verb = "Replaced"
				}
				fmt.Fprintf(a.Out, "%s %s (%s), SHA-256 %.12s: %s\n", verb, r.Plugin.Name, trial.Hooks(r.Plugin.Hooks), r.Plugin.SHA256, r.Plugin.State)
				if !r.Running {
					a.Sayf(a.Err, "No daemon is running; \"ogp start\" loads it.\n")
				}
				for _, next := range r.Next {
					fmt.Fprintln(a.Err, "Next:", a.Here(next))
				}
			})
		},
	}
	cmd.Flags().StringVar(&p.Name, "name", "", "its name in this gateway (default: its manifest's)")
	cmd.Flags().IntVar(&p.Order, "order", 0, "its place among the policies, lowest first")
	cmd.Flags().BoolVarP(&how.yes, "yes", "y", false, "grant what it asks for, without asking")
	cmd.Flags().BoolVar(&how.noApprovals, "no-approvals", false, "do not grant the power to approve strangers")
	cmd.Flags().BoolVar(&how.noReplies, "no-replies", false, "do not grant the power to answer peers' messages")
	cmd.Flags().BoolVar(&how.noCases, "no-cases", false, "do not run the cases that come with it")
	return cmd
}

// installHow are the flags of an installation.
type installHow struct{ yes, ordered, noApprovals, noReplies, noCases bool }

func install(ctx context.Context, a *cli.App, ref string, p api.InstallParams, how installHow) (r installResult, err error) {
	if p.Source, err = filepath.Abs(ref); err != nil {
		return r, err
	}
	files, err := hooks.ReadFiles(p.Source)
	if err != nil {
		return r, err
	}
	spec, err := files.Spec()
	if err != nil {
		return r, err
	}
	module, err := plugin.Inspect(spec)
	if err != nil {
		return r, err
	}
	if p.Name == "" {
		p.Name = module.Manifest.Name
	}
	if err := hooks.CheckName(p.Name); err != nil {
		return r, err
	}
	if !how.noCases {
		if r.Cases, err = trial.Cases(ctx, a, spec, module); err != nil {
			return r, err
		}
	}
	p.Digest, p.Grants = files.Digest(), module.Manifest.Asks()
	if how.noApprovals {
		p.Grants.Approves, p.Grants.AtMost = false, nil
	}
	p.Grants.Replies = p.Grants.Replies && !how.noReplies
	installed, _, err := cli.OnState(ctx, a, api.PluginInstalled, api.None{}, false)
	if err != nil {
		return r, err
	}
	var now *hooks.Installed
	for _, in := range installed {
		if in.Name == p.Name {
			now = &in
		}
	}
	if now != nil && !how.ordered {
		p.Order = now.Order
	}
	r.Asks, r.Difference = api.AsksOf(module.Manifest), hooks.Differ(module, now)
	if !a.JSON {
		showAsk(a, p.Name, module, r, now)
	}
	if r.Difference.Asks(p.Grants) && !how.yes {
		if err := a.Confirm("Grant this to " + p.Name + "?"); err != nil {
			return r, err
		}
	}
	r.Plugin, r.Running, err = cli.OnState(ctx, a, api.PluginInstall, p, true)
	r.Next = nextSteps(p.Name, module.Manifest, p.Grants)
	return r, err
}

// nextSteps say, for each of a plugin's hooks, what comes next.
func nextSteps(name string, m *plugin.Manifest, g plugin.Grants) (out []string) {
	for _, h := range m.Hooks {
		switch h {
		case core.HookRequest:
			if g.Approves {
				out = append(out, "strangers that it approves are in \"ogp federation list\"; \"ogp plugin list\" shows what it may grant them")
			} else {
				out = append(out, "strangers that it does not reject wait in \"ogp federation list --status pending\"")
			}
		case core.HookMessage:
			out = append(out, "\"ogp policy replay\" shows what it makes of what has come; \"ogp plugin list\" counts what it refuses")
		case core.HookNotify:
			out = append(out, "\"ogp notify use "+name+"\" lets it tell of events, and tests it")
		case core.HookHandle:
			out = append(out, "a peer needs a grant for "+strings.Join(m.Intents, ", ")+": \"ogp federation scopes <peer>\" shows what it has, \"ogp federation grant <peer> --add "+strings.Join(m.Intents, ",")+"\" adds that")
		}
	}
	return out
}

// showAsk shows what a plugin asks for against what it is granted now.
func showAsk(a *cli.App, name string, m *plugin.Module, r installResult, now *hooks.Installed) {
	fmt.Fprintf(a.Err, "%s%s (%s), SHA-256 %s\n", name, term.Optional(" ", term.SafeText(m.Manifest.Version)), trial.Hooks(m.Manifest.Hooks), m.SHA256)
	if now != nil && r.Difference.Module {
		fmt.Fprintf(a.Err, "Another module than the installed one, SHA-256 %s\n", now.SHA256)
	}
	if r.Cases > 0 {
		fmt.Fprintf(a.Err, "%s\n", text.Count(r.Cases, "case passes", "cases pass"))
	}
	lines := askLines(r.Asks)
	if m.Manifest.Pure() && len(m.Manifest.HTTP) > 0 {
		fmt.Fprintln(a.Err, "It asks for requests, which a policy cannot make: it decides from its input alone. They are not granted.")
	}
	if len(lines) == 0 {
		fmt.Fprintln(a.Err, "It asks for nothing.")
	} else {
		fmt.Fprintln(a.Err, "It asks for:")
	}
	for _, l := range lines {
		fmt.Fprintf(a.Err, "  %s\n", l)
	}
	if now == nil {
		return
	}
	for _, l := range r.Difference.Wider {
		fmt.Fprintf(a.Err, "  + %s (not granted now)\n", term.SafeText(l))
	}
	for _, l := range r.Difference.Narrower {
		fmt.Fprintf(a.Err, "  - %s (granted now, not asked any more)\n", term.SafeText(l))
	}
}

func pluginRemoveCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "remove <name>", Short: "Remove an installed plugin", Args: cobra.ExactArgs(1),
		Long: "Remove an installed plugin with its files, grants, counters and key-value store.\n\n  ogp plugin remove small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, running, err := cli.OnState(cmd.Context(), a, api.PluginRemove, api.PluginRef{Name: args[0]}, false)
			if err != nil {
				return err
			}
			return a.Done(map[string]any{"removed": args[0], "running": running}, "Removed %s", args[0])
		},
	}
}

func pluginReloadCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "reload [name]", Short: "Reload plugins from their files", Args: cobra.MaximumNArgs(1),
		Long: "Reload a plugin of the running gateway from its file, or all of them. If one does not load or fails its self-tests, nothing changes.\n\n  ogp plugin reload small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Show(cmd.Context(), a, api.PluginReload, api.PluginRef{Name: append(args, "")[0]}, func(list []api.PluginView) {
				for _, v := range list {
					fmt.Fprintf(a.Out, "%s: reloaded, %s, SHA-256 %.12s\n", v.Name, v.State, v.SHA256)
				}
				if len(list) == 0 {
					fmt.Fprintln(a.Err, "Nothing to reload: no plugin has a file of its own here.")
				}
			})
		},
	}
}

func pluginKVCommand(a *cli.App) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "kv <name> [key] [value]", Short: "Read or write a plugin's key-value store", Args: cobra.RangeArgs(1, 3),
		Long: "List the keys of a plugin's store with their sizes, print one value, or set one.\n\n  ogp plugin kv free-busy day/2026-11-23 \"09:00-10:30 13:00-14:00\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			p := api.KVParams{Plugin: args[0], Delete: remove, Set: len(args) == 3}
			if len(args) > 1 {
				p.Key = args[1]
			}
			if len(args) > 2 {
				p.Value = args[2]
			}
			if remove && len(args) != 2 {
				return cli.Usagef("--delete takes a name and a key")
			}
			got, _, err := cli.OnState(cmd.Context(), a, api.PluginKV, p, p.Set || p.Delete)
			if errors.Is(err, core.NotFound) && slices.Contains([]string{"get", "set", "put", "list", "delete", "rm"}, args[0]) {
				return cli.UsageError{Err: fmt.Errorf("no plugin is named %q: the plugin's name comes first", args[0]), Hint: "ogp plugin kv <name> lists the keys, <name> <key> prints a value, <name> <key> <value> sets it, --delete deletes it"}
			}
			switch {
			case err != nil:
				return err
			case a.JSON:
				a.WriteJSON(got)
			case p.Set:
				fmt.Fprintf(a.Err, "Set %s of %s, %s\n", term.SafeText(p.Key), args[0], text.Count(len(p.Value), "byte", "bytes"))
			case p.Delete:
				fmt.Fprintf(a.Err, "%s has no %s any more\n", args[0], term.SafeText(p.Key))
			case p.Key != "":
				fmt.Fprintln(a.Out, term.SafeText(fmt.Sprint(got[p.Key])))
			case len(got) == 0:
				fmt.Fprintf(a.Err, "%s has kept nothing.\n", args[0])
			default:
				rows := make([][]string, 0, len(got))
				for k, n := range got {
					rows = append(rows, []string{term.SafeText(k), fmt.Sprint(n)})
				}
				slices.SortFunc(rows, func(x, y []string) int { return slices.Compare(x, y) })
				term.Table(a.Out, []string{"KEY", "BYTES"}, rows)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "delete the key")
	return cmd
}

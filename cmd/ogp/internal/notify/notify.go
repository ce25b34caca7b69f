// Package notify lists, swaps and tests who hears of events.
package notify

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/settings"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/text"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// logNotifier is the one that is no plugin.
const logNotifier = "log"

// Command is "ogp notify".
func Command(a *cli.App) *cobra.Command {
	return cli.Group("notify", "Choose who is notified of events, and test it", useCommand(a), listCommand(a), testCommand(a), offCommand(a))
}

// state is what there is to notify with.
type state struct {
	app     *cli.App
	dir     string
	path    string // of the configuration file
	cfg     *config.Config
	chosen  bool // the operator has named the notifiers
	plugins []api.PluginView
	running bool
}

func look(ctx context.Context, a *cli.App) (*state, error) {
	s := &state{app: a}
	var err error
	if s.dir, err = a.StateDir(); err != nil {
		return nil, err
	}
	s.path = settings.Path(a, s.dir)
	var origins config.Origins
	if s.cfg, origins, _, err = a.Load(nil); err != nil {
		return nil, err
	}
	s.chosen = origins.Of("delivery.notifiers").Layer != config.LayerDefault
	s.plugins, s.running, err = cli.OnState(ctx, a, api.Plugins, api.None{}, false)
	return s, err
}

// inUse are the notifiers that hear of events.
func (s *state) inUse() []string {
	if s.chosen {
		return s.cfg.Delivery.Notifiers
	}
	out := []string{logNotifier}
	for _, v := range s.plugins {
		if slices.Contains(v.Hooks, core.HookNotify) {
			out = append(out, v.Name)
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// chooses is the setting that names the notifiers.
func chooses(names []string) settings.Setting {
	list := make([]any, len(names))
	for i, n := range names {
		list[i] = n
	}
	return settings.Setting{Key: "delivery.notifiers", Value: list}
}

// takenUp is how long a running gateway may take to see the new file.
const takenUp = 8 * time.Second

// await waits until the running gateway notifies these and no others.
func (s *state) await(ctx context.Context, names []string) error {
	stop := s.app.Spin("waiting for the gateway")
	defer stop()
	want := slices.Sorted(slices.Values(names))
	for deadline := time.Now().Add(takenUp); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		v, err := api.Status.Call(ctx, s.app, api.None{})
		if err != nil {
			return err
		}
		var have []string
		for _, n := range v.Notifiers {
			have = append(have, n.Name)
		}
		slices.Sort(have)
		loading := slices.ContainsFunc(v.Plugins, func(p api.PluginState) bool { return p.State == hooks.StateLoading })
		if slices.Equal(have, want) && !loading {
			return nil
		}
	}
	e := core.Refusef(core.Unavailable, "the running gateway has not taken it up")
	e.Hint = "\"ogp config check\" and \"ogp logs\" say why; a variable that a secret names must be set where the gateway was started"
	return e
}

type listed struct {
	Name   string `json:"name"`
	InUse  bool   `json:"inUse"`
	State  string `json:"state"`  // of the plugin; shipped: not loaded
	Source string `json:"source"` // shipped, installed, config
	URL    string `json:"url,omitempty"`
	Health string `json:"health,omitempty"`
}

func listCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List notifiers and their state", Args: cobra.NoArgs,
		Long: "List the notifiers that ship, those that are installed or configured, and which of them are in use.\n\n  ogp notify list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := look(cmd.Context(), a)
			if err != nil {
				return err
			}
			list := s.list(cmd.Context())
			if a.JSON {
				a.WriteJSON(map[string]any{"running": s.running, "notifiers": list})
				return nil
			}
			rows := make([][]string, len(list))
			for i, n := range list {
				use := "no"
				if n.InUse {
					use = "yes"
				}
				rows[i] = []string{n.Name, use, term.Dash(n.State), n.Source, term.Dash(term.SafeText(n.URL)), term.Dash(term.SafeText(n.Health))}
			}
			term.Table(a.Out, []string{"NAME", "IN USE", "STATE", "FROM", "URL", "LAST"}, rows)
			return nil
		},
	}
}

func (s *state) list(ctx context.Context) []listed {
	used := s.inUse()
	health := map[string]string{}
	if v, err := api.Status.Call(ctx, s.app, api.None{}); err == nil {
		for _, h := range v.Notifiers {
			health[h.Name] = "success " + text.Ago(h.LastSuccess)
			if h.Failures > 0 {
				health[h.Name] = h.LastError
			}
		}
	}
	all := []listed{{Name: logNotifier, Source: "built in"}}
	add := func(n listed) {
		if !slices.ContainsFunc(all, func(x listed) bool { return x.Name == n.Name }) {
			all = append(all, n)
		}
	}
	for _, v := range s.plugins {
		if slices.Contains(v.Hooks, core.HookNotify) {
			add(listed{Name: v.Name, State: v.State, Source: v.Source})
		}
	}
	for _, p := range plugins.All() {
		add(listed{Name: p.Name, Source: hooks.FromBinary})
	}
	for i := range all {
		n := &all[i]
		n.InUse, n.Health = slices.Contains(used, n.Name), health[n.Name]
		n.URL, _ = s.cfg.Plugins[n.Name].Config["url"].(string)
		if n.Name == openclaw {
			n.URL = s.cfg.OpenClawURL
		}
	}
	return all
}

func offCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "off <name>", Short: "Stop notifying", Args: cobra.ExactArgs(1),
		Long: "Take a notifier out of delivery.notifiers. Its settings stay, and what it has not heard of is in \"ogp inbox\".\n\n  ogp notify off webhook",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := look(cmd.Context(), a)
			if err != nil {
				return err
			}
			used := s.inUse()
			if !slices.Contains(used, args[0]) {
				e := core.Refusef(core.NotFound, "%s is not in use", args[0])
				e.Hint, e.Candidates = "\"ogp notify list\" shows who is", used
				return e
			}
			left := slices.DeleteFunc(slices.Clone(used), func(n string) bool { return n == args[0] })
			if err := settings.Write(a, s.dir, s.path, []settings.Setting{chooses(left)}); err != nil {
				return err
			}
			if s.running {
				if err := s.await(cmd.Context(), left); err != nil {
					return err
				}
			}
			if a.JSON {
				a.WriteJSON(map[string]any{"notifiers": left, "running": s.running})
				return nil
			}
			fmt.Fprintf(a.Out, "%s hears of nothing any more; %s\n", args[0], inWords(left))
			return nil
		},
	}
}

// inWords says who hears of events.
func inWords(names []string) string {
	others := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == logNotifier })
	if len(others) == 0 {
		return "nobody does: messages wait in \"ogp inbox\""
	}
	return "notified: " + strings.Join(others, ", ")
}

// Package notify lists, swaps and tests who hears of events.
package notify

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/settings"
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
	app       *cli.App
	dir       string
	path      string // of the configuration file
	cfg       *config.Config
	file      []string          // the notifiers that the file names; nil: it names none
	overrides map[string]string // settings that count more than the file, by key, and where they are
	status    *api.StatusView   // of the running gateway; nil: none runs
	plugins   []api.PluginView
	running   bool
	within    time.Duration // how long a running gateway may take to see the new file
}

// notifiersKey is the setting that names the notifiers.
const notifiersKey = "delivery.notifiers"

// look sees what there is; writes says that the file will be written, which is tried first.
func look(ctx context.Context, a *cli.App, writes bool) (*state, error) {
	s := &state{app: a, within: 8 * time.Second}
	var err error
	if s.dir, err = a.StateDir(); err != nil {
		return nil, err
	}
	s.path = settings.Path(a.File, s.dir)
	if writes {
		if err := settings.Writable(s.path); err != nil {
			return nil, err
		}
	}
	var origins config.Origins
	if s.cfg, origins, _, err = a.Load(nil); err != nil {
		return nil, err
	}
	s.overrides = origins.Overrides()
	if s.file, err = notifiersOfFile(a); err != nil {
		return nil, err
	}
	if s.plugins, s.running, err = cli.OnState(ctx, a, api.Plugins, api.None{}, false); err != nil || !s.running {
		return s, err
	}
	v, err := api.Status.Call(ctx, a, api.None{})
	if err != nil {
		return s, err
	}
	c, err := api.Config.Call(ctx, a, api.ConfigParams{})
	s.status, s.overrides = &v, c.Overrides // its environment is not ours
	return s, err
}

// notifiersOfFile are those that the file names, whatever the environment says.
func notifiersOfFile(a *cli.App) ([]string, error) {
	o := a.LoadOptions(nil)
	o.Env = slices.DeleteFunc(slices.Clone(o.Env), func(v string) bool { return strings.HasPrefix(v, notifiersVariable+"=") })
	cfg, origins, _, err := config.Load(o)
	if err != nil || origins.Of(notifiersKey).Layer != config.LayerFile {
		return nil, err
	}
	return append([]string{}, cfg.Delivery.Notifiers...), nil
}

const notifiersVariable = "OGP_DELIVERY_NOTIFIERS"

// inUse are the notifiers that hear of events.
func (s *state) inUse() []string {
	if s.status != nil {
		var out []string
		for _, n := range s.status.Notifiers {
			out = append(out, n.Name)
		}
		return out
	}
	if s.overrides[notifiersKey] != "" {
		return s.cfg.Delivery.Notifiers
	}
	return s.written()
}

// written are the notifiers that the file names, or where it names none those that hear of
// events without it: what a change of the file begins with.
func (s *state) written() []string {
	if s.file != nil {
		return s.file
	}
	out := []string{logNotifier}
	for _, v := range s.plugins {
		if slices.Contains(v.Hooks, core.HookNotify) {
			out = append(out, v.Name)
		}
	}
	return out
}

// chooses is the setting that names the notifiers.
func chooses(names []string) settings.Setting {
	list := make([]any, len(names))
	for i, n := range names {
		list[i] = n
	}
	return settings.Setting{Key: notifiersKey, Value: list}
}

// write writes settings into the file, and says what of it is not in force, as the
// environment or a flag says otherwise.
func (s *state) write(ctx context.Context, changes []settings.Setting, names []string, checks ...func(file string) error) error {
	before, unread := os.ReadFile(s.path)
	if err := settings.Write(s.app.Env, s.dir, s.path, changes, checks...); err != nil {
		return err
	}
	for _, c := range changes {
		where := s.overrides[c.Key]
		if where == "" || c.Key == notifiersKey && sameNames(s.inUse(), names) {
			continue
		}
		e := core.Refusef(core.Conflict, "the settings are written, but %s is not in force: %s sets it, which overrides the file", c.Key, where)
		e.Hint = "take " + where + " away where the gateway is started, and start it again"
		if !s.running {
			e.Hint = "unset " + where + " before \"ogp start\""
		}
		return e
	}
	if !s.running {
		return nil
	}
	written, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	err = s.await(ctx, changes, names)
	if err == nil {
		return nil
	}
	// What has not come into force goes again, unless somebody else has written meanwhile.
	if now, failed := os.ReadFile(s.path); failed != nil || !bytes.Equal(now, written) {
		return err
	}
	if unread != nil {
		return errors.Join(err, os.Remove(s.path))
	}
	return errors.Join(err, atomicfile.Edit(s.path, before))
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// await waits until the running gateway notifies these and no others, with these settings.
func (s *state) await(ctx context.Context, changes []settings.Setting, names []string) error {
	stop := s.app.Spin("waiting for the gateway")
	defer stop()
	settled := false
	for deadline := time.Now().Add(s.within); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		v, err := api.Status.Call(ctx, s.app, api.None{})
		if err != nil {
			return err
		}
		var have []string
		for _, n := range v.Notifiers {
			if n.Name != "a2a" || len(s.cfg.OpenClawAnswers) == 0 || slices.Contains(names, n.Name) { // else it is there for openclaw_answers
				have = append(have, n.Name)
			}
		}
		loading := slices.ContainsFunc(v.Plugins, func(p api.PluginState) bool { return p.State == hooks.StateLoading })
		waits, err := s.waits(ctx, changes)
		if err != nil {
			return err
		}
		if !sameNames(have, names) || loading || waits {
			settled = false
			continue
		}
		if settled { // twice: it has the settings a moment before it puts its plugins in force
			return nil
		}
		settled = true
	}
	return core.Refusef(core.Unavailable, "the running gateway has refused the settings; the file is as it was before").WithHint("\"ogp logs\" says why")
}

// waits reports whether the running gateway has one of these settings otherwise than its file.
func (s *state) waits(ctx context.Context, changes []settings.Setting) (bool, error) {
	v, err := api.Config.Call(ctx, s.app, api.ConfigParams{})
	return err == nil && slices.ContainsFunc(v.Differs, func(d api.ConfigDifference) bool {
		return s.overrides[d.Key] == "" && slices.ContainsFunc(changes, func(c settings.Setting) bool { return c.Key == d.Key || strings.HasPrefix(c.Key, d.Key+".") })
	}), err
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
			s, err := look(cmd.Context(), a, false)
			if err != nil {
				return err
			}
			list := s.list(cmd.Context())
			return a.Print(map[string]any{"running": s.running, "notifiers": list}, func() {
				rows := make([][]string, len(list))
				for i, n := range list {
					use := "no"
					if n.InUse {
						use = "yes"
					}
					rows[i] = []string{n.Name, use, term.Dash(n.State), n.Source, term.Dash(term.SafeText(n.URL)), term.Dash(term.SafeText(n.Health))}
				}
				term.Table(a.Out, []string{"NAME", "IN USE", "STATE", "FROM", "URL", "LAST"}, rows)
			})
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
		Long: "Take a notifier out of delivery.notifiers. Its settings stay, and messages that it was not notified of are in \"ogp inbox\".\n\n  ogp notify off webhook",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := look(cmd.Context(), a, true)
			if err != nil {
				return err
			}
			used := s.written()
			answers := args[0] == "a2a" && len(s.cfg.OpenClawAnswers) > 0
			if answers && !slices.Contains(used, args[0]) {
				return core.Refuse(core.Conflict, "a2a is in use because openclaw_answers names messages that the agent answers").
					WithHint("\"ogp config set openclaw_answers ''\" ends that")
			}
			if where := s.overrides[notifiersKey]; where != "" && !slices.Contains(used, args[0]) && slices.Contains(s.inUse(), args[0]) {
				return core.Refusef(core.Conflict, "%s is in use because %s names it, which overrides the file", args[0], where).
					WithHint("take it out there, and start the gateway again")
			}
			if !slices.Contains(used, args[0]) {
				e := core.Refusef(core.NotFound, "%s is not in use", args[0])
				e.Hint, e.Candidates = "\"ogp notify list\" shows who is", used
				return e
			}
			left := slices.DeleteFunc(slices.Clone(used), func(n string) bool { return n == args[0] })
			if err := s.write(cmd.Context(), []settings.Setting{chooses(left)}, left, s.takes(cmd.Context())); err != nil {
				return err
			}
			gone := args[0] + " is no longer notified"
			switch {
			case args[0] == logNotifier:
				gone = "events are no longer written to the log"
			case answers:
				gone = "a2a is no longer in delivery.notifiers, and answers what openclaw_answers names"
			}
			return a.Done(map[string]any{"notifiers": left, "running": s.running}, "%s; %s", gone, inWords(left))
		},
	}
}

// inWords says who hears of events.
func inWords(names []string) string {
	others := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == logNotifier })
	switch log := len(others) < len(names); {
	case len(others) == 0 && log:
		return "nobody is notified, and the log has what happens: messages wait in the inbox"
	case len(others) == 0:
		return "nobody is notified: messages wait in the inbox"
	case log:
		return "notified: " + strings.Join(others, ", ") + ", and the log"
	}
	return "notified: " + strings.Join(others, ", ")
}

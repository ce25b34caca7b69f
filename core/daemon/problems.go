package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/doctor"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// pluginProblems are the problems of a plugin, the worst first.
func (d *Daemon) pluginProblems(v hooks.View) []api.Problem {
	return doctor.Plugin(v, d.config().CheckSecrets(d.origins()))
}

// pluginViews shows plugins with their problems.
func (d *Daemon) pluginViews(list []hooks.View) []api.PluginView {
	out := make([]api.PluginView, len(list))
	for i, v := range list {
		out[i] = api.PluginView{View: v, Problems: d.pluginProblems(v)}
	}
	return out
}

// notifierProblems are the problems of a notifier beside those of its plugin, the worst
// first. depths are those of the queues.
func (d *Daemon) notifierProblems(h delivery.Health, depths core.Depths) []api.Problem {
	v, _ := d.tests.Load(h.Name)
	test, _ := v.(doctor.TestResult)
	out := doctor.Notifier(h, test, depths.DeadByName[h.Name])
	if h.Name == openclawPlugin && h.Failures == 0 && h.LastSuccess.IsZero() {
		out = append(out, d.hooksOff()...)
	}
	if h.Name == a2aPlugin {
		out = append(d.a2aOff(), out...)
	}
	return out.WorstFirst()
}

// notifierView shows a notifier with its problems and those of its plugin.
func (d *Daemon) notifierView(h delivery.Health, depths core.Depths) api.NotifierView {
	all := doctor.Problems(d.notifierProblems(h, depths))
	for _, v := range d.hooks.List() {
		if v.Name == h.Name {
			all = append(all, d.pluginProblems(v)...)
		}
	}
	return api.NotifierView{Health: h, Waiting: depths.DeliveriesByNotifier[h.Name], GivenUp: depths.DeadByName[h.Name], Problems: all.WorstFirst()}
}

// hooksOff says that OpenClaw's own configuration on this machine has its webhooks off,
// where it is the one that is notified.
func (d *Daemon) hooksOff() (out doctor.Problems) {
	own, err := openclaw.Read(d.o.env())
	if err != nil || own.Hooks.Enabled || d.origins().Of("openclaw_url").Layer != config.LayerDefault {
		return nil
	}
	out.Fail("openclaw config set hooks.enabled true --strict-json", "OpenClaw's webhooks are off: hooks.enabled is not true in %s", openclaw.File(d.o.env()))
	return out
}

// a2aOff says what OpenClaw's own configuration on this machine lacks for its agent to
// answer, where openclaw_answers says that it does.
func (d *Daemon) a2aOff() (out doctor.Problems) {
	own, err := openclaw.Read(d.o.env())
	if err != nil || len(d.config().OpenClawAnswers) == 0 || d.origins().Of("openclaw_url").Layer != config.LayerDefault {
		return nil
	}
	peer := "channels.a2a.peers." + openclaw.A2AName + ".token"
	if token, _ := d.secrets(a2aPlugin)("a2a_token"); token == "" && own.Channels.A2A.Peers[openclaw.A2AName].Token == "" {
		out.Fail("openclaw config set "+peer+" \"$(openssl rand -hex 24)\"", "OpenClaw's A2A channel does not know us: %s has no %s", openclaw.File(d.o.env()), peer)
	}
	if !own.Channels.A2A.Enabled {
		out.Fail("openclaw config set channels.a2a.enabled true --strict-json", "OpenClaw's A2A channel is off: channels.a2a.enabled is not true in %s", openclaw.File(d.o.env()))
	}
	return out
}

// unheard says why nobody is notified; ok is false where somebody is. names are the
// notifiers in force.
func (d *Daemon) unheard(names []string) (p api.Problem, ok bool) {
	if slices.ContainsFunc(names, func(n string) bool { return n != "log" }) {
		return api.Problem{}, false
	}
	why := ""
	if !d.notifiersChosen() {
		if _, from, err := openclaw.Token(d.o.env(), d.config()); err != nil {
			why = fmt.Sprintf("; OpenClaw's token cannot be read: %s: %s", from, strings.TrimPrefix(api.ErrorOf(err).Message, "config: secret: "))
		}
	}
	return api.Problem{State: api.CheckWarn, Text: "nobody is notified of messages: they wait in the inbox" + why, Fix: doctor.FixDelivery}, true
}

// CheckConfigured looks at what a configuration makes of plugins and notifiers, without
// running any of it: what a start would refuse, and what would not work. installed are
// the plugins of the state directory.
func CheckConfigured(ctx context.Context, o Options, installed []hooks.Installed) ([]api.Check, error) {
	d, err := configured(o)
	if err != nil {
		return nil, err
	}
	d.log, d.store = slog.New(slog.DiscardHandler), memory.New()
	r := api.Report{}
	wanted, err := d.wantedWith(installed)
	if err != nil {
		r.Failed("plugins", "its [plugins] table in config.toml", err)
		return r, nil
	}
	names := []string{"log"}
	for _, v := range hooks.Look(ctx, d.store, wanted, d.rules()) {
		for _, p := range d.pluginProblems(v) {
			r = append(r, api.Check{Name: "plugins." + v.Name, State: p.State, Text: p.Text, Fix: p.Fix})
		}
		if slices.Contains(v.Hooks, core.HookNotify) && d.notifies(v.Name) {
			names = append(names, v.Name)
		}
	}
	if slices.Contains(names, openclawPlugin) {
		for _, p := range d.hooksOff() {
			r.Warn("plugins."+openclawPlugin, p.Fix, "%s", p.Text)
		}
	}
	for _, p := range d.a2aOff() {
		r.Warn("openclaw_answers", p.Fix, "%s", p.Text)
	}
	if p, ok := d.unheard(names); ok {
		r.Warn("delivery.notifiers", p.Fix, "%s", p.Text)
	}
	return r, nil
}

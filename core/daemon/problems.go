package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// What keeps a plugin or a notifier from its work is said here, once: "ogp status",
// "ogp doctor", "ogp plugin list", "ogp notify list" and "ogp config check" show it in
// the same words.

// problems collects what is wrong with one part.
type problems []api.Problem

func (p *problems) fail(fix, format string, args ...any) {
	*p = append(*p, api.Problem{State: api.CheckFail, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (p *problems) warn(fix, format string, args ...any) {
	*p = append(*p, api.Problem{State: api.CheckWarn, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// worstFirst sorts failures before warnings.
func (p problems) worstFirst() []api.Problem {
	slices.SortStableFunc(p, func(a, b api.Problem) int { return strings.Compare(a.State, b.State) }) // fail, warn
	return p
}

// fixPin is what to do about a module that is not the pinned one.
const fixPin = "is it the module that you trust? Then write its SHA-256 into config.toml, or \"ogp plugin install\" it again"

// pluginProblems are the problems of a plugin, the worst first.
func (d *Daemon) pluginProblems(v hooks.View) []api.Problem {
	var out problems
	reload := "correct it, then \"ogp plugin reload " + v.Name + "\""
	if v.Source == hooks.FromInstall { // its own copy stays as it is
		reload = "correct it, then \"ogp plugin install\" it again"
	}
	grant := "grant it in [plugins." + v.Name + ".grants] of config.toml"
	switch {
	case v.State == hooks.StateFailed:
		fix := reload
		if v.Pinned {
			fix = fixPin
		}
		out.fail(fix, "not loaded: %s", v.Error)
	case v.Error != "":
		out.fail(reload, "its new version does not load, the one before works on: %s", v.Error)
	}
	powers, secrets := lacking(v.Missing)
	if missing := strings.Join(powers, "; "); len(powers) > 0 {
		if slices.Contains(v.Hooks, core.HookNotify) && missing != plugin.MayReply {
			out.fail(grant, "it cannot notify, as it lacks: %s", missing)
		} else {
			out.warn(grant+", or leave it so: its README says what it can do without", "it asks for what is not granted: %s", missing)
		}
	}
	if len(secrets) > 0 { // a secret that is named is granted with the URLs
		out.warn("name it in [plugins."+v.Name+".secrets] of config.toml, or leave it so: its README says what it can do without", "it asks for what it is not given: %s", strings.Join(secrets, "; "))
	}
	for _, unknown := range v.Unknown {
		out.warn("take it out of [plugins."+v.Name+".config] of config.toml, or correct its name", "it has no setting %s", unknown)
	}
	prefix := "plugins." + v.Name + ".secrets."
	for _, p := range d.config().CheckSecrets(d.origins()) {
		if strings.HasPrefix(p.Key, prefix) {
			out.fail(p.Hint, "its secret cannot be read: %s", p.What)
		}
	}
	switch {
	case v.State == hooks.StatePaused:
		out.fail(reload, "paused after repeated failures, the last: %s", v.LastFailure)
	case v.FailedInARow == 1:
		out.fail(reload, "its last call failed: %s", v.LastFailure)
	case v.FailedInARow > 1:
		out.fail(reload, "its last %s failed: %s", text.Count(v.FailedInARow, "call"), v.LastFailure)
	case v.LastFailure != "":
		out.warn("\"ogp logs\" shows when", "it works, and %d of its %s failed, the last: %s", v.Failures, text.Count(int(v.Calls), "call"), v.LastFailure)
	}
	switch {
	case !v.Changed:
	case v.Pinned:
		out.fail(fixPin, "its file has changed since it was loaded: the next start refuses it")
	default:
		out.warn("ogp plugin reload "+v.Name, "its file has changed since it was loaded")
	}
	out = append(out, unusedPower(v)...)
	return out.worstFirst()
}

// unusedPower says what a plugin would have done, had it the power to.
func unusedPower(v hooks.View) (out problems) {
	if v.Ignored > 0 && !v.Replies && slices.Contains(v.Hooks, core.HookNotify) {
		out.warn("if it shall: replies = true in its plugin.toml, which asks for the power, and in [plugins."+v.Name+".grants] of config.toml, which grants it",
			"it would have answered %s, and has not the power to", text.Count(int(v.Ignored), "message"))
	}
	if v.Ignored > 0 && !v.Approves && slices.Contains(v.Hooks, core.HookRequest) {
		out.warn("if it shall: approves = true in its plugin.toml, which asks for the power, and in [plugins."+v.Name+".grants] of config.toml, which grants it",
			"it would have approved %s, and has not the power to", text.Count(int(v.Ignored), "stranger"))
	}
	return out
}

// lacking parts the powers that a plugin is not granted from the secrets that it is not
// given at the URLs that it is granted.
func lacking(missing []string) (powers, secrets []string) {
	for _, m := range missing {
		switch _, url, of := strings.Cut(m, " for "); {
		case !of || !strings.HasPrefix(m, "secret "):
			powers = append(powers, m)
		case !slices.Contains(missing, "http "+url):
			secrets = append(secrets, m)
		}
	}
	return powers, secrets
}

// pluginViews shows plugins with their problems.
func (d *Daemon) pluginViews(list []hooks.View) []api.PluginView {
	out := make([]api.PluginView, len(list))
	for i, v := range list {
		out[i] = api.PluginView{View: v, Problems: d.pluginProblems(v)}
	}
	return out
}

// testResult is what came of a test call of a notifier.
type testResult struct { // it may find what no event does, as a model that does not work
	at     time.Time
	detail string // what was wrong; empty: nothing
	failed bool   // so did its events at that time: their next success is the end of both
}

// stands reports whether something is wrong by the test, as the notifier does now.
func (r testResult) stands(h delivery.Health) bool {
	return r.detail != "" && !(r.failed && h.LastSuccess.After(r.at))
}

// notifierProblems are the problems of a notifier beside those of its plugin, the worst
// first. depths are those of the queues.
func (d *Daemon) notifierProblems(h delivery.Health, depths core.Depths) []api.Problem {
	var out problems
	if h.Failures > 0 {
		detail, fix := splitRemedy(h.Name, h.LastError)
		out.fail(fix, "failed %s in a row, the last: %s", text.Count(h.Failures, "time"), detail)
	} else if v, ok := d.tests.Load(h.Name); ok {
		if r := v.(testResult); r.stands(h) {
			detail, fix := splitRemedy(h.Name, r.detail)
			out.fail(fix, "a test call failed: %s (%s)", detail, text.Ago(r.at))
		}
	}
	if h.Name == openclawPlugin && h.Failures == 0 && h.LastSuccess.IsZero() {
		out = append(out, d.hooksOff()...)
	}
	if h.Name == a2aPlugin {
		out = append(d.a2aOff(), out...)
	}
	if dead := depths.DeadByName[h.Name]; dead > 0 {
		out.warn("\"ogp delivery list\" shows them, \"ogp delivery retry --all\" tries them again", "%s set aside", text.Count(dead, "notice was", "notices were"))
	}
	return out.worstFirst()
}

// notifierView shows a notifier with its problems and those of its plugin.
func (d *Daemon) notifierView(h delivery.Health, depths core.Depths) api.NotifierView {
	all := problems(d.notifierProblems(h, depths))
	for _, v := range d.hooks.List() {
		if v.Name == h.Name {
			all = append(all, d.pluginProblems(v)...)
		}
	}
	return api.NotifierView{Health: h, Waiting: depths.DeliveriesByNotifier[h.Name], GivenUp: depths.DeadByName[h.Name], Problems: all.worstFirst()}
}

// hooksOff says that OpenClaw's own configuration on this machine has its webhooks off,
// where it is the one that is notified.
func (d *Daemon) hooksOff() (out problems) {
	own, err := openclaw.Read(d.o.env())
	if err != nil || own.Hooks.Enabled || d.origins().Of("openclaw_url").Layer != config.LayerDefault {
		return nil
	}
	out.fail("openclaw config set hooks.enabled true --strict-json", "OpenClaw's webhooks are off: hooks.enabled is not true in %s", openclaw.File(d.o.env()))
	return out
}

// a2aOff says what OpenClaw's own configuration on this machine lacks for its agent to
// answer, where openclaw_answers says that it does.
func (d *Daemon) a2aOff() (out problems) {
	own, err := openclaw.Read(d.o.env())
	if err != nil || len(d.config().OpenClawAnswers) == 0 || d.origins().Of("openclaw_url").Layer != config.LayerDefault {
		return nil
	}
	peer := "channels.a2a.peers." + openclaw.A2AName + ".token"
	if token, _ := d.secrets(a2aPlugin)("a2a_token"); token == "" && own.Channels.A2A.Peers[openclaw.A2AName].Token == "" {
		out.fail("openclaw config set "+peer+" \"$(openssl rand -hex 24)\"", "OpenClaw's A2A channel does not know us: %s has no %s", openclaw.File(d.o.env()), peer)
	}
	if !own.Channels.A2A.Enabled {
		out.fail("openclaw config set channels.a2a.enabled true --strict-json", "OpenClaw's A2A channel is off: channels.a2a.enabled is not true in %s", openclaw.File(d.o.env()))
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
	return api.Problem{State: api.CheckWarn, Text: "nobody is notified of messages: they wait in the inbox" + why, Fix: fixDelivery}, true
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

// splitRemedy parts what a shipped notifier says from what it says to do.
func splitRemedy(name, detail string) (text, fix string) {
	if text, fix, ok := strings.Cut(detail, " - "); ok {
		return text, fix
	}
	switch {
	case strings.Contains(detail, "no token"):
		return detail, fixDelivery
	case strings.Contains(detail, "nothing listens there"):
		return detail, "see whether its server runs, and whether its URL in config.toml is right; \"ogp notify test " + name + "\" tries it again"
	case strings.HasPrefix(detail, "OpenClaw at"):
		return detail, "start OpenClaw, or correct openclaw_url in config.toml"
	}
	return detail, "correct its settings or its server; \"ogp notify test " + name + "\" tries it again"
}

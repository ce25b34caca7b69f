package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/nodes"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/replay"
)

// openclawPlugin is the default notifier.
const openclawPlugin = "openclaw"

// CompileCache is where compiled plugins are kept, in the state directory.
const CompileCache = "cache"

// openHooks reads the plugins that are wanted and starts loading them.
func (d *Daemon) openHooks(ctx context.Context) error {
	var err error
	d.hooks, err = hooks.New(hooks.Options{
		Store: d.store, CacheDir: filepath.Join(d.dir, CompileCache), Logger: d.log, Command: d.o.Command,
		HookAgent: func(toAgent string) string {
			if p, ok := d.gateway.PersonaOf(toAgent); ok {
				return hookAgent(p)
			}
			return ""
		},
		AtMost:  func() []core.Grant { return d.gateway.Settings().Grants },
		Changed: func() { d.setNotifiers() },
	})
	if err != nil {
		return err
	}
	wanted, err := d.wantedPlugins(ctx)
	if err != nil {
		return err
	}
	d.hooks.SetRules(ctx, d.rules())
	if err := d.hooks.Apply(wanted); err != nil {
		return startRefused(err)
	}
	d.setNotifiers()
	return nil
}

// rules are those of the configuration, as a policy.
func (d *Daemon) rules() hooks.Rules { return replay.RulesOf(d.config()) }

// startRefused says what to do about a plugin that keeps the gateway from starting.
func startRefused(err error) error {
	e := &core.Error{Kind: core.Malformed, Public: err.Error(), Hint: "\"ogp plugin list\" shows which; enabled = false in its [plugins] table starts without it"}
	if denied, ok := errors.AsType[*plugin.Error](err); ok && denied.Kind == plugin.Denied {
		e.Hint = "is it the module that you trust? Then write its SHA-256 into config.toml, or \"ogp plugin install\" it again"
	}
	return e
}

// hookAgent is the agent's id for a notifier.
func hookAgent(p core.Persona) string {
	switch {
	case p.HookAgentID != "":
		return p.HookAgentID
	case p.Role == "primary":
		return "main"
	}
	return p.ID
}

// wantedPlugins are those that the configuration and the store want now.
func (d *Daemon) wantedPlugins(ctx context.Context) ([]hooks.Wanted, error) {
	installed, err := hooks.ListInstalled(ctx, d.store)
	if err != nil {
		return nil, err
	}
	return d.wantedWith(installed)
}

// wantedWith are those of the configuration, those that are installed, and
// the default notifier where there is a token for it. A table without a path
// changes the settings of the plugin of its name that is installed, or ships.
func (d *Daemon) wantedWith(installed []hooks.Installed) ([]hooks.Wanted, error) {
	var out []hooks.Wanted
	put := map[string]*hooks.Installed{}
	for _, in := range installed {
		put[in.Name] = &in
	}
	names := map[string]bool{}
	add := func(name string, c config.PluginConfig) error {
		names[name] = true
		w, err := d.configured(name, c, put[name])
		out = append(out, w)
		return err
	}
	for name, c := range d.config().Plugins {
		names[name] = true
		if !c.IsEnabled() {
			continue
		}
		if err := add(name, c); err != nil {
			return nil, fmt.Errorf("plugins.%s: %w", name, err)
		}
	}
	for _, in := range installed {
		if names[in.Name] {
			continue
		}
		if err := add(in.Name, config.PluginConfig{}); err != nil {
			return nil, err
		}
	}
	for _, name := range d.config().Delivery.Notifiers {
		if name == "log" || names[name] {
			continue
		}
		if _, _, ok := d.o.Shipped(name); !ok {
			return nil, core.Refusef(core.Malformed, "delivery.notifiers: no notifier is named %q", name).
				WithHint(`"log" and what "ogp notify list" shows as shipped are always there; another needs "ogp plugin install", or a [plugins.` + name + `] table`)
		}
		if err := add(name, config.PluginConfig{}); err != nil {
			return nil, err
		}
	}
	if len(d.config().OpenClawAnswers) > 0 && !names[a2aPlugin] {
		if err := add(a2aPlugin, config.PluginConfig{}); err != nil {
			return nil, err
		}
	}
	if !names[openclawPlugin] && !d.notifiersChosen() && d.hasOpenClawToken() {
		if err := add(openclawPlugin, config.PluginConfig{}); err != nil {
			return nil, err
		}
	}
	return out, d.leaveToA2A(out)
}

// notifiersChosen says whether the operator has named the notifiers. If not, they
// are the log, every plugin that notifies, and OpenClaw where its token is found.
func (d *Daemon) notifiersChosen() bool {
	return d.origins().Of("delivery.notifiers").Layer != config.LayerDefault
}

// configured turns a plugin's table into what is wanted, over what was granted at
// its installation where it is installed.
func (d *Daemon) configured(name string, c config.PluginConfig, in *hooks.Installed) (hooks.Wanted, error) {
	w := hooks.Wanted{Source: hooks.FromConfig, Order: c.Order, Watch: c.SHA256 == "", MaxKV: c.Grants.KVMaxBytes, Spec: plugin.Spec{
		Name: name, Path: c.Path, SHA256: c.SHA256,
		Limits: plugin.Limits{Timeout: plugin.Duration(c.Timeout), MemoryMiB: int64(c.MemoryMiB), Fuel: c.Fuel, Instances: c.Instances},
	}}
	w.Settings = slices.Sorted(maps.Keys(c.Config))
	for _, h := range c.Hooks {
		w.Hooks = append(w.Hooks, plugin.Hook(h))
	}
	for _, op := range c.Grants.KV {
		w.Spec.Grants.KV = append(w.Spec.Grants.KV, "kv."+op)
	}
	w.Spec.Grants.Approves, w.Spec.Grants.AtMost = c.Grants.Approves, c.Grants.AtMost.Grants()
	w.Spec.Grants.Replies = c.Grants.Replies
	secrets := slices.Sorted(maps.Keys(c.Secrets))
	for _, url := range c.Grants.HTTP {
		w.Spec.Grants.HTTP = append(w.Spec.Grants.HTTP, plugin.HTTPGrant{URL: url, Private: c.Grants.Private, Secrets: secrets})
	}
	w.Spec.Secrets = d.secrets(name)
	settings := map[string]any{}
	if c.Path == "" && in != nil && len(in.Config) > 0 {
		if err := json.Unmarshal(in.Config, &settings); err != nil {
			return w, fmt.Errorf("the configuration it was installed with: %w", err)
		}
	}
	maps.Copy(settings, c.Config)
	switch {
	case c.Path != "" && c.Shipped != "":
		return w, core.Refuse(core.Malformed, "path and shipped both say what it is: remove one of them")
	case c.Path != "" && !filepath.IsAbs(c.Path):
		w.Spec.Path = d.inState(c.Path)
	case c.Path != "":
	case in != nil:
		d.installedAs(&w, in)
	default:
		if err := d.shipped(&w, c, settings); err != nil {
			return w, err
		}
	}
	text, err := json.Marshal(settings, json.Deterministic(true)) // what is the same is not loaded again
	if err != nil {
		return w, err
	}
	w.Spec.Config = text
	return w, nil
}

// inState is where a file of the state directory is: installed plugins are on
// record by their path within it, so that the directory can move.
func (d *Daemon) inState(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}

// installedAs fills in what was granted when the plugin was installed.
func (d *Daemon) installedAs(w *hooks.Wanted, in *hooks.Installed) {
	w.Source, w.Watch, w.Spec.Path = hooks.FromInstall, false, d.inState(in.Path)
	w.Order = cmp.Or(w.Order, in.Order)
	w.Spec.SHA256 = cmp.Or(w.Spec.SHA256, in.SHA256)
	if len(w.Hooks) == 0 {
		w.Hooks = in.Hooks
	}
	g := &w.Spec.Grants // what config.toml says of a power counts more than the installation
	if len(g.HTTP) == 0 {
		g.HTTP = in.Grants.HTTP
	}
	if len(g.KV) == 0 {
		g.KV = in.Grants.KV
	}
	if !g.Approves {
		g.Approves, g.AtMost = in.Grants.Approves, in.Grants.AtMost
	}
	g.Replies = g.Replies || in.Grants.Replies
}

// shipped fills in a plugin that ships with ogp.
func (d *Daemon) shipped(w *hooks.Wanted, c config.PluginConfig, settings map[string]any) error {
	if _, _, own := d.o.Shipped(w.Spec.Name); own && c.Shipped != "" && c.Shipped != w.Spec.Name {
		return core.Refusef(core.Malformed, "shipped = %q: %s ships with ogp itself; give the table a name that is free", c.Shipped, w.Spec.Name)
	}
	wasm, manifestText, ok := d.o.Shipped(cmp.Or(c.Shipped, w.Spec.Name))
	if !ok {
		return core.Refusef(core.Malformed, "no plugin named %s ships with ogp or is installed", cmp.Or(c.Shipped, w.Spec.Name)).
			WithHint("path = \"/where/the/module/is.wasm\" names one of yours")
	}
	manifest, err := plugin.ParseManifest(manifestText)
	if err != nil {
		return err
	}
	w.Source, w.Watch, w.Spec.Bytes, w.Spec.Manifest = hooks.FromBinary, false, wasm, manifest
	for i := range w.Spec.Grants.HTTP { // with a URL go the secrets that it may be told, also OpenClaw's own
		for _, ask := range manifest.HTTP {
			w.Spec.Grants.HTTP[i].Secrets = slices.Compact(slices.Sorted(slices.Values(slices.Concat(w.Spec.Grants.HTTP[i].Secrets, ask.Secrets))))
		}
	}
	if manifest.KV != nil && len(w.Spec.Grants.KV) == 0 { // a store of its own is no power over others
		w.Spec.Grants.KV = manifest.Asks().KV
	}
	switch manifest.Name {
	case openclawPlugin:
		d.configureOpenClaw(&w.Spec, settings)
		return nil
	case a2aPlugin:
		d.configureA2A(&w.Spec, settings)
	}
	return grantOwnURL(&w.Spec, c, settings)
}

// grantOwnURL lets a plugin that ships reach the URL that it is configured with, if
// the operator has granted nothing else: whoever names the URL wants it reached. What
// its manifest asks for is that URL then, and not the one that it would have by
// default.
func grantOwnURL(spec *plugin.Spec, c config.PluginConfig, settings map[string]any) error {
	text, _ := settings["url"].(string)
	if text == "" {
		text, _ = spec.Manifest.Config["url"].(string)
	}
	if len(spec.Manifest.HTTP) == 0 || text == "" {
		return nil
	}
	if err := plugin.CheckURL(text); err != nil {
		return core.Refusef(core.Malformed, "config.url: %v", err)
	}
	prefix, private := ownURL(text)
	secrets := slices.Sorted(maps.Keys(c.Secrets))
	for _, ask := range spec.Manifest.HTTP {
		for _, name := range ask.Secrets {
			if !slices.Contains(secrets, name) {
				secrets = append(secrets, name)
			}
		}
	}
	private = private || c.Grants.Private
	ask := plugin.HTTPAsk{URL: prefix, Private: private, Secrets: spec.Manifest.HTTP[0].Secrets, Reason: spec.Manifest.HTTP[0].Reason}
	spec.Manifest.HTTP = []plugin.HTTPAsk{ask}
	if len(spec.Grants.HTTP) == 0 {
		spec.Grants.HTTP = []plugin.HTTPGrant{{URL: prefix, Private: private, Secrets: secrets}}
	}
	return nil
}

// ownURL is what a grant for a URL says. private says that it names this machine, or an
// address of its networks.
func ownURL(text string) (prefix string, private bool) {
	text = plugin.PrefixOf(text)
	u, err := url.Parse(text)
	if err != nil {
		return text, false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return text, core.IsThisMachine(u.Hostname()) || err == nil && ip.IsPrivate()
}

// secrets reads a plugin's secrets at every use, so that a changed one counts at
// once. One that is configured and cannot be read is there and empty, so that what
// needs it fails instead of going without.
func (d *Daemon) secrets(plugin string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		s, ok := d.config().Plugins[plugin].Secrets[name]
		if !ok {
			return "", false
		}
		v, err := s.Reveal()
		if err != nil {
			d.log.Error("secret not readable", "plugin", plugin, "secret", name, "err", err)
		}
		return v, true
	}
}

// personas are the configured ones, or the one that the gateway has made up.
func (d *Daemon) personas() []core.Persona {
	if p := d.config().Personas(); len(p) > 0 || d.gateway == nil {
		return p
	}
	return d.gateway.Settings().Personas
}

// configureOpenClaw gives the default notifier what the operator has written
// down for OpenClaw: where it is, and the token, which the plugin never sees.
func (d *Daemon) configureOpenClaw(spec *plugin.Spec, settings map[string]any) {
	base := d.openClawURL()
	if v, ok := settings["openclaw_url"].(string); ok && v != "" {
		base = strings.TrimRight(v, "/")
	}
	hooksPath := "/hooks"
	if own, err := openclaw.Read(d.o.env()); err == nil && settings["openclaw_url"] == nil {
		if path := "/" + strings.Trim(own.Hooks.Path, "/"); path != "/" {
			hooksPath = path
		}
	}
	if v, ok := settings["hooks_path"].(string); ok && v != "" {
		hooksPath = "/" + strings.Trim(v, "/")
	}
	defaults := map[string]any{"openclaw_url": base, "hooks_path": hooksPath, "agent_id": d.config().AgentID}
	personas := map[string]any{}
	for _, p := range d.personas() {
		personas[p.ID] = hookAgent(p)
	}
	defaults["personas"] = personas
	for k, v := range defaults {
		if _, set := settings[k]; !set {
			settings[k] = v
		}
	}
	if len(spec.Grants.HTTP) == 0 {
		spec.Grants.HTTP = []plugin.HTTPGrant{{URL: base + hooksPath + "/", Private: true, Secrets: []string{"hooks_token"}}}
	}
	// The manifest asks for where OpenClaw is by default; what is asked for is where
	// the operator says that it is.
	for i := range spec.Manifest.HTTP {
		spec.Manifest.HTTP[i].URL = base + hooksPath + "/"
	}
	configured := spec.Secrets
	spec.Secrets = func(name string) (string, bool) {
		if v, ok := configured(name); ok || name != "hooks_token" {
			return v, ok
		}
		token, _, err := openclaw.Token(d.o.env(), d.config())
		if err != nil {
			d.log.Error("OpenClaw's token is not readable", "err", err)
		}
		return token, err == nil && token != ""
	}
}

// openClawURL is where OpenClaw listens: where the operator says so or, where nothing is
// said, OpenClaw's own file.
func (d *Daemon) openClawURL() string {
	if own, err := openclaw.Read(d.o.env()); err == nil && d.origins().Of("openclaw_url").Layer == config.LayerDefault {
		if port := own.Gateway.Port; port > 0 && port < 65536 {
			return fmt.Sprintf("http://localhost:%d", port)
		}
	}
	return strings.TrimRight(d.config().OpenClawURL, "/")
}

// notifies reports whether the operator wants a notifier told of what comes in: one that is
// named, or any where none is.
func (d *Daemon) notifies(name string) bool {
	return !d.notifiersChosen() || slices.Contains(d.config().Delivery.Notifiers, name) || name == a2aPlugin && len(d.config().OpenClawAnswers) > 0
}

// hasOpenClawToken reports whether OpenClaw can be notified, and logs what it goes by.
func (d *Daemon) hasOpenClawToken() bool {
	token, from, err := openclaw.Token(d.o.env(), d.config())
	if err != nil {
		d.log.Warn("OpenClaw is not notified, as its token is not readable", "from", from, "err", err)
		return false
	}
	if token != "" {
		d.log.Info("OpenClaw is notified", "url", d.config().OpenClawURL, "token", from)
	}
	return token != ""
}

// setNotifiers puts the notifiers in force: those that the operator has named, or
// the log and every plugin that is loaded and notifies (wantedPlugins adds OpenClaw).
func (d *Daemon) setNotifiers() {
	list, wakes := []core.Notifier{}, false
	if d.notifies("log") {
		list = append(list, d.tracing.Notifier(delivery.LogNotifier{Logger: d.log}))
	}
	for _, n := range d.hooks.Notifiers() {
		if d.notifies(n.Name()) {
			if isAgent(n) {
				n, wakes = runs{n, d.brake}, wakes || n.Batch() <= 1
			}
			list = append(list, d.tracing.Notifier(n))
		}
	}
	d.wakes.Store(wakes)
	d.dispatcher.Set(list...)
}

// modules is a hash of the plugins in force, for other nodes; empty while they are loaded.
func (d *Daemon) modules() string {
	if d.hooks == nil || d.hooks.Ready(context.Background()) != nil {
		return ""
	}
	var parts []string
	for _, v := range d.hooks.List() {
		parts = append(parts, v.Name+" "+v.SHA256)
	}
	return nodes.Sum(parts)
}

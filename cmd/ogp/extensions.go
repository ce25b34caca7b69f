package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/extension"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// openclawPlugin is the default notifier.
const openclawPlugin = "openclaw"

// compileCache is where compiled plugins are kept, in the state directory.
const compileCache = "cache"

// openExtensions reads the plugins that are wanted and starts loading them.
func (d *daemon) openExtensions(ctx context.Context) error {
	var err error
	d.extensions, err = extension.New(extension.Options{
		Store: d.store, CacheDir: filepath.Join(d.dir, compileCache), Logger: d.log,
		HookAgent: func(toAgent string) string {
			if p, ok := d.gateway.PersonaOf(toAgent); ok {
				return hookAgent(p)
			}
			return ""
		},
		Changed: func() { d.setNotifiers() },
	})
	if err != nil {
		return err
	}
	wanted, err := d.wantedPlugins(ctx)
	if err != nil {
		return err
	}
	if err := d.extensions.Apply(wanted); err != nil {
		return err
	}
	d.setNotifiers()
	return nil
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

// wantedPlugins are those of the configuration, those that are installed, and
// the default notifier where there is a token for it.
func (d *daemon) wantedPlugins(ctx context.Context) ([]extension.Wanted, error) {
	var out []extension.Wanted
	names := map[string]bool{}
	for name, c := range d.cfg.Plugins {
		names[name] = true
		if !c.IsEnabled() {
			continue
		}
		w, err := d.configured(name, c)
		if err != nil {
			return nil, fmt.Errorf("plugins.%s: %w", name, err)
		}
		out = append(out, w)
	}
	installed, err := extension.ListInstalled(ctx, d.store)
	if err != nil {
		return nil, err
	}
	for _, in := range installed {
		if names[in.Name] {
			continue
		}
		names[in.Name] = true
		out = append(out, extension.Wanted{Order: in.Order, Hooks: in.Hooks, Spec: plugin.Spec{
			Name: in.Name, Path: in.Path, SHA256: in.SHA256, Grants: in.Grants, Config: in.Config}})
	}
	for _, name := range d.cfg.Delivery.Notifiers {
		if name == "log" || names[name] {
			continue
		}
		if _, ok := plugins.Get(name); !ok {
			e := core.Refusef(core.Malformed, "delivery.notifiers: no notifier is named %q", name)
			e.Hint = `"log" and "openclaw" are always there; others need a [plugins.` + name + `] table or "ogp plugin install"`
			return nil, e
		}
		names[name] = true
		w, err := d.configured(name, config.PluginConfig{})
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	if !names[openclawPlugin] && !d.notifiersChosen() {
		if token, from, err := d.app.openclawToken(d.cfg); err == nil && token != "" {
			d.log.Info("OpenClaw is notified", "url", d.cfg.OpenClawURL, "token", from)
			w, err := d.configured(openclawPlugin, config.PluginConfig{})
			if err != nil {
				return nil, err
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// notifiersChosen says whether the operator has named the notifiers. If not, they
// are the log and every plugin that notifies.
func (d *daemon) notifiersChosen() bool {
	return d.origins.Of("delivery.notifiers").Layer != config.LayerDefault
}

// configured turns a plugin's table into what is wanted.
func (d *daemon) configured(name string, c config.PluginConfig) (extension.Wanted, error) {
	w := extension.Wanted{Order: c.Order, Watch: c.SHA256 == "", Spec: plugin.Spec{
		Name: name, Path: c.Path, SHA256: c.SHA256,
		Limits: plugin.Limits{Timeout: plugin.Duration(c.Timeout), MemoryMiB: int64(c.MemoryMiB), Fuel: c.Fuel, Instances: c.Instances},
	}}
	for _, h := range c.Hooks {
		w.Hooks = append(w.Hooks, plugin.Hook(h))
	}
	for _, op := range c.Grants.KV {
		w.Spec.Grants.KV = append(w.Spec.Grants.KV, "kv."+op)
	}
	secrets := make([]string, 0, len(c.Secrets))
	for s := range c.Secrets {
		secrets = append(secrets, s)
	}
	slices.Sort(secrets)
	for _, url := range c.Grants.HTTP {
		w.Spec.Grants.HTTP = append(w.Spec.Grants.HTTP, plugin.HTTPGrant{URL: url, Private: c.Grants.Private, Secrets: secrets})
	}
	w.Spec.Secrets = func(name string) (string, bool) {
		s, ok := c.Secrets[name]
		if !ok {
			return "", false
		}
		v, err := s.Reveal()
		if err != nil {
			d.log.Error("secret not readable", "plugin", w.Spec.Name, "secret", name, "err", err)
		}
		return v, err == nil && v != ""
	}
	settings := map[string]any{}
	for k, v := range c.Config {
		settings[k] = v
	}
	if c.Path == "" {
		shipped, ok := plugins.Get(name)
		if !ok {
			e := core.Refusef(core.Malformed, "no plugin of this name ships with ogp")
			e.Hint = "path = \"/where/the/module/is.wasm\" names one of yours"
			return w, e
		}
		manifest, err := plugin.ParseManifest(shipped.Manifest)
		if err != nil {
			return w, err
		}
		w.Spec.Bytes, w.Spec.Manifest = shipped.Wasm, manifest
		if name == openclawPlugin {
			d.configureOpenClaw(&w.Spec, settings)
		}
	} else if !filepath.IsAbs(c.Path) {
		w.Spec.Path = filepath.Join(d.dir, c.Path)
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return w, err
	}
	w.Spec.Config = text
	return w, nil
}

// configureOpenClaw gives the default notifier what the operator has written
// down for OpenClaw: where it is, and the token, which the plugin never sees.
func (d *daemon) configureOpenClaw(spec *plugin.Spec, settings map[string]any) {
	base := strings.TrimRight(d.cfg.OpenClawURL, "/")
	if v, ok := settings["openclaw_url"].(string); ok && v != "" {
		base = strings.TrimRight(v, "/")
	}
	defaults := map[string]any{"openclaw_url": base, "agent_id": d.cfg.AgentID}
	personas := map[string]any{}
	for _, p := range d.gateway.Settings().Personas {
		personas[p.ID] = hookAgent(p)
	}
	defaults["personas"] = personas
	for k, v := range defaults {
		if _, set := settings[k]; !set {
			settings[k] = v
		}
	}
	if len(spec.Grants.HTTP) == 0 {
		spec.Grants.HTTP = []plugin.HTTPGrant{{URL: base + "/hooks/", Private: true, Secrets: []string{"hooks_token"}}}
	}
	configured := spec.Secrets
	spec.Secrets = func(name string) (string, bool) {
		if v, ok := configured(name); ok || name != "hooks_token" {
			return v, ok
		}
		token, _, err := d.app.openclawToken(d.cfg)
		if err != nil {
			d.log.Error("OpenClaw's token is not readable", "err", err)
		}
		return token, err == nil && token != ""
	}
}

// setNotifiers puts the notifiers in force: those that the operator has named, or
// the log and every plugin that notifies.
func (d *daemon) setNotifiers() {
	list := []core.Notifier{}
	chosen := d.notifiersChosen()
	wanted := func(name string) bool { return !chosen || slices.Contains(d.cfg.Delivery.Notifiers, name) }
	if wanted("log") {
		list = append(list, delivery.LogNotifier{Logger: d.log})
	}
	for _, n := range d.extensions.Notifiers() {
		if wanted(n.Name()) {
			list = append(list, n)
		}
	}
	d.courier.Set(list...)
}

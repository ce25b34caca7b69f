package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// installedPlugins is the method "plugin.installed".
func (d *Daemon) installedPlugins(ctx context.Context, _ api.None) ([]hooks.Installed, error) {
	return hooks.ListInstalled(ctx, d.store)
}

// manager is the running one, or one that only tries plugins.
func (d *Daemon) manager() (m *hooks.Manager, done func(), err error) {
	if d.hooks != nil {
		return d.hooks, func() {}, nil
	}
	m, err = hooks.New(hooks.Options{Store: d.store, CacheDir: filepath.Join(d.dir, CompileCache), Logger: d.log})
	if err != nil {
		return nil, nil, err
	}
	return m, m.Close, nil
}

// installPlugin is the method "plugin.install": it tries the plugin, copies it,
// records it and puts it in force. Whatever fails leaves what was.
func (d *Daemon) installPlugin(ctx context.Context, p api.InstallParams) (hooks.View, error) {
	m, done, err := d.manager()
	if err != nil {
		return hooks.View{}, err
	}
	defer done()
	d.reloading.Lock()
	defer d.reloading.Unlock()
	return d.installNow(ctx, m, p)
}

func (d *Daemon) installNow(ctx context.Context, m *hooks.Manager, p api.InstallParams) (none hooks.View, err error) {
	if err := d.mayInstall(p.Name); err != nil {
		return none, err
	}
	if p, err = d.candidates.Install(p); err != nil {
		return none, err
	}
	files, err := hooks.ReadFiles(p.Source)
	if err != nil {
		return none, err
	}
	if files.Digest() != p.Digest {
		return none, core.Refusef(core.Conflict, "%s has changed since it was shown", p.Source)
	}
	was, err := hooks.ListInstalled(ctx, d.store)
	if err != nil {
		return none, err
	}
	spec, err := files.Spec()
	if err != nil {
		return none, err
	}
	module, err := plugin.Inspect(spec)
	if err != nil {
		return none, err
	}
	in := hooks.Installed{Name: p.Name, SHA256: module.SHA256, Order: p.Order, Grants: p.Grants}
	placed, err := files.Place(d.dir, p.Name)
	if err != nil {
		return none, err
	}
	if in.Path, err = filepath.Rel(d.dir, placed); err != nil {
		return none, err
	}
	old, now := slices.IndexFunc(was, func(x hooks.Installed) bool { return x.Name == p.Name }), slices.Clone(was)
	keep := ""
	if old >= 0 {
		now[old], keep = in, was[old].Path
	} else {
		now = append(now, in)
	}
	undo := func(err error) (hooks.View, error) {
		if keep != in.Path {
			err = errors.Join(err, hooks.Sweep(d.dir, p.Name, d.kept(keep)))
		}
		return none, err
	}
	w, err := d.configured(p.Name, d.config().Plugins[p.Name], &in)
	if err != nil {
		return undo(err)
	}
	if err := m.Try(ctx, w); err != nil {
		return undo(&core.Error{Kind: core.Malformed, Public: "the plugin does not load, nothing has changed: " + err.Error()})
	}
	back := func(err error) (hooks.View, error) {
		return undo(errors.Join(err, d.applyInstalled(context.WithoutCancel(ctx), was)))
	}
	if err := d.applyInstalled(ctx, now); err != nil {
		return back(err)
	}
	if err := hooks.Install(ctx, d.store, in); err != nil {
		return back(err)
	}
	if err := hooks.Sweep(d.dir, p.Name, placed); err != nil {
		d.log.Warn("old versions not removed", "plugin", p.Name, "err", err)
	}
	d.candidates.Installed(p)
	return d.viewPlugin(ctx, p.Name, w)
}

// kept is the path of a version to keep; empty: none.
func (d *Daemon) kept(path string) string {
	if path == "" {
		return ""
	}
	return d.inState(path)
}

// mayInstall refuses names that the configuration or the binary have taken.
func (d *Daemon) mayInstall(name string) error {
	if err := hooks.CheckName(name); err != nil {
		return err
	}
	if c, ok := d.config().Plugins[name]; ok && c.Path != "" {
		return core.Refusef(core.Conflict, "config.toml has a plugin named %q, with a path of its own", name).
			WithHint("--name installs it under another name; or take path out of [plugins." + name + "]")
	}
	if _, _, ships := d.o.Shipped(name); ships {
		return core.Refusef(core.Conflict, "%q is a plugin that ships with ogp", name).WithHint("--name installs it under another name")
	}
	return nil
}

// applyInstalled puts the plugins in force, if a gateway runs here, and waits until
// they are ready.
func (d *Daemon) applyInstalled(ctx context.Context, installed []hooks.Installed) error {
	if d.hooks == nil {
		return nil
	}
	wanted, err := d.wantedWith(installed)
	if err != nil {
		return err
	}
	if err := d.hooks.Apply(wanted); err != nil {
		return err
	}
	return d.hooks.Ready(ctx)
}

func (d *Daemon) viewPlugin(ctx context.Context, name string, w hooks.Wanted) (hooks.View, error) {
	list := hooks.Look(ctx, d.store, []hooks.Wanted{w}, hooks.Rules{})
	if d.hooks != nil {
		list = d.hooks.List()
	}
	for _, v := range list {
		if v.Name == name {
			return v, nil
		}
	}
	return hooks.View{}, core.Refusef(core.NotFound, "no plugin named %q is in force", name)
}

// removePlugin is the method "plugin.remove".
func (d *Daemon) removePlugin(ctx context.Context, p api.PluginRef) (api.None, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	return api.None{}, d.removeNow(ctx, p.Name)
}

func (d *Daemon) removeNow(ctx context.Context, name string) error {
	installed, err := hooks.ListInstalled(ctx, d.store)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(installed, func(in hooks.Installed) bool { return in.Name == name })
	if i < 0 {
		return core.Refusef(core.NotFound, "no plugin named %q is installed", name).
			WithHint(`"ogp plugin list" shows where each is from; one of config.toml goes with its [plugins] table, or with enabled = false there`)
	}
	if err := d.applyInstalled(ctx, slices.Delete(installed, i, i+1)); err != nil {
		return err
	}
	if err := hooks.Uninstall(ctx, d.store, name); err != nil {
		return err
	}
	return hooks.Sweep(d.dir, name, "")
}

// reloadPlugin is the method "plugin.reload". An empty name means all.
func (d *Daemon) reloadPlugin(ctx context.Context, p api.PluginRef) ([]api.PluginView, error) {
	var failed error
	for _, v := range d.hooks.List() {
		if p.Name == "" && v.Source != hooks.FromBinary || p.Name == v.Name {
			failed = errors.Join(failed, d.hooks.Reload(ctx, v.Name))
		}
	}
	if failed != nil {
		return nil, &core.Error{Kind: core.Malformed, Public: failed.Error(), Hint: "what was in force before stays in force"}
	}
	out := []hooks.View{}
	for _, v := range d.hooks.List() {
		if p.Name == "" || p.Name == v.Name {
			out = append(out, v)
		}
	}
	if p.Name != "" && len(out) == 0 {
		return nil, d.hooks.Reload(ctx, p.Name) // says that there is none
	}
	return d.pluginViews(out), nil
}

// pluginKV is the method "plugin.kv". Without a key it lists the keys and their
// sizes.
func (d *Daemon) pluginKV(ctx context.Context, p api.KVParams) (map[string]any, error) {
	if err := hooks.CheckName(p.Plugin); err != nil {
		return nil, err
	}
	if len(p.Key) > plugin.MaxKeyBytes || p.Key == "" && (p.Set || p.Delete) {
		return nil, core.Refusef(core.Malformed, "a key of %s: want 1 to %d", text.Count(len(p.Key), "byte", "bytes"), plugin.MaxKeyBytes)
	}
	if err := d.knowsPlugin(ctx, p.Plugin); err != nil {
		return nil, err
	}
	sizes, err := d.store.KVList(ctx, p.Plugin, "")
	if err != nil {
		return nil, err
	}
	if p.Set || len(sizes) == 0 { // what has kept something is shown, whatever it may now
		if err := d.mayKeep(ctx, p.Plugin); err != nil {
			return nil, err
		}
	}
	if _, has := sizes[p.Key]; p.Key != "" && !p.Set && !has {
		return nil, core.Refusef(core.NotFound, "%s keeps nothing under %q", p.Plugin, p.Key).WithHint(`"ogp plugin kv ` + p.Plugin + `" lists its keys`)
	}
	put := core.KVPut{Plugin: p.Plugin, Key: p.Key}
	switch {
	case p.Key == "":
		out := map[string]any{}
		for k, n := range sizes {
			out[k] = n
		}
		return out, nil
	case p.Set || p.Delete:
		if p.Set {
			put.Value = append([]byte{}, p.Value...)
		}
		return map[string]any{}, d.store.Commit(ctx, &core.Change{KV: []core.KVPut{put}})
	}
	v, err := d.store.KV(ctx, p.Plugin, p.Key)
	if err != nil {
		return nil, err
	}
	return map[string]any{p.Key: string(v)}, nil
}

// mayKeep returns an error of kind Forbidden for a plugin that cannot read a store.
func (d *Daemon) mayKeep(ctx context.Context, name string) error {
	wanted, err := d.wantedPlugins(ctx)
	if err != nil {
		return err
	}
	for _, w := range wanted {
		if w.Spec.Name != name || len(w.Spec.Grants.KV) > 0 {
			continue
		}
		return core.Refusef(core.Forbidden, "%s has no store: none is granted to it", name).
			WithHint("a plugin asks for one with [kv] in its plugin.toml; kv = [\"get\", \"set\", \"delete\", \"list\"] in [plugins." + name + ".grants] of config.toml grants it")
	}
	return nil
}

// knowsPlugin returns an error of kind NotFound for a plugin that is neither wanted nor
// has left anything in its store.
func (d *Daemon) knowsPlugin(ctx context.Context, name string) error {
	sizes, err := d.store.KVList(ctx, name, "")
	if err != nil || len(sizes) > 0 {
		return err
	}
	wanted, err := d.wantedPlugins(ctx)
	if err != nil || slices.ContainsFunc(wanted, func(w hooks.Wanted) bool { return w.Spec.Name == name }) {
		return err
	}
	e := core.Refusef(core.NotFound, "no plugin named %q", name)
	e.Hint = `"ogp plugin list" shows them`
	for _, w := range wanted {
		e.Candidates = append(e.Candidates, w.Spec.Name)
	}
	return e
}

// listPlugins is the method "plugins".
func (d *Daemon) listPlugins(ctx context.Context, _ api.None) ([]api.PluginView, error) {
	if d.hooks != nil {
		return d.pluginViews(d.hooks.List()), nil
	}
	wanted, err := d.wantedPlugins(ctx)
	if err != nil {
		return nil, err
	}
	return d.pluginViews(hooks.Look(ctx, d.store, wanted, d.rules())), nil
}

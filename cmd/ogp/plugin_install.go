package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// installedPlugins is the method "plugin.installed".
func (d *daemon) installedPlugins(ctx context.Context, _ api.None) ([]hooks.Installed, error) {
	return hooks.ListInstalled(ctx, d.store)
}

// manager is the running one, or one that only tries plugins.
func (d *daemon) manager() (m *hooks.Manager, done func(), err error) {
	if d.extensions != nil {
		return d.extensions, func() {}, nil
	}
	m, err = hooks.New(hooks.Options{Store: d.store, CacheDir: filepath.Join(d.dir, compileCache), Logger: d.log})
	if err != nil {
		return nil, nil, err
	}
	return m, m.Close, nil
}

// installPlugin is the method "plugin.install": it tries the plugin, copies it,
// records it and puts it in force. Whatever fails leaves what was.
func (d *daemon) installPlugin(ctx context.Context, p api.InstallParams) (hooks.View, error) {
	m, done, err := d.manager()
	if err != nil {
		return hooks.View{}, err
	}
	defer done()
	d.reloading.Lock()
	defer d.reloading.Unlock()
	return d.installNow(ctx, m, p)
}

func (d *daemon) installNow(ctx context.Context, m *hooks.Manager, p api.InstallParams) (none hooks.View, err error) {
	if err := d.mayInstall(p.Name); err != nil {
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
	if err := d.applyInstalled(ctx, now); err != nil {
		return undo(err)
	}
	if err := hooks.Install(ctx, d.store, in); err != nil {
		return undo(errors.Join(err, d.applyInstalled(ctx, was)))
	}
	if err := hooks.Sweep(d.dir, p.Name, placed); err != nil {
		d.log.Warn("old versions not removed", "plugin", p.Name, "err", err)
	}
	return d.viewPlugin(ctx, p.Name, w)
}

// kept is the path of a version to keep; empty: none.
func (d *daemon) kept(path string) string {
	if path == "" {
		return ""
	}
	return d.inState(path)
}

// mayInstall refuses names that the configuration or the binary have taken.
func (d *daemon) mayInstall(name string) error {
	if err := hooks.CheckName(name); err != nil {
		return err
	}
	if c, ok := d.config().Plugins[name]; ok && c.Path != "" {
		e := core.Refusef(core.Conflict, "config.toml has a plugin named %q, with a path of its own", name)
		e.Hint = "--name installs it under another name; or take path out of [plugins." + name + "]"
		return e
	}
	if _, ships := plugins.Get(name); ships {
		e := core.Refusef(core.Conflict, "%q is a plugin that ships with ogp", name)
		e.Hint = "--name installs it under another name"
		return e
	}
	return nil
}

// applyInstalled puts the plugins in force, if a gateway runs here, and waits until
// they are ready.
func (d *daemon) applyInstalled(ctx context.Context, installed []hooks.Installed) error {
	if d.extensions == nil {
		return nil
	}
	wanted, err := d.wantedWith(installed)
	if err != nil {
		return err
	}
	if err := d.extensions.Apply(wanted); err != nil {
		return err
	}
	return d.extensions.Ready(ctx)
}

func (d *daemon) viewPlugin(ctx context.Context, name string, w hooks.Wanted) (hooks.View, error) {
	list := hooks.Look(ctx, d.store, []hooks.Wanted{w})
	if d.extensions != nil {
		list = d.extensions.List()
	}
	for _, v := range list {
		if v.Name == name {
			return v, nil
		}
	}
	return hooks.View{}, core.Refusef(core.NotFound, "no plugin named %q is in force", name)
}

type installResult struct {
	Plugin     hooks.View       `json:"plugin"`
	Running    bool             `json:"running"`
	Asks       asksView         `json:"asks"`
	Difference hooks.Difference `json:"difference"`
}

func pluginInstallCommand(a *app) *cobra.Command {
	var p api.InstallParams
	var yes bool
	cmd := &cobra.Command{
		Use: "install <file or folder>", Short: "Put a plugin in force, with what it asks for", Args: cobra.ExactArgs(1),
		Long: "Copy a plugin into the state directory and grant it what it asks for, after showing it. A running gateway puts it in force at once; an installed one of the same name is replaced.\n\n  ogp plugin install ./small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.install(cmd.Context(), args[0], p, yes, cmd.Flags().Changed("order"))
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(r)
				return nil
			}
			verb := "Installed"
			if !r.Difference.New {
				verb = "Replaced"
			}
			fmt.Fprintf(a.out, "%s %s (%s), SHA-256 %.12s: %s\n", verb, r.Plugin.Name, words(r.Plugin.Hooks), r.Plugin.SHA256, r.Plugin.State)
			if !r.Running {
				fmt.Fprintln(a.err, `No daemon is running; "ogp start" loads it.`)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Name, "name", "", "its name in this gateway (default: its manifest's)")
	cmd.Flags().IntVar(&p.Order, "order", 0, "policies are asked by it, lowest first")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "grant what it asks for, without a question")
	return cmd
}

func (a *app) install(ctx context.Context, ref string, p api.InstallParams, yes, ordered bool) (r installResult, err error) {
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
	p.Digest, p.Grants = files.Digest(), module.Manifest.Asks()
	installed, _, err := onState(ctx, a, api.PluginInstalled, api.None{}, false, (*daemon).installedPlugins)
	if err != nil {
		return r, err
	}
	var now *hooks.Installed
	for _, in := range installed {
		if in.Name == p.Name {
			now = &in
		}
	}
	if now != nil && !ordered {
		p.Order = now.Order
	}
	r.Asks, r.Difference = asksOf(module.Manifest), hooks.Differ(module, now)
	if !a.json {
		a.showAsk(p.Name, module, r, now)
	}
	if r.Difference.Asks(module) && !yes {
		if err := a.confirm("Grant this to " + p.Name + "?"); err != nil {
			return r, err
		}
	}
	r.Plugin, r.Running, err = onState(ctx, a, api.PluginInstall, p, true, (*daemon).installPlugin)
	return r, err
}

// showAsk shows what a plugin asks for against what it is granted now.
func (a *app) showAsk(name string, m *plugin.Module, r installResult, now *hooks.Installed) {
	fmt.Fprintf(a.err, "%s%s (%s), SHA-256 %s\n", name, optional(" ", safeText(m.Manifest.Version)), words(m.Manifest.Hooks), m.SHA256)
	if now != nil && r.Difference.Module {
		fmt.Fprintf(a.err, "Another module than the installed one, SHA-256 %s\n", now.SHA256)
	}
	lines := r.Asks.lines()
	if len(lines) == 0 {
		fmt.Fprintln(a.err, "It asks for nothing.")
	} else {
		fmt.Fprintln(a.err, "It asks for:")
	}
	for _, l := range lines {
		fmt.Fprintf(a.err, "  %s\n", l)
	}
	if now == nil {
		return
	}
	for _, l := range r.Difference.Wider {
		fmt.Fprintf(a.err, "  + %s (not granted now)\n", safeText(l))
	}
	for _, l := range r.Difference.Narrower {
		fmt.Fprintf(a.err, "  - %s (granted now, not asked any more)\n", safeText(l))
	}
}

// removePlugin is the method "plugin.remove".
func (d *daemon) removePlugin(ctx context.Context, p api.PluginRef) (api.None, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	return api.None{}, d.removeNow(ctx, p.Name)
}

func (d *daemon) removeNow(ctx context.Context, name string) error {
	installed, err := hooks.ListInstalled(ctx, d.store)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(installed, func(in hooks.Installed) bool { return in.Name == name })
	if i < 0 {
		e := core.Refusef(core.NotFound, "no plugin named %q is installed", name)
		e.Hint = `"ogp plugin list" shows where each is from; one of config.toml goes with its [plugins] table, or with enabled = false there`
		return e
	}
	if err := d.applyInstalled(ctx, slices.Delete(installed, i, i+1)); err != nil {
		return err
	}
	if err := hooks.Uninstall(ctx, d.store, name); err != nil {
		return err
	}
	return hooks.Sweep(d.dir, name, "")
}

func pluginRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove <name>", Short: "Remove an installed plugin", Args: cobra.ExactArgs(1),
		Long: "Take an installed plugin out of force, with its files, its grants, its record and its key-value store.\n\n  ogp plugin remove small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, running, err := onState(cmd.Context(), a, api.PluginRemove, api.PluginRef{Name: args[0]}, false, (*daemon).removePlugin)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]any{"removed": args[0], "running": running})
				return nil
			}
			fmt.Fprintf(a.out, "Removed %s\n", args[0])
			return nil
		},
	}
}

// reloadPlugin is the method "plugin.reload". An empty name means all.
func (d *daemon) reloadPlugin(ctx context.Context, p api.PluginRef) ([]hooks.View, error) {
	var failed error
	for _, v := range d.extensions.List() {
		if p.Name == "" && v.Source != hooks.FromBinary || p.Name == v.Name {
			failed = errors.Join(failed, d.extensions.Reload(ctx, v.Name))
		}
	}
	if failed != nil {
		return nil, &core.Error{Kind: core.Malformed, Public: failed.Error(), Hint: "what was in force before stays in force"}
	}
	out := []hooks.View{}
	for _, v := range d.extensions.List() {
		if p.Name == "" || p.Name == v.Name {
			out = append(out, v)
		}
	}
	if p.Name != "" && len(out) == 0 {
		return nil, d.extensions.Reload(ctx, p.Name) // says that there is none
	}
	return out, nil
}

func pluginReloadCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "reload [name]", Short: "Load plugins anew from their files", Args: cobra.MaximumNArgs(1),
		Long: "Load a plugin of the running gateway anew from its file, or all of them. One that does not load or fails its self-tests changes nothing.\n\n  ogp plugin reload small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := api.PluginReload.Call(cmd.Context(), a, api.PluginRef{Name: append(args, "")[0]})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(list)
				return nil
			}
			for _, v := range list {
				fmt.Fprintf(a.out, "%s: %s, SHA-256 %.12s\n", v.Name, v.State, v.SHA256)
			}
			return nil
		},
	}
}

// pluginKV is the method "plugin.kv". Without a key it lists the keys and their
// sizes.
func (d *daemon) pluginKV(ctx context.Context, p api.KVParams) (map[string]any, error) {
	if err := hooks.CheckName(p.Plugin); err != nil {
		return nil, err
	}
	put := core.KVPut{Plugin: p.Plugin, Key: p.Key}
	switch {
	case p.Key == "":
		sizes, err := d.store.KVList(ctx, p.Plugin, "")
		out := map[string]any{}
		for k, n := range sizes {
			out[k] = n
		}
		return out, err
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

func pluginKVCommand(a *app) *cobra.Command {
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
				return usagef("--delete takes a name and a key")
			}
			got, _, err := onState(cmd.Context(), a, api.PluginKV, p, p.Set || p.Delete, (*daemon).pluginKV)
			switch {
			case err != nil:
				return err
			case a.json:
				a.writeJSON(got)
			case p.Set || p.Delete:
			case p.Key != "":
				fmt.Fprintln(a.out, safeText(fmt.Sprint(got[p.Key])))
			case len(got) == 0:
				fmt.Fprintf(a.err, "%s has kept nothing.\n", args[0])
			default:
				rows := make([][]string, 0, len(got))
				for k, n := range got {
					rows = append(rows, []string{safeText(k), fmt.Sprint(n)})
				}
				slices.SortFunc(rows, func(x, y []string) int { return slices.Compare(x, y) })
				table(a.out, []string{"KEY", "BYTES"}, rows)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "delete the key")
	return cmd
}

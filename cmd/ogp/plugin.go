package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/plugins"
	"github.com/opengatewayprotocol/ogp/sdk/scaffold"
)

func pluginCommand(a *app) *cobra.Command {
	return group("plugin", "Write, try, install and watch plugins", pluginListCommand(a), pluginInspectCommand(a), pluginRunCommand(a),
		pluginTestCommand(a), pluginBenchCommand(a), pluginInstallCommand(a), pluginRemoveCommand(a), pluginReloadCommand(a),
		pluginKVCommand(a), pluginNewCommand(a))
}

// offline gives what is needed of a daemon where none runs. A state directory that
// is not there is made only where something is to be written; otherwise an empty
// store stands for it.
func (a *app) offline(ctx context.Context, write bool) (*daemon, func(), error) {
	dir, err := a.stateDir()
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, nil, err
	}
	d, err := a.configuredOnly(dir)
	if err != nil {
		return nil, nil, err
	}
	_, err = os.Stat(filepath.Join(dir, storeFile))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !write:
		d.store = memory.New()
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, nil, fmt.Errorf("make the state directory: %w", err)
		}
		fallthrough
	default:
		if d.store, err = store.Open(ctx, store.Default, dir); err != nil {
			return nil, nil, err
		}
	}
	return d, func() { d.store.Close() }, nil
}

// configuredOnly is a daemon that has no more than its configuration.
func (a *app) configuredOnly(dir string) (*daemon, error) {
	cfg, origins, _, err := a.load(nil)
	if err != nil {
		return nil, err
	}
	d := &daemon{app: a, dir: dir, log: newLogger(a.err, cfg.Log.Format, levelOf(cfg.Log.Level))}
	d.current.Store(&loadedConfig{cfg, origins})
	return d, nil
}

// storeFile is the store's file in the state directory.
const storeFile = "ogp.db"

// onState calls a method of the running daemon or, where none runs, does the same
// on the state directory.
func onState[P, R any](ctx context.Context, a *app, m control.Method[P, R], p P, write bool, do func(*daemon, context.Context, P) (R, error)) (result R, running bool, err error) {
	result, err = m.Call(ctx, a, p)
	if !errors.Is(err, control.ErrNoDaemon) {
		return result, true, err
	}
	d, done, err := a.offline(ctx, write)
	if err != nil {
		return result, false, err
	}
	defer done()
	result, err = do(d, ctx, p)
	return result, false, err
}

// listPlugins is the method "plugins".
func (d *daemon) listPlugins(ctx context.Context, _ api.None) ([]hooks.View, error) {
	if d.extensions != nil {
		return d.extensions.List(), nil
	}
	wanted, err := d.wantedPlugins(ctx)
	if err != nil {
		return nil, err
	}
	return hooks.Look(ctx, d.store, wanted), nil
}

func pluginListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the plugins in force, and how they do", Args: cobra.NoArgs,
		Long: "List the plugins in force in the order in which policies are asked: their hooks, calls, refused messages and failures. Where no daemon runs, the plugins that the next start would load.\n\n  ogp plugin list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, running, err := onState(cmd.Context(), a, api.Plugins, api.None{}, false, (*daemon).listPlugins)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]any{"running": running, "plugins": list})
				return nil
			}
			if len(list) == 0 {
				fmt.Fprintln(a.err, `No plugins. "ogp plugin new my-policy" begins one.`)
				return nil
			}
			rows := make([][]string, len(list))
			for i, v := range list {
				rows[i] = []string{v.Name, v.State, words(v.Hooks), fmt.Sprint(v.Order), fmt.Sprint(v.Calls), fmt.Sprint(v.Refusals), fmt.Sprint(v.Failures),
					v.Source, fmt.Sprintf("%.12s", v.SHA256)}
			}
			table(a.out, []string{"NAME", "STATE", "HOOKS", "ORDER", "CALLS", "REFUSED", "FAILED", "FROM", "SHA-256"}, rows)
			for _, v := range list {
				if v.Error != "" {
					fmt.Fprintf(a.err, "%s: %s\n", v.Name, safeText(v.Error))
				}
				if v.LastFailure != "" {
					fmt.Fprintf(a.err, "%s: last failure: %s\n", v.Name, safeText(v.LastFailure))
				}
				for _, m := range v.Missing {
					fmt.Fprintf(a.err, "%s: asks for what is not granted: %s\n", v.Name, m)
				}
			}
			if !running {
				fmt.Fprintln(a.err, "No daemon is running; this is what a start would load.")
			}
			return nil
		},
	}
}

func words(hooks []plugin.Hook) string {
	out := make([]string, len(hooks))
	for i, h := range hooks {
		out[i] = string(h)
	}
	return dash(strings.Join(out, ","))
}

// found is a plugin that the user has named.
type found struct {
	spec    plugin.Spec
	module  *plugin.Module
	granted *plugin.Grants // nil: it is not installed or configured
}

// findPlugin finds a plugin by its file or folder or, where there is none, by the
// name that it has in this gateway.
func (a *app) findPlugin(ctx context.Context, ref string) (*found, error) {
	if _, err := os.Stat(ref); err == nil {
		files, err := hooks.ReadFiles(ref)
		if err != nil {
			return nil, err
		}
		f := &found{}
		if f.spec, err = files.Spec(); err != nil {
			return nil, err
		}
		if f.module, err = plugin.Inspect(f.spec); err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		return f, nil
	}
	if hooks.CheckName(ref) == nil {
		f, err := a.findNamed(ctx, ref)
		if f != nil || err != nil {
			return f, err
		}
	}
	e := core.Refusef(core.NotFound, "no plugin %q: neither a file or folder, nor installed, configured or shipped", ref)
	e.Hint = `"ogp plugin list" shows those of this gateway; "ogp plugin new" begins one`
	return nil, e
}

func (a *app) findNamed(ctx context.Context, name string) (*found, error) {
	installed, _, err := onState(ctx, a, api.PluginInstalled, api.None{}, false, (*daemon).installedPlugins)
	if err != nil {
		return nil, err
	}
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	d, err := a.configuredOnly(dir)
	if err != nil {
		return nil, err
	}
	c, configured := d.config().Plugins[name]
	i := slices.IndexFunc(installed, func(in hooks.Installed) bool { return in.Name == name })
	var in *hooks.Installed
	if i >= 0 {
		in = &installed[i]
	}
	if _, ships := plugins.Get(name); !configured && in == nil && !ships {
		return nil, nil
	}
	w, err := d.configured(name, c, in)
	if err != nil {
		return nil, err
	}
	f := &found{spec: w.Spec, granted: &w.Spec.Grants}
	f.module, err = plugin.Inspect(f.spec)
	return f, err
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
	Asks        asksView          `json:"asks"`
	Missing     []string          `json:"missing,omitempty"` // asked and not granted in this gateway
	SelfTests   int               `json:"selfTests"`
}

type limitsView struct {
	Timeout   string `json:"timeout"`
	MemoryMiB int64  `json:"memoryMiB"`
	Fuel      int64  `json:"fuel"`
	Instances int    `json:"instances"`
}

type asksView struct {
	HTTP []httpView `json:"http"`
	KV   *kvView    `json:"kv,omitempty"`
}

type httpView struct {
	URL     string   `json:"url"`
	Private bool     `json:"private"`
	Secrets []string `json:"secrets,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

type kvView struct {
	MaxBytes int64  `json:"maxBytes"`
	Reason   string `json:"reason,omitempty"`
}

func asksOf(m *plugin.Manifest) asksView {
	v := asksView{HTTP: []httpView{}}
	for _, h := range m.HTTP {
		v.HTTP = append(v.HTTP, httpView(h))
	}
	if m.KV != nil {
		v.KV = &kvView{m.KV.MaxBytes, m.KV.Reason}
	}
	return v
}

// lines say what is asked, for people.
func (v asksView) lines() []string {
	var out []string
	for _, h := range v.HTTP {
		line := "requests to " + h.URL
		if h.Private {
			line += ", also at private addresses"
		}
		if len(h.Secrets) > 0 {
			line += ", with the secret " + strings.Join(h.Secrets, ", ")
		}
		out = append(out, safeText(line+optional(": ", h.Reason)))
	}
	if v.KV != nil {
		out = append(out, safeText(fmt.Sprintf("a store of its own, %d bytes%s", v.KV.MaxBytes, optional(": ", v.KV.Reason))))
	}
	return out
}

func pluginInspectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "inspect <file, folder or name>", Short: "Show what a plugin is and what it asks for", Args: cobra.ExactArgs(1),
		Long: "Show a plugin's kind, hooks, imports, size and hash, and what it asks for. Nothing of it is run, and no daemon is needed.\n\n  ogp plugin inspect openclaw",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.findPlugin(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			m, l := f.module.Manifest, f.module.Manifest.Limits
			v := inspectView{Name: m.Name, Version: m.Version, Description: m.Description, Author: m.Author, License: m.License, Kind: f.module.Kind,
				Hooks: m.Hooks, Intents: m.Intents, Batch: m.Batch, Path: f.spec.Path, Size: f.module.Size, SHA256: f.module.SHA256,
				Imports: f.module.Imports, Asks: asksOf(m), SelfTests: len(m.SelfTests),
				Limits: limitsView{durationText(l.Timeout), l.MemoryMiB, l.Fuel, l.Instances}}
			if f.granted != nil {
				v.Missing = f.granted.Missing(m.Asks())
			}
			if a.json {
				a.writeJSON(v)
				return nil
			}
			a.showInspect(v)
			return nil
		},
	}
}

func durationText(d plugin.Duration) string {
	text, _ := d.MarshalText() // has no error
	return string(text)
}

func (a *app) showInspect(v inspectView) {
	line := func(k, text string) {
		if text != "" {
			fmt.Fprintf(a.out, "%-9s %s\n", k, safeText(text))
		}
	}
	line("Name", v.Name+optional(" ", v.Version)+optional("  ", v.Description))
	line("Author", v.Author+optional("  ", v.License))
	line("Kind", string(v.Kind))
	line("Hooks", words(v.Hooks)+optional("  for ", strings.Join(v.Intents, ", ")))
	line("File", v.Path)
	line("Size", fmt.Sprintf("%d bytes", v.Size))
	line("SHA-256", v.SHA256)
	line("Limits", fmt.Sprintf("%s and %d units of work a call, %d MiB, %d at once", v.Limits.Timeout, v.Limits.Fuel, v.Limits.MemoryMiB, v.Limits.Instances))
	line("Imports", dash(strings.Join(v.Imports, " ")))
	asks := v.Asks.lines()
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

func pluginNewCommand(a *app) *cobra.Command {
	var lang, hook string
	cmd := &cobra.Command{
		Use: "new <name> [folder]", Short: "Begin a plugin", Args: cobra.RangeArgs(1, 2),
		Long: "Write the project of a new plugin, with a test case and a Makefile, into a new folder. It builds offline.\n\n  ogp plugin new small-only --lang go --hook message",
		RunE: func(_ *cobra.Command, args []string) error {
			if lang != "" && !slices.Contains(scaffold.Langs, lang) {
				return usagef("--lang %q: want one of %s", lang, strings.Join(scaffold.Langs, ", "))
			}
			if hook == "policy" {
				hook = scaffold.Hooks[0]
			}
			if hook != "" && !slices.Contains(scaffold.Hooks, hook) {
				return usagef("--hook %q: want one of %s", hook, strings.Join(scaffold.Hooks, ", "))
			}
			name, dir := args[0], args[len(args)-1]
			if err := scaffold.Write(dir, name, lang, hook); err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]string{"name": name, "folder": dir, "lang": lang, "hook": hook})
				return nil
			}
			fmt.Fprintf(a.out, "Wrote %s\n", dir)
			fmt.Fprintf(a.err, "Next: cd %s, make test, make, then \"ogp plugin install %s.wasm\"; its README has more\n", dir, name)
			return nil
		},
	}
	cmd.Flags().StringVar(&lang, "lang", scaffold.Langs[0], strings.Join(scaffold.Langs, ", "))
	cmd.Flags().StringVar(&hook, "hook", scaffold.Hooks[0], strings.Join(scaffold.Hooks, ", "))
	return cmd
}

// confirm asks on the terminal. Where there is none, the answer is no, and the
// error says what grants it.
func (a *app) confirm(question string) error {
	file, ok := a.in.(*os.File)
	if info, err := fileInfo(file, ok); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		e := core.Refuse(core.Forbidden, "this needs a yes")
		e.Hint = "--yes grants what it asks for"
		return e
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); err != nil || answer != "y" && answer != "yes" {
		e := core.Refuse(core.Forbidden, "not granted; nothing has changed")
		e.Hint = "--yes grants what it asks for"
		return e
	}
	return nil
}

func fileInfo(f *os.File, ok bool) (os.FileInfo, error) {
	if !ok {
		return nil, os.ErrInvalid
	}
	return f.Stat()
}

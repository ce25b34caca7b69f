// Package trial runs plugins beside the gateway, in a host of their own: on one case, on
// many. It keeps what was uploaded until it is installed or given up.
package trial

import (
	"context"
	"log/slog"
	"os"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Plugin is what is tried.
type Plugin struct {
	Spec    plugin.Spec
	Module  *plugin.Module
	Granted *plugin.Grants // nil: it is not installed or configured
}

// Of reads what files hold.
func Of(files *hooks.Files) (p *Plugin, err error) {
	p = &Plugin{}
	if p.Spec, err = files.Spec(); err != nil {
		return nil, err
	}
	p.Module, err = plugin.Inspect(p.Spec)
	return p, err
}

// Options are a host's settings.
type Options struct {
	CacheDir string // of compiled modules; empty: one for as long as the host is open
	Logger   *slog.Logger
	Grant    bool // let requests go out
}

// Host runs plugins beside the gateway.
type Host struct {
	o    Options
	host *plugin.Host
	done func()
}

// Open makes a host, which the caller closes.
func Open(o Options) (*Host, error) {
	h := &Host{o: o, done: func() {}}
	cache := o.CacheDir
	var err error
	if cache == "" {
		if cache, err = os.MkdirTemp("", "ogp-plugin-"); err != nil {
			return nil, err
		}
		h.done = func() { os.RemoveAll(cache) }
	}
	if h.host, err = plugin.NewHost(plugin.Options{CacheDir: cache, Logger: o.Logger}); err != nil {
		h.done()
		return nil, err
	}
	return h, nil
}

// Close ends what the host runs.
func (h *Host) Close() {
	h.host.Close()
	h.done()
}

// Load loads a plugin for a case: with a store of its own that holds what the case
// says, and without the power to send anything unless it is granted.
func (h *Host) Load(ctx context.Context, f *Plugin, c Case) (*plugin.Plugin, error) {
	spec := f.Spec
	kv := &plugin.MemoryKV{}
	most := int64(1 << 20)
	if ask := f.Module.Manifest.KV; ask != nil {
		most = ask.MaxBytes
	}
	for k, v := range c.KV {
		if err := kv.Set(ctx, k, []byte(v), most); err != nil {
			return nil, err
		}
	}
	var err error
	if spec.Config, err = plugin.Overlay(spec.Config, c.Config); err != nil {
		return nil, &core.Error{Kind: core.Malformed, Public: "config is not a JSON object", Err: err}
	}
	asks := f.Module.Manifest.Asks()
	spec.KV, spec.Grants.KV, spec.Answer, spec.Tried = kv, asks.KV, hooks.Answer, true
	switch {
	case c.HTTP != nil: // nothing leaves this process
		spec.Grants.HTTP, spec.RoundTrip = append(asks.HTTP, ownGrant(spec.Config, asks)...), &fakeServers{left: c.HTTP}
		spec.Secrets = func(name string) (string, bool) { v, ok := c.Secrets[name]; return v, ok }
	case !h.o.Grant:
		spec.Grants.HTTP = nil
	case f.Granted == nil:
		spec.Grants.HTTP = append(asks.HTTP, ownGrant(spec.Config, asks)...)
	default: // the case may have a URL of its own, where no secret of the gateway's goes
		for _, g := range ownGrant(spec.Config, asks) {
			g.Secrets = nil
			spec.Grants.HTTP = append(slices.Clone(spec.Grants.HTTP), g)
		}
	}
	return h.host.Load(ctx, spec)
}

// ownGrant is the grant for the URL that a plugin is configured with, as "ogp notify use"
// gives it: with the secrets that it asks for.
func ownGrant(text []byte, asks plugin.Grants) []plugin.HTTPGrant {
	var config struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(text, &config) != nil || plugin.CheckURL(config.URL) != nil || len(asks.HTTP) == 0 {
		return nil
	}
	g := plugin.HTTPGrant{URL: plugin.PrefixOf(config.URL), Private: true}
	for _, ask := range asks.HTTP {
		g.Secrets = append(g.Secrets, ask.Secrets...)
	}
	return []plugin.HTTPGrant{g}
}

// notMine is the answer that stands for leaving the matter to the next plugin.
var notMine = core.Raw(`{"status":"not mine"}`)

// NotLoaded says that a plugin does not load.
func NotLoaded(err error) error {
	return &core.Error{Kind: core.Malformed, Public: "the plugin does not load: " + err.Error()}
}

// RunView is what came of a call.
type RunView struct {
	Plugin      string      `json:"plugin"`
	Hook        plugin.Hook `json:"hook"`
	Answer      core.Raw    `json:"answer,omitempty"`
	Error       string      `json:"error,omitempty"`
	Fuel        int64       `json:"fuel"` // units of work; sdk/ABI.md, [limits]
	MemoryBytes int64       `json:"memoryBytes"`
	HostCalls   int         `json:"hostCalls"`
	Micros      int64       `json:"micros"`
	LoadMillis  int64       `json:"loadMillis"`
}

// Run loads a plugin and makes one call, of the hook that is named or that the case is for. A
// call that fails is part of the view.
func (h *Host) Run(ctx context.Context, f *Plugin, c Case, named string) (RunView, error) {
	hook, err := c.Hook(f.Module.Manifest, named)
	if err != nil {
		return RunView{}, err
	}
	p, err := h.Load(ctx, f, c)
	if err != nil {
		return RunView{}, NotLoaded(err)
	}
	defer p.Close()
	r, err := p.Call(ctx, hook, c.Input)
	if ctx.Err() != nil {
		return RunView{}, ctx.Err()
	}
	v := RunView{Plugin: p.Info().Name, Hook: hook, Answer: r.Output, Fuel: r.FuelUsed, MemoryBytes: r.MemoryBytes, HostCalls: r.HostCalls,
		Micros: r.Took.Microseconds(), LoadMillis: p.Info().LoadTook.Milliseconds()}
	switch {
	case err != nil:
		v.Error, v.Answer = err.Error(), nil
	case r.NotMine():
		v.Answer = notMine
	}
	return v, nil
}

// Package trial runs plugins beside the gateway: on a case, on many, on what has come.
package trial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// trials runs plugins in this process, beside any daemon.
type trials struct {
	a     *cli.App
	host  *plugin.Host
	grant bool // let requests go out
	done  func()
}

// openTrials makes a host. Compiled modules come from the gateway's cache, if there
// is a gateway here.
func openTrials(a *cli.App) (*trials, error) {
	t := &trials{a: a, done: func() {}}
	dir, err := a.StateDir()
	if err != nil {
		return nil, err
	}
	cache := filepath.Join(dir, daemon.CompileCache)
	if _, err := os.Stat(dir); err != nil {
		if cache, err = os.MkdirTemp("", "ogp-plugin-"); err != nil {
			return nil, err
		}
		t.done = func() { os.RemoveAll(cache) }
	}
	log := daemon.NewLogger(a.Err, "text", slog.LevelInfo)
	if t.host, err = plugin.NewHost(plugin.Options{CacheDir: cache, Logger: log}); err != nil {
		t.done()
		return nil, err
	}
	return t, nil
}

func (t *trials) close() {
	t.host.Close()
	t.done()
}

// load loads a plugin for a case: with a store of its own that holds what the case
// says, and without the power to send anything unless it is granted.
func (t *trials) load(ctx context.Context, f *Found, c pluginCase) (*plugin.Plugin, error) {
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
	if spec.Config, err = over(spec.Config, c.Config); err != nil {
		return nil, err
	}
	asks := f.Module.Manifest.Asks()
	spec.KV, spec.Grants.KV, spec.Answer = kv, asks.KV, hooks.Answer
	switch {
	case c.HTTP != nil: // nothing leaves this process
		spec.Grants.HTTP, spec.RoundTrip = append(asks.HTTP, ownGrant(spec.Config, asks)...), &fakeServers{left: c.HTTP}
		spec.Secrets = func(name string) (string, bool) { v, ok := c.Secrets[name]; return v, ok }
	case !t.grant:
		spec.Grants.HTTP = nil
	case f.Granted == nil:
		spec.Grants.HTTP = append(asks.HTTP, ownGrant(spec.Config, asks)...)
	default: // the case may have a URL of its own, where no secret of the gateway's goes
		for _, g := range ownGrant(spec.Config, asks) {
			g.Secrets = nil
			spec.Grants.HTTP = append(slices.Clone(spec.Grants.HTTP), g)
		}
	}
	return t.host.Load(ctx, spec)
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

func notLoaded(err error) error {
	return &core.Error{Kind: core.Malformed, Public: "the plugin does not load: " + err.Error()}
}

type runView struct {
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

// runCase loads a plugin and makes one call. A call that fails is part of the view.
func (t *trials) runCase(ctx context.Context, f *Found, c pluginCase, flag string) (runView, error) {
	hook, err := c.hook(f.Module.Manifest, flag)
	if err != nil {
		return runView{}, err
	}
	p, err := t.load(ctx, f, c)
	if err != nil {
		return runView{}, notLoaded(err)
	}
	defer p.Close()
	r, err := p.Call(ctx, hook, c.Input)
	if ctx.Err() != nil {
		return runView{}, ctx.Err()
	}
	v := runView{Plugin: p.Info().Name, Hook: hook, Answer: r.Output, Fuel: r.FuelUsed, MemoryBytes: r.MemoryBytes, HostCalls: r.HostCalls,
		Micros: r.Took.Microseconds(), LoadMillis: p.Info().LoadTook.Milliseconds()}
	switch {
	case err != nil:
		v.Error, v.Answer = err.Error(), nil
	case r.NotMine():
		v.Answer = notMine
	}
	return v, nil
}

// RunCommand is "ogp plugin run".
func RunCommand(a *cli.App) *cobra.Command {
	var file, hook string
	var grant bool
	cmd := &cobra.Command{
		Use: "run <file, folder or name>", Short: "Run a plugin on one case", Args: cobra.ExactArgs(1),
		Long: `Give a plugin one case and print its answer, and what the call took. It runs beside the gateway, with a store of its own; requests go out only with --grant, or are answered by the case.

"ogp policy replay --with" asks a policy about what has come to the gateway.

  ogp plugin run ./small-only --case cases/first.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := Find(ctx, a, args[0])
			if err != nil {
				return err
			}
			t, err := openTrials(a)
			if err != nil {
				return err
			}
			defer t.close()
			t.grant = grant
			c, err := readCase(a, file)
			if err != nil {
				return err
			}
			v, err := t.runCase(ctx, f, c, hook)
			if err != nil {
				return err
			}
			return showRun(a, v)
		},
	}
	cmd.Flags().StringVar(&file, "case", "-", "the case: a file, or - for the standard input")
	cmd.Flags().StringVar(&hook, "hook", "", "message, request, notify or handle, where the case does not say")
	cmd.Flags().BoolVar(&grant, "grant", false, "let its requests go out")
	return cmd
}

func showRun(a *cli.App, v runView) error {
	if a.JSON {
		a.WriteJSON(v)
	} else {
		if v.Error == "" {
			fmt.Fprintf(a.Out, "%s\n", v.Answer)
		}
		fmt.Fprintf(a.Err, "fuel %d, memory %d KiB, host calls %d, %d us\n", v.Fuel, v.MemoryBytes>>10, v.HostCalls, v.Micros)
	}
	if v.Error == "" {
		return nil
	}
	if a.JSON {
		return cli.ErrPrinted(cli.Failed)
	}
	return errors.New(term.SafeText(v.Error))
}

package trial

import (
	"context"
	"fmt"
	"os"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

// Find finds a plugin by its file or folder or, where there is none, by the
// name that it has in this gateway.
func Find(ctx context.Context, a *cli.App, ref string) (*trial.Plugin, error) {
	if _, err := os.Stat(ref); err == nil {
		files, err := hooks.ReadFiles(ref)
		if err != nil {
			return nil, err
		}
		f, err := trial.Of(files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		return f, nil
	}
	if hooks.CheckName(ref) == nil {
		f, err := findNamed(ctx, a, ref)
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, core.Refusef(core.NotFound, "no plugin %q: there is no such file or folder, and none of that name is installed, configured or shipped", ref).
		WithHint(`"ogp plugin list" shows those of this gateway; "ogp plugin new" begins one`)
}

// ofGateway is what is installed in this gateway, and what its daemon is made of.
func ofGateway(ctx context.Context, a *cli.App) ([]hooks.Installed, daemon.Options, error) {
	installed, _, err := cli.OnState(ctx, a, api.PluginInstalled, api.None{}, false)
	if err != nil {
		return nil, daemon.Options{}, err
	}
	o, err := a.DaemonOptions(nil)
	return installed, o, err
}

func findNamed(ctx context.Context, a *cli.App, name string) (*trial.Plugin, error) {
	installed, o, err := ofGateway(ctx, a)
	if err != nil {
		return nil, err
	}
	spec, ok, err := daemon.PluginSpec(o, name, installed)
	if err != nil || !ok {
		return nil, err
	}
	f := &trial.Plugin{Spec: spec, Granted: &spec.Grants}
	f.Module, err = plugin.Inspect(spec)
	return f, err
}

// Hooks lists hooks in one line.
func Hooks(hooks []plugin.Hook) string { return term.Dash(cli.Joined(hooks)) }

package cli

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// DaemonOptions are what a daemon of this state directory takes. cmd has flags for
// settings; nil: none.
func (a *App) DaemonOptions(cmd *cobra.Command) (daemon.Options, error) {
	dir, err := a.StateDir()
	if err != nil {
		return daemon.Options{}, err
	}
	command := ""
	if a.Home != "" || a.File != "" { // the words of a notice are read elsewhere
		there := App{Home: dir}
		if a.File != "" {
			if there.File, err = filepath.Abs(config.ExpandHome(a.Env, a.File)); err != nil {
				return daemon.Options{}, err
			}
		}
		command = strings.TrimSpace(there.Command())
	}
	return daemon.Options{Dir: dir, Command: command, Config: a.LoadOptions(cmd), Shipped: shipped, Version: a.Version, Log: a.Err, LogFile: a.LogFile}, nil
}

func shipped(name string) (wasm, manifest []byte, ok bool) {
	p, ok := plugins.Get(name)
	return p.Wasm, p.Manifest, ok
}

// Offline stands for the daemon where none runs. done must be called at the end.
func (a *App) Offline(ctx context.Context, write bool) (_ control.Local, done func(), err error) {
	o, err := a.DaemonOptions(nil)
	if err != nil {
		return nil, nil, err
	}
	return daemon.Offline(ctx, o, write)
}

// OnState calls a method of the running daemon or, where none runs, does the same
// on the state directory, to which write says that something is written.
func OnState[P, R any](ctx context.Context, a *App, m control.Method[P, R], p P, write bool) (result R, running bool, err error) {
	result, err = m.Call(ctx, a, p)
	if !errors.Is(err, control.ErrNoDaemon) {
		return result, true, err
	}
	local, done, err := a.Offline(ctx, write)
	if err != nil {
		return result, false, err
	}
	defer done()
	result, err = m.Call(ctx, local, p)
	return result, false, err
}

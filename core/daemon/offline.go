package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/legacy"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// StoreFile is the store's file in the state directory, and in a backup.
const StoreFile = "ogp.db"

// Offline stands for the daemon of a state directory where none runs: it answers
// the methods that need no running gateway. A state directory that is not there is
// made only to write; otherwise an empty store stands for it. done closes the
// store, which is open, and locked, until then.
func Offline(ctx context.Context, o Options, write bool) (_ control.Local, done func(), err error) {
	d, err := configured(o)
	if err != nil {
		return nil, nil, err
	}
	if err := d.openOffline(ctx, write); err != nil {
		return nil, nil, err
	}
	return control.Local{
		api.Whoami.Handle(d.whoamiOffline),
		api.ExportPeers.Handle(d.exportStored),
		api.Backup.Handle(d.backup),
		api.StoreKey.Handle(d.storeKey),
		api.Plugins.Handle(d.listPlugins),
		api.PluginInstalled.Handle(d.installedPlugins),
		api.PluginInstall.Handle(d.installPlugin),
		api.PluginRemove.Handle(d.removePlugin),
		api.PolicyDecisions.Handle(d.policyDecisions),
		api.PluginKV.Handle(d.pluginKV),
	}, func() { d.store.Close() }, nil
}

// configured is a daemon that has no more than its configuration.
func configured(o Options) (*Daemon, error) {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	cfg, origins, _, err := config.Load(o.Config)
	if err != nil {
		return nil, err
	}
	d := &Daemon{o: o, dir: o.Dir, log: NewLogger(o.Log, cfg.Log.Format, max(levelOf(cfg.Log.Level), slog.LevelWarn))} // a command says the rest
	d.current.Store(&loadedConfig{cfg, origins})
	return d, nil
}

func (d *Daemon) openOffline(ctx context.Context, write bool) error {
	_, err := os.Stat(filepath.Join(d.dir, StoreFile))
	switch {
	case d.config().Store.IsSet():
	case errors.Is(err, fs.ErrNotExist) && !write:
		d.store = memory.New()
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := d.makeDir(); err != nil {
			return err
		}
	}
	d.store, err = d.openStore(ctx)
	return err
}

// CheckStore opens the store of a state directory and closes it again.
func CheckStore(ctx context.Context, dir string) error {
	s, err := store.Open(ctx, store.Default, dir)
	if err != nil {
		return err
	}
	return s.Close()
}

// PluginSpec is what the plugin of this name would be loaded with, given those that
// are installed. ok is false where it is neither configured nor installed nor
// shipped.
func PluginSpec(o Options, name string, installed []hooks.Installed) (_ plugin.Spec, ok bool, err error) {
	d, err := configured(o)
	if err != nil {
		return plugin.Spec{}, false, err
	}
	var in *hooks.Installed
	for _, x := range installed {
		if x.Name == name {
			in = &x
		}
	}
	c, inConfig := d.config().Plugins[name]
	if _, _, ships := o.Shipped(name); !inConfig && in == nil && !ships {
		return plugin.Spec{}, false, nil
	}
	w, err := d.configured(name, c, in)
	return w.Spec, err == nil, err
}

// whoamiOffline reads the key that a start would use.
func (d *Daemon) whoamiOffline(ctx context.Context, _ api.None) (api.WhoamiView, error) {
	key, _, err := d.keyPlace().Find(ctx)
	if errors.Is(err, core.NotFound) {
		return api.WhoamiView{}, control.ErrNoDaemon
	}
	if err != nil {
		return api.WhoamiView{}, err
	}
	return whoami(key, ours.Settings{URL: d.config().OwnURL(d.config().DaemonPort), Names: d.config().Names()}), nil
}

// exportStored exports the peers of the store.
func (d *Daemon) exportStored(ctx context.Context, _ api.None) (core.Raw, error) {
	if _, err := os.Stat(filepath.Join(d.dir, KeyFile)); err != nil && !d.config().Store.IsSet() && d.config().Signer == "" {
		return nil, control.ErrNoDaemon
	}
	peers, err := d.store.Peers(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(peers, func(x, y *core.Peer) int { // as the gateway lists them
		return cmp.Or(x.RequestedAt.Compare(y.RequestedAt), bytes.Compare(x.Key[:], y.Key[:]))
	})
	return legacy.ExportPeers(peers)
}

// backup writes a copy of the store as it is at one moment.
func (d *Daemon) backup(ctx context.Context, p api.BackupParams) (api.None, error) {
	db, ok := d.store.(interface {
		Backup(ctx context.Context, path string) error
	})
	if !ok {
		return api.None{}, core.Refuse(core.Unsupported, "the store is a database of its own, which ogp does not back up").
			WithHint("use the database's own way, such as pg_dump or its provider's backups; and keep a copy of the key: " + KeyFile + ", unless the database has it sealed, or a signer has it")
	}
	return api.None{}, db.Backup(ctx, p.Path)
}

// makeDir makes the state directory where it is not there.
func (d *Daemon) makeDir() error {
	err := os.MkdirAll(d.dir, 0o700)
	if err == nil {
		return nil
	}
	why := err.Error()
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		why = p.Path + ": " + p.Err.Error()
	}
	return core.Refusef(core.Unavailable, "cannot make the state directory %s: %s", d.dir, why).
		WithHint("run ogp as the user who owns that folder, or name another directory with --home")
}

package daemon

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/doctor"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// doctorLimit bounds what is looked at, of which the slowest is a notifier. The
// caller waits a little longer.
const doctorLimit = 85 * time.Second

// doctor is the method "doctor": what the daemon can look at. What waits for
// somebody else is looked at side by side.
func (d *Daemon) doctor(ctx context.Context, p api.DoctorParams) ([]api.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	if p.Peer != "" {
		return d.lookAt(ctx).Peer(ctx, p.Peer)
	}
	look := d.lookAt(ctx)
	return doctor.Run(ctx, []doctor.Part{
		{Name: "key", Look: look.OwnKey},
		{Name: "start", Look: look.Start},
		{Name: "secrets", Look: d.checkSecrets},
		{Name: "store", Look: look.Damage},
		{Name: "store_read", Look: d.checkLists},
		{Name: "port", Look: look.OwnPort},
		{Name: "url", Look: look.OwnURL},
		{Name: "tls", Look: look.TLS},
		{Name: "clock", Look: look.Clock},
		{Name: "rendezvous", Look: look.Registrations},
		{Name: "plugins", Look: d.checkPlugins},
		{Name: "notifier", Look: func(ctx context.Context, r *api.Report) { d.checkNotifiers(ctx, r, look.Depths, p.TestCall) }},
		{Name: "queues", Look: look.Queues},
		{Name: "peers", Look: look.Peers},
		{Name: "disk", Look: look.Disk},
		{Name: "descriptors", Look: look.Descriptors},
	}, p.Wants), nil
}

// lookAt is what doctor looks at: all of it where we run.
func (d *Daemon) lookAt(ctx context.Context) *doctor.Doctor {
	out := &doctor.Doctor{Dir: d.dir, Version: d.o.Version, Config: d.config(), FindKey: d.keyPlace().Find, Store: d.store, Reading: &d.reading, Notes: d.notes}
	if d.public != nil {
		out.Listener, _ = d.public.Addr().(*net.TCPAddr)
		out.Restart = d.restart()
		out.Key, out.Gateway, out.TooNarrow, out.PublicURL, out.Card = d.key, d.gateway, d.listensTooNarrow(), d.publicURL(), d.wire.Card
		out.Rendezvous = d.registrations()
		out.Skew = d.nodes.Skew
		// Once for all that ask, and not all of a million.
		out.Depths = sync.OnceValues(func() (core.Depths, error) { return d.dispatcher.Depths(ctx, core.ManyWait) })
	}
	return out
}

// checkSecrets names the secrets that this process cannot read; checkPlugins does for
// those of plugins. Where none is configured there is nothing to say.
func (d *Daemon) checkSecrets(_ context.Context, r *api.Report) {
	for _, p := range d.config().CheckSecrets(d.origins()) {
		if strings.HasPrefix(p.Key, "plugins.") {
			continue
		}
		r.Fail("secrets", p.Hint, "%s", strings.TrimPrefix(config.Problems{p}.Error(), "config: "))
	}
}

// checkLists looks at where lists are read, if that is another database.
func (d *Daemon) checkLists(_ context.Context, r *api.Report) {
	if d.lists == nil {
		return
	}
	switch behind, err := d.behind(); {
	case err != nil:
		r.Warn("store_read", "check the replica; lists are read from the database of store meanwhile", "not read: %v", err)
	case behind > lateBy:
		r.Warn("store_read", "check the replica", "lists are %v behind", behind.Round(time.Second))
	default:
		r.Ok("store_read", "lists are %v behind", behind.Round(time.Millisecond))
	}
}

// checkPlugins tries every plugin: its file, its hash, its self-tests, on a store
// that is thrown away; and, in a daemon, how the loaded ones do.
func (d *Daemon) checkPlugins(ctx context.Context, r *api.Report) {
	wanted, err := d.wantedPlugins(ctx)
	if err != nil {
		r.Failed("plugins", "its [plugins] table in config.toml", err)
		return
	}
	if len(wanted) == 0 {
		r.Ok("plugins", "none")
		return
	}
	states := map[string]hooks.View{}
	if d.hooks != nil {
		loading, cancel := context.WithTimeout(ctx, 30*time.Second)
		_ = d.hooks.Ready(loading) // one that failed is shown below
		cancel()
		for _, v := range d.hooks.List() {
			states[v.Name] = v
		}
	}
	manager, err := hooks.New(hooks.Options{Store: memory.New(), CacheDir: filepath.Join(d.dir, CompileCache), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.Failed("plugins", "look at the disk and the permissions of "+d.dir, err)
		return
	}
	defer manager.Close()
	looks := map[string]hooks.View{}
	for _, v := range hooks.Look(ctx, d.store, wanted, d.rules()) {
		looks[v.Name] = v
	}
	for _, w := range wanted {
		name := w.Spec.Name
		v, loaded := states[name]
		if !loaded {
			v = looks[name]
		}
		if v.Approves {
			r.Ok("plugins", "%s may approve strangers, with at most these grants: %s", name, plugin.GrantWords(v.AtMost))
		}
		if v.Replies {
			r.Ok("plugins", "%s may answer peers' messages", name)
		}
		found := doctor.Problems(d.pluginProblems(v))
		if try := manager.Try(ctx, w); try != nil && v.State != hooks.StateFailed {
			view := api.ErrorOf(startRefused(try))
			found = append(doctor.Problems{{State: api.CheckFail, Text: hooks.Words(name, view.Message), Fix: view.Hint}}, found...)
			if v.State == hooks.StateReady {
				found[0].Text = "it runs, and the next start would refuse it: " + found[0].Text
			}
		}
		for _, p := range found {
			*r = append(*r, api.Check{Name: "plugins", State: p.State, Text: name + ": " + p.Text, Fix: p.Fix})
		}
		if len(found) == 0 {
			pinned := "not pinned"
			if v.Pinned {
				pinned = "pinned"
			}
			r.Ok("plugins", "%s: self-tests pass, SHA-256 %.12s %s", name, v.SHA256, pinned)
		}
	}
}

// DoctorOffline makes the checks of a state directory that need no running daemon.
// The store is open only for as long as they take.
func DoctorOffline(ctx context.Context, o Options, p api.DoctorParams) ([]api.Check, error) {
	d, err := configured(o)
	if err != nil {
		return nil, err
	}
	d.log = slog.New(slog.DiscardHandler)
	r := &api.Report{}
	err = d.openOffline(ctx, false)
	look := d.lookAt(ctx)
	look.OwnKey(ctx, r)
	if err != nil {
		r.Failed("store", "look at the disk and the permissions of "+d.dir, err)
	} else {
		defer d.store.Close()
		look.Damage(ctx, r)
		d.checkPlugins(ctx, r)
	}
	look.FreePort(ctx, r)
	look.CertificateFiles(ctx, r)
	look.Clock(ctx, r)
	look.RendezvousThere(ctx, r)
	if p.TestCall {
		d.checkOpenClawOffline(ctx, r)
	}
	look.Disk(ctx, r)
	return *r, nil
}

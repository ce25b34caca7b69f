package daemon

import (
	"context"
	"net"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/certs"
	"github.com/opengatewayprotocol/ogp/core/daemon/service"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/pages"
)

// Run serves until ctx is done or "ogp stop" comes. A Daemon runs once.
func (d *Daemon) Run(ctx context.Context) error {
	for _, note := range d.notes {
		d.log.Warn(note)
	}
	if err := d.openRole(ctx); err != nil {
		return err
	}
	if err := d.openHooks(ctx); err != nil {
		return err
	}
	if err := d.listen(); err != nil {
		return err
	}
	d.awaitPolicies(ctx)
	ctx, d.stop = context.WithCancel(ctx)
	defer d.stop()
	public, err := certs.Listen(ctx, d.public, certs.Options{TLS: d.config().TLS, Dir: filepath.Join(d.dir, Certificates), Port: d.port(), Logger: d.log}) // before anybody is told that we run
	if err != nil {
		return err
	}
	if d.o.Ready != nil {
		s, err := d.status(ctx, api.None{})
		if err != nil {
			return err
		}
		d.o.Ready(s, d.first)
	}
	return d.serve(ctx, public)
}

// policiesWithin is how long a start waits for what decides about messages. What comes
// meanwhile waits at the open listener, well within the patience of gateways. A plugin
// that takes longer is answered for with 503.
const policiesWithin = 8 * time.Second

// awaitPolicies lets policies and handlers load, so that the first messages are not
// turned away.
func (d *Daemon) awaitPolicies(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, policiesWithin)
	defer stop()
	if d.hooks.Deciding(ctx) != nil {
		d.log.Warn("policies are still being loaded; messages are answered 503 until they are", "waited", policiesWithin)
	}
}

func (d *Daemon) serve(ctx context.Context, public net.Listener) error {
	server := federation.NewServer(federation.Options{
		Gateway: d.tracing.Inward(d.gateway), Logger: d.log, MaxBodyBytes: d.config().Limits.BodyBytes, TrustedProxies: d.config().Network.TrustedProxies,
		Limits: federation.Limits{CardsPerMinute: d.config().Limits.CardPerMinute, StrangersPerMinute: d.config().Limits.StrangerPerMinute},
		Away:   d.nodes.Untimely,
	})
	_ = d.nodes.Look(ctx) // before anything is judged by our clock; Run says what fails
	d.openRendezvous()
	local := &control.Server{Handlers: d.handlers(), Logger: d.log, Restart: d.restart, Name: control.SocketName}
	d.console = d.newConsole(local.Handlers)
	d.log.Info("gateway is running", "listen", d.public.Addr().String(), "url", d.gateway.Settings().URL, "fingerprint", d.gateway.Key().Fingerprint())
	context.AfterFunc(ctx, func() { d.ending.Store(true) })
	return d.stages(ctx, []part{ // who let others in: what came in has its answer before the rest ends
		func(ctx context.Context) error { return server.Serve(ctx, public) },
		func(ctx context.Context) error { return local.Serve(ctx, d.control) },
		d.serveAgent,
		d.serveA2A,
		d.console.Run,
		d.tellSystemd,
	}, []part{
		func(ctx context.Context) error { return d.brake.Run(ctx, d.store) },
		d.nodes.Run,
		d.gateway.Run,
		d.dispatcher.Run,
		d.hooks.Run,
		d.history.Run,
		func(ctx context.Context) error {
			d.leases.Under("rendezvous", func(ctx context.Context) { _ = d.rendezvous.Run(ctx) })(ctx)
			return nil
		},
		d.observe,
		d.watchConfig,
		d.watchFailures,
		d.watchStore,
		d.key.Run,
		d.runLists,
		d.pruneRecord,
		d.giveBack,
	}, []part{d.leases.Run}) // when all that works under them has ended
}

// part is something that runs until its context is done. One with nothing to do, as without
// a rendezvous, may end by itself.
type part func(context.Context) error

// stages runs parts until ctx is done, and then ends them stage by stage.
func (d *Daemon) stages(ctx context.Context, all ...[]part) (failed error) {
	var once sync.Once
	running, end := make([]sync.WaitGroup, len(all)), make([]context.CancelFunc, len(all))
	for i, parts := range all {
		var stage context.Context
		stage, end[i] = context.WithCancel(context.WithoutCancel(ctx))
		for _, run := range parts {
			running[i].Go(func() {
				if err := run(stage); err != nil {
					if ctx.Err() == nil {
						once.Do(func() { failed = err })
					}
					d.stop()
				}
			})
		}
	}
	<-ctx.Done()
	for i := range all {
		end[i]()
		running[i].Wait()
	}
	d.log.Info("gateway has stopped")
	return failed
}

// giveBack returns to the system what the start took for a moment, such as compiling
// plugins.
func (d *Daemon) giveBack(ctx context.Context) error {
	if d.hooks.Ready(ctx) == nil {
		debug.FreeOSMemory()
		pages.Drop()
	}
	return nil
}

// tellSystemd says that we are ready, that we live, and that we stop.
func (d *Daemon) tellSystemd(ctx context.Context) error {
	service.Notify("READY=1")
	defer service.Notify("STOPPING=1")
	every := service.WatchdogEvery()
	if every <= 0 {
		<-ctx.Done()
		return nil
	}
	return core.Every(ctx, every, func(ctx context.Context) {
		// A store that does not answer is no sign of life.
		if _, err := d.store.WaitingPeers(ctx); err == nil {
			service.Notify("WATCHDOG=1")
		}
	})
}

// Close closes what Open has opened.
func (d *Daemon) Close() {
	d.gateway.Close()
	if d.hooks != nil {
		d.hooks.Close()
	}
	for _, ln := range []net.Listener{d.public, d.control, d.agentSock, d.agents, d.observed} {
		if ln != nil {
			ln.Close()
		}
	}
	d.tracing.Close()
	if err := d.candidates.Close(); err != nil {
		d.log.Warn("uploads not removed", "err", err)
	}
	if err := d.store.Close(); err != nil {
		d.log.Error("store did not close well", "err", err)
	}
	d.logPipe.Close()
}

package daemon

import (
	"context"
	"net"
	"path/filepath"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/a2a"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// A2AToken is the token that A2A clients show to the gateway of a state directory. It is
// made where there is none, or where a new one is wanted; the old one then counts no more,
// also for a gateway that runs.
func A2AToken(dir string, renew bool) (string, error) {
	return a2a.Token(filepath.Join(dir, A2ATokenFile), renew)
}

// listenA2A opens the listener for A2A clients, if one is configured.
func (d *Daemon) listenA2A() error {
	address := d.config().A2A.Listen
	if address == "" {
		return nil
	}
	var err error
	if d.agents, err = net.Listen("tcp", address); err != nil {
		return &core.Error{Kind: core.Unavailable, Public: "a2a.listen: cannot listen on " + address, Err: err, Hint: "set a2a.listen to another port, or to nothing"}
	}
	return nil
}

// serveA2A answers A2A clients.
func (d *Daemon) serveA2A(ctx context.Context) error {
	if d.agents == nil {
		return nil
	}
	d.log.Info("peers are A2A agents", "listen", d.agents.Addr().String())
	server := a2a.New(a2a.Options{Role: d.role, Store: d.store, Posting: d.wire,
		Token:   func() (string, error) { return a2a.ReadToken(filepath.Join(d.dir, A2ATokenFile)) },
		OwnHost: web.OwnHost(d.config().A2A.Listen), Version: d.o.Version, Logger: d.log})
	return server.Serve(ctx, d.agents)
}

// Package doctor looks at a gateway, from inside the daemon or where none runs: its
// key, store, ports, URL, certificates, clock, registrations, queues, and one peer. What
// it finds are lines of a report, each with what fixes it.
package doctor

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// Doctor is what there is to look at. Its checks are safe for concurrent use.
type Doctor struct {
	Dir     string // the state directory
	Version string // of the program
	Config  *config.Config
	// FindKey is the key that a start would find, and where.
	FindKey func(context.Context) (k core.PublicKey, where string, err error)
	Store   core.Store // one that is not on disk has nothing to check
	Reading *Reading   // kept from one look to the next
	Notes   []string   // what the start has found, each with what to do behind a semicolon

	// Of a gateway that runs; where none does, Listener is nil and so is the rest.
	Listener   *net.TCPAddr
	Key        core.Signer
	Gateway    *gateway.Gateway
	Restart    string // what restarts it, in words
	TooNarrow  bool   // it listens on this machine alone, and should not
	PublicURL  string // where others are told that it is; empty: nowhere
	Rendezvous []rendezvous.Status
	Skew       func() (by time.Duration, ok bool) // how far our clock is ahead of the database's
	Depths     func() (core.Depths, error)
	Card       func(ctx context.Context, url string, headers map[string]string) (core.Card, error)
}

// peers are those of a gateway that runs.
func (d *Doctor) peers() []*core.Peer {
	if d.Gateway == nil {
		return nil
	}
	return d.Gateway.Peers()
}

// Part is one thing to look at.
type Part struct {
	Name string // as the caller picks it
	Look func(context.Context, *api.Report)
}

// Run looks at the parts that are wanted side by side, as some wait for somebody else,
// and reports in their order.
func Run(ctx context.Context, parts []Part, wants func(name string) bool) []api.Check {
	reports := make([]api.Report, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		if wants(part.Name) {
			wg.Go(func() { part.Look(ctx, &reports[i]) })
		}
	}
	wg.Wait()
	out := []api.Check{}
	for _, r := range reports {
		out = append(out, r...)
	}
	return out
}

// OwnKey loads the key as a start would, and compares it with the one in force.
func (d *Doctor) OwnKey(ctx context.Context, r *api.Report) {
	inForce := core.PublicKey{}
	if d.Listener != nil {
		inForce = d.Key.Public()
	}
	key, path, err := d.FindKey(ctx)
	switch {
	case errors.Is(err, core.Unavailable):
		r.Failed("key", "see whether the signer runs, and what its log says", err)
	case errors.Is(err, core.NotFound) && inForce.IsZero():
		r.Warn("key", "ogp start --background", "there is none yet; the first start makes it")
	case errors.Is(err, core.NotFound):
		r.Fail("key", "put the copy from your backup back, before the daemon stops", "%s is gone; the daemon still has the key", path)
	case err != nil:
		r.Failed("key", "put the copy from your backup back", err)
	case !inForce.IsZero() && key != inForce:
		r.Fail("key", "put the right key.json back; \"ogp whoami\" shows the daemon's fingerprint", "%s holds another key (%s) than the daemon has (%s)", path, key.Fingerprint(), inForce.Fingerprint())
	default:
		r.Ok("key", "fingerprint %s", key.Fingerprint())
	}
}

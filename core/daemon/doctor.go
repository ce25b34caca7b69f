package daemon

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// doctorLimit bounds what is looked at, of which the slowest is a notifier. The
// caller waits a little longer.
const doctorLimit = 85 * time.Second

// checkKey loads the key as a start would, and compares it with the one in force.
func checkKey(r *api.Report, dir string, pass keys.Passphrase, inForce core.PublicKey) {
	path := filepath.Join(dir, KeyFile)
	key, err := keys.Load(path, pass)
	switch {
	case errors.Is(err, core.NotFound) && inForce.IsZero():
		r.Warn("key", "ogp start --background", "there is none yet; the first start makes it")
	case errors.Is(err, core.NotFound):
		r.Fail("key", "put the copy from your backup back, before the daemon stops", "%s is gone; the daemon still has the key", path)
	case err != nil:
		r.Failed("key", "put the copy from your backup back", err)
	case !inForce.IsZero() && key.Public() != inForce:
		r.Fail("key", "put the right key.json back; \"ogp whoami\" shows the daemon's fingerprint", "%s holds another key (%s) than the daemon has (%s)", path, key.Public().Fingerprint(), inForce.Fingerprint())
	default:
		r.Ok("key", "fingerprint %s", key.Public().Fingerprint())
	}
}

// doctor is the method "doctor": what the daemon can look at. What waits for
// somebody else is looked at side by side.
func (d *Daemon) doctor(ctx context.Context, p api.DoctorParams) ([]api.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	if p.Peer != "" {
		return d.doctorPeer(ctx, p.Peer)
	}
	// A million rows take a while to count: once for all that ask.
	depths := sync.OnceValues(func() (core.Depths, error) { return d.dispatcher.Depths(ctx) })
	parts := []struct {
		name string
		do   func(context.Context, *api.Report)
	}{
		{"key", func(_ context.Context, r *api.Report) {
			checkKey(r, d.dir, Passphrase(d.o.env(), d.config()), d.key.Public())
		}},
		{"secrets", d.checkSecrets},
		{"store", d.checkStore},
		{"port", d.checkOwnPort},
		{"url", d.checkURL},
		{"tls", d.checkTLS},
		{"clock", func(ctx context.Context, r *api.Report) {
			d.checkClock(ctx, r, d.config().Rendezvous.Enabled, d.gateway.Peers())
		}},
		{"rendezvous", d.checkRendezvous},
		{"plugins", d.checkPlugins},
		{"notifier", func(ctx context.Context, r *api.Report) { d.checkNotifiers(ctx, r, depths, p.TestCall) }},
		{"queues", func(_ context.Context, r *api.Report) { checkQueues(r, depths) }},
		{"peers", d.checkPeers},
		{"disk", func(_ context.Context, r *api.Report) { checkDisk(r, d.dir) }},
		{"descriptors", func(_ context.Context, r *api.Report) { checkDescriptors(r) }},
	}
	reports := make([]api.Report, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		if p.Wants(part.name) {
			wg.Go(func() { part.do(ctx, &reports[i]) })
		}
	}
	wg.Wait()
	out := []api.Check{}
	for _, r := range reports {
		out = append(out, r...)
	}
	return out, nil
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

// orDash shows that there is nothing to say.
func orDash(s string) string { return cmp.Or(s, "-") }

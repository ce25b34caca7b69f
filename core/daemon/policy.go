package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/candidate"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/replay"
	"github.com/opengatewayprotocol/ogp/core/rules"
)

// openRecord opens the record of what policies have decided.
func (d *Daemon) openRecord(ctx context.Context) (err error) {
	d.record, err = record.Open(ctx, d.store, d.config().Policy.Settings, d.log)
	if err == nil {
		d.record.TextBytes = hooks.TextBytes
	}
	return err
}

// pruneRecordEvery is how often old decisions are deleted.
const pruneRecordEvery = 10 * time.Minute

func (d *Daemon) pruneRecord(ctx context.Context) error {
	prune := func(ctx context.Context) {
		d.candidates.Prune(time.Now())
		if err := d.record.Prune(ctx, time.Now()); err != nil && ctx.Err() == nil {
			d.log.Warn("old decisions not deleted", "err", err)
		}
	}
	prune(ctx)
	return core.Every(ctx, pruneRecordEvery, prune)
}

// past is what has come.
func (d *Daemon) past(ctx context.Context) (replay.Past, error) {
	if d.record == nil {
		if err := d.openRecord(ctx); err != nil {
			return replay.Past{}, err
		}
	}
	p := replay.Past{Store: d.store, Record: d.record}
	if d.gateway != nil { // which has them in memory
		p.Peers = func(context.Context) ([]*core.Peer, error) { return d.gateway.Peers(), nil }
	}
	return p, nil
}

// policyDecisions is the method "policy.decisions".
func (d *Daemon) policyDecisions(ctx context.Context, p api.DecisionsParams) (api.DecisionsPage, error) {
	past, err := d.past(ctx)
	if err != nil {
		return api.DecisionsPage{}, err
	}
	if p.ID == "" {
		return past.Page(ctx, p.Since, p.Before)
	}
	m, err := d.reader().FindInbox(ctx, p.ID)
	if err != nil {
		return api.DecisionsPage{}, err
	}
	return past.About(ctx, m)
}

// Panel loads the policies of a state directory, given the plugins that are installed, and
// a candidate: replay.Panel.
func Panel(ctx context.Context, o Options, installed []hooks.Installed, with replay.Candidate, instances int) (*hooks.Manager, error) {
	d, err := configured(o)
	if err != nil {
		return nil, err
	}
	return d.panel(ctx, installed, with, instances)
}

func (d *Daemon) panel(ctx context.Context, installed []hooks.Installed, with replay.Candidate, instances int) (*hooks.Manager, error) {
	wanted, err := d.wantedWith(installed)
	if err != nil {
		return nil, err
	}
	g := replay.Gateway{Wanted: wanted, Config: d.config(), Logger: slog.New(slog.DiscardHandler)} // what keeps a policy from loading is in the error
	if _, err := os.Stat(d.dir); err == nil {
		g.CacheDir = filepath.Join(d.dir, CompileCache)
	}
	return replay.Panel(ctx, g, with, instances)
}

// openCandidates makes what tries candidates beside this gateway.
func (d *Daemon) openCandidates() (err error) {
	d.candidates, err = candidate.New(candidate.Options{
		Dir: d.dir, CacheDir: filepath.Join(d.dir, CompileCache), Config: d.o.Config, InForce: d.config, MayInstall: d.mayInstall, Panel: d.panel, Past: d.past,
		Installed: func(ctx context.Context) ([]hooks.Installed, error) { return hooks.ListInstalled(ctx, d.store) },
		Reload:    func(ctx context.Context) error { _, err := d.reload(ctx); return err },
		Rules: func() int {
			for _, one := range d.hooks.List() {
				if one.Name == rules.Name {
					return one.Rules
				}
			}
			return 0
		},
	})
	return err
}

package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/replay"
)

// openRecord opens the record of what policies have decided.
func (d *Daemon) openRecord(ctx context.Context) (err error) {
	d.record, err = record.Open(ctx, d.store, recordSettings(d.config()), d.log)
	if err == nil {
		d.record.TextBytes = hooks.TextBytes
	}
	return err
}

func recordSettings(c *config.Config) record.Settings {
	return record.Settings{Keep: c.Policy.Record, Payloads: c.Policy.RecordPayloads}
}

// pruneRecordEvery is how often old decisions are deleted.
const pruneRecordEvery = 10 * time.Minute

func (d *Daemon) pruneRecord(ctx context.Context) error {
	prune := func(ctx context.Context) {
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
	m, err := d.findInbox(ctx, p.ID)
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

// The bounds of a replay in the daemon, in bytes of memory and in time.
const (
	maxReplayBytes = 64 << 20
	maxReplayTime  = 2 * time.Minute
)

// policyReplay is the method "policy.replay". One runs at a time, on half of the cores, and
// it ends with its caller.
func (d *Daemon) policyReplay(ctx context.Context, p api.ReplayParams) (api.ReplayView, error) {
	if !d.replaying.TryLock() {
		e := core.Refuse(core.Unavailable, "another replay runs, and one runs at a time")
		e.RetryAfter, e.Hint = 10*time.Second, "try again when it is done; it ends by itself"
		return api.ReplayView{}, e
	}
	defer d.replaying.Unlock()
	ctx, stop := context.WithTimeout(ctx, maxReplayTime)
	defer stop()
	v, err := d.replayNow(ctx, p)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e := core.Refusef(core.TooLarge, "the replay took more than %s, and was stopped", core.FormatDuration(maxReplayTime))
		e.Hint = "a shorter window takes less; \"ogp policy replay\" has no such bound"
		return v, e
	}
	return v, err
}

func (d *Daemon) replayNow(ctx context.Context, p api.ReplayParams) (api.ReplayView, error) {
	past, err := d.past(ctx)
	if err != nil {
		return api.ReplayView{}, err
	}
	with, err := replay.Of(p.Candidate)
	if err != nil {
		return api.ReplayView{}, err
	}
	installed, err := hooks.ListInstalled(ctx, d.store)
	if err != nil {
		return api.ReplayView{}, err
	}
	workers := replay.Workers()
	m, err := d.panel(ctx, installed, with, workers)
	if err != nil {
		return api.ReplayView{}, err
	}
	defer m.Close()
	ask := replay.Ask{Since: p.Since, Workers: workers, MaxBytes: maxReplayBytes, Page: func(ctx context.Context, p api.DecisionsParams) (api.DecisionsPage, error) {
		return past.Page(ctx, p.Since, p.Before)
	}}
	v, err := ask.Run(ctx, m)
	v.With = with.Name
	return v, err
}

package daemon

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/history"
)

// counts is what the parts say of themselves, for the history.
func (d *Daemon) counts(ctx context.Context) (r history.Reading) {
	for k, n := range d.gateway.Counters().Snapshot() {
		if k[1] != "ok" {
			r.Refused += n
		}
	}
	r.Questions, r.Asked = d.gateway.Counters().Policies()
	if s, ok := d.store.(counting); ok {
		stats := s.Stats()
		r.Batches, r.Committed = stats.Batches, stats.TotalCommit
	}
	r.Depths, _ = d.dispatcher.Depths(ctx, core.ManyWait) // a store that fails says so elsewhere
	for _, p := range d.hooks.List() {
		r.Plugins = append(r.Plugins, history.Plugin{Name: p.Name, Calls: p.Calls, Refusals: p.Refusals, Failures: p.Failures})
	}
	return r
}

// showHistory is the method "history".
func (d *Daemon) showHistory(ctx context.Context, p history.Params) (api.HistoryView, error) {
	v, err := d.history.View(ctx, p)
	out := api.HistoryView{View: v, Busiest: []api.BusyView{}}
	for _, x := range v.Peers {
		if peer := d.gateway.Peer(x.Peer); peer != nil {
			out.Busiest = append(out.Busiest, api.BusyView{Peer: d.view(peer, false), Traffic: x.Traffic})
		}
	}
	return out, err
}

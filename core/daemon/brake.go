package daemon

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// keepPause keeps a pause, or its end, and puts it in force.
func (d *Daemon) keepPause(ctx context.Context, k core.PublicKey, p *brake.Pause) error {
	if err := d.store.Commit(ctx, &core.Change{Meta: map[string]string{brake.MetaKey(k): p.Text()}}); err != nil {
		return err
	}
	d.brake.Set(k, p)
	return nil
}

func (d *Daemon) pause(ctx context.Context, p api.PauseParams) (api.PeerView, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.PeerView{}, err
	}
	if err := peering.NotApproved(peer); err != nil {
		return api.PeerView{}, err
	}
	if err := d.keepPause(ctx, peer.Key, &brake.Pause{By: "operator", Reason: p.Reason, At: time.Now().UTC()}); err != nil {
		return api.PeerView{}, err
	}
	return d.view(peer, true), nil
}

// resume lets a peer's messages through again and, if asked for, those that the brake has
// held, the oldest first.
func (d *Daemon) resume(ctx context.Context, p api.ResumeParams) (api.ResumeResult, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.ResumeResult{}, err
	}
	if err := peering.NotApproved(peer); err != nil {
		return api.ResumeResult{}, err
	}
	if err := d.keepPause(ctx, peer.Key, nil); err != nil {
		return api.ResumeResult{}, err
	}
	held, err := d.store.Inbox(ctx, core.InboxFilter{Peer: peer.Key, Status: core.InboxHeld, Oldest: true, Limit: 10_000})
	if err != nil {
		return api.ResumeResult{}, err
	}
	held = slices.DeleteFunc(held, func(m *core.InboxMessage) bool { return !strings.HasPrefix(m.Reason, brake.Held) })
	out := api.ResumeResult{Peer: d.view(peer, true), Held: len(held)}
	if !p.Release {
		return out, nil
	}
	for _, m := range held {
		if _, err := d.gateway.Release(ctx, m.ID, "resume"); err != nil {
			return out, err
		}
		out.Held, out.Released = out.Held-1, out.Released+1
	}
	return out, nil
}

// used is what a peer's messages have cost within 24 hours, by intent.
func (d *Daemon) used(p *core.Peer) iter.Seq[api.BudgetView] {
	return func(yield func(api.BudgetView) bool) {
		if p.Granted == nil || d.brake == nil {
			return
		}
		for _, g := range p.Granted.Scopes {
			u := d.brake.Used(brake.Line{Peer: p.Key, Intent: g.Intent})
			if g.Enabled && u != (brake.Use{}) && !yield(api.BudgetView{Intent: g.Intent, Used: u, Most: d.brake.Budget()}) {
				return
			}
		}
	}
}

// across puts in what all nodes have counted, where they share that. What this node knows stays
// where the store does not say it: the status says that it is away.
func (d *Daemon) across(ctx context.Context, views iter.Seq2[core.PublicKey, *api.BudgetView]) {
	shared, ok := d.store.(core.Shared)
	if !ok || !shared.Shared() || d.store.Health() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, acrossWithin)
	defer cancel()
	for k, v := range views {
		used, err := d.brake.Across(ctx, shared, brake.Line{Peer: k, Intent: v.Intent})
		if err != nil {
			return
		}
		v.Used = used
	}
}

// acrossWithin bounds how long a view waits for what other nodes have counted.
const acrossWithin = 2 * time.Second

// paused shows why nothing of a peer's reaches the agent; nil: it does.
func (d *Daemon) paused(k core.PublicKey) *brake.Pause {
	if p, is := d.brake.Paused(k); is {
		return new(p) // not the address of p, which would be made anew for each peer that is not
	}
	return nil
}

// isAgent reports whether a notifier's notice is a run of an agent: it is, unless its
// plugin.toml says that it tells a person.
func isAgent(n core.Notifier) bool {
	p, ok := n.(interface{ Person() bool })
	return !ok || !p.Person()
}

// runs counts the runs of the agent behind a notifier.
type runs struct {
	core.Notifier
	brake *brake.Brake
}

// Keyed is the notifier's own.
func (r runs) Keyed() bool { return delivery.Keyed(r.Notifier) }

// Notify counts what was delivered.
func (r runs) Notify(ctx context.Context, notices []core.Notice) core.Outcome {
	o := r.Notifier.Notify(ctx, notices)
	if o.Status != core.OutcomeDelivered {
		return o
	}
	var lines []brake.Line
	for _, n := range notices {
		if m := n.Event.Message; m != nil {
			lines = append(lines, brake.Line{Peer: m.Peer, Intent: m.Message.Intent})
		}
	}
	r.brake.Ran(lines, o.Tokens, r.Batch() <= 1)
	return o
}

package daemon

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/nodes"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// handlers answer the methods of the local API.
func (d *Daemon) handlers() []control.Handler {
	return append(d.reader().Handlers(),
		api.Status.Handle(d.status),
		api.Nodes.Handle(func(ctx context.Context, _ api.None) ([]nodes.View, error) { return d.nodes.List(ctx) }),
		api.Whoami.Handle(d.whoami),
		api.Doctor.Handle(d.doctor),
		api.History.Handle(d.showHistory),
		api.Config.Handle(d.configView),
		api.ConfigSet.Handle(d.setConfig),
		api.Stop.Handle(d.stopMethod),
		api.Console.Handle(d.openConsole),
		api.Peer.Handle(d.peer),
		api.Request.Handle(d.request),
		api.Approve.Handle(d.approve),
		api.Grant.Handle(d.grant),
		api.DefaultGrants.Handle(func(context.Context, api.None) ([]core.Grant, error) { return d.gateway.Settings().Grants, nil }),
		api.Reject.Handle(d.reject),
		api.Remove.Handle(d.remove),
		api.Forget.Handle(d.forget),
		api.UpdateIdentity.Handle(d.updateIdentity),
		api.Alias.Handle(d.alias),
		api.Tag.Handle(d.tag),
		api.Level.Handle(d.level),
		api.Pause.Handle(d.pause),
		api.Resume.Handle(d.resume),
		api.Send.Handle(d.send),
		api.Ping.Handle(d.ping),
		api.InboxReply.Handle(d.inboxReply),
		api.InboxRelease.Handle(d.inboxRelease),
		api.InboxDeny.Handle(d.inboxDeny),
		api.OutboxRetry.Handle(d.outboxRetry),
		api.OutboxCancel.Handle(d.outboxCancel),
		api.ExportPeers.Handle(d.exportPeers),
		api.Invite.Handle(d.invite),
		api.Invites.Handle(d.invites),
		api.RevokeInvite.Handle(d.revoke),
		api.Accept.Handle(d.accept),
		api.Connect.Handle(d.connect),
		api.Backup.Handle(d.backup),
		api.StoreKey.Handle(d.storeKey),
		api.Deliveries.Handle(d.deliveries),
		api.RetryDeliveries.Handle(onDeliveries(d.dispatcher.Retry)),
		api.DropDeliveries.Handle(onDeliveries(d.dispatcher.Drop)),
		api.NotifierTest.Handle(d.notifierTest),
		api.NotifierTry.Handle(d.notifierTry),
		api.Plugins.Handle(d.listPlugins),
		api.PluginInstalled.Handle(d.installedPlugins),
		api.PluginInstall.Handle(d.installPlugin),
		api.PluginUpload.Handle(d.candidates.Upload),
		api.PluginUploaded.Handle(d.candidates.Uploaded),
		api.PluginDiscard.Handle(d.candidates.Discard),
		api.PluginRemove.Handle(d.removePlugin),
		api.PluginReload.Handle(d.reloadPlugin),
		api.PolicyDecisions.Handle(d.policyDecisions),
		api.PolicyReplay.Handle(d.candidates.Replay),
		api.Rules.Handle(d.candidates.Rules),
		api.RulesSet.Handle(d.candidates.SetRules),
		api.PluginKV.Handle(d.pluginKV),
		api.Events.Handle(d.events),
	)
}

func (d *Daemon) stopMethod(context.Context, api.None) (api.None, error) {
	time.AfterFunc(20*time.Millisecond, d.stop) // let the answer go out
	return api.None{}, nil
}

// view shows a peer, short for lists and whole for one.
func (d *Daemon) view(p *core.Peer, whole bool) api.PeerView {
	h := d.gateway.Health(p.Key)
	v := api.PeerView{
		Name: p.Name(), Alias: p.Alias, Tags: p.Tags, Fingerprint: p.Key.Fingerprint(), ID: p.Key.ID(), PublicKey: p.Key,
		State: p.Trust, Standing: peering.StateOf(p).Word(), By: p.By, Since: p.Since, URL: p.URL, Unverified: p.Names, Warning: p.Warning,
		RequestedAt: p.RequestedAt, ApprovedAt: p.ApprovedAt, RejectedAt: p.RejectedAt, RemovedAt: p.RemovedAt,
		Offered: p.Offered, Levels: p.Levels, DefaultLevel: p.DefaultLevel, Version: p.Version, Features: p.Features,
		Signature: "legacy",
		Health:    api.HealthView{Health: h, LastContact: later(h.LastSuccess, h.LastInbound)},
	}
	if p.Trust == core.Approved { // nobody else is looked after
		v.Health.Word = h.Word(time.Now(), 2*d.gateway.Settings().Health.Interval)
	}
	if p.V2 {
		v.Signature = "v2"
	}
	v.Paused = d.paused(p.Key)
	if !whole {
		return v
	}
	v.Budgets = slices.Collect(d.used(p))
	d.across(context.Background(), func(yield func(core.PublicKey, *api.BudgetView) bool) {
		for i := range v.Budgets {
			if !yield(p.Key, &v.Budgets[i]) {
				return
			}
		}
	})
	v.History = p.History
	if p.Granted != nil {
		for _, g := range p.Granted.Scopes {
			g.ByteLimit = cmp.Or(g.ByteLimit, new(core.DefaultBytes))
			used, bytes := d.gateway.Used(p.Key, g)
			v.Granted = append(v.Granted, api.GrantView{Grant: g, Used: used, UsedBytes: bytes})
		}
	}
	if p.Received != nil {
		v.Received = sized(p)
	}
	return v
}

// sized is what a peer grants us, with the size that holds there where it names none:
// gateways that sign in the v2 form all bound it.
func sized(p *core.Peer) []core.Grant {
	out := slices.Clone(p.Received.Scopes)
	for i := range out {
		if out[i].ByteLimit == nil && p.V2 {
			out[i].ByteLimit = new(core.DefaultBytes)
		}
	}
	return out
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (d *Daemon) peer(_ context.Context, p api.PeerRef) (api.PeerView, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.PeerView{}, err
	}
	return d.view(peer, true), nil
}

func (d *Daemon) request(ctx context.Context, p api.RequestParams) (api.RequestResult, error) {
	ask := gateway.Ask{URL: p.URL, Alias: p.Alias, Again: p.Again}
	if p.Key != "" {
		k, err := keys.Parse(p.Key)
		if err != nil {
			return api.RequestResult{}, err
		}
		ask.Expect = k
	}
	asked, err := d.gateway.RequestFederation(ctx, ask)
	if err != nil {
		return api.RequestResult{}, err
	}
	return d.requested(asked), nil
}

// requested shows what came of asking.
func (d *Daemon) requested(asked gateway.Asked) api.RequestResult {
	r := api.RequestResult{Peer: d.view(asked.Peer, true), Status: asked.Status, Confirmed: asked.Confirmed, Waits: asked.Waits}
	if !asked.Confirmed && asked.Approval == nil {
		r.Approve = d.gateway.Key().Fingerprint()
		if !asked.Peer.V2 && !asked.Peer.HasFeature(core.FeatureV2) { // TypeScript gateways know no fingerprints
			r.Approve = d.gateway.Key().ID()
		}
	}
	if asked.Approval != nil {
		v, _ := d.outgoing(*asked.Approval, nil)
		r.Approval = &v
	}
	return r
}

// outgoing shows what came of a message; that the first try failed is part of the
// view, not an error.
func (d *Daemon) outgoing(o gateway.Outgoing, err error) (api.OutgoingView, error) {
	if err != nil {
		return api.OutgoingView{}, err
	}
	v := api.OutgoingView{Peer: d.view(o.Peer, true), State: "none"}
	if o.Item != nil {
		v.ID, v.Nonce, v.State, v.Attempts = o.Item.ID, o.Item.Nonce, string(o.Item.State), o.Item.Attempts
		v.Next, v.GiveUp, v.Answer = o.Item.Next, outbox.Ends(o.Peer, o.Item), o.Item.Answer
	}
	if o.Err != nil {
		v.Error = new(api.ErrorOf(o.Err))
	}
	return v, nil
}

func (d *Daemon) approve(ctx context.Context, p api.ApproveParams) (api.OutgoingView, error) {
	peer, err := d.resolveFor(p.Peer, "pending")
	if err != nil {
		return api.OutgoingView{}, err
	}
	return d.outgoing(d.gateway.ApprovePeer(ctx, peer.Key, gateway.Approval{Grants: p.Grants, Alias: p.Alias}))
}

func (d *Daemon) grant(ctx context.Context, p api.ApproveParams) (api.OutgoingView, error) {
	peer, err := d.resolveFor(p.Peer, "approved")
	if err != nil {
		return api.OutgoingView{}, err
	}
	if err := peering.NotApproved(peer); err != nil {
		return api.OutgoingView{}, err
	}
	return d.outgoing(d.gateway.ApprovePeer(ctx, peer.Key, gateway.Approval{Grants: p.Grants}))
}

func (d *Daemon) reject(ctx context.Context, p api.EndParams) (api.OutgoingView, error) {
	peer, err := d.resolveFor(p.Peer, "pending")
	if err != nil {
		return api.OutgoingView{}, err
	}
	if err := mayEnd(p, peer, peering.Reject); err != nil || p.Check {
		return api.OutgoingView{Peer: d.view(peer, false), State: "none"}, err
	}
	return d.outgoing(d.gateway.RejectPeer(ctx, peer.Key, p.Later))
}

// mayEnd says why a command is nothing for a peer, or does not surely mean it.
func mayEnd(p api.EndParams, peer *core.Peer, e peering.Event) error {
	if err := surely(p.Peer, peer); err != nil {
		return err
	}
	return peering.Refusal(peer, e)
}

// resolveFor finds a peer, and says in its error what state was looked for.
func (d *Daemon) resolveFor(ref, state string) (*core.Peer, error) {
	p, err := d.gateway.Resolve(ref)
	if e, ok := errors.AsType[*core.Error](err); ok && e.Kind == core.NotFound {
		e.Public = strings.Replace(e.Public, "no peer", "no "+state+" peer", 1)
		e.Hint = `"ogp federation list --status ` + state + `" shows who is ` + map[string]string{"pending": "waiting"}[state]
		if state != "pending" {
			e.Hint = `"ogp federation list" shows the peers`
		}
	}
	return p, err
}

// leastPrefix is how much of a name says surely whom an operator means who ends
// something.
const leastPrefix = 4

// surely refuses a short beginning of a name.
func surely(ref string, p *core.Peer) error {
	if ref = strings.TrimSpace(ref); len(ref) >= leastPrefix || ref == p.Alias {
		return nil
	}
	return core.Refusef(core.Ambiguous, "%q is too short to say whom you mean", ref).WithHint("name the peer by its alias or fingerprint: " + p.Name())
}

func (d *Daemon) remove(ctx context.Context, p api.EndParams) (api.RemoveResult, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.RemoveResult{}, err
	}
	if err := mayEnd(p, peer, peering.Remove); err != nil || p.Check {
		return api.RemoveResult{Peer: d.view(peer, false)}, err
	}
	removed, notified, err := d.gateway.RemovePeer(ctx, peer.Key)
	if err != nil {
		return api.RemoveResult{}, err
	}
	return d.parted(removed, notified), nil
}

func (d *Daemon) parted(p *core.Peer, notified error) api.RemoveResult {
	r := api.RemoveResult{Peer: d.view(p, false), Notified: notified == nil}
	if notified != nil {
		r.Error = new(api.ErrorOf(notified))
	}
	return r
}

// forget is the method "forget": it deletes the record of a removed or rejected peer.
func (d *Daemon) forget(ctx context.Context, p api.EndParams) (api.RemoveResult, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.RemoveResult{}, err
	}
	if err := mayEnd(p, peer, peering.Forget); err != nil || p.Check {
		return api.RemoveResult{Peer: d.view(peer, false)}, err
	}
	notified, err := d.gateway.ForgetPeer(ctx, peer.Key)
	if err != nil {
		return api.RemoveResult{}, err
	}
	return d.parted(peer, notified), nil
}

// updateIdentity is the method "update-identity": no peer means all that are approved.
func (d *Daemon) updateIdentity(ctx context.Context, p api.PeerRef) (api.UpdateResult, error) {
	var peers []*core.Peer
	if p.Peer != "" {
		peer, err := d.gateway.Resolve(p.Peer)
		if err != nil {
			return api.UpdateResult{}, err
		}
		if err := d.gateway.TellPeer(ctx, peer.Key, true); err != nil {
			return api.UpdateResult{}, err
		}
		return api.UpdateResult{Notified: []string{peer.Name()}}, nil
	}
	for _, peer := range d.gateway.Peers() {
		if peer.Trust == core.Approved {
			peers = append(peers, peer)
		}
	}
	r := api.UpdateResult{Failed: map[string]*api.ErrorView{}}
	for _, peer := range peers {
		if err := d.gateway.TellPeer(ctx, peer.Key, true); err != nil {
			r.Failed[peer.Name()] = new(api.ErrorOf(err))
			continue
		}
		r.Notified = append(r.Notified, peer.Name())
	}
	return r, ctx.Err()
}

// change changes a peer, and shows it as it is then.
func (d *Daemon) change(ref string, f func(core.PublicKey) (*core.Peer, error)) (api.PeerView, error) {
	peer, err := d.gateway.Resolve(ref)
	if err == nil {
		peer, err = f(peer.Key)
	}
	if err != nil {
		return api.PeerView{}, err
	}
	return d.view(peer, true), nil
}

func (d *Daemon) alias(ctx context.Context, p api.AliasParams) (api.PeerView, error) {
	return d.change(p.Peer, func(k core.PublicKey) (*core.Peer, error) { return d.gateway.SetAlias(ctx, k, p.Alias) })
}

func (d *Daemon) tag(ctx context.Context, p api.TagParams) (api.PeerView, error) {
	return d.change(p.Peer, func(k core.PublicKey) (*core.Peer, error) { return d.gateway.Tag(ctx, k, p.Add, p.Drop) })
}

func (d *Daemon) level(ctx context.Context, p api.LevelParams) (api.PeerView, error) {
	return d.change(p.Peer, func(k core.PublicKey) (*core.Peer, error) { return d.gateway.SetLevel(ctx, k, p.Topic, p.Level) })
}

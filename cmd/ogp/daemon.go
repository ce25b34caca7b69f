package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/legacy"
)

// handlers answer the methods of the local API.
func (d *daemon) handlers() []control.Handler {
	return []control.Handler{
		api.Status.Handle(d.status),
		api.Whoami.Handle(d.whoami),
		api.Doctor.Handle(d.doctor),
		api.Stop.Handle(d.stopMethod),
		api.Peers.Handle(d.peers),
		api.Peer.Handle(d.peer),
		api.Request.Handle(d.request),
		api.Approve.Handle(d.approve),
		api.Grant.Handle(d.grant),
		api.Reject.Handle(d.reject),
		api.Remove.Handle(d.remove),
		api.Alias.Handle(d.alias),
		api.Level.Handle(d.level),
		api.Send.Handle(d.send),
		api.Ping.Handle(d.ping),
		api.Inbox.Handle(d.inbox),
		api.InboxMessage.Handle(d.inboxMessage),
		api.InboxReply.Handle(d.inboxReply),
		api.Outbox.Handle(d.outbox),
		api.OutboxItem.Handle(d.outboxItem),
		api.ExportPeers.Handle(d.exportPeers),
		api.Invite.Handle(d.invite),
		api.Invites.Handle(d.invites),
		api.RevokeInvite.Handle(d.revoke),
		api.Accept.Handle(d.accept),
		api.Connect.Handle(d.connect),
		api.Backup.Handle(d.backupStore),
		api.DeadDeliveries.Handle(d.deadDeliveries),
		api.RetryDeliveries.Handle(d.retryDeliveries),
		api.Plugins.Handle(d.listPlugins),
		api.PluginInstalled.Handle(d.installedPlugins),
		api.PluginInstall.Handle(d.installPlugin),
		api.PluginRemove.Handle(d.removePlugin),
		api.PluginReload.Handle(d.reloadPlugin),
		api.PluginInbox.Handle(d.replayInbox),
		api.PluginKV.Handle(d.pluginKV),
		api.Events.Handle(d.events),
	}
}

func (d *daemon) status(ctx context.Context, _ api.None) (api.StatusView, error) {
	s := d.gateway.Settings()
	depths, err := d.store.Depths(ctx)
	if err != nil {
		return api.StatusView{}, err
	}
	v := api.StatusView{
		Running: true, PID: os.Getpid(), Version: programVersion(), Started: d.gateway.Started(), StateDir: d.dir,
		Listen: d.public.Addr().String(), GatewayURL: s.URL, CardURL: s.URL + federation.PathCard,
		Fingerprint: d.gateway.Key().Fingerprint(), PublicKey: d.gateway.Key(), DisplayName: s.Names.DisplayName,
		Peers: map[string]int{}, Depths: depths, Notifiers: d.dispatcher.Health(),
	}
	for _, p := range d.gateway.Peers() {
		v.Peers[string(p.Trust)]++
	}
	if v.Log = d.app.logPlace(); v.Log == logJournal {
		v.Unit = unitArgs()
	}
	d.statusOfParts(&v)
	v.Warnings = d.warningsNow()
	return v, nil
}

// warningsNow is what the operator should know at a glance.
func (d *daemon) warningsNow() []string {
	var out []string
	telling := 0
	for _, n := range d.dispatcher.Names() {
		if n != "log" {
			telling++
		}
	}
	if telling == 0 {
		out = append(out, "nobody is being notified: messages wait in \"ogp inbox\"; see delivery.notifiers in config.toml")
	}
	if strings.HasPrefix(d.gateway.Settings().URL, "http://localhost") {
		out = append(out, "the gateway URL is on localhost, so that only gateways on this machine can answer; see gateway_url in config.toml")
	}
	return out
}

func (d *daemon) whoami(context.Context, api.None) (api.WhoamiView, error) {
	return whoami(d.gateway.Key(), d.gateway.Settings()), nil
}

func whoami(k core.PublicKey, s gateway.Settings) api.WhoamiView {
	return api.WhoamiView{DisplayName: s.Names.DisplayName, Email: s.Names.Email, GatewayURL: s.URL, CardURL: s.URL + federation.PathCard,
		Fingerprint: k.Fingerprint(), ID: k.ID(), PublicKey: k}
}

func (d *daemon) stopMethod(context.Context, api.None) (api.None, error) {
	time.AfterFunc(20*time.Millisecond, d.stop) // let the answer go out
	return api.None{}, nil
}

// view shows a peer, short for lists and whole for one.
func (d *daemon) view(p *core.Peer, whole bool) api.PeerView {
	h := d.gateway.Health(p.Key)
	v := api.PeerView{
		Name: p.Name(), Alias: p.Alias, Fingerprint: p.Key.Fingerprint(), ID: p.Key.ID(), PublicKey: p.Key,
		State: p.Trust, By: p.By, Since: p.Since, URL: p.URL, Unverified: p.Names, Warning: p.Warning,
		RequestedAt: p.RequestedAt, ApprovedAt: p.ApprovedAt, RejectedAt: p.RejectedAt, RemovedAt: p.RemovedAt,
		Offered: p.Offered, Levels: p.Levels, DefaultLevel: p.DefaultLevel, Version: p.Version, Features: p.Features,
		Signature: "legacy",
		Health:    api.HealthView{Word: h.Word(time.Now(), 2*d.gateway.Settings().CheckInterval), Health: h, LastContact: later(h.LastSuccess, h.LastInbound)},
	}
	if p.V2 {
		v.Signature = "v2"
	}
	if !whole {
		return v
	}
	v.History = p.History
	if p.Granted != nil {
		for _, g := range p.Granted.Scopes {
			v.Granted = append(v.Granted, api.GrantView{Grant: g, Used: d.gateway.Used(p.Key, g)})
		}
	}
	if p.Received != nil {
		v.Received = p.Received.Scopes
	}
	return v
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (d *daemon) peers(_ context.Context, p api.PeersParams) ([]api.PeerView, error) {
	out := []api.PeerView{}
	for _, peer := range d.gateway.Peers() {
		if p.Status == "" || peer.Trust == p.Status {
			out = append(out, d.view(peer, false))
		}
	}
	return out, nil
}

func (d *daemon) peer(_ context.Context, p api.PeerRef) (api.PeerView, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.PeerView{}, err
	}
	return d.view(peer, true), nil
}

func (d *daemon) request(ctx context.Context, p api.RequestParams) (api.RequestResult, error) {
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
	return api.RequestResult{Peer: d.view(asked.Peer, true), Status: asked.Status}, nil
}

// outgoing shows what came of a message; that the first try failed is part of the
// view, not an error.
func (d *daemon) outgoing(o gateway.Outgoing, err error) (api.OutgoingView, error) {
	if err != nil {
		return api.OutgoingView{}, err
	}
	v := api.OutgoingView{Peer: d.view(o.Peer, true), State: "none"}
	if o.Item != nil {
		v.ID, v.Nonce, v.State, v.Attempts = o.Item.ID, o.Item.Nonce, string(o.Item.State), o.Item.Attempts
		v.Next, v.GiveUp, v.Answer = o.Item.Next, o.Item.GiveUp, o.Item.Answer
	}
	if o.Err != nil {
		view := api.ErrorOf(o.Err)
		v.Error = &view
	}
	return v, nil
}

func (d *daemon) approve(ctx context.Context, p api.ApproveParams) (api.OutgoingView, error) {
	peer, err := d.resolveFor(p.Peer, "pending")
	if err != nil {
		return api.OutgoingView{}, err
	}
	return d.outgoing(d.gateway.ApprovePeer(ctx, peer.Key, gateway.Approval{Grants: p.Grants, Alias: p.Alias}))
}

func (d *daemon) grant(ctx context.Context, p api.ApproveParams) (api.OutgoingView, error) {
	peer, err := d.resolveFor(p.Peer, "approved")
	if err != nil {
		return api.OutgoingView{}, err
	}
	if peer.Trust != core.Approved {
		return api.OutgoingView{}, core.Refusef(core.Conflict, "%s is %s, not approved", peer.Name(), peer.Trust)
	}
	return d.outgoing(d.gateway.ApprovePeer(ctx, peer.Key, gateway.Approval{Grants: p.Grants}))
}

func (d *daemon) reject(ctx context.Context, p api.PeerRef) (api.OutgoingView, error) {
	peer, err := d.resolveFor(p.Peer, "pending")
	if err != nil {
		return api.OutgoingView{}, err
	}
	return d.outgoing(d.gateway.RejectPeer(ctx, peer.Key))
}

// resolveFor finds a peer, and says in its error what state was looked for.
func (d *daemon) resolveFor(ref, state string) (*core.Peer, error) {
	p, err := d.gateway.Resolve(ref)
	var e *core.Error
	if errors.As(err, &e) && e.Kind == core.NotFound {
		e.Public = strings.Replace(e.Public, "no peer", "no "+state+" peer", 1)
		e.Hint = `"ogp federation list --status ` + state + `" shows who is ` + map[string]string{"pending": "waiting"}[state]
		if state != "pending" {
			e.Hint = `"ogp federation list" shows the peers`
		}
	}
	return p, err
}

func (d *daemon) remove(ctx context.Context, p api.PeerRef) (api.RemoveResult, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.RemoveResult{}, err
	}
	removed, notified, err := d.gateway.RemovePeer(ctx, peer.Key)
	if err != nil {
		return api.RemoveResult{}, err
	}
	r := api.RemoveResult{Peer: d.view(removed, false), Notified: notified == nil}
	if notified != nil {
		view := api.ErrorOf(notified)
		r.Error = &view
	}
	return r, nil
}

func (d *daemon) alias(ctx context.Context, p api.AliasParams) (api.PeerView, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.PeerView{}, err
	}
	if peer, err = d.gateway.SetAlias(ctx, peer.Key, p.Alias); err != nil {
		return api.PeerView{}, err
	}
	return d.view(peer, true), nil
}

func (d *daemon) level(ctx context.Context, p api.LevelParams) (api.PeerView, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.PeerView{}, err
	}
	if peer, err = d.gateway.SetLevel(ctx, peer.Key, p.Topic, p.Level); err != nil {
		return api.PeerView{}, err
	}
	return d.view(peer, true), nil
}

func (d *daemon) send(ctx context.Context, p api.SendParams) (api.OutgoingView, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.OutgoingView{}, err
	}
	sent, err := d.gateway.Send(ctx, peer.Key, gateway.Sending{Intent: p.Intent, Payload: p.Payload, ToAgent: p.ToAgent,
		ConversationID: p.ConversationID, WantReply: p.WantReply, Now: p.Now})
	v, err := d.outgoing(sent, err)
	if err != nil || p.WaitMillis == 0 || sent.Item == nil ||
		sent.Item.State != core.OutSent && sent.Item.State != core.OutWaiting {
		return v, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, time.Duration(p.WaitMillis)*time.Millisecond)
	defer cancel()
	reply, err := d.gateway.AwaitReply(waitCtx, sent.Item)
	if err == nil {
		v.Reply = reply
	} else if !errors.Is(err, core.Unavailable) {
		return v, err
	}
	return v, nil
}

func (d *daemon) ping(ctx context.Context, p api.PingParams) (api.PingResult, error) {
	target := p.Target
	if !strings.Contains(target, "://") {
		peer, err := d.gateway.Resolve(target)
		if err != nil {
			return api.PingResult{}, err
		}
		target = peer.URL
	}
	pong, took, err := d.gateway.PingGateway(ctx, target)
	return api.PingResult{Pong: pong, URL: target, TookMillis: float64(took.Microseconds()) / 1000}, err
}

func (d *daemon) inbox(ctx context.Context, p api.InboxParams) ([]api.InboxView, error) {
	f := core.InboxFilter{Status: p.Status, Intent: p.Intent, Since: p.Since, Limit: p.Limit}
	if p.Peer != "" {
		peer, err := d.gateway.Resolve(p.Peer)
		if err != nil {
			return nil, err
		}
		f.Peer = peer.Key
	}
	messages, err := d.store.Inbox(ctx, f)
	if err != nil {
		return nil, err
	}
	out := make([]api.InboxView, 0, len(messages))
	for _, m := range messages {
		out = append(out, d.inboxView(m))
	}
	return out, nil
}

func (d *daemon) inboxView(m *core.InboxMessage) api.InboxView {
	v := api.InboxView{InboxMessage: *m, From: m.Peer.Fingerprint(), Fingerprint: m.Peer.Fingerprint(), Text: oneLine(m.Message.Payload)}
	if p := d.gateway.Peer(m.Peer); p != nil {
		v.From = p.Name()
	}
	return v
}

// findInbox finds a message by its id, the end of it, or "last".
func (d *daemon) findInbox(ctx context.Context, id string) (*core.InboxMessage, error) {
	m, err := d.store.InboxMessage(ctx, strings.ToUpper(id))
	if err == nil || !errors.Is(err, core.NotFound) {
		return m, err
	}
	recent, err := d.store.Inbox(ctx, core.InboxFilter{Limit: 1000})
	if err != nil {
		return nil, err
	}
	i, err := pick(len(recent), func(i int) string { return recent[i].ID }, id, "ogp inbox list")
	if err != nil {
		return nil, err
	}
	return recent[i], nil
}

// pick finds the one of n ids that a user means by its end or by "last" (the
// first of the list).
func pick(n int, id func(int) string, ref, list string) (int, error) {
	if ref == "last" && n > 0 {
		return 0, nil
	}
	found := -1
	for i := range n {
		if len(ref) >= 4 && strings.HasSuffix(id(i), strings.ToUpper(ref)) {
			if found >= 0 {
				e := core.Refusef(core.Ambiguous, "several ids end in %q", ref)
				e.Candidates = []string{id(found), id(i)}
				return 0, e
			}
			found = i
		}
	}
	if found < 0 {
		e := core.Refusef(core.NotFound, "nothing has the id %q", ref)
		e.Hint = `"` + list + `" shows the ids; "last" is the newest`
		return 0, e
	}
	return found, nil
}

func (d *daemon) inboxMessage(ctx context.Context, p api.IDParams) (api.InboxView, error) {
	m, err := d.findInbox(ctx, p.ID)
	if err != nil {
		return api.InboxView{}, err
	}
	return d.inboxView(m), nil
}

func (d *daemon) inboxReply(ctx context.Context, p api.ReplyParams) (api.OutgoingView, error) {
	m, err := d.findInbox(ctx, p.ID)
	if err != nil {
		return api.OutgoingView{}, err
	}
	return d.outgoing(d.gateway.InboxReply(ctx, m.ID, core.Reply{Success: p.Error == "", Data: p.Data, Error: p.Error}))
}

func (d *daemon) outbox(ctx context.Context, p api.OutboxParams) ([]api.OutboxView, error) {
	f := core.OutboxFilter{State: p.State, Limit: p.Limit}
	if p.Peer != "" {
		peer, err := d.gateway.Resolve(p.Peer)
		if err != nil {
			return nil, err
		}
		f.Peer = peer.Key
	}
	items, err := d.store.Outbox(ctx, f)
	if err != nil {
		return nil, err
	}
	out := make([]api.OutboxView, 0, len(items))
	for _, item := range items {
		out = append(out, d.outboxView(item))
	}
	return out, nil
}

func (d *daemon) outboxView(item *core.OutboxItem) api.OutboxView {
	v := api.OutboxView{OutboxItem: *item, To: item.Peer.Fingerprint()}
	v.Body = nil
	if p := d.gateway.Peer(item.Peer); p != nil {
		v.To = p.Name()
	}
	return v
}

func (d *daemon) outboxItem(ctx context.Context, p api.IDParams) (api.OutboxView, error) {
	items, err := d.store.Outbox(ctx, core.OutboxFilter{Limit: 1000})
	if err != nil {
		return api.OutboxView{}, err
	}
	i, err := pick(len(items), func(i int) string { return items[i].ID }, p.ID, "ogp outbox")
	if err != nil {
		return api.OutboxView{}, err
	}
	v := d.outboxView(items[i])
	if v.Nonce != "" && v.Kind == core.OutMessage {
		if r, err := d.store.Reply(ctx, v.Peer, v.Nonce); err == nil {
			v.Reply = r
		}
	}
	return v, nil
}

func (d *daemon) exportPeers(context.Context, api.None) (core.Raw, error) {
	return legacy.ExportPeers(d.gateway.Peers())
}

func (d *daemon) deadDeliveries(ctx context.Context, _ api.None) ([]*core.Delivery, error) {
	return d.store.DeadDeliveries(ctx, 1000)
}

// retryDeliveries brings every delivery that was given up back to life.
func (d *daemon) retryDeliveries(ctx context.Context, _ api.None) (api.RetryResult, error) {
	dead, err := d.store.DeadDeliveries(ctx, 10000)
	if err != nil {
		return api.RetryResult{}, err
	}
	change := &core.Change{}
	now := time.Now().UTC()
	for _, x := range dead {
		x.Dead, x.Attempts, x.Next, x.Created = false, 0, now, now
		change.Deliveries = append(change.Deliveries, x)
	}
	if len(dead) > 0 {
		if err := d.store.Commit(ctx, change); err != nil {
			return api.RetryResult{}, err
		}
		d.dispatcher.Wake()
	}
	return api.RetryResult{Retried: len(dead)}, nil
}

package daemon

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/legacy"
	"github.com/opengatewayprotocol/ogp/core/outbox"
)

func (d *Daemon) send(ctx context.Context, p api.SendParams) (api.OutgoingView, error) {
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

func (d *Daemon) ping(ctx context.Context, p api.PingParams) (api.PingResult, error) {
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

func (d *Daemon) inbox(ctx context.Context, p api.InboxParams) ([]api.InboxView, error) {
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

func (d *Daemon) inboxView(m *core.InboxMessage) api.InboxView {
	v := api.InboxView{InboxMessage: *m, From: m.Peer.Fingerprint(), Fingerprint: m.Peer.Fingerprint(), Text: api.OneLine(m.Message.Payload)}
	if p := d.gateway.Peer(m.Peer); p != nil {
		v.From = p.Name()
	}
	return v
}

// findInbox finds a message by its id, the end of it, or "last".
func (d *Daemon) findInbox(ctx context.Context, id string) (*core.InboxMessage, error) {
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
		if n == 0 {
			e := core.Refuse(core.NotFound, "there is none yet")
			e.Hint = `"` + list + `" shows them when there are some`
			return 0, e
		}
		e := core.Refusef(core.NotFound, "nothing has the id %q", ref)
		e.Hint = `"` + list + `" shows the ids; "last" is the newest`
		return 0, e
	}
	return found, nil
}

func (d *Daemon) inboxMessage(ctx context.Context, p api.IDParams) (api.InboxView, error) {
	m, err := d.findInbox(ctx, p.ID)
	if err != nil {
		return api.InboxView{}, err
	}
	return d.inboxView(m), nil
}

func (d *Daemon) inboxReply(ctx context.Context, p api.ReplyParams) (api.OutgoingView, error) {
	m, err := d.findInbox(ctx, p.ID)
	if err != nil {
		return api.OutgoingView{}, err
	}
	v, err := d.outgoing(d.gateway.InboxReply(ctx, m.ID, core.Reply{Success: p.Error == "", Data: p.Data, Error: p.Error}, false))
	if err == nil {
		view := d.inboxView(m)
		v.Answered = &view
	}
	return v, err
}

func (d *Daemon) outbox(ctx context.Context, p api.OutboxParams) ([]api.OutboxView, error) {
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

func (d *Daemon) outboxView(item *core.OutboxItem) api.OutboxView {
	v := api.OutboxView{OutboxItem: *item, To: item.Peer.Fingerprint()}
	v.Body = nil
	if p := d.gateway.Peer(item.Peer); p != nil {
		v.To = p.Name()
		v.GiveUp = outbox.Ends(p, item)
	}
	return v
}

// findOutbox finds an envelope of ours by its id, however old, or among the newest by the
// end of it.
func (d *Daemon) findOutbox(ctx context.Context, ref string) (*core.OutboxItem, error) {
	item, err := d.store.OutboxItem(ctx, strings.ToUpper(ref))
	if err == nil || !errors.Is(err, core.NotFound) {
		return item, err
	}
	items, err := d.store.Outbox(ctx, core.OutboxFilter{Limit: 1000})
	if err != nil {
		return nil, err
	}
	i, err := pick(len(items), func(i int) string { return items[i].ID }, ref, "ogp outbox list --all")
	if err != nil {
		return nil, err
	}
	return items[i], nil
}

func (d *Daemon) outboxItem(ctx context.Context, p api.IDParams) (api.OutboxView, error) {
	item, err := d.findOutbox(ctx, p.ID)
	if err != nil {
		return api.OutboxView{}, err
	}
	v := d.outboxView(item)
	if v.Nonce != "" && v.Kind == core.OutMessage {
		if r, err := d.store.Reply(ctx, v.Peer, v.Nonce); err == nil {
			v.Reply = r
		}
	}
	return v, nil
}

func (d *Daemon) exportPeers(context.Context, api.None) (core.Raw, error) {
	return legacy.ExportPeers(d.gateway.Peers())
}

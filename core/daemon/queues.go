package daemon

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// operator is who decides over held messages: the control socket is theirs alone.
const operator = "operator"

func (d *Daemon) inboxRelease(ctx context.Context, p api.IDParams) (api.InboxView, error) {
	m, err := d.reader().FindInbox(ctx, p.ID)
	if err != nil {
		return api.InboxView{}, err
	}
	if m, err = d.gateway.Release(ctx, m.ID, operator); err != nil {
		return api.InboxView{}, err
	}
	return d.reader().InboxView(m), nil
}

func (d *Daemon) inboxDeny(ctx context.Context, p api.DenyParams) (api.OutgoingView, error) {
	m, err := d.reader().FindInbox(ctx, p.ID)
	if err != nil {
		return api.OutgoingView{}, err
	}
	out, err := d.gateway.Deny(ctx, m.ID, operator, p.Reason)
	if err == nil && out.Peer == nil {
		return api.OutgoingView{State: "none"}, nil
	}
	return d.outgoing(out, err)
}

func (d *Daemon) outboxRetry(ctx context.Context, p api.OutboxWhich) (r api.CountResult, err error) {
	id, k, err := d.whichOutbox(ctx, p)
	if err == nil {
		r.Count, r.Behind, err = d.gateway.RetryOutbox(ctx, id, k)
	}
	return r, err
}

func (d *Daemon) outboxCancel(ctx context.Context, p api.OutboxWhich) (r api.CountResult, err error) {
	id, k, err := d.whichOutbox(ctx, p)
	if err == nil {
		r.Count, err = d.gateway.CancelOutbox(ctx, id, k)
	}
	return r, err
}

// whichOutbox is the envelope of ours, or the peer, that is meant; neither: all.
func (d *Daemon) whichOutbox(ctx context.Context, p api.OutboxWhich) (id string, k core.PublicKey, err error) {
	switch {
	case p.ID != "":
		item, err := d.reader().FindOutbox(ctx, p.ID)
		if err != nil {
			return "", k, err
		}
		id = item.ID
	case p.Peer != "":
		peer, err := d.gateway.Resolve(p.Peer)
		if err != nil {
			return "", k, err
		}
		k = peer.Key
	case !p.All:
		err = core.Refuse(core.Malformed, "name a message by its id, or a peer, or all")
	}
	return id, k, err
}

func (d *Daemon) deliveries(ctx context.Context, p api.DeliveryParams) ([]api.DeliveryView, error) {
	list, err := d.dispatcher.List(ctx, core.DeliveryFilter{Notifier: p.Notifier, Dead: !p.All, After: p.After, Limit: p.Limit})
	if err != nil {
		return nil, err
	}
	out := make([]api.DeliveryView, len(list))
	for i, x := range list {
		out[i] = api.DeliveryView{Event: x.EventID, Notifier: x.Notifier, Type: x.Event.Type, At: x.Event.At,
			Attempts: x.Attempts, Next: x.Next, SetAside: x.Dead, Error: x.Error}
		if !x.Event.Peer.IsZero() {
			out[i].From = x.Event.Peer.Fingerprint()
			if peer := d.gateway.Peer(x.Event.Peer); peer != nil {
				out[i].From = peer.Name()
			}
		}
	}
	return out, nil
}

// onDeliveries is a method that does something with what was set aside.
func onDeliveries(f func(context.Context, core.DeliveryFilter) (int, error)) func(context.Context, api.DeliveryWhich) (api.CountResult, error) {
	return func(ctx context.Context, p api.DeliveryWhich) (api.CountResult, error) {
		if p.Event == "" && p.Notifier == "" && !p.All {
			return api.CountResult{}, core.Refuse(core.Malformed, "name an event by its id, or a notifier, or all")
		}
		n, err := f(ctx, core.DeliveryFilter{EventID: p.Event, Notifier: p.Notifier, Dead: true})
		return api.CountResult{Count: n}, err
	}
}

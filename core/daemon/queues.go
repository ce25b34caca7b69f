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

func (d *Daemon) outboxRetry(ctx context.Context, p api.OutboxWhich) (api.CountResult, error) {
	return d.onOutbox(ctx, p, d.gateway.RetryOutbox)
}

func (d *Daemon) outboxCancel(ctx context.Context, p api.OutboxWhich) (api.CountResult, error) {
	return d.onOutbox(ctx, p, func(ctx context.Context, id string, k core.PublicKey) (int, int, error) {
		n, err := d.gateway.CancelOutbox(ctx, id, k)
		return n, 0, err
	})
}

func (d *Daemon) onOutbox(ctx context.Context, p api.OutboxWhich, f func(context.Context, string, core.PublicKey) (n, behind int, err error)) (api.CountResult, error) {
	id, k := "", core.PublicKey{}
	switch {
	case p.ID != "":
		item, err := d.reader().FindOutbox(ctx, p.ID)
		if err != nil {
			return api.CountResult{}, err
		}
		id = item.ID
	case p.Peer != "":
		peer, err := d.gateway.Resolve(p.Peer)
		if err != nil {
			return api.CountResult{}, err
		}
		k = peer.Key
	case !p.All:
		return api.CountResult{}, core.Refuse(core.Malformed, "name a message by its id, or a peer, or all")
	}
	n, behind, err := f(ctx, id, k)
	return api.CountResult{Count: n, Behind: behind}, err
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

func (d *Daemon) retryDeliveries(ctx context.Context, p api.DeliveryWhich) (api.CountResult, error) {
	return onDeliveries(ctx, p, d.dispatcher.Retry)
}

func (d *Daemon) dropDeliveries(ctx context.Context, p api.DeliveryWhich) (api.CountResult, error) {
	return onDeliveries(ctx, p, d.dispatcher.Drop)
}

func onDeliveries(ctx context.Context, p api.DeliveryWhich, f func(context.Context, core.DeliveryFilter) (int, error)) (api.CountResult, error) {
	if p.Event == "" && p.Notifier == "" && !p.All {
		return api.CountResult{}, core.Refuse(core.Malformed, "name an event by its id, or a notifier, or all")
	}
	n, err := f(ctx, core.DeliveryFilter{EventID: p.Event, Notifier: p.Notifier, Dead: true})
	return api.CountResult{Count: n}, err
}

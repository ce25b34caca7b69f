package gateway

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/outbox"
)

// RetryOutbox makes envelopes of ours due now: one by id, also one that was refused or
// given up; or, with an empty id, all that waits for a peer, or for anybody where the key is
// zero. It returns how many, and how many of them wait for their turn behind earlier ones.
func (g *Gateway) RetryOutbox(ctx context.Context, id string, k core.PublicKey) (n, behind int, err error) {
	return g.outbox.Retry(ctx, outbox.Which{ID: id, Peer: k})
}

// CancelOutbox gives up envelopes of ours that wait, chosen as for RetryOutbox. It returns
// how many.
func (g *Gateway) CancelOutbox(ctx context.Context, id string, k core.PublicKey) (int, error) {
	return g.outbox.CancelBy(ctx, outbox.Which{ID: id, Peer: k}, core.OutboxCancelled, nil)
}

// TakeBack gives up one envelope that waits, for the agent, which sent it.
func (g *Gateway) TakeBack(ctx context.Context, item *core.OutboxItem, p *core.Peer) error {
	_, err := g.outbox.CancelBy(ctx, outbox.Which{ID: item.ID}, core.OutboxTakenBack, func(item *core.OutboxItem) *core.Event {
		e := g.agentEvent(core.EventAgentCancelled, p, Act{OutboxID: item.ID})
		e.Quiet = true // as of what else the agent does itself
		return e
	})
	return err
}

package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
)

const (
	// maxPollsAtOnce bounds how many peers are asked for answers at the same time.
	maxPollsAtOnce = 8
	// maxPolled bounds for how many messages of before a start answers are polled for.
	maxPolled = 1000
	// pollMost is the longest time between two polls.
	pollMost = 10 * time.Minute
)

// pollPause is how long to wait until the answer to a message of an age is polled for again.
func pollPause(age time.Duration) time.Duration { return min(max(age/2, pollEvery), pollMost) }

// runPolls polls, until ctx is done, for the answers to messages that named no place
// to send them to, as ours cannot be reached.
func (g *replies) runPolls(ctx context.Context) {
	if err := g.findPolls(ctx); err != nil && ctx.Err() == nil {
		g.log.Error("messages without an answer not readable", "err", err)
	}
	g.polls.Run(ctx)
}

// findPolls finds the messages that were sent before we were started.
func (g *replies) findPolls(ctx context.Context) error {
	since := g.o.Now().Add(-g.settings.Load().ReplyLife)
	page := core.OutboxFilter{State: core.OutSent, Limit: 100}
	for n := 0; n < maxPolled; n += page.Limit {
		items, err := g.o.Store.Outbox(ctx, page)
		if err != nil {
			return err
		}
		for _, item := range items {
			if item.Created.Before(since) {
				return nil
			}
			if item.Message != nil && item.Message.ReplyTo == "" {
				g.polls.In(item.ID, pollEvery)
			}
		}
		if len(items) < page.Limit {
			return nil
		}
		page.Before = items[len(items)-1].ID
	}
	return nil
}

// pollForReply asks a peer once for its answer to a message of ours, and returns when to
// ask again: the older the message, the later. Gateways before v2 keep no answers.
func (g *replies) pollForReply(ctx context.Context, id string) time.Duration {
	item, err := g.o.Store.OutboxItem(ctx, id)
	if err != nil {
		return 0
	}
	age := g.o.Now().Sub(item.Created)
	wait := pollPause(age)
	p := g.peers.Get(item.Peer)
	switch {
	case age > g.settings.Load().ReplyLife, p == nil, p.Trust != core.Approved, !p.V2,
		item.State != core.OutSent && item.State != core.OutWaiting:
		return 0
	case item.State == core.OutWaiting:
		return wait
	}
	if r, err := g.o.Store.Reply(ctx, item.Peer, item.Nonce); err == nil && !answer.IsReceipt(&r.Reply) {
		return 0
	} else if err != nil && !errors.Is(err, core.NotFound) {
		return wait
	}
	if err := g.pollPeer(ctx, item); err != nil {
		g.log.Debug("poll", "nonce", item.Nonce, "err", err)
	}
	return wait
}

package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
)

const (
	// maxPollsAtOnce bounds how many peers are asked for answers at the same time.
	maxPollsAtOnce = 8
	// maxPolled bounds how many envelopes of before a start are looked at for such messages.
	maxPolled = 1000
	// findEvery is how often messages that other nodes have sent are looked for.
	findEvery = 10 * time.Second
	// pollsLease is the lease to poll.
	pollsLease = "polls"
	// pollMost is the longest time between two polls.
	pollMost = 10 * time.Minute
)

// pollPause is how long to wait until the answer to a message of an age is polled for again.
func pollPause(age time.Duration) time.Duration { return min(max(age/2, pollEvery), pollMost) }

// runPolls polls, until ctx is done, for the answers to messages that named no place
// to send them to, as ours cannot be reached.
func (g *replies) runPolls(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.polls.Run(ctx) })
	for first := true; ctx.Err() == nil; first = false {
		if err := g.findPolls(ctx, first); err != nil && ctx.Err() == nil {
			g.log.Error("messages without an answer not readable", "err", err)
		}
		if !g.o.Leases.Shared() {
			return
		}
		core.Sleep(ctx, findEvery)
	}
}

// findPolls finds the messages that left before we were started, or from another node.
func (g *replies) findPolls(ctx context.Context, soon bool) error {
	page := core.OutboxFilter{Limit: 100}
	for n := 0; n < maxPolled; n += page.Limit {
		items, err := g.o.Store.Outbox(ctx, page)
		if err != nil {
			return err
		}
		for _, item := range items {
			g.poll(item, soon)
		}
		if len(items) < page.Limit {
			return nil
		}
		page.Before = items[len(items)-1].ID
	}
	return nil
}

// poll has the answer to a message polled for that its peer has, or may have, and that
// named no place which it can be sent to: soon, or when its age says.
func (g *replies) poll(item *core.OutboxItem, soon bool) {
	wait := pollEvery
	if !soon {
		wait = pollPause(g.o.Now().Sub(left(item)))
	}
	if g.o.Leases.Holds(pollsLease) && g.polled(item) {
		g.polls.In(item.ID, wait)
	}
}

func (g *replies) polled(item *core.OutboxItem) bool {
	return item.Message != nil && !core.Reachable(item.Message.ReplyTo) && (item.State == core.OutSent || item.State == core.OutExpired && item.Attempts > 0) &&
		g.o.Now().Sub(left(item)) <= g.settings.Load().Replies.Life
}

// pollForReply asks a peer once for its answer to a message of ours, and returns when to
// ask again: the older the message, the later. Gateways before v2 keep no answers.
func (g *replies) pollForReply(ctx context.Context, id string) time.Duration {
	item, err := g.o.Store.OutboxItem(ctx, id)
	if err != nil || !g.polled(item) {
		return 0
	}
	wait := pollPause(g.o.Now().Sub(left(item)))
	p := g.peers.Get(item.Peer)
	if p == nil || p.Trust != core.Approved || !p.V2 { // it may come to be
		return wait
	}
	if item.State == core.OutExpired && g.peers.Health(p.Key).Failures > 0 { // thousands may have been given up
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

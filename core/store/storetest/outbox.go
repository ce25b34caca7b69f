package storetest

import (
	"fmt"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

func outbox(t *testing.T, s core.Store) {
	c := &core.Change{}
	for n := range 6 {
		o := item(n)
		o.Peer, o.Next = key(n%2), at(20-n)
		c.Outbox = append(c.Outbox, o)
	}
	c.Outbox[1].State, c.Outbox[1].Done = core.OutSent, at(9)
	c.Outbox[2].State, c.Outbox[2].Done = core.OutRefused, at(9)
	c.Outbox[4].Kind, c.Outbox[4].Message, c.Outbox[4].Reply, c.Outbox[4].Nonce = core.OutReply, nil, &core.Reply{Nonce: "q"}, "q"
	c.Outbox[5].Kind, c.Outbox[5].Message, c.Outbox[5].Nonce = core.OutApprove, nil, ""
	commit(t, s, c)
	pick := func(all ...int) (want []*core.OutboxItem) {
		for _, n := range all {
			want = append(want, c.Outbox[n])
		}
		return want
	}
	ctx := t.Context()
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{}))(t), pick(5, 4, 3, 2, 1, 0))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Limit: 2}))(t), pick(5, 4))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Peer: key(1)}))(t), pick(5, 3, 1))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{State: core.OutWaiting}))(t), pick(5, 4, 3, 0))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{State: core.OutSent}))(t), pick(1))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{State: core.OutWaiting, Peer: key(0)}))(t), pick(4, 0))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{State: core.OutWaiting, Peer: key(0), Oldest: true, Limit: 1}))(t), pick(0))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Oldest: true, After: id(1), Before: id(4)}))(t), pick(2, 3))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{State: core.OutRefused, After: id(0)}))(t), pick(2))
	equal(t, must(s.WaitingPeers(ctx))(t), []core.PublicKey{key(1), key(0)})
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Peer: key(0), Oldest: true, Limit: 2}))(t), pick(0, 2))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Peer: key(0), Oldest: true, Limit: 2, After: id(2)}))(t), pick(4))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Limit: 2, Before: id(3)}))(t), pick(2, 1))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{State: core.OutWaiting, Oldest: true, After: id(0), Before: id(5)}))(t), pick(3, 4))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Oldest: true, After: id(3)}))(t), pick(4, 5))
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{Peer: key(9)}))(t), pick())
	equal(t, must(s.Outbox(ctx, core.OutboxFilter{State: "unknown"}))(t), pick())
	equal(t, must(s.OutboxItem(ctx, id(2)))(t), c.Outbox[2])
	equal(t, must(s.OutboxByNonce(ctx, "out-3"))(t), c.Outbox[3])
	_, err := s.OutboxByNonce(ctx, "q") // a reply, no message
	refused(t, err, core.NotFound)

	for _, o := range c.Outbox {
		o.State = core.OutExpired
	}
	commit(t, s, c)
	if peers := must(s.WaitingPeers(ctx))(t); len(peers) > 0 {
		t.Errorf("WaitingPeers = %v with none waiting, want none", peers)
	}
}

func replies(t *testing.T, s core.Store) {
	theirs := &core.StoredReply{Nonce: "x", Peer: key(2), Reply: core.Reply{Nonce: "x", Success: false, Error: "no"}, At: at(1)}
	commit(t, s, &core.Change{Replies: []*core.StoredReply{reply(1), theirs}})
	equal(t, must(s.OurReply(t.Context(), "reply-1"))(t), reply(1))
	equal(t, must(s.Reply(t.Context(), key(2), "x"))(t), theirs)

	// One nonce, used by two peers and both ways: each reply is its own.
	var all []*core.StoredReply
	for n, r := range []core.StoredReply{{Peer: key(3), Ours: true}, {Peer: key(2), Ours: true}, {Peer: key(3)}, {Peer: key(4)}} {
		r.Nonce, r.Reply, r.At, r.Expires = "y", core.Reply{Nonce: "y", Error: fmt.Sprint(n)}, at(10+n), at(100)
		all = append(all, &r)
	}
	for n, r := range all {
		commit(t, s, &core.Change{Replies: []*core.StoredReply{r}})
		equal(t, must(s.OurReply(t.Context(), "y"))(t), all[0]) // the first counts
		if n >= 2 {
			equal(t, must(s.Reply(t.Context(), r.Peer, "y"))(t), r)
		}
	}
	_, err := s.Reply(t.Context(), key(2), "y")
	refused(t, err, core.NotFound)
	_, err = s.OurReply(t.Context(), "x")
	refused(t, err, core.NotFound)
	// The same again takes its place.
	again := *all[0]
	again.Text = "again"
	commit(t, s, &core.Change{Replies: []*core.StoredReply{&again}})
	equal(t, must(s.OurReply(t.Context(), "y"))(t), &again)
}

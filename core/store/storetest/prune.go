package storetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func depths(t *testing.T, s core.Store) {
	commit(t, s, everything())
	commit(t, s, &core.Change{Delivered: []*core.Delivery{delivery(1, "log"), delivery(1, "phone"), delivery(3, "log")}})
	d := must(s.Depths(t.Context(), 0))(t)
	equal(t, d, core.Depths{Inbox: 2, InboxHeld: 1, Outbox: 1, OldestOutbox: at(4), Receipts: 1,
		DeadDeliveries: 1, DeadByName: map[string]int{"phone": 1}})
	if d.DeliveriesByNotifier == nil || d.DeadByName == nil {
		t.Error("a map is nil, want it empty")
	}
}

func prune(t *testing.T, s core.Store) {
	ctx := t.Context()
	fill := func() {
		c := &core.Change{}
		for n := range 10 {
			c.Inbox = append(c.Inbox, message(n))
			c.Events = append(c.Events, event(100+n))
			o := item(n)
			if n%2 == 0 {
				o.State, o.Done = core.OutSent, at(n+1)
			}
			c.Outbox = append(c.Outbox, o)
			c.Replies = append(c.Replies, reply(n))
		}
		c.Replies[0].Expires = time.Time{}
		c.Outbox[0].Done = time.Time{} // it ages from its beginning then
		gone := delivery(2, "log")
		gone.Dead = true
		both := delivery(3, "phone")
		both.Dead = true
		c.Deliveries = []*core.Delivery{delivery(1, "log"), gone, delivery(3, "log"), both, delivery(101, "log")}
		commit(t, s, c)
		for n := range 10 {
			commit(t, s, &core.Change{Receipt: receipt(1, n)})
		}
	}
	fill()
	before := snapshot(t, s)
	if err := s.Prune(ctx, core.Cutoffs{}); err != nil {
		t.Fatal(err)
	}
	equal(t, snapshot(t, s), before)

	if err := s.Prune(ctx, core.Cutoffs{Receipts: at(4), Inbox: at(5), Events: at(103), Outbox: at(5), Replies: at(16)}); err != nil {
		t.Fatal(err)
	}
	var got struct{ inbox, events, outbox, replies, receipts, dead []string }
	for _, m := range must(s.Inbox(ctx, core.InboxFilter{Oldest: true}))(t) {
		got.inbox = append(got.inbox, m.ID)
	}
	for _, e := range must(s.Events(ctx, id(99), 0))(t) {
		got.events = append(got.events, e.ID)
	}
	for _, o := range must(s.Outbox(ctx, core.OutboxFilter{}))(t) {
		got.outbox = append(got.outbox, o.ID)
	}
	for n := range 10 {
		if r := maybe(s.OurReply(ctx, reply(n).Nonce))(t); r != nil {
			got.replies = append(got.replies, string(r.Nonce))
		}
	}
	if err := s.EachReceipt(ctx, time.Time{}, 0, func(l core.Receipt) { got.receipts = append(got.receipts, string(l.Nonce)) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.receipts)
	for _, d := range must(s.Deliveries(ctx, core.DeliveryFilter{Dead: true}))(t) {
		got.dead = append(got.dead, d.EventID)
	}
	equal(t, got.inbox, []string{id(1), id(3), id(5), id(6), id(7), id(8), id(9)})                                        // 1 and 3 are still to be told
	equal(t, got.events, []string{id(101), id(103), id(104), id(105), id(106), id(107), id(108), id(109)})                // so is 101
	equal(t, got.outbox, []string{id(9), id(8), id(7), id(6), id(5), id(4), id(3), id(1)})                                // 4 was done at 5
	equal(t, got.replies, []string{"reply-0", "reply-6", "reply-7", "reply-8", "reply-9"})                                // 0 never expires
	equal(t, got.receipts, []string{"nonce-4", "nonce-5", "nonce-6", "nonce-7", "nonce-8", "nonce-9"})                    // at the cutoff stays
	equal(t, got.dead, []string{id(3)})                                                                                   // 2 went with its message
	commit(t, s, &core.Change{Receipt: receipt(1, 3)})                                                                    // a forgotten nonce is free
	commit(t, s, &core.Change{Delivered: []*core.Delivery{delivery(1, "log"), delivery(3, "log"), delivery(101, "log")}}) // all told
	if err := s.Prune(ctx, core.Cutoffs{Inbox: at(5), Events: at(103)}); err != nil {
		t.Fatal(err)
	}
	if d := must(s.Depths(ctx, 0))(t); d.Inbox != 5 || d.DeadDeliveries != 0 || d.Deliveries != 0 {
		t.Errorf("Depths = %+v, want 5 messages and no deliveries", d)
	}
}

// pruneMany has more than one portion of each kind, with some that stay between.
func pruneMany(t *testing.T, s core.Store) {
	const n = 1100
	c := &core.Change{}
	for i := range n {
		c.Inbox = append(c.Inbox, message(i))
		if i%100 == 0 {
			c.Deliveries = append(c.Deliveries, delivery(i, "log"))
		}
		c.Events = append(c.Events, event(n+i))
		r := reply(i)
		r.Expires = at(1)
		c.Replies = append(c.Replies, r)
	}
	commit(t, s, c)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := s.Commit(t.Context(), &core.Change{Receipt: receipt(i, i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	far := at(10 * n)
	if err := s.Prune(t.Context(), core.Cutoffs{Receipts: far, Inbox: far, Events: far, Outbox: far, Replies: far}); err != nil {
		t.Fatal(err)
	}
	d := must(s.Depths(t.Context(), 0))(t)
	if d.Inbox != n/100 || d.Receipts != 0 || len(must(s.Events(t.Context(), id(n-1), 0))(t)) != 0 {
		t.Errorf("Depths = %+v, want the %d messages that are to be told and nothing else", d, n/100)
	}
	_, err := s.OurReply(t.Context(), reply(n-1).Nonce)
	refused(t, err, core.NotFound)
}

// Package storetest holds every store to the promises of core.Store. A backend's
// test is one call of Run.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Run runs the suite. open gives an empty store, which the suite closes. reopen
// closes a store and opens what it has left behind; nil is for a store that keeps
// nothing.
func Run(t *testing.T, open func(t *testing.T) core.Store, reopen func(t *testing.T, s core.Store) core.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s core.Store)
	}{
		{"S1 a change is kept whole", whole},
		{"S1 a refused change leaves nothing", refusedWhole},
		{"S1 many commits at the same time are all kept", concurrent},
		{"S1 a change holds only at the revisions it expects", expects},
		{"S1 after a removal no change that expects the peer is kept", expectsConcurrent},
		{"S1 a change holds only while its leases stand", fenced},
		{"L6 a nonce of a peer is taken once", once},
		{"L6 a nonce is taken once by many at the same time", onceConcurrent},
		{"N5 envelopes are listed by time", receipts},
		{"S3 a node finds what others have changed", news},
		{"S3 a change holds only while what it has seen stands", seen},
		{"N5 a limit is exact", limits},
		{"G2 what was used is counted", uses},
		{"put replaces", put},
		{"values are copies", copies},
		{"values come back byte for byte", exact},
		{"what is not there is NotFound", nothing},
		{"peers", peers},
		{"inbox filters", inbox},
		{"events", events},
		{"events by type", eventsByType},
		{"deliveries due", due},
		{"many deliveries due", manyDue},
		{"fresh deliveries", fresh},
		{"fresh deliveries are settled in any order", settled},
		{"receipts and messages part", parts},
		{"dead deliveries", dead},
		{"a delivery needs its event", orphan},
		{"events that go alone", alone},
		{"outbox", outbox},
		{"a long queue is read in pages", pages},
		{"a lazy change waits for another, and not for long", lazy},
		{"a lazy change is kept by Close", lazyClose},
		{"replies", replies},
		{"meta", meta},
		{"plugin values", kv},
		{"depths", depths},
		{"prune", prune},
		{"prune many", pruneMany},
		{"a context that has ended", ended},
		{"closed", closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { s.Close() })
			test.run(t, s)
		})
	}
	t.Run("the first reads of a store do not wait for each other", func(t *testing.T) {
		for range 20 {
			s := open(t)
			firstReads(t, s)
			s.Close()
		}
	})
	if reopen != nil {
		t.Run("S1 everything is there after opening again", func(t *testing.T) {
			s := open(t)
			commit(t, s, everything())
			want := snapshot(t, s)
			s = reopen(t, s)
			t.Cleanup(func() { s.Close() })
			equal(t, snapshot(t, s), want)
			refused(t, s.Commit(t.Context(), everything()), core.Replayed)
		})
	}
}

func whole(t *testing.T, s core.Store) {
	c := everything()
	commit(t, s, c)
	if err := errors.Join(s.Health(), s.Lost()); err != nil {
		t.Errorf("Health and Lost = %v of a store that is well, want nil", err)
	}
	equal(t, snapshot(t, s), view{
		Peers:   sortedPeers(c.Peers),
		Receipt: c.Receipt,
		Inbox:   []*core.InboxMessage{c.Inbox[1], c.Inbox[0]},
		Events:  []*core.Event{messageEvent(c.Inbox[0]), messageEvent(c.Inbox[1]), c.Events[0]},
		Due:     []*core.Delivery{withEvent(c.Deliveries[0], messageEvent(c.Inbox[0])), withEvent(c.Deliveries[2], c.Events[0])},
		Phone:   []*core.Delivery{withEvent(c.Deliveries[1], messageEvent(c.Inbox[0]))},
		Dead:    []*core.Delivery{withEvent(c.Deliveries[3], c.Events[0])},
		Outbox:  c.Outbox,
		Reply:   c.Replies[0],
		Meta:    c.Meta,
		KV:      map[string]int{"k": 1, "empty": 0},
		Depths: core.Depths{Inbox: 2, InboxHeld: 1, Outbox: 1, Deliveries: 3, DeadDeliveries: 1, OldestDelivery: at(1), OldestOutbox: at(4), Receipts: 1,
			DeliveriesByNotifier: map[string]int{"log": 2, "phone": 1}, DeadByName: map[string]int{"phone": 1}},
	})
}

func refusedWhole(t *testing.T, s core.Store) {
	commit(t, s, &core.Change{Receipt: receipt(1, 1)})
	before := snapshot(t, s)
	c := everything() // its envelope is taken
	c.Forget = []core.PublicKey{key(1)}
	refused(t, s.Commit(t.Context(), c), core.Replayed)
	equal(t, snapshot(t, s), before)

	c = everything()
	c.Receipt = receipt(1, 2)
	c.Events = append(c.Events, &core.Event{ID: id(9), Type: core.EventMessage})
	refused(t, s.Commit(t.Context(), c), core.Internal)
	equal(t, snapshot(t, s), before)
}

// concurrent also has readers at work, which are to see whole changes only.
func concurrent(t *testing.T, s core.Store) {
	const writers, each = 32, 25
	ctx, stop := context.WithCancel(t.Context())
	var readers, wg sync.WaitGroup
	readers.Go(func() {
		for ctx.Err() == nil {
			d, err := s.Depths(context.WithoutCancel(ctx), 0)
			if err != nil {
				t.Error(err)
				return
			}
			if d.Inbox != d.Receipts || d.Deliveries != 2*d.Inbox {
				t.Errorf("half a change is seen: %+v", d)
				return
			}
		}
	})
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				n := w*each + i
				err := s.Commit(ctx, &core.Change{Receipt: receipt(w, n), Inbox: []*core.InboxMessage{message(n)},
					Deliveries: []*core.Delivery{delivery(n, "log"), delivery(n, "phone")}})
				if err != nil {
					t.Errorf("Commit = %v, want nil", err)
				}
				if _, err := s.InboxMessage(ctx, id(n)); err != nil {
					t.Errorf("after its Commit, InboxMessage = %v, want it", err)
				}
			}
		})
	}
	wg.Wait()
	stop()
	readers.Wait()
	all := must(s.Inbox(t.Context(), core.InboxFilter{Limit: 2 * writers * each, Oldest: true}))(t)
	if len(all) != writers*each {
		t.Fatalf("%d messages are there, want %d", len(all), writers*each)
	}
	for n, m := range all {
		if m.ID != id(n) {
			t.Fatalf("message %d has id %s, want %s", n, m.ID, id(n))
		}
	}
}

func put(t *testing.T, s core.Store) {
	commit(t, s, everything())
	m, e, d, o, r, p := message(1), event(3), delivery(1, "log"), item(4), reply(5), peer(1)
	m.Status, m.Peer, m.At, m.Message.Intent, m.Message.Payload = core.InboxReplied, key(7), at(70), "task-request", nil
	m.Reply = &core.Reply{Nonce: "n", Success: true}
	e.Text, e.At, e.Data = "asked twice", at(71), nil
	d.Attempts, d.Next, d.Error = 3, at(72), "timeout"
	o.State, o.Done, o.Nonce, o.Message, o.Reply = core.OutSent, at(73), "other", nil, &core.Reply{Nonce: "q"}
	r.Text, r.Expires = "another", at(74)
	p.Alias, p.Trust, p.Granted, p.Levels = "robert", core.Removed, nil, nil
	commit(t, s, &core.Change{Peers: []*core.Peer{p}, Inbox: []*core.InboxMessage{m}, Events: []*core.Event{e}, Deliveries: []*core.Delivery{d},
		Outbox: []*core.OutboxItem{o}, Replies: []*core.StoredReply{r}, Meta: map[string]string{"a": "2"}})

	ctx := t.Context()
	v := snapshot(t, s)
	equal(t, must(s.InboxMessage(ctx, id(1)))(t), m)
	equal(t, v.Due, []*core.Delivery{withEvent(d, messageEvent(m)), withEvent(delivery(3, "log"), e)})
	equal(t, v.Outbox, []*core.OutboxItem{o})
	equal(t, v.Reply, r)
	equal(t, v.Peers, sortedPeers([]*core.Peer{p, peer(2)}))
	equal(t, v.Meta["a"], "2")
	if v.Depths.Inbox != 2 || v.Depths.Outbox != 0 || v.Depths.Deliveries != 3 {
		t.Errorf("Depths = %+v, want 2 messages, 0 waiting in the outbox, 3 deliveries", v.Depths)
	}
}

func copies(t *testing.T, s core.Store) {
	c := everything()
	commit(t, s, c)
	want := snapshot(t, s)
	spoil := func(v view) {
		v.Peers[0].Levels["topic"], v.Peers[0].Granted.Scopes[0].Intent = "x", "x"
		v.Receipt.Answer[0] = 'x'
		v.Inbox[1].Message.Payload[0] = 'x'
		v.Inbox[0].Reply.Data[0] = 'x'
		v.Events[2].Data[0] = 'x'
		v.Due[0].Event.Message.Message.Payload[0] = 'x'
		v.Outbox[0].Body[0], v.Outbox[0].Answer[0], v.Outbox[0].Message.Payload[0] = 'x', 'x', 'x'
		v.Reply.Reply.Data[0], v.Reply.V2[0] = 'x', 'x'
	}
	spoil(snapshot(t, s))
	c.Receipt.Answer[0], c.Inbox[0].Message.Payload[0], c.Peers[0].Levels["topic"], c.KV[0].Value[0] = 'y', 'y', "y", 'y'
	must(s.KV(t.Context(), "p", "k"))(t)[0] = 'z'
	equal(t, snapshot(t, s), want)
	equal(t, must(s.KV(t.Context(), "p", "k"))(t), []byte("v"))
}

// exact has what a store that writes JSON, C strings or millisecond times would
// change.
func exact(t *testing.T, s core.Store) {
	m := wholeMessage(t, 5000)
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{m}})
	equal(t, must(s.InboxMessage(t.Context(), m.ID))(t), m)
	texts := []string{"", "a\x00b", "\u2028<&>", "'; DROP TABLE inbox; --", "\U0001f600", "-0", "\ufeff"}
	raws := []string{`{}`, `[]`, `""`, `null`, ` { "b" : 1 , "a":1.0e2, "a": "\u00e9" } `, `-0`, `"\ud800"`, `12345678901234567890`}
	n := 0
	for _, text := range texts {
		for _, raw := range raws {
			n++
			when := at(n).Add(time.Duration(n))
			m := message(n)
			m.At, m.Reason, m.Level, m.Alias = when, text, text, text
			m.Decided = &core.Decided{As: core.Denied, By: text, At: when, Reason: text}
			m.Message.From, m.Message.ConversationID, m.Message.Hops, m.Message.Payload = text, text, text, core.Raw(raw)
			m.Reply = &core.Reply{Error: text, Data: core.Raw(raw)}
			e := event(n + 1000)
			e.Text, e.Data, e.At = text, core.Raw(raw), when
			e.Then = &core.PeerThen{Alias: text, Trust: core.Removed, URL: text}
			o := item(n)
			o.Error, o.Answer, o.Body, o.Next = text, core.Raw(raw), []byte(text), when
			r := reply(n)
			r.Text, r.V2, r.Reply.Data = text, core.Raw(raw), core.Raw(raw)
			l := receipt(1, n)
			l.Answer, l.Intent, l.At, l.Nonce = []byte(raw), text, when, core.Nonce(fmt.Sprint(text, n))
			commit(t, s, &core.Change{Receipt: l, Inbox: []*core.InboxMessage{m}, Events: []*core.Event{e}, Outbox: []*core.OutboxItem{o},
				Replies: []*core.StoredReply{r}, Meta: map[string]string{text: text}, KV: []core.KVPut{{Plugin: text, Key: text, Value: []byte(text)}}})
			ctx := t.Context()
			equal(t, must(s.InboxMessage(ctx, m.ID))(t), m)
			equal(t, must(s.Events(ctx, m.ID, 1))(t), []*core.Event{e})
			equal(t, must(s.OutboxItem(ctx, o.ID))(t), o)
			equal(t, must(s.OurReply(ctx, r.Nonce))(t), r)
			equal(t, must(s.Receipt(ctx, l.Peer, l.Nonce))(t), l)
			equal(t, must(s.Meta(ctx, text))(t), text)
			equal(t, must(s.KV(ctx, text, text))(t), []byte(text))
		}
	}
}

func nothing(t *testing.T, s core.Store) {
	commit(t, s, &core.Change{}) // of nothing
	ctx := t.Context()
	var errs []error
	add := func(_ any, err error) { errs = append(errs, err) }
	add(s.Receipt(ctx, key(1), "n"))
	add(s.InboxMessage(ctx, "x"))
	add(s.OutboxItem(ctx, "x"))
	add(s.OutboxByNonce(ctx, "x"))
	add(s.Reply(ctx, key(1), "x"))
	add(s.OurReply(ctx, "x"))
	add(s.Meta(ctx, "x"))
	add(s.KV(ctx, "p", "x"))
	for _, err := range errs {
		refused(t, err, core.NotFound)
	}
	equal(t, snapshot(t, s), view{})
	for _, next := range []time.Time{must(s.NextDelivery(ctx, "log"))(t)} {
		if !next.IsZero() {
			t.Errorf("next = %v of an empty queue, want zero", next)
		}
	}
	// Deleting what is not there is no error.
	commit(t, s, &core.Change{Forget: []core.PublicKey{key(1)}, Delivered: []*core.Delivery{delivery(1, "log")},
		KV: []core.KVPut{{Plugin: "p", Key: "x"}}})
}

func ended(t *testing.T, s core.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ctx, everything()); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want Canceled", err)
	}
	if _, err := s.Peers(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Peers = %v, want Canceled", err)
	}
	if err := s.EachReceipt(ctx, time.Time{}, 0, func(core.Receipt) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("EachReceipt = %v, want Canceled", err)
	}
	equal(t, snapshot(t, s), view{})

	// Whoever leaves while it waits gets an error exactly when nothing is kept.
	var wg sync.WaitGroup
	for n := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			err := s.Commit(ctx, &core.Change{Receipt: receipt(1, n)})
			_, found := s.Receipt(t.Context(), key(1), receipt(1, n).Nonce)
			if (err == nil) != (found == nil) {
				t.Errorf("Commit = %v, and Receipt = %v", err, found)
			}
		})
	}
	wg.Wait()
}

func closed(t *testing.T, s core.Store) {
	const writers = 64
	kept := make(chan error, writers)
	for n := range writers {
		go func() { kept <- s.Commit(t.Context(), &core.Change{Receipt: receipt(1, n)}) }()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Health(), core.Unavailable)
	for range writers { // each is answered
		if err := <-kept; err != nil {
			refused(t, err, core.Unavailable)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again = %v, want nil", err)
	}
	ctx := t.Context()
	errs := []error{s.Commit(ctx, everything()), s.EachReceipt(ctx, time.Time{}, 0, func(core.Receipt) {}), s.EachNonce(ctx, func(uint64) {}), s.EachEvent(ctx, time.Time{}, nil, func(core.Counted) {}), s.Prune(ctx, core.Cutoffs{Receipts: at(0), Inbox: at(0)})}
	add := func(_ any, err error) { errs = append(errs, err) }
	add(s.Peers(ctx))
	add(s.Receipt(ctx, key(1), "n"))
	add(s.Inbox(ctx, core.InboxFilter{}))
	add(s.InboxMessage(ctx, "x"))
	add(s.Events(ctx, "", 0))
	add(s.DueDeliveries(ctx, "log", at(0), 0))
	add(s.NextDelivery(ctx, "log"))
	add(s.Outbox(ctx, core.OutboxFilter{}))
	add(s.OutboxItem(ctx, "x"))
	add(s.OutboxByNonce(ctx, "x"))
	add(s.Reply(ctx, key(1), "x"))
	add(s.OurReply(ctx, "x"))
	add(s.WaitingPeers(ctx))
	add(s.Deliveries(ctx, core.DeliveryFilter{}))
	add(s.Meta(ctx, "x"))
	add(s.KV(ctx, "p", "x"))
	add(s.KVList(ctx, "p", "x"))
	add(s.Depths(ctx, 0))
	for i, err := range errs {
		if !errors.Is(err, core.Unavailable) {
			t.Errorf("call %d of a closed store = %v, want Unavailable", i, err)
		}
	}
}

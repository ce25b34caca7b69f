// Package storetest holds every store to the promises of core.Store. A backend's
// test is one call of Run.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
		{"L6 a nonce of a peer is taken once", once},
		{"L6 a nonce is taken once by many at the same time", onceConcurrent},
		{"N5 envelopes are listed by time", receipts},
		{"put replaces", put},
		{"values are copies", copies},
		{"values come back byte for byte", exact},
		{"what is not there is NotFound", nothing},
		{"peers", peers},
		{"inbox filters", inbox},
		{"events", events},
		{"deliveries due", due},
		{"many deliveries due", manyDue},
		{"fresh deliveries", fresh},
		{"fresh deliveries are settled in any order", settled},
		{"receipts and messages part", parts},
		{"dead deliveries", dead},
		{"a delivery needs its event", orphan},
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

// base is a time on the wire's milliseconds; at counts minutes from it.
var base = time.Date(2026, 3, 1, 12, 0, 0, int(7*time.Millisecond), time.UTC)

func at(minutes int) time.Time { return base.Add(time.Duration(minutes) * time.Minute) }

// id is the n-th of some ids in order, in a ULID's shape.
func id(n int) string { return fmt.Sprintf("01JNXYZ%019d", n) }

// key is the n-th of some peers.
func key(n int) core.PublicKey { return core.PublicKey{31: byte(n), 0: byte(n) ^ 0xa5} }

func message(n int) *core.InboxMessage {
	return &core.InboxMessage{
		ID: id(n), Peer: key(1), At: at(n), Status: core.InboxNew, Level: "summary",
		Message: core.Message{Intent: "message", From: "a", To: "b", ToAgent: "main", Nonce: core.Nonce(fmt.Sprint("nonce-", n)),
			Timestamp: core.FormatTime(at(n)), ReplyTo: "https://a.example/reply", ConversationID: "c", ProjectID: "p",
			Payload: core.Raw(`{"message":"héllo"}`)},
	}
}

func event(n int) *core.Event {
	return &core.Event{ID: id(n), Type: core.EventRequest, At: at(n), Peer: key(2), By: core.Them, Text: "asked", Data: core.Raw(`{"a":1}`)}
}

func delivery(n int, notifier string) *core.Delivery {
	return &core.Delivery{EventID: id(n), Notifier: notifier, Next: at(n), Created: at(n)}
}

func receipt(peer, n int) *core.Receipt {
	return &core.Receipt{Peer: key(peer), Nonce: core.Nonce(fmt.Sprint("nonce-", n)), Digest: [32]byte{byte(n), 31: 9}, At: at(n),
		Intent: "message", Status: 200, Answer: []byte(`{"success":true}`)}
}

func item(n int) *core.OutboxItem {
	return &core.OutboxItem{ID: id(n), Peer: key(1), Kind: core.OutMessage, State: core.OutWaiting, Nonce: core.Nonce(fmt.Sprint("out-", n)),
		URL: "https://b.example", Message: &message(n).Message, Body: []byte{0, 0xff, '"'}, SignedAt: at(n), Created: at(n), Next: at(n + 1),
		GiveUp: at(n + 100), Attempts: 2, Error: "dial: refused", Answer: core.Raw(`{"ok": false}`)}
}

func reply(n int) *core.StoredReply {
	return &core.StoredReply{Nonce: core.Nonce(fmt.Sprint("reply-", n)), Peer: key(1), Ours: true,
		Reply: core.Reply{Nonce: "n", Success: true, Data: core.Raw(`[]`), Timestamp: core.FormatTime(at(n))},
		Text:  `{"nonce":"n"}`, Sig: "00ff", V2: core.Raw(`{"payloadStr":"x"}`), At: at(n), Expires: at(n + 10)}
}

func peer(n int) *core.Peer {
	return &core.Peer{Key: key(n), Alias: fmt.Sprint("peer", n), Names: core.Names{DisplayName: "Bob \u2028 </b>"}, URL: "https://bob.example",
		Revision: uint64(n) + 1, Trust: core.Approved, Since: at(n), ApprovedAt: at(n), V2: true, Features: []string{"signature-v2"},
		Granted: &core.Bundle{Version: core.BundleVersion, GrantedAt: core.FormatTime(at(n)),
			Scopes: []core.Grant{{Intent: "message", Enabled: true, RateLimit: &core.RateLimit{Requests: 1, WindowSeconds: 2}, Topics: []string{"a"}}}},
		Levels:  map[string]string{"topic": "full"},
		History: []core.Transition{{At: at(n), Event: "approve", From: core.Pending, To: core.Approved}}}
}

// everything is a change with something of every kind.
func everything() *core.Change {
	held := message(2)
	held.Status, held.Reason = core.InboxHeld, "no topic"
	held.Reply = &core.Reply{Nonce: "n", Success: false, Data: core.Raw(`{"x": [1, 2]}`), Error: "no", Timestamp: core.FormatTime(at(2)), From: "b", To: "a"}
	gone := delivery(3, "phone")
	gone.Dead, gone.Attempts, gone.Error = true, 9, "410"
	return &core.Change{
		Peers:      []*core.Peer{peer(1), peer(2)},
		Receipt:    receipt(1, 1),
		Inbox:      []*core.InboxMessage{message(1), held},
		Events:     []*core.Event{event(3)},
		Deliveries: []*core.Delivery{delivery(1, "log"), delivery(1, "phone"), delivery(3, "log"), gone},
		Outbox:     []*core.OutboxItem{item(4)},
		Replies:    []*core.StoredReply{reply(5)},
		Meta:       map[string]string{"a": "1", "b": ""},
		KV:         []core.KVPut{{Plugin: "p", Key: "k", Value: []byte("v")}, {Plugin: "p", Key: "empty", Value: []byte{}}},
	}
}

// view is all that a store shows of everything.
type view struct {
	Peers            []*core.Peer
	Receipt          *core.Receipt
	Inbox            []*core.InboxMessage
	Events           []*core.Event
	Due, Phone, Dead []*core.Delivery
	Outbox           []*core.OutboxItem
	Reply            *core.StoredReply
	Meta             map[string]string
	KV               map[string]int
	Depths           core.Depths
}

func snapshot(t *testing.T, s core.Store) view {
	t.Helper()
	ctx := t.Context()
	v := view{Meta: map[string]string{}}
	v.Peers = must(s.Peers(ctx))(t)
	v.Receipt = maybe(s.Receipt(ctx, key(1), "nonce-1"))(t)
	v.Inbox = must(s.Inbox(ctx, core.InboxFilter{}))(t)
	v.Events = must(s.Events(ctx, "", 0))(t)
	v.Due = must(s.DueDeliveries(ctx, "log", at(1000), 0))(t)
	v.Phone = must(s.DueDeliveries(ctx, "phone", at(1000), 0))(t)
	v.Dead = must(s.DeadDeliveries(ctx, 0))(t)
	v.Outbox = must(s.Outbox(ctx, core.OutboxFilter{}))(t)
	v.Reply = maybe(s.OurReply(ctx, "reply-5"))(t)
	for _, k := range []string{"a", "b"} {
		value, err := s.Meta(ctx, k)
		if err == nil {
			v.Meta[k] = value
		}
	}
	v.KV = must(s.KVList(ctx, "p", ""))(t)
	v.Depths = must(s.Depths(ctx))(t)
	return v
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// maybe is must for what may be not there.
func maybe[T any](v *T, err error) func(*testing.T) *T {
	if errors.Is(err, core.NotFound) {
		return func(*testing.T) *T { return nil }
	}
	return must(v, err)
}

func commit(t *testing.T, s core.Store, changes ...*core.Change) {
	t.Helper()
	for _, c := range changes {
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatalf("Commit = %v, want nil", err)
		}
	}
}

func refused(t *testing.T, err error, kind core.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error = %v, want %v", err, kind)
	}
}

// Equal compares what two stores give: times by their instant, and an empty list
// like none.
var Equal = cmp.Options{cmpopts.EquateEmpty()}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, Equal); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func messageEvent(m *core.InboxMessage) *core.Event {
	return &core.Event{ID: m.ID, Type: core.EventMessage, At: m.At, Peer: m.Peer, Message: m}
}

func told(d *core.Delivery, e *core.Event) *core.Delivery {
	c := *d
	c.Event = *e
	return &c
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
		Due:     []*core.Delivery{told(c.Deliveries[0], messageEvent(c.Inbox[0])), told(c.Deliveries[2], c.Events[0])},
		Phone:   []*core.Delivery{told(c.Deliveries[1], messageEvent(c.Inbox[0]))},
		Dead:    []*core.Delivery{told(c.Deliveries[3], c.Events[0])},
		Outbox:  c.Outbox,
		Reply:   c.Replies[0],
		Meta:    c.Meta,
		KV:      map[string]int{"k": 1, "empty": 0},
		Depths: core.Depths{Inbox: 2, InboxHeld: 1, Outbox: 1, Deliveries: 3, DeadDeliveries: 1, OldestDelivery: at(1), OldestOutbox: at(4), Receipts: 1,
			DeliveriesByNotifier: map[string]int{"log": 2, "phone": 1}, DeadByName: map[string]int{"phone": 1}},
	})
}

func sortedPeers(all []*core.Peer) []*core.Peer {
	return slices.SortedFunc(slices.Values(all), func(a, b *core.Peer) int { return bytes.Compare(a.Key[:], b.Key[:]) })
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
			d, err := s.Depths(context.WithoutCancel(ctx))
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

func once(t *testing.T, s core.Store) {
	first := receipt(1, 1)
	commit(t, s, &core.Change{Receipt: first})
	second := receipt(1, 1)
	second.Status, second.Answer, second.Digest, second.At = 403, []byte("no"), [32]byte{1}, at(5)
	refused(t, s.Commit(t.Context(), &core.Change{Receipt: second}), core.Replayed)
	equal(t, must(s.Receipt(t.Context(), key(1), "nonce-1"))(t), first)

	other := receipt(2, 1)
	other.Answer = nil
	commit(t, s, &core.Change{Receipt: other}, &core.Change{Receipt: receipt(1, 2)})
	equal(t, must(s.Receipt(t.Context(), key(2), "nonce-1"))(t), other)
	_, err := s.Receipt(t.Context(), key(3), "nonce-1")
	refused(t, err, core.NotFound)
}

func onceConcurrent(t *testing.T, s core.Store) {
	const senders, nonces = 16, 20
	var wg sync.WaitGroup
	for n := range nonces {
		results := make(chan error, senders)
		for sender := range senders {
			wg.Go(func() {
				m := message(n*senders + sender)
				results <- s.Commit(t.Context(), &core.Change{Receipt: receipt(1, n), Inbox: []*core.InboxMessage{m}})
			})
		}
		kept := 0
		for range senders {
			if err := <-results; err == nil {
				kept++
			} else {
				refused(t, err, core.Replayed)
			}
		}
		if kept != 1 {
			t.Errorf("nonce %d was taken %d times, want once", n, kept)
		}
	}
	wg.Wait()
	if d := must(s.Depths(t.Context()))(t); d.Inbox != nonces || d.Receipts != nonces {
		t.Errorf("%d messages and %d envelopes are kept, want %d of each", d.Inbox, d.Receipts, nonces)
	}
}

func receipts(t *testing.T, s core.Store) {
	for _, n := range []int{5, 1, 4, 2, 3} {
		l := receipt(n%2, n)
		if n == 4 {
			l.Intent = ""
		}
		commit(t, s, &core.Change{Receipt: l})
	}
	var got []core.Receipt
	byTime := func(a, b core.Receipt) int { return a.At.Compare(b.At) }
	each := func(since time.Time) []core.Receipt {
		got = nil
		if err := s.EachReceipt(t.Context(), since, 0, func(l core.Receipt) {
			got = append(got, l)
			if _, err := s.Receipt(t.Context(), l.Peer, l.Nonce); err != nil {
				t.Errorf("Receipt within EachReceipt = %v, want nil", err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, byTime)
		return got
	}
	bare := func(n int) core.Receipt {
		l := receipt(n%2, n)
		if n == 4 {
			l.Intent = ""
		}
		return core.Receipt{Peer: l.Peer, Nonce: l.Nonce, At: l.At, Intent: l.Intent}
	}
	equal(t, each(time.Time{}), []core.Receipt{bare(1), bare(2), bare(3), bare(4), bare(5)})
	equal(t, each(at(3)), []core.Receipt{bare(3), bare(4), bare(5)})
	equal(t, each(at(3).Add(1)), []core.Receipt{bare(4), bare(5)})
	equal(t, each(at(6)), []core.Receipt{})
	// The newest of each peer and intent, and perhaps more.
	got = nil
	if err := s.EachReceipt(t.Context(), time.Time{}, 1, func(l core.Receipt) { got = append(got, l) }); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 4, 5} {
		if !slices.ContainsFunc(got, func(l core.Receipt) bool { return l.Peer == bare(n).Peer && l.Nonce == bare(n).Nonce }) {
			t.Errorf("the newest receipt %d is not among %v", n, got)
		}
	}
	hashes := map[uint64]bool{}
	if err := s.EachNonce(t.Context(), func(h uint64) { hashes[h] = true }); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		if !hashes[core.NonceHash(key(n%2), receipt(n%2, n).Nonce)] || len(hashes) != 5 {
			t.Errorf("EachNonce gives %v, without receipt %d", hashes, n)
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
	equal(t, v.Due, []*core.Delivery{told(d, messageEvent(m)), told(delivery(3, "log"), e)})
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
			m.Message.From, m.Message.ConversationID, m.Message.Payload = text, text, core.Raw(raw)
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
	for _, next := range []time.Time{must(s.NextDelivery(ctx, "log"))(t), must(s.NextOutbox(ctx))(t)} {
		if !next.IsZero() {
			t.Errorf("next = %v of an empty queue, want zero", next)
		}
	}
	// Deleting what is not there is no error.
	commit(t, s, &core.Change{Forget: []core.PublicKey{key(1)}, Delivered: []*core.Delivery{delivery(1, "log")},
		KV: []core.KVPut{{Plugin: "p", Key: "x"}}})
}

func peers(t *testing.T, s core.Store) {
	commit(t, s, &core.Change{Peers: []*core.Peer{peer(3), peer(1)}}, &core.Change{Peers: []*core.Peer{peer(2)}})
	equal(t, must(s.Peers(t.Context()))(t), sortedPeers([]*core.Peer{peer(1), peer(2), peer(3)}))
	commit(t, s, &core.Change{Forget: []core.PublicKey{key(1), key(9)}, Peers: []*core.Peer{peer(4)}})
	equal(t, must(s.Peers(t.Context()))(t), sortedPeers([]*core.Peer{peer(2), peer(3), peer(4)}))

	many := &core.Change{}
	for n := range 200 { // more than any default limit
		many.Peers = append(many.Peers, peer(n))
	}
	commit(t, s, many)
	if all := must(s.Peers(t.Context()))(t); len(all) != 200 {
		t.Errorf("%d peers, want 200", len(all))
	}
}

func inbox(t *testing.T, s core.Store) {
	c := &core.Change{}
	for n := range 150 {
		m := message(n)
		m.Peer = key(n % 3)
		if n%10 == 0 {
			m.Status = core.InboxHeld
		}
		if n%10 == 1 {
			m.Status = core.InboxReplied
		}
		if n%7 == 0 {
			m.Message.Intent = "task-request"
		}
		c.Inbox = append(c.Inbox, m)
	}
	commit(t, s, c)
	for _, test := range []struct {
		name string
		f    core.InboxFilter
		want func(n int, m *core.InboxMessage) bool
	}{
		{"all", core.InboxFilter{}, func(int, *core.InboxMessage) bool { return true }},
		{"oldest", core.InboxFilter{Oldest: true}, func(int, *core.InboxMessage) bool { return true }},
		{"limit", core.InboxFilter{Limit: 7}, func(int, *core.InboxMessage) bool { return true }},
		{"more", core.InboxFilter{Limit: 1000}, func(int, *core.InboxMessage) bool { return true }},
		{"peer", core.InboxFilter{Peer: key(1)}, func(_ int, m *core.InboxMessage) bool { return m.Peer == key(1) }},
		{"new", core.InboxFilter{Status: core.InboxNew}, func(_ int, m *core.InboxMessage) bool { return m.Status == core.InboxNew }},
		{"held", core.InboxFilter{Status: core.InboxHeld}, func(n int, _ *core.InboxMessage) bool { return n%10 == 0 }},
		{"held oldest", core.InboxFilter{Status: core.InboxHeld, Oldest: true, Limit: 3}, func(n int, _ *core.InboxMessage) bool { return n%10 == 0 }},
		{"replied", core.InboxFilter{Status: core.InboxReplied}, func(n int, _ *core.InboxMessage) bool { return n%10 == 1 }},
		{"intent", core.InboxFilter{Intent: "task-request"}, func(n int, _ *core.InboxMessage) bool { return n%7 == 0 }},
		{"since", core.InboxFilter{Since: at(140)}, func(n int, _ *core.InboxMessage) bool { return n >= 140 }},
		{"before", core.InboxFilter{Before: id(10)}, func(n int, _ *core.InboxMessage) bool { return n < 10 }},
		{"all of them", core.InboxFilter{Peer: key(0), Status: core.InboxNew, Intent: "task-request", Since: at(20), Before: id(140), Limit: 2, Oldest: true},
			func(n int, m *core.InboxMessage) bool {
				return n%3 == 0 && m.Status == core.InboxNew && n%7 == 0 && n >= 20 && n < 140
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var want []*core.InboxMessage
			for n, m := range c.Inbox {
				if test.want(n, m) {
					want = append(want, m)
				}
			}
			if !test.f.Oldest {
				slices.Reverse(want)
			}
			limit := test.f.Limit
			if limit == 0 {
				limit = 100
			}
			equal(t, must(s.Inbox(t.Context(), test.f))(t), want[:min(limit, len(want))])
		})
	}
}

func events(t *testing.T, s core.Store) {
	var all []*core.Event
	for n := range 12 {
		if n%3 == 0 {
			e := event(n)
			commit(t, s, &core.Change{Events: []*core.Event{e}})
			all = append(all, e)
		} else {
			m := message(n)
			commit(t, s, &core.Change{Inbox: []*core.InboxMessage{m}})
			all = append(all, messageEvent(m))
		}
	}
	equal(t, must(s.Events(t.Context(), "", 0))(t), all)
	for n := range all {
		equal(t, must(s.Events(t.Context(), id(n), 5))(t), all[n+1:min(n+6, len(all))])
	}
}

func due(t *testing.T, s core.Store) {
	for n := range 10 {
		d := delivery(n, "log")
		d.Next = at(100 - n) // a later event is due earlier
		c := &core.Change{Deliveries: []*core.Delivery{d, delivery(n, "phone")}}
		if n%2 == 0 {
			c.Inbox = append(c.Inbox, message(n))
		} else {
			c.Events = append(c.Events, event(n))
		}
		commit(t, s, c)
	}
	ctx := t.Context()
	ids := func(notifier string, now time.Time, limit int) (got []string) {
		for _, d := range must(s.DueDeliveries(ctx, notifier, now, limit))(t) {
			got = append(got, d.EventID)
			if d.Notifier != notifier || d.Event.ID != d.EventID || (d.Event.Message != nil) != (d.Event.Type == core.EventMessage) {
				t.Errorf("delivery of %s to %s has event %+v", d.EventID, d.Notifier, d.Event)
			}
		}
		return got
	}
	equal(t, ids("log", at(90), 0), []string(nil))
	equal(t, ids("log", at(91), 0), []string{id(9)})
	equal(t, ids("log", at(94), 0), []string{id(6), id(7), id(8), id(9)})
	equal(t, ids("log", at(94), 2), []string{id(6), id(7)})
	equal(t, ids("log", at(1000), 3), []string{id(0), id(1), id(2)})
	equal(t, ids("phone", at(1), 0), []string{id(0), id(1)})
	equal(t, ids("nobody", at(1000), 0), []string(nil))
	if next := must(s.NextDelivery(ctx, "log"))(t); !next.Equal(at(91)) {
		t.Errorf("NextDelivery = %v, want %v", next, at(91))
	}

	commit(t, s, &core.Change{Delivered: []*core.Delivery{delivery(9, "log")}})
	equal(t, ids("log", at(92), 0), []string{id(8)})
	equal(t, ids("phone", at(9), 0)[9:], []string{id(9)})

	soon := delivery(8, "log")
	soon.Next = time.Time{} // not before the beginning of time: at once
	commit(t, s, &core.Change{Deliveries: []*core.Delivery{soon}})
	equal(t, ids("log", at(0), 0), []string{id(8)})
	if next := must(s.NextDelivery(ctx, "log"))(t); next.IsZero() || next.After(at(0)) {
		t.Errorf("NextDelivery = %v with one due at once, want a time before now", next)
	}
}

// manyDue has more than a store may want to sort, mixed with what is not due.
func manyDue(t *testing.T, s core.Store) {
	const n = 2600
	c := &core.Change{}
	for i := range n {
		d := delivery(i, "log")
		d.Next = at(0)
		if i < 3 {
			d.Next = at(5)
		}
		c.Deliveries = append(c.Deliveries, d)
		if i%50 == 49 {
			c.Events = append(c.Events, event(i)) // after the messages of its change
			commit(t, s, c)
			c = &core.Change{}
		} else {
			c.Inbox = append(c.Inbox, message(i))
		}
	}
	for _, limit := range []int{1, 60, 2000} {
		got := must(s.DueDeliveries(t.Context(), "log", at(1), limit))(t)
		if len(got) != limit {
			t.Fatalf("%d deliveries, want %d", len(got), limit)
		}
		for i, d := range got {
			if d.EventID != id(i+3) || d.Event.ID != d.EventID {
				t.Fatalf("delivery %d is of %s, want %s", i, d.EventID, id(i+3))
			}
		}
	}
}

func dead(t *testing.T, s core.Store) {
	c := &core.Change{}
	for n := range 6 {
		d := delivery(n, "log")
		d.Dead = n%2 == 0
		c.Deliveries = append(c.Deliveries, d)
		c.Inbox = append(c.Inbox, message(n))
	}
	c.Events = []*core.Event{event(7)}
	last := delivery(7, "phone")
	last.Dead = true
	c.Deliveries = append(c.Deliveries, last)
	commit(t, s, c)
	ids := func(all []*core.Delivery) (got []string) {
		for _, d := range all {
			got = append(got, d.EventID)
			if d.Event.ID != d.EventID {
				t.Errorf("delivery of %s has event %+v", d.EventID, d.Event)
			}
		}
		return got
	}
	ctx := t.Context()
	equal(t, ids(must(s.DeadDeliveries(ctx, 0))(t)), []string{id(0), id(2), id(4), id(7)})
	equal(t, ids(must(s.DeadDeliveries(ctx, 2))(t)), []string{id(0), id(2)})
	equal(t, ids(must(s.DueDeliveries(ctx, "log", at(1000), 0))(t)), []string{id(1), id(3), id(5)})
	equal(t, ids(must(s.Deliveries(ctx, core.DeliveryFilter{Dead: true, Notifier: "log"}))(t)), []string{id(0), id(2), id(4)})
	equal(t, ids(must(s.Deliveries(ctx, core.DeliveryFilter{After: id(3), Limit: 2}))(t)), []string{id(4), id(5)})
	equal(t, ids(must(s.Deliveries(ctx, core.DeliveryFilter{EventID: id(7)}))(t)), []string{id(7)})
	if next := must(s.NextDelivery(ctx, "phone"))(t); !next.IsZero() {
		t.Errorf("NextDelivery = %v of dead ones, want zero", next)
	}
	// The operator tries again.
	again := delivery(0, "log")
	again.Group = id(2)
	commit(t, s, &core.Change{Deliveries: []*core.Delivery{again}})
	equal(t, ids(must(s.DeadDeliveries(ctx, 0))(t)), []string{id(2), id(4), id(7)})
	due := must(s.DueDeliveries(ctx, "log", at(0), 0))(t)
	equal(t, ids(due), []string{id(0)})
	if due[0].Group != id(2) {
		t.Errorf("Group = %q, want %q", due[0].Group, id(2))
	}
}

func orphan(t *testing.T, s core.Store) {
	c := &core.Change{Peers: []*core.Peer{peer(1)}, Receipt: receipt(1, 1), Deliveries: []*core.Delivery{delivery(1, "log")}}
	refused(t, s.Commit(t.Context(), c), core.NotFound)
	equal(t, snapshot(t, s), view{})
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{message(1)}}, c)
}

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

	equal(t, must(s.DueOutbox(ctx, at(14), 0))(t), pick())
	equal(t, must(s.DueOutbox(ctx, at(15), 0))(t), pick(5))
	equal(t, must(s.DueOutbox(ctx, at(17), 0))(t), pick(3, 4, 5))
	equal(t, must(s.DueOutbox(ctx, at(100), 2))(t), pick(0, 3))
	if next := must(s.NextOutbox(ctx))(t); !next.Equal(at(15)) {
		t.Errorf("NextOutbox = %v, want %v", next, at(15))
	}
	for _, o := range c.Outbox {
		o.State = core.OutExpired
	}
	commit(t, s, c)
	if peers := must(s.WaitingPeers(ctx))(t); len(peers) > 0 {
		t.Errorf("WaitingPeers = %v with none waiting, want none", peers)
	}
	if next := must(s.NextOutbox(ctx))(t); !next.IsZero() {
		t.Errorf("NextOutbox = %v with none waiting, want zero", next)
	}
	now := item(9)
	now.Next = time.Time{}
	commit(t, s, &core.Change{Outbox: []*core.OutboxItem{now}})
	if next := must(s.NextOutbox(ctx))(t); next.IsZero() || next.After(at(0)) {
		t.Errorf("NextOutbox = %v with one due at once, want a time before now", next)
	}
	equal(t, must(s.DueOutbox(ctx, at(0), 0))(t), []*core.OutboxItem{now})
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

func meta(t *testing.T, s core.Store) {
	commit(t, s, &core.Change{Meta: map[string]string{"a": "1", "empty": ""}}, &core.Change{Meta: map[string]string{"a": "2", "b": "3"}})
	for k, want := range map[string]string{"a": "2", "b": "3", "empty": ""} {
		equal(t, must(s.Meta(t.Context(), k))(t), want)
	}
}

func kv(t *testing.T, s core.Store) {
	ctx := t.Context()
	puts := func(plugin string, keys ...string) (c core.Change) {
		for _, k := range keys {
			c.KV = append(c.KV, core.KVPut{Plugin: plugin, Key: k, Value: []byte(plugin + k)})
		}
		return c
	}
	one := puts("p", "a", "a/", "a/1", "a/2", "a0", "b", "", "a/\xff", "\xff\xff", "%", "a%", "_")
	two := puts("q", "a/1", "z")
	commit(t, s, &one, &two)
	equal(t, must(s.KV(ctx, "p", "a/1"))(t), []byte("pa/1"))
	equal(t, must(s.KV(ctx, "q", "a/1"))(t), []byte("qa/1"))
	equal(t, must(s.KV(ctx, "p", ""))(t), []byte("p"))
	_, err := s.KV(ctx, "q", "b")
	refused(t, err, core.NotFound)
	equal(t, must(s.KVList(ctx, "p", "a/"))(t), map[string]int{"a/": 3, "a/1": 4, "a/2": 4, "a/\xff": 4})
	equal(t, must(s.KVList(ctx, "p", "\xff"))(t), map[string]int{"\xff\xff": 3})
	equal(t, must(s.KVList(ctx, "p", "%"))(t), map[string]int{"%": 2})
	equal(t, must(s.KVList(ctx, "q", ""))(t), map[string]int{"a/1": 4, "z": 2})
	equal(t, must(s.KVList(ctx, "nobody", ""))(t), map[string]int{})
	if all := must(s.KVList(ctx, "p", ""))(t); len(all) != 12 {
		t.Errorf("%d keys, want 12", len(all))
	}
	commit(t, s, &core.Change{KV: []core.KVPut{{Plugin: "p", Key: "a", Value: []byte("new")}, {Plugin: "p", Key: "b"}, {Plugin: "p", Key: "a/1", Value: []byte{}}}})
	equal(t, must(s.KV(ctx, "p", "a"))(t), []byte("new"))
	_, err = s.KV(ctx, "p", "b")
	refused(t, err, core.NotFound)
	if v := must(s.KV(ctx, "p", "a/1"))(t); v == nil || len(v) != 0 {
		t.Errorf("KV = %#v, want an empty value", v)
	}
	// The last write of a change holds.
	commit(t, s, &core.Change{KV: []core.KVPut{{Plugin: "p", Key: "c", Value: []byte("1")}, {Plugin: "p", Key: "c"}, {Plugin: "p", Key: "c", Value: []byte("2")}}})
	equal(t, must(s.KV(ctx, "p", "c"))(t), []byte("2"))
}

func depths(t *testing.T, s core.Store) {
	commit(t, s, everything())
	commit(t, s, &core.Change{Delivered: []*core.Delivery{delivery(1, "log"), delivery(1, "phone"), delivery(3, "log")}})
	d := must(s.Depths(t.Context()))(t)
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
	for _, d := range must(s.DeadDeliveries(ctx, 0))(t) {
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
	if d := must(s.Depths(ctx))(t); d.Inbox != 5 || d.DeadDeliveries != 0 || d.Deliveries != 0 {
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
	d := must(s.Depths(t.Context()))(t)
	if d.Inbox != n/100 || d.Receipts != 0 || len(must(s.Events(t.Context(), id(n-1), 0))(t)) != 0 {
		t.Errorf("Depths = %+v, want the %d messages that are to be told and nothing else", d, n/100)
	}
	_, err := s.OurReply(t.Context(), reply(n-1).Nonce)
	refused(t, err, core.NotFound)
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
	errs := []error{s.Commit(ctx, everything()), s.EachReceipt(ctx, time.Time{}, 0, func(core.Receipt) {}), s.EachNonce(ctx, func(uint64) {}), s.Prune(ctx, core.Cutoffs{Receipts: at(0), Inbox: at(0)})}
	add := func(_ any, err error) { errs = append(errs, err) }
	add(s.Peers(ctx))
	add(s.Receipt(ctx, key(1), "n"))
	add(s.Inbox(ctx, core.InboxFilter{}))
	add(s.InboxMessage(ctx, "x"))
	add(s.Events(ctx, "", 0))
	add(s.DueDeliveries(ctx, "log", at(0), 0))
	add(s.NextDelivery(ctx, "log"))
	add(s.DeadDeliveries(ctx, 0))
	add(s.Outbox(ctx, core.OutboxFilter{}))
	add(s.OutboxItem(ctx, "x"))
	add(s.OutboxByNonce(ctx, "x"))
	add(s.DueOutbox(ctx, at(0), 0))
	add(s.NextOutbox(ctx))
	add(s.Reply(ctx, key(1), "x"))
	add(s.OurReply(ctx, "x"))
	add(s.WaitingPeers(ctx))
	add(s.Deliveries(ctx, core.DeliveryFilter{}))
	add(s.Meta(ctx, "x"))
	add(s.KV(ctx, "p", "x"))
	add(s.KVList(ctx, "p", "x"))
	add(s.Depths(ctx))
	for i, err := range errs {
		if !errors.Is(err, core.Unavailable) {
			t.Errorf("call %d of a closed store = %v, want Unavailable", i, err)
		}
	}
}

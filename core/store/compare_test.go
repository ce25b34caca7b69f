package store_test

import (
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// pair is the durable store beside the simple one, which is right by inspection.
type pair struct {
	kind, dir string // as Open takes them
	real, ref core.Store
}

// Few values, so that changes meet.
var (
	someIDs       = rapid.Map(rapid.IntRange(0, 7), func(n int) string { return fmt.Sprintf("01JN%022d", n) })
	eventIDs      = rapid.Map(rapid.IntRange(8, 12), func(n int) string { return fmt.Sprintf("01JN%022d", n) })
	someKeys      = rapid.Map(rapid.IntRange(1, 3), func(n int) core.PublicKey { return core.PublicKey{byte(n)} })
	someNonces    = rapid.Map(rapid.SampledFrom([]string{"a", "b", "c\x00", "ü"}), func(s string) core.Nonce { return core.Nonce(s) })
	someNotifiers = rapid.SampledFrom([]string{"log", "phone"})
	someTexts     = rapid.OneOf(rapid.Just(""), rapid.String())
	someIntents   = rapid.SampledFrom([]string{"message", "task-request", ""})
	someRaws      = rapid.SampledFrom([]core.Raw{nil, core.Raw(`{}`), core.Raw(` [1, 2] `), core.Raw(`null`)})
	someTimes     = rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 20), func(n int) time.Time { return time.Unix(1_770_000_000, int64(n)).UTC() }),
		rapid.Just(time.Time{}))
	realTimes = rapid.Map(rapid.IntRange(0, 20), func(n int) time.Time { return time.Unix(1_770_000_000, int64(n)).UTC() })
)

func messages(t *rapid.T) core.Message {
	return core.Message{Intent: someIntents.Draw(t, "intent"), From: someTexts.Draw(t, "from"), Nonce: someNonces.Draw(t, "nonce"),
		ReplyTo: someTexts.Draw(t, "replyTo"), Payload: someRaws.Draw(t, "payload")}
}

func replies(t *rapid.T) core.Reply {
	return core.Reply{Nonce: someNonces.Draw(t, "nonce"), Success: rapid.Bool().Draw(t, "success"), Data: someRaws.Draw(t, "data"), Error: someTexts.Draw(t, "error")}
}

// list draws up to three of something.
func list[T any](t *rapid.T, name string, one func(*rapid.T) T) (all []T) {
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3}).Draw(t, name) {
		all = append(all, one(t))
	}
	return all
}

func change(t *rapid.T) *core.Change {
	c := &core.Change{
		Expect: list(t, "expect", func(t *rapid.T) core.Expect {
			return core.Expect{Peer: someKeys.Draw(t, "key"), Revision: uint64(rapid.IntRange(0, 2).Draw(t, "revision"))}
		}),
		Peers: list(t, "peers", func(t *rapid.T) *core.Peer {
			return &core.Peer{Key: someKeys.Draw(t, "key"), Alias: someTexts.Draw(t, "alias"), Revision: uint64(rapid.IntRange(0, 2).Draw(t, "revision")), Trust: core.Approved, Since: someTimes.Draw(t, "since")}
		}),
		Forget: list(t, "forget", func(t *rapid.T) core.PublicKey { return someKeys.Draw(t, "key") }),
		Inbox: list(t, "inbox", func(t *rapid.T) *core.InboxMessage {
			m := &core.InboxMessage{ID: someIDs.Draw(t, "id"), Peer: someKeys.Draw(t, "key"), At: realTimes.Draw(t, "at"),
				Status: rapid.SampledFrom([]core.InboxStatus{core.InboxNew, core.InboxHeld, core.InboxReplied}).Draw(t, "status"),
				Reason: someTexts.Draw(t, "reason"), Message: messages(t)}
			if rapid.Bool().Draw(t, "replied") {
				r := replies(t)
				m.Reply = &r
			}
			return m
		}),
		Events: list(t, "events", func(t *rapid.T) *core.Event {
			return &core.Event{ID: eventIDs.Draw(t, "id"), Type: core.EventRequest, At: realTimes.Draw(t, "at"), Peer: someKeys.Draw(t, "key"), Data: someRaws.Draw(t, "data")}
		}),
		Deliveries: list(t, "deliveries", func(t *rapid.T) *core.Delivery {
			return &core.Delivery{EventID: rapid.OneOf(someIDs, eventIDs).Draw(t, "event"), Notifier: someNotifiers.Draw(t, "notifier"),
				Attempts: rapid.IntRange(0, 9).Draw(t, "attempts"), Next: someTimes.Draw(t, "next"), Created: realTimes.Draw(t, "created"),
				Dead: rapid.Bool().Draw(t, "dead"), Error: someTexts.Draw(t, "error")}
		}),
		Delivered: list(t, "delivered", func(t *rapid.T) *core.Delivery {
			return &core.Delivery{EventID: rapid.OneOf(someIDs, eventIDs).Draw(t, "event"), Notifier: someNotifiers.Draw(t, "notifier")}
		}),
		Outbox: list(t, "outbox", func(t *rapid.T) *core.OutboxItem {
			m := messages(t)
			return &core.OutboxItem{ID: someIDs.Draw(t, "id"), Peer: someKeys.Draw(t, "key"), Nonce: someNonces.Draw(t, "nonce"), Message: &m,
				Kind:    rapid.SampledFrom([]core.OutboxKind{core.OutMessage, core.OutReply}).Draw(t, "kind"),
				State:   rapid.SampledFrom([]core.OutboxState{core.OutWaiting, core.OutWaiting, core.OutSent, core.OutExpired}).Draw(t, "state"),
				Created: realTimes.Draw(t, "created"), Next: someTimes.Draw(t, "next"), Done: someTimes.Draw(t, "done"), Answer: someRaws.Draw(t, "answer")}
		}),
		Replies: list(t, "replies", func(t *rapid.T) *core.StoredReply {
			return &core.StoredReply{Nonce: someNonces.Draw(t, "nonce"), Peer: someKeys.Draw(t, "key"), Ours: rapid.Bool().Draw(t, "ours"), At: realTimes.Draw(t, "at"), Reply: replies(t), Expires: someTimes.Draw(t, "expires")}
		}),
		Meta: rapid.MapOfN(rapid.SampledFrom([]string{"a", "b"}), someTexts, 0, 2).Draw(t, "meta"),
		KV: list(t, "kv", func(t *rapid.T) core.KVPut {
			return core.KVPut{Plugin: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "plugin"), Key: rapid.SampledFrom([]string{"", "a", "a/b", "a\xff"}).Draw(t, "key"),
				Value: rapid.SampledFrom([][]byte{nil, {}, {0}, []byte("value")}).Draw(t, "value")}
		}),
	}
	for _, d := range c.Deliveries { // some that say no more than that their event is to be told
		at := map[string]time.Time{}
		for _, m := range c.Inbox {
			at[m.ID] = m.At
		}
		for _, e := range c.Events {
			at[e.ID] = e.At
		}
		if when, ok := at[d.EventID]; ok && rapid.IntRange(0, 3).Draw(t, "fresh") > 0 {
			*d = core.Delivery{EventID: d.EventID, Notifier: d.Notifier, Created: when}
		}
	}
	if rapid.Bool().Draw(t, "receipt of the message") && len(c.Inbox) == 1 {
		m := c.Inbox[0]
		c.Receipt = &core.Receipt{Peer: m.Peer, Nonce: m.Message.Nonce, At: m.At, Intent: m.Message.Intent, Status: 200, Answer: someRaws.Draw(t, "answer")}
	} else if rapid.Bool().Draw(t, "envelope") {
		c.Receipt = &core.Receipt{Peer: someKeys.Draw(t, "key"), Nonce: someNonces.Draw(t, "nonce"), At: realTimes.Draw(t, "at"), Intent: someIntents.Draw(t, "intent"),
			Status: rapid.IntRange(200, 599).Draw(t, "status"), Answer: someRaws.Draw(t, "answer")}
	}
	return c
}

// both asks both stores and compares what they say, errors by their kind.
func both(t *rapid.T, p *pair, what string, ask func(core.Store) (any, error)) {
	got, gotErr := ask(p.real)
	want, wantErr := ask(p.ref)
	if kind(gotErr) != kind(wantErr) {
		t.Fatalf("%s: error = %v, want %v", what, gotErr, wantErr)
	}
	if diff := cmp.Diff(want, got, storetest.Equal); wantErr == nil && diff != "" {
		t.Fatalf("%s: want (-), got (+):\n%s", what, diff)
	}
}

func kind(err error) core.Kind {
	var e *core.Error
	if err != nil && !errors.As(err, &e) {
		return core.Kind("none: " + err.Error())
	}
	if e == nil {
		return ""
	}
	return e.Kind
}

func (p *pair) Commit(t *rapid.T) {
	c := change(t)
	both(t, p, "Commit", func(s core.Store) (any, error) { return nil, s.Commit(t.Context(), c) })
}

func (p *pair) Prune(t *rapid.T) {
	c := core.Cutoffs{Receipts: someTimes.Draw(t, "envelopes"), Inbox: someTimes.Draw(t, "inbox"), Events: someTimes.Draw(t, "events"),
		Outbox: someTimes.Draw(t, "outbox"), Replies: someTimes.Draw(t, "replies")}
	both(t, p, "Prune", func(s core.Store) (any, error) { return nil, s.Prune(t.Context(), c) })
}

func (p *pair) Reopen(t *rapid.T) {
	if err := p.real.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.real, err = store.Open(t.Context(), p.kind, p.dir); err != nil {
		t.Fatal(err)
	}
}

func (p *pair) Ask(t *rapid.T) {
	ctx := t.Context()
	in := core.InboxFilter{Limit: rapid.IntRange(0, 4).Draw(t, "limit"), Oldest: rapid.Bool().Draw(t, "oldest"), Since: someTimes.Draw(t, "since")}
	if rapid.Bool().Draw(t, "filter") {
		in.Peer, in.Intent, in.Before = someKeys.Draw(t, "key"), someIntents.Draw(t, "intent"), someIDs.Draw(t, "before")
		in.Status = rapid.SampledFrom([]core.InboxStatus{"", core.InboxNew, core.InboxHeld}).Draw(t, "status")
	}
	both(t, p, "Inbox", func(s core.Store) (any, error) { return s.Inbox(ctx, in) })
	out := core.OutboxFilter{Limit: in.Limit, Peer: in.Peer, State: rapid.SampledFrom([]core.OutboxState{"", core.OutWaiting, core.OutSent}).Draw(t, "state"), Oldest: in.Oldest, Before: in.Before}
	if rapid.Bool().Draw(t, "after") {
		out.After = someIDs.Draw(t, "after")
	}
	both(t, p, "Outbox", func(s core.Store) (any, error) { return s.Outbox(ctx, out) })
	id, nonce, key, now, notifier := someIDs.Draw(t, "id"), someNonces.Draw(t, "nonce"), someKeys.Draw(t, "key"), realTimes.Draw(t, "now"), someNotifiers.Draw(t, "notifier")
	both(t, p, "Events", func(s core.Store) (any, error) { return s.Events(ctx, id, in.Limit) })
	both(t, p, "DueDeliveries", func(s core.Store) (any, error) { return s.DueDeliveries(ctx, notifier, now, in.Limit) })
	both(t, p, "InboxMessage", func(s core.Store) (any, error) { return s.InboxMessage(ctx, id) })
	both(t, p, "OutboxItem", func(s core.Store) (any, error) { return s.OutboxItem(ctx, id) })
	both(t, p, "OutboxByNonce", func(s core.Store) (any, error) { return s.OutboxByNonce(ctx, nonce) })
	both(t, p, "Reply", func(s core.Store) (any, error) { return s.Reply(ctx, key, nonce) })
	both(t, p, "OurReply", func(s core.Store) (any, error) { return s.OurReply(ctx, nonce) })
	both(t, p, "WaitingPeers", func(s core.Store) (any, error) { return s.WaitingPeers(ctx) })
	both(t, p, "Deliveries", func(s core.Store) (any, error) { return s.Deliveries(ctx, core.DeliveryFilter{Limit: in.Limit}) })
	some := core.DeliveryFilter{Limit: in.Limit, Notifier: rapid.SampledFrom([]string{"", "log", "phone"}).Draw(t, "notifier"), Dead: rapid.Bool().Draw(t, "dead")}
	if rapid.Bool().Draw(t, "of an event") {
		some.EventID = rapid.OneOf(someIDs, eventIDs).Draw(t, "event")
	} else if rapid.Bool().Draw(t, "after") {
		some.After = rapid.OneOf(someIDs, eventIDs).Draw(t, "after")
	}
	both(t, p, "some Deliveries", func(s core.Store) (any, error) { return s.Deliveries(ctx, some) })
	both(t, p, "Receipt", func(s core.Store) (any, error) { return s.Receipt(ctx, key, nonce) })
	both(t, p, "EachReceipt", func(s core.Store) (any, error) {
		at := map[string]time.Time{} // they come in any order
		err := s.EachReceipt(ctx, in.Since, 0, func(l core.Receipt) {
			at[fmt.Sprintf("%v %q %q %q", l.Peer, l.Nonce, l.Intent, l.Answer)] = l.At
		})
		return at, err
	})
	text := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "text")
	both(t, p, "Meta", func(s core.Store) (any, error) { return s.Meta(ctx, text) })
	both(t, p, "KV", func(s core.Store) (any, error) { return s.KV(ctx, "p", text) })
	prefix := rapid.SampledFrom([]string{"", "a", "a/", "a\xff", "b"}).Draw(t, "prefix")
	both(t, p, "KVList", func(s core.Store) (any, error) { return s.KVList(ctx, "p", prefix) })
}

// Check runs after every step.
func (p *pair) Check(t *rapid.T) {
	ctx := t.Context()
	both(t, p, "Peers", func(s core.Store) (any, error) { return s.Peers(ctx) })
	both(t, p, "all events", func(s core.Store) (any, error) { return s.Events(ctx, "", 0) })
	both(t, p, "all deliveries", func(s core.Store) (any, error) { return s.Deliveries(ctx, core.DeliveryFilter{}) })
	both(t, p, "dead deliveries", func(s core.Store) (any, error) { return s.Deliveries(ctx, core.DeliveryFilter{Dead: true}) })
	both(t, p, "NextDelivery", func(s core.Store) (any, error) { return s.NextDelivery(ctx, "log") })
	both(t, p, "whole outbox", func(s core.Store) (any, error) { return s.Outbox(ctx, core.OutboxFilter{}) })
	both(t, p, "Depths", func(s core.Store) (any, error) { return s.Depths(ctx, 0) })
}

// TestCompare runs random changes and questions on both stores, which are to
// answer alike.
func TestCompare(t *testing.T) {
	// The 100 runs that rapid makes by itself take 10 seconds. -rapid.checks says
	// otherwise.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		runs := "30"
		if testing.Short() {
			runs = "5"
		}
		if err := flag.Set("rapid.checks", runs); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("sqlite", func(t *testing.T) { compare(t, func(t *testing.T) (kind, dir string) { return "sqlite", t.TempDir() }) })
	t.Run("postgres", func(t *testing.T) {
		storetest.PostgresServer(t)
		compare(t, func(t *testing.T) (kind, dir string) { return storetest.Postgres(t), "" })
	})
}

func compare(t *testing.T, empty func(t *testing.T) (kind, dir string)) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &pair{}
		p.kind, p.dir = empty(t)
		var err error
		if p.real, err = store.Open(rt.Context(), p.kind, p.dir); err != nil {
			rt.Fatal(err)
		}
		if p.ref, err = store.Open(rt.Context(), "memory", ""); err != nil {
			rt.Fatal(err)
		}
		defer func() { p.real.Close() }()
		rt.Repeat(map[string]func(*rapid.T){"commit": p.Commit, "commit more": p.Commit, "prune": p.Prune, "reopen": p.Reopen, "ask": p.Ask, "": p.Check})
	})
}

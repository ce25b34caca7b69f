package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/opengatewayprotocol/ogp/core"
)

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
			Timestamp: core.FormatTime(at(n)), ReplyTo: "https://a.example/reply", ConversationID: "c", ProjectID: "p", Hops: "mark.other",
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
		Tags:    []string{"family", "work"},
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
	v.Dead = must(s.Deliveries(ctx, core.DeliveryFilter{Dead: true}))(t)
	v.Outbox = must(s.Outbox(ctx, core.OutboxFilter{}))(t)
	v.Reply = maybe(s.OurReply(ctx, "reply-5"))(t)
	for _, k := range []string{"a", "b"} {
		value, err := s.Meta(ctx, k)
		if err == nil {
			v.Meta[k] = value
		}
	}
	v.KV = must(s.KVList(ctx, "p", ""))(t)
	v.Depths = must(s.Depths(ctx, 0))(t)
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

func withEvent(d *core.Delivery, e *core.Event) *core.Delivery {
	c := *d
	c.Event = *e
	return &c
}

func sortedPeers(all []*core.Peer) []*core.Peer {
	return slices.SortedFunc(slices.Values(all), func(a, b *core.Peer) int { return bytes.Compare(a.Key[:], b.Key[:]) })
}

// wholeMessage is a message of which no member is empty.
func wholeMessage(t *testing.T, n int) *core.InboxMessage {
	m := message(n)
	v := reflect.ValueOf(&m.Message).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.IsZero() {
			t.Fatalf("Message.%s is empty: a store that forgets it would not be found out", v.Type().Field(i).Name)
		}
	}
	return m
}

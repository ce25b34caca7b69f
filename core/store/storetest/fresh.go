package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// freshDelivery says no more than that its event is to be told.
func freshDelivery(n int, notifier string) *core.Delivery {
	return &core.Delivery{EventID: id(n), Notifier: notifier, Created: at(n)}
}

func eventIDs(all []*core.Delivery) (ids []string) {
	for _, d := range all {
		ids = append(ids, d.EventID)
	}
	return ids
}

func idsOf(all ...int) (ids []string) {
	for _, n := range all {
		ids = append(ids, id(n))
	}
	return ids
}

// fresh deliveries are due at once, whatever the clock says, in the order in which
// their events were kept.
func fresh(t *testing.T, s core.Store) {
	ctx := t.Context()
	for _, n := range []int{3, 1, 2} { // a clock that goes back
		commit(t, s, &core.Change{Inbox: []*core.InboxMessage{message(n)}, Deliveries: []*core.Delivery{freshDelivery(n, "log")}})
	}
	commit(t, s, &core.Change{Events: []*core.Event{event(4)}, Deliveries: []*core.Delivery{freshDelivery(4, "log"), freshDelivery(4, "phone")}},
		&core.Change{Inbox: []*core.InboxMessage{message(5)}}) // nobody is told of it
	due := must(s.DueDeliveries(ctx, "log", at(-1000), 0))(t)
	equal(t, due, []*core.Delivery{withEvent(freshDelivery(3, "log"), messageEvent(message(3))), withEvent(freshDelivery(1, "log"), messageEvent(message(1))),
		withEvent(freshDelivery(2, "log"), messageEvent(message(2))), withEvent(freshDelivery(4, "log"), event(4))})
	equal(t, eventIDs(must(s.DueDeliveries(ctx, "phone", at(0), 0))(t)), idsOf(4))
	equal(t, eventIDs(must(s.DueDeliveries(ctx, "nobody", at(0), 0))(t)), []string(nil))
	equal(t, eventIDs(must(s.Deliveries(ctx, core.DeliveryFilter{}))(t)), idsOf(3, 1, 2, 4, 4))
	equal(t, eventIDs(must(s.Deliveries(ctx, core.DeliveryFilter{EventID: id(4), Notifier: "phone"}))(t)), idsOf(4))
	equal(t, eventIDs(must(s.Deliveries(ctx, core.DeliveryFilter{After: id(1), Limit: 2}))(t)), idsOf(2, 4))
	if next := must(s.NextDelivery(ctx, "phone"))(t); next.IsZero() || next.After(at(-1000)) {
		t.Errorf("NextDelivery = %v with a fresh one, want a time long ago", next)
	}
	d := must(s.Depths(ctx, 0))(t)
	if some := must(s.Depths(ctx, 2))(t); some.Deliveries != 2 || some.DeliveriesByNotifier["log"] != 2 || some.OldestDelivery.After(at(2)) {
		t.Errorf("Depths up to 2 = %+v of %+v", some, d)
	}
	if d.Deliveries != 5 || d.DeliveriesByNotifier["log"] != 4 || !d.OldestDelivery.Equal(at(1)) {
		t.Errorf("Depths = %+v, want 5 deliveries, 4 of the log, the oldest from %v", d, at(1))
	}
	// Once told, they are gone, and what comes later is found.
	commit(t, s, &core.Change{Delivered: due}, &core.Change{Delivered: []*core.Delivery{freshDelivery(4, "phone")}})
	equal(t, must(s.DueDeliveries(ctx, "log", at(1000), 0))(t), []*core.Delivery{})
	if next := must(s.NextDelivery(ctx, "log"))(t); !next.IsZero() {
		t.Errorf("NextDelivery = %v with none, want zero", next)
	}
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{message(6)}, Deliveries: []*core.Delivery{freshDelivery(6, "log")}})
	equal(t, eventIDs(must(s.DueDeliveries(ctx, "log", at(0), 0))(t)), idsOf(6))
	// The same message again is not told again by itself; one that is asked for is.
	commit(t, s, &core.Change{Delivered: []*core.Delivery{freshDelivery(6, "log")}}, &core.Change{Inbox: []*core.InboxMessage{message(6)}})
	equal(t, eventIDs(must(s.DueDeliveries(ctx, "log", at(0), 0))(t)), []string(nil))
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{message(6)}, Deliveries: []*core.Delivery{freshDelivery(6, "log")}})
	equal(t, eventIDs(must(s.DueDeliveries(ctx, "log", at(0), 0))(t)), idsOf(6))
}

// settled has deliveries told, failed and given up in another order than they came.
func settled(t *testing.T, s core.Store) {
	ctx := t.Context()
	const n = 200
	for i := range n {
		commit(t, s, &core.Change{Inbox: []*core.InboxMessage{message(i)}, Deliveries: []*core.Delivery{freshDelivery(i, "log"), freshDelivery(i, "phone")}})
	}
	failed := delivery(5, "log")
	failed.Attempts, failed.Next, failed.Error = 1, at(2000), "timeout"
	gone := delivery(7, "log")
	gone.Dead = true
	commit(t, s, &core.Change{Delivered: []*core.Delivery{freshDelivery(150, "log")}},
		&core.Change{Deliveries: []*core.Delivery{failed}, Delivered: []*core.Delivery{freshDelivery(3, "log"), freshDelivery(4, "log")}},
		&core.Change{Deliveries: []*core.Delivery{gone}},
		&core.Change{Delivered: []*core.Delivery{freshDelivery(199, "log"), freshDelivery(151, "log")}},
		&core.Change{Delivered: []*core.Delivery{freshDelivery(3, "log")}}) // told twice
	var want []string
	for i := range n {
		switch i {
		case 3, 4, 5, 7, 150, 151, 199:
		default:
			want = append(want, id(i))
		}
	}
	equal(t, eventIDs(must(s.DueDeliveries(ctx, "log", at(1000), 1000))(t)), want)
	equal(t, len(must(s.DueDeliveries(ctx, "phone", at(1000), 1000))(t)), n) // each notifier by itself
	if d := must(s.Depths(ctx, 0))(t); d.DeliveriesByNotifier["log"] != len(want)+1 || d.DeadByName["log"] != 1 || d.DeliveriesByNotifier["phone"] != n {
		t.Errorf("Depths = %+v, want %d and %d deliveries and a dead one", d, len(want)+1, n)
	}
	// Prune leaves what is yet to be told, by whatever notifier.
	if err := s.Prune(ctx, core.Cutoffs{Inbox: at(10 * n)}); err != nil {
		t.Fatal(err)
	}
	equal(t, must(s.Depths(ctx, 0))(t).Inbox, n)
	commit(t, s, &core.Change{Delivered: must(s.DueDeliveries(ctx, "phone", at(1000), 1000))(t)})
	if err := s.Prune(ctx, core.Cutoffs{Inbox: at(10 * n)}); err != nil {
		t.Fatal(err)
	}
	equal(t, must(s.Depths(ctx, 0))(t).Inbox, len(want)+1)
	// With all gone, what comes is still told.
	commit(t, s, &core.Change{Delivered: must(s.Deliveries(ctx, core.DeliveryFilter{Limit: 2 * n}))(t)})
	if err := s.Prune(ctx, core.Cutoffs{Inbox: at(10 * n)}); err != nil {
		t.Fatal(err)
	}
	equal(t, must(s.Depths(ctx, 0))(t), core.Depths{})
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{message(n)}, Deliveries: []*core.Delivery{freshDelivery(n, "log")}})
	equal(t, eventIDs(must(s.DueDeliveries(ctx, "log", at(0), 0))(t)), idsOf(n))
}

// parts has receipts that come with their messages live longer or shorter than
// these, and messages that change under them.
func parts(t *testing.T, s core.Store) {
	ctx := t.Context()
	with := func(n int) *core.Change {
		r, m := receipt(1, n), message(n)
		return &core.Change{Receipt: r, Inbox: []*core.InboxMessage{m}}
	}
	there := func(what string, n int, receiptThere, messageThere bool) {
		t.Helper()
		r := maybe(s.Receipt(ctx, key(1), receipt(1, n).Nonce))(t)
		m := maybe(s.InboxMessage(ctx, id(n)))(t)
		if (r != nil) != receiptThere || (m != nil) != messageThere {
			t.Errorf("%s: receipt %v, message %v, want %v and %v", what, r, m, receiptThere, messageThere)
		}
		if r != nil {
			equal(t, r, receipt(1, n))
		}
		kept := 0
		if err := s.EachReceipt(ctx, time.Time{}, 0, func(l core.Receipt) {
			if l.Nonce == receipt(1, n).Nonce && l.Intent == "message" && l.At.Equal(at(n)) {
				kept++
			}
		}); err != nil || kept != map[bool]int{true: 1}[receiptThere] {
			t.Errorf("%s: EachReceipt gives it %d times, %v", what, kept, err)
		}
	}
	prune := func(c core.Cutoffs) {
		t.Helper()
		if err := s.Prune(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, s, with(1), with(2), with(3), with(4))
	there("kept", 1, true, true)
	prune(core.Cutoffs{Receipts: at(2)})
	there("receipt forgotten", 1, false, true)
	prune(core.Cutoffs{Inbox: at(3)})
	there("both forgotten", 1, false, false)
	there("message forgotten", 2, true, false)
	refused(t, s.Commit(ctx, &core.Change{Receipt: receipt(1, 2)}), core.Replayed)

	// A message that changes takes nothing from its receipt.
	m := message(3)
	m.Peer, m.At, m.Message.Intent, m.Message.Nonce = key(9), at(30), "other", "another"
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{m}})
	there("message changed", 3, true, true)
	equal(t, must(s.InboxMessage(ctx, id(3)))(t), m)
	m = message(4)
	m.Status, m.Reply = core.InboxReplied, &core.Reply{Nonce: "n"}
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{m}})
	there("message answered", 4, true, true)
	// A receipt that comes with a message which is there already.
	r := receipt(1, 5)
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{message(5)}}, &core.Change{Receipt: r, Inbox: []*core.InboxMessage{message(5)}})
	there("receipt later", 5, true, true)
	refused(t, s.Commit(ctx, with(5)), core.Replayed)
	// One from before what was forgotten is kept, and then forgotten.
	prune(core.Cutoffs{Receipts: at(20)})
	for _, n := range []int{2, 3, 4, 5} {
		there(fmt.Sprint("receipt forgotten ", n), n, false, n != 2)
	}
	commit(t, s, with(6))
	there("from before", 6, true, true)
	prune(core.Cutoffs{Receipts: at(20)})
	there("from before", 6, false, true)
	commit(t, s, with(7))
	m = message(7)
	m.Status = core.InboxReplied
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{m}})
	prune(core.Cutoffs{Receipts: at(20)})
	there("from before, and answered", 7, false, true)
}

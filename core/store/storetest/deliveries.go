package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

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
	equal(t, ids(must(s.Deliveries(ctx, core.DeliveryFilter{Dead: true}))(t)), []string{id(0), id(2), id(4), id(7)})
	equal(t, ids(must(s.Deliveries(ctx, core.DeliveryFilter{Dead: true, Limit: 2}))(t)), []string{id(0), id(2)})
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
	equal(t, ids(must(s.Deliveries(ctx, core.DeliveryFilter{Dead: true}))(t)), []string{id(2), id(4), id(7)})
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

// alone keeps, with events, that each goes to a notifier in a call of its own, and others
// that do not; some are told out of turn.
func alone(t *testing.T, s core.Store) {
	const events = 8
	for n := range events {
		phone, log := delivery(n, "phone"), delivery(n, "log")
		phone.Next, log.Next = time.Time{}, time.Time{}
		if n%2 == 0 {
			phone.Group = id(n)
		}
		c := &core.Change{Deliveries: []*core.Delivery{phone, log}}
		if n%3 == 0 {
			c.Events = append(c.Events, event(n))
		} else {
			c.Inbox = append(c.Inbox, message(n))
		}
		commit(t, s, c)
	}
	groups := func(notifier string) (got []string) {
		for _, d := range must(s.DueDeliveries(t.Context(), notifier, at(0), 0))(t) {
			got = append(got, d.EventID+" "+d.Group)
		}
		return got
	}
	want := func(skip ...int) (phone, log []string) {
		for n := range events {
			group := ""
			if n%2 == 0 {
				group = id(n)
			}
			if !slices.Contains(skip, n) {
				phone = append(phone, id(n)+" "+group)
			}
			log = append(log, id(n)+" ")
		}
		return phone, log
	}
	phone, log := want()
	equal(t, groups("phone"), phone)
	equal(t, groups("log"), log)
	var all []string
	for _, d := range must(s.Deliveries(t.Context(), core.DeliveryFilter{Notifier: "phone"}))(t) {
		all = append(all, d.EventID+" "+d.Group)
	}
	equal(t, all, phone)
	commit(t, s, &core.Change{Delivered: []*core.Delivery{delivery(0, "phone")}})
	commit(t, s, &core.Change{Delivered: []*core.Delivery{delivery(5, "phone"), delivery(3, "phone")}}) // 1, 2 and 4 are passed over
	phone, _ = want(0, 3, 5)
	equal(t, groups("phone"), phone)
	equal(t, groups("log"), log)
	later := message(6) // it is kept again as of another time: its delivery stays
	later.At = at(50)
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{later}})
	commit(t, s, &core.Change{Delivered: []*core.Delivery{delivery(7, "phone"), delivery(2, "phone")}})
	phone, _ = want(0, 2, 3, 5, 7)
	equal(t, groups("phone"), phone)
}

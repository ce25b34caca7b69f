package storetest

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

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

// eventsByType come in the order in which they were kept, also after a clock that went back,
// and after a message that has changed since.
func eventsByType(t *testing.T, s core.Store) {
	types := []core.EventType{core.EventAgentSent, core.EventRequest, core.EventAgentReplied}
	var kept []*core.Event
	for i, n := range []int{0, 9, 3, 12, 4, 7, 5, 6, 8, 10, 11, 13, 1, 2} {
		if n%3 == 0 {
			e := event(n)
			e.Type = types[i%len(types)]
			commit(t, s, &core.Change{Events: []*core.Event{e}})
			kept = append(kept, e)
			continue
		}
		m := message(n)
		if n%2 == 0 {
			m.Peer, m.Status, m.Message.Payload, m.Message.Hops, m.Message.ConversationID = key(2), core.InboxHeld, nil, "", ""
		}
		commit(t, s, &core.Change{Inbox: []*core.InboxMessage{m}, Receipt: receipt(1, n)})
		kept = append(kept, messageEvent(m))
	}
	answered := message(7)
	answered.Status, answered.Message.Intent = core.InboxReplied, "task-request"
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{answered}})
	released := message(4)
	released.Peer, released.Decided = key(2), &core.Decided{As: core.Released, By: "operator", At: at(20)}
	commit(t, s, &core.Change{Inbox: []*core.InboxMessage{released}})
	for _, m := range []*core.InboxMessage{answered, released} {
		kept[slices.IndexFunc(kept, func(e *core.Event) bool { return e.ID == m.ID })] = messageEvent(m)
	}

	for _, of := range [][]core.EventType{nil, {core.EventMessage}, types[:1], types[1:], {core.EventMessage, types[0]}, append(types, core.EventMessage), {core.EventWarning}} {
		for since := range 15 {
			var got, want []core.Counted
			for _, e := range kept {
				if slices.Contains(of, e.Type) && !e.At.Before(at(since)) {
					want = append(want, e.Counted())
				}
			}
			if err := s.EachEvent(t.Context(), at(since), of, func(e core.Counted) { got = append(got, e) }); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("events of %v since %v:\n%+v\nwant\n%+v", of, at(since), got, want)
			}
		}
	}
	n, held := 0, 0
	err := s.EachEvent(t.Context(), time.Time{}, append(types, core.EventMessage), func(e core.Counted) {
		n++
		if e.Status == core.InboxHeld {
			held++
		}
	})
	if err != nil || n != len(kept) || held != 4 {
		t.Errorf("EachEvent since ever: %d events, %d of them held when they came, %v, want %d and 4", n, held, err, len(kept))
	}
}

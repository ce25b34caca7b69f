package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// placed gives an id its place. One that comes again keeps the one it has.
func (s *Store) placed(id string) {
	if _, ok := s.places[id]; !ok {
		s.seq++
		s.places[id] = s.seq
	}
}

// place is that of an id, or of the next lower one; 0: there is none.
func (s *Store) place(id string) (found string, place int) {
	if n, ok := s.places[id]; ok {
		return id, n
	}
	for other, n := range s.places {
		if other < id && other >= found {
			found, place = other, n
		}
	}
	return found, place
}

// event finds an event, or makes it from the message that it is.
func (s *Store) event(id string) (*core.Event, bool) {
	if m, ok := s.inbox[id]; ok {
		return &core.Event{ID: m.ID, Type: core.EventMessage, At: m.At, Peer: m.Peer, Message: cloneInbox(m)}, true
	}
	if e, ok := s.events[id]; ok {
		return cloneEvent(e), true
	}
	return nil, false
}

// Receipt finds what we answered to a peer's nonce.
func (s *Store) Receipt(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.Receipt, error) {
	return one(ctx, s, s.receipts, receiptKey{peer, nonce}, cloneReceipt, "receipt", nonce)
}

// EachReceipt calls f for every receipt since a time, oldest first. f may use the
// store.
func (s *Store) EachReceipt(ctx context.Context, since time.Time, most int, f func(core.Receipt)) error {
	unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	found := pick(s.receipts, func(l *core.Receipt) bool { return !l.At.Before(since) },
		func(a, b *core.Receipt) int { return b.At.Compare(a.At) }, len(s.receipts)+1, cloneReceipt)
	unlock()
	given := map[string]int{}
	found = slices.DeleteFunc(found, func(l *core.Receipt) bool {
		of := string(l.Peer[:]) + l.Intent
		given[of]++
		return most > 0 && given[of] > most
	})
	slices.Reverse(found)
	for _, l := range found {
		f(core.Receipt{Peer: l.Peer, Nonce: l.Nonce, At: l.At, Intent: l.Intent, Bytes: l.Bytes})
	}
	return nil
}

// EachNonce calls f with the hash of every receipt.
func (s *Store) EachNonce(ctx context.Context, f func(hash uint64)) error {
	unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for k := range s.receipts {
		f(core.NonceHash(k.peer, k.nonce))
	}
	return nil
}

// Inbox returns messages by a filter.
func (s *Store) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	return with(ctx, s, func() ([]*core.InboxMessage, error) {
		order := func(a, b *core.InboxMessage) int {
			return cmp.Or(a.At.Compare(b.At), cmp.Compare(s.places[a.ID], s.places[b.ID]))
		}
		before := func(*core.InboxMessage) bool { return true }
		if f.Before != "" {
			id, _ := s.place(f.Before)
			e, ok := s.event(id)
			before = func(m *core.InboxMessage) bool {
				if !ok {
					return false
				}
				c := order(m, &core.InboxMessage{ID: id, At: e.At})
				return c < 0 || c == 0 && id != f.Before
			}
		}
		return pick(s.inbox, func(m *core.InboxMessage) bool {
			return (f.Peer.IsZero() || m.Peer == f.Peer) &&
				(f.Status == "" || m.Status == f.Status) &&
				(f.Intent == "" || m.Message.Intent == f.Intent) &&
				!m.At.Before(f.Since) && before(m)
		}, func(a, b *core.InboxMessage) int {
			if f.Oldest {
				return order(a, b)
			}
			return order(b, a)
		}, f.Limit, cloneInbox), nil
	})
}

// InboxMessage finds one message.
func (s *Store) InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	return one(ctx, s, s.inbox, id, cloneInbox, "inbox message", id)
}

// Events returns the events that were kept after the one of an id, oldest first,
// messages included.
func (s *Store) Events(ctx context.Context, after string, limit int) ([]*core.Event, error) {
	return with(ctx, s, func() ([]*core.Event, error) {
		from := 0
		if after != "" {
			_, from = s.place(after)
		}
		return s.pickEvents(func(e *core.Event) bool { return s.places[e.ID] > from }, limit), nil
	})
}

// pickEvents are events and messages in the order in which they were kept.
func (s *Store) pickEvents(keep func(*core.Event) bool, limit int) []*core.Event {
	all := maps.Clone(s.events)
	for id := range s.inbox {
		all[id], _ = s.event(id)
	}
	return pick(all, keep, func(a, b *core.Event) int { return cmp.Compare(s.places[a.ID], s.places[b.ID]) }, limit, cloneEvent)
}

// EachEvent calls f with what is counted of events of some types since a time, in the order
// in which they were kept. f may use the store.
func (s *Store) EachEvent(ctx context.Context, since time.Time, types []core.EventType, f func(core.Counted)) error {
	found, err := with(ctx, s, func() ([]*core.Event, error) {
		return s.pickEvents(func(e *core.Event) bool { return slices.Contains(types, e.Type) && !e.At.Before(since) }, len(s.places)+1), nil
	})
	for _, e := range found {
		f(e.Counted())
	}
	return err
}

package memory

import (
	"context"
	"maps"

	"github.com/opengatewayprotocol/ogp/core"
)

// Depths returns the lengths of the queues.
func (s *Store) Depths(ctx context.Context, most int) (core.Depths, error) {
	d := core.Depths{DeliveriesByNotifier: map[string]int{}, DeadByName: map[string]int{}}
	unlock, err := s.open(ctx)
	if err != nil {
		return d, err
	}
	defer unlock()
	d.Inbox, d.Receipts = len(s.inbox), len(s.receipts)
	for _, m := range s.inbox {
		if m.Status == core.InboxHeld {
			d.InboxHeld++
		}
	}
	first := ""
	for _, o := range s.outbox {
		if o.State != core.OutWaiting {
			continue
		}
		d.Outbox++
		if first == "" || o.ID < first {
			first, d.OldestOutbox = o.ID, o.Created
		}
	}
	for _, v := range s.deliveries {
		if v.Dead {
			d.DeadDeliveries++
			d.DeadByName[v.Notifier]++
			continue
		}
		d.Deliveries++
		d.DeliveriesByNotifier[v.Notifier]++
		d.OldestDelivery = earlier(d.OldestDelivery, v.Created)
	}
	if most > 0 {
		d.UpTo(most)
	}
	return d, nil
}

// Prune forgets what is older than the cutoffs. A message or event that some
// notifier has yet to be told stays, and so does an outbox item that waits; the
// others of the outbox age from when they were done. With an event go its dead
// deliveries. A reply without an expiry stays.
func (s *Store) Prune(ctx context.Context, c core.Cutoffs) error {
	unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	living := map[string]bool{}
	for k, d := range s.deliveries {
		if !d.Dead {
			living[k.event] = true
		}
	}
	maps.DeleteFunc(s.receipts, func(_ receiptKey, l *core.Receipt) bool { return l.At.Before(c.Receipts) })
	maps.DeleteFunc(s.inbox, func(id string, m *core.InboxMessage) bool { return m.At.Before(c.Inbox) && !living[id] })
	maps.DeleteFunc(s.events, func(id string, e *core.Event) bool { return e.At.Before(c.Events) && !living[id] })
	maps.DeleteFunc(s.deliveries, func(k deliveryKey, _ *core.Delivery) bool { _, ok := s.event(k.event); return !ok })
	maps.DeleteFunc(s.places, func(id string, _ int) bool { _, ok := s.event(id); return !ok })
	maps.DeleteFunc(s.outbox, func(_ string, o *core.OutboxItem) bool {
		age := o.Done
		if age.IsZero() {
			age = o.Created
		}
		return o.State != core.OutWaiting && age.Before(c.Outbox)
	})
	maps.DeleteFunc(s.replies, func(_ replyKey, r *core.StoredReply) bool {
		return !r.Expires.IsZero() && r.Expires.Before(c.Replies)
	})
	return nil
}

package memory

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func (s *Store) byEvent(a, b *core.Delivery) int {
	return cmp.Or(cmp.Compare(s.places[a.EventID], s.places[b.EventID]), cmp.Compare(a.Notifier, b.Notifier))
}

// DueDeliveries returns what a notifier is to be told now, oldest event first.
func (s *Store) DueDeliveries(ctx context.Context, notifier string, now time.Time, limit int) ([]*core.Delivery, error) {
	return with(ctx, s, func() ([]*core.Delivery, error) {
		return pick(s.deliveries, func(d *core.Delivery) bool {
			return d.Notifier == notifier && !d.Dead && !d.Next.After(now)
		}, s.byEvent, limit, s.cloneDelivery), nil
	})
}

// NextDelivery returns when the notifier's earliest living delivery is due. One
// without a time is due since the epoch.
func (s *Store) NextDelivery(ctx context.Context, notifier string) (time.Time, error) {
	return with(ctx, s, func() (next time.Time, err error) {
		for _, d := range s.deliveries {
			if d.Notifier == notifier && !d.Dead {
				next = earlier(next, dueTime(d.Next))
			}
		}
		return next, nil
	})
}

func dueTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return t
}

// earlier is the earlier of two times, the zero one being none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Outbox returns envelopes of ours by a filter.
func (s *Store) Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error) {
	return with(ctx, s, func() ([]*core.OutboxItem, error) {
		return pick(s.outbox, func(o *core.OutboxItem) bool {
			return (f.Peer.IsZero() || o.Peer == f.Peer) && (f.State == "" || o.State == f.State) &&
				(f.Before == "" || o.ID < f.Before) && o.ID > f.After
		}, func(a, b *core.OutboxItem) int {
			if f.Oldest {
				a, b = b, a
			}
			return cmp.Compare(b.ID, a.ID)
		}, f.Limit, cloneOutbox), nil
	})
}

// WaitingPeers returns the peers that an envelope waits for.
func (s *Store) WaitingPeers(ctx context.Context) ([]core.PublicKey, error) {
	return with(ctx, s, func() ([]core.PublicKey, error) {
		waiting := map[core.PublicKey]bool{}
		for _, o := range s.outbox {
			if o.State == core.OutWaiting {
				waiting[o.Peer] = true
			}
		}
		return slices.SortedFunc(maps.Keys(waiting), func(a, b core.PublicKey) int { return bytes.Compare(a[:], b[:]) }), nil
	})
}

// Deliveries returns deliveries by a filter, oldest event first.
func (s *Store) Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	return with(ctx, s, func() ([]*core.Delivery, error) {
		from := 0
		if f.After != "" {
			_, from = s.place(f.After)
		}
		return pick(s.deliveries, func(d *core.Delivery) bool {
			return s.places[d.EventID] > from && (f.EventID == "" || d.EventID == f.EventID) && (f.Notifier == "" || d.Notifier == f.Notifier) && (!f.Dead || d.Dead)
		}, s.byEvent, f.Limit, s.cloneDelivery), nil
	})
}

// OutboxItem finds one envelope of ours.
func (s *Store) OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error) {
	return one(ctx, s, s.outbox, id, cloneOutbox, "outbox item", id)
}

// OutboxByNonce finds a message of ours by its nonce.
func (s *Store) OutboxByNonce(ctx context.Context, nonce core.Nonce) (*core.OutboxItem, error) {
	return first(ctx, s, s.outbox, func(o *core.OutboxItem) bool { return o.Kind == core.OutMessage && o.Nonce == nonce },
		func(a, b *core.OutboxItem) int { return cmp.Compare(b.ID, a.ID) }, cloneOutbox, "message sent with nonce", nonce)
}

// OurReply finds what we have answered under a nonce, the first that was given.
func (s *Store) OurReply(ctx context.Context, nonce core.Nonce) (*core.StoredReply, error) {
	return first(ctx, s, s.replies, func(r *core.StoredReply) bool { return r.Ours && r.Nonce == nonce },
		func(a, b *core.StoredReply) int {
			return cmp.Or(a.At.Compare(b.At), bytes.Compare(a.Peer[:], b.Peer[:]))
		},
		cloneStoredReply, "reply of ours to", nonce)
}

// Reply finds the reply that came from a peer.
func (s *Store) Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error) {
	return one(ctx, s, s.replies, replyKey{false, peer, nonce}, cloneStoredReply, "reply", nonce)
}

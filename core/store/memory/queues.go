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
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return pick(s.deliveries, func(d *core.Delivery) bool {
		return d.Notifier == notifier && !d.Dead && !d.Next.After(now)
	}, s.byEvent, limit, s.cloneDelivery), nil
}

// NextDelivery returns when the notifier's earliest living delivery is due. One
// without a time is due since the epoch.
func (s *Store) NextDelivery(ctx context.Context, notifier string) (time.Time, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	var next time.Time
	for _, d := range s.deliveries {
		if d.Notifier == notifier && !d.Dead {
			next = earlier(next, dueTime(d.Next))
		}
	}
	return next, nil
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

// DeadDeliveries returns what was set aside, oldest event first.
func (s *Store) DeadDeliveries(ctx context.Context, limit int) ([]*core.Delivery, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return pick(s.deliveries, func(d *core.Delivery) bool { return d.Dead }, s.byEvent, limit, s.cloneDelivery), nil
}

// Outbox returns envelopes of ours by a filter.
func (s *Store) Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return pick(s.outbox, func(o *core.OutboxItem) bool {
		return (f.Peer.IsZero() || o.Peer == f.Peer) && (f.State == "" || o.State == f.State) &&
			(f.Before == "" || o.ID < f.Before) && o.ID > f.After
	}, func(a, b *core.OutboxItem) int {
		if f.Oldest {
			a, b = b, a
		}
		return cmp.Compare(b.ID, a.ID)
	}, f.Limit, cloneOutbox), nil
}

// WaitingPeers returns the peers that an envelope waits for.
func (s *Store) WaitingPeers(ctx context.Context) ([]core.PublicKey, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	waiting := map[core.PublicKey]bool{}
	for _, o := range s.outbox {
		if o.State == core.OutWaiting {
			waiting[o.Peer] = true
		}
	}
	return slices.SortedFunc(maps.Keys(waiting), func(a, b core.PublicKey) int { return bytes.Compare(a[:], b[:]) }), nil
}

// Deliveries returns deliveries by a filter, oldest event first.
func (s *Store) Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	from := 0
	if f.After != "" {
		_, from = s.place(f.After)
	}
	return pick(s.deliveries, func(d *core.Delivery) bool {
		return s.places[d.EventID] > from && (f.EventID == "" || d.EventID == f.EventID) && (f.Notifier == "" || d.Notifier == f.Notifier) && (!f.Dead || d.Dead)
	}, s.byEvent, f.Limit, s.cloneDelivery), nil
}

// OutboxItem finds one envelope of ours.
func (s *Store) OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	o, ok := s.outbox[id]
	if !ok {
		return nil, notFound("outbox item %q", id)
	}
	return cloneOutbox(o), nil
}

// OutboxByNonce finds a message of ours by its nonce.
func (s *Store) OutboxByNonce(ctx context.Context, nonce core.Nonce) (*core.OutboxItem, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	found := pick(s.outbox, func(o *core.OutboxItem) bool { return o.Kind == core.OutMessage && o.Nonce == nonce },
		func(a, b *core.OutboxItem) int { return cmp.Compare(b.ID, a.ID) }, 1, cloneOutbox)
	if len(found) == 0 {
		return nil, notFound("message sent with nonce %q", nonce)
	}
	return found[0], nil
}

// OurReply finds what we have answered under a nonce, the first that was given.
func (s *Store) OurReply(ctx context.Context, nonce core.Nonce) (*core.StoredReply, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	found := pick(s.replies, func(r *core.StoredReply) bool { return r.Ours && r.Nonce == nonce },
		func(a, b *core.StoredReply) int {
			return cmp.Or(a.At.Compare(b.At), bytes.Compare(a.Peer[:], b.Peer[:]))
		}, 1, cloneStoredReply)
	if len(found) == 0 {
		return nil, notFound("reply of ours to %q", nonce)
	}
	return found[0], nil
}

// Reply finds the reply that came from a peer.
func (s *Store) Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, ok := s.replies[replyKey{false, peer, nonce}]
	if !ok {
		return nil, notFound("reply %q", nonce)
	}
	return cloneStoredReply(r), nil
}

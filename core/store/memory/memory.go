// Package memory is a core.Store that forgets everything when it is closed: for
// tests, and to compare the durable ones with. It keeps copies, so that what a
// caller does to a value later changes nothing here.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// defaultLimit is how many results a query has that names no limit.
const defaultLimit = 100

type letterKey struct {
	peer  core.PublicKey
	nonce core.Nonce
}

type deliveryKey struct{ event, notifier string }

type replyKey struct {
	ours  bool
	peer  core.PublicKey
	nonce core.Nonce
}

type kvKey struct{ plugin, key string }

// Store is a core.Store in memory. Safe for concurrent use.
type Store struct {
	mu         sync.Mutex // guards all below
	closed     bool
	peers      map[core.PublicKey]*core.Peer
	letters    map[letterKey]*core.Receipt
	inbox      map[string]*core.InboxMessage
	events     map[string]*core.Event
	deliveries map[deliveryKey]*core.Delivery
	outbox     map[string]*core.OutboxItem
	replies    map[replyKey]*core.StoredReply
	meta       map[string]string
	kv         map[kvKey][]byte
	seq        int            // the last place that was given
	places     map[string]int // of messages and events, in the order in which they were kept
}

var _ core.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		peers:      map[core.PublicKey]*core.Peer{},
		letters:    map[letterKey]*core.Receipt{},
		inbox:      map[string]*core.InboxMessage{},
		events:     map[string]*core.Event{},
		deliveries: map[deliveryKey]*core.Delivery{},
		outbox:     map[string]*core.OutboxItem{},
		replies:    map[replyKey]*core.StoredReply{},
		meta:       map[string]string{},
		kv:         map[kvKey][]byte{},
		places:     map[string]int{},
	}
}

// open locks the store for one method, which is to unlock it.
func (s *Store) open(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, core.Refuse(core.Unavailable, "store: closed")
	}
	return s.mu.Unlock, nil
}

func notFound(format string, args ...any) error {
	return core.Refusef(core.NotFound, "store: no "+format, args...)
}

// Commit keeps a change, or refuses it before it has kept any of it. A lazy one
// costs no more than another, and is kept at once.
func (s *Store) Commit(ctx context.Context, c *core.Change) error {
	unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.refuse(c); err != nil {
		return err
	}
	if c.Receipt != nil {
		s.letters[letterKey{c.Receipt.Peer, c.Receipt.Nonce}] = cloneReceipt(c.Receipt)
	}
	for _, p := range c.Peers {
		s.peers[p.Key] = p.Clone()
	}
	for _, key := range c.Forget {
		delete(s.peers, key)
	}
	for _, m := range c.Inbox {
		s.inbox[m.ID] = cloneInbox(m)
		s.placed(m.ID)
	}
	for _, e := range c.Events {
		s.events[e.ID] = cloneEvent(e)
		s.placed(e.ID)
	}
	for _, d := range c.Deliveries {
		kept := *d
		kept.Event = core.Event{}
		s.deliveries[deliveryKey{d.EventID, d.Notifier}] = &kept
	}
	for _, d := range c.Delivered {
		delete(s.deliveries, deliveryKey{d.EventID, d.Notifier})
	}
	for _, o := range c.Outbox {
		s.outbox[o.ID] = cloneOutbox(o)
	}
	for _, r := range c.Replies {
		s.replies[replyKey{r.Ours, r.Peer, r.Nonce}] = cloneStoredReply(r)
	}
	maps.Copy(s.meta, c.Meta)
	for _, kv := range c.KV {
		if kv.Value == nil {
			delete(s.kv, kvKey{kv.Plugin, kv.Key})
		} else {
			s.kv[kvKey{kv.Plugin, kv.Key}] = bytes.Clone(kv.Value)
		}
	}
	return nil
}

func (s *Store) refuse(c *core.Change) error {
	for _, e := range c.Events {
		if e.Type == core.EventMessage {
			return core.Refusef(core.Internal, "store: cannot keep event %q: a message is its own event", e.ID)
		}
	}
	for _, d := range c.Deliveries {
		brought := slices.ContainsFunc(c.Inbox, func(m *core.InboxMessage) bool { return m.ID == d.EventID }) ||
			slices.ContainsFunc(c.Events, func(e *core.Event) bool { return e.ID == d.EventID })
		if _, ok := s.event(d.EventID); !ok && !brought {
			return notFound("event %q for a delivery", d.EventID)
		}
	}
	for _, e := range c.Expect {
		var now uint64
		if p := s.peers[e.Peer]; p != nil {
			now = p.Revision
		}
		if now != e.Revision {
			return core.Refusef(core.Moved, "store: the peer %s has revision %d and not %d", e.Peer.Fingerprint(), now, e.Revision)
		}
	}
	if c.Receipt != nil {
		if _, taken := s.letters[letterKey{c.Receipt.Peer, c.Receipt.Nonce}]; taken {
			return core.Refuse(core.Replayed, "store: this nonce of this peer is taken")
		}
	}
	return nil
}

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

// pick returns copies of the values that match, sorted, at most limit of them.
func pick[K comparable, V any](all map[K]*V, match func(*V) bool, order func(a, b *V) int, limit int, clone func(*V) *V) []*V {
	var found []*V
	for _, v := range all {
		if match(v) {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, order)
	if limit <= 0 {
		limit = defaultLimit
	}
	found = found[:min(len(found), limit)]
	for i, v := range found {
		found[i] = clone(v)
	}
	return found
}

// Peers returns all peers, in the order of their keys.
func (s *Store) Peers(ctx context.Context) ([]*core.Peer, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return pick(s.peers, func(*core.Peer) bool { return true },
		func(a, b *core.Peer) int { return bytes.Compare(a.Key[:], b.Key[:]) },
		len(s.peers), func(p *core.Peer) *core.Peer { return p.Clone() }), nil
}

// Envelope finds what we answered to a peer's nonce.
func (s *Store) Receipt(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.Receipt, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, ok := s.letters[letterKey{peer, nonce}]
	if !ok {
		return nil, notFound("envelope %q", nonce)
	}
	return cloneReceipt(l), nil
}

// EachReceipt calls f for every envelope since a time, oldest first. f may use the
// store.
func (s *Store) EachReceipt(ctx context.Context, since time.Time, most int, f func(core.Receipt)) error {
	unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	found := pick(s.letters, func(l *core.Receipt) bool { return !l.At.Before(since) },
		func(a, b *core.Receipt) int { return b.At.Compare(a.At) }, len(s.letters)+1, cloneReceipt)
	unlock()
	given := map[string]int{}
	found = slices.DeleteFunc(found, func(l *core.Receipt) bool {
		of := string(l.Peer[:]) + l.Intent
		given[of]++
		return most > 0 && given[of] > most
	})
	slices.Reverse(found)
	for _, l := range found {
		f(core.Receipt{Peer: l.Peer, Nonce: l.Nonce, At: l.At, Intent: l.Intent})
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
	for k := range s.letters {
		f(core.NonceHash(k.peer, k.nonce))
	}
	return nil
}

// Inbox returns messages by a filter.
func (s *Store) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
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
}

// InboxMessage finds one message.
func (s *Store) InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	m, ok := s.inbox[id]
	if !ok {
		return nil, notFound("inbox message %q", id)
	}
	return cloneInbox(m), nil
}

// Events returns the events that were kept after the one of an id, oldest first,
// messages included.
func (s *Store) Events(ctx context.Context, after string, limit int) ([]*core.Event, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	all := maps.Clone(s.events)
	for id := range s.inbox {
		all[id], _ = s.event(id)
	}
	from := 0
	if after != "" {
		_, from = s.place(after)
	}
	return pick(all, func(e *core.Event) bool { return s.places[e.ID] > from },
		func(a, b *core.Event) int { return cmp.Compare(s.places[a.ID], s.places[b.ID]) }, limit, cloneEvent), nil
}

func (s *Store) cloneDelivery(d *core.Delivery) *core.Delivery {
	c := *d
	if e, ok := s.event(d.EventID); ok {
		c.Event = *e
	}
	return &c
}

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

// DeadDeliveries returns what was given up, oldest event first.
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

// DueOutbox returns waiting envelopes with Next <= now, oldest first.
func (s *Store) DueOutbox(ctx context.Context, now time.Time, limit int) ([]*core.OutboxItem, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return pick(s.outbox, func(o *core.OutboxItem) bool { return o.State == core.OutWaiting && !o.Next.After(now) },
		func(a, b *core.OutboxItem) int { return cmp.Compare(a.ID, b.ID) }, limit, cloneOutbox), nil
}

// NextOutbox returns when the earliest waiting envelope is due. One without a time
// is due since the epoch.
func (s *Store) NextOutbox(ctx context.Context) (time.Time, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	var next time.Time
	for _, o := range s.outbox {
		if o.State == core.OutWaiting {
			next = earlier(next, dueTime(o.Next))
		}
	}
	return next, nil
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

// Meta finds a value by its key.
func (s *Store) Meta(ctx context.Context, key string) (string, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	value, ok := s.meta[key]
	if !ok {
		return "", notFound("meta %q", key)
	}
	return value, nil
}

// KV finds a value of a plugin's memory.
func (s *Store) KV(ctx context.Context, plugin, key string) ([]byte, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	value, ok := s.kv[kvKey{plugin, key}]
	if !ok {
		return nil, notFound("value %q", key)
	}
	return bytes.Clone(value), nil
}

// KVList returns the sizes of a plugin's values whose keys begin with prefix.
func (s *Store) KVList(ctx context.Context, plugin, prefix string) (map[string]int, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	sizes := map[string]int{}
	for k, value := range s.kv {
		if k.plugin == plugin && strings.HasPrefix(k.key, prefix) {
			sizes[k.key] = len(value)
		}
	}
	return sizes, nil
}

// Depths returns the lengths of the queues.
func (s *Store) Depths(ctx context.Context) (core.Depths, error) {
	d := core.Depths{DeliveriesByNotifier: map[string]int{}, DeadByName: map[string]int{}}
	unlock, err := s.open(ctx)
	if err != nil {
		return d, err
	}
	defer unlock()
	d.Inbox, d.Receipts = len(s.inbox), len(s.letters)
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
	maps.DeleteFunc(s.letters, func(_ letterKey, l *core.Receipt) bool { return l.At.Before(c.Receipts) })
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

// Health is nil, but for a store that is closed.
func (s *Store) Health() error {
	unlock, err := s.open(context.Background())
	if err == nil {
		unlock()
	}
	return err
}

// Lost is nil: a store in memory is always new.
func (s *Store) Lost() error { return nil }

// Close ends the store: every later call gets Unavailable.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func cloneReceipt(l *core.Receipt) *core.Receipt {
	c := *l
	c.Answer = bytes.Clone(l.Answer)
	return &c
}

func cloneMessage(m core.Message) core.Message {
	m.Payload = bytes.Clone(m.Payload)
	return m
}

func cloneReply(r *core.Reply) *core.Reply {
	if r == nil {
		return nil
	}
	c := *r
	c.Data = bytes.Clone(r.Data)
	return &c
}

func cloneInbox(m *core.InboxMessage) *core.InboxMessage {
	c := *m
	c.Message = cloneMessage(m.Message)
	c.Reply = cloneReply(m.Reply)
	if m.Decided != nil {
		d := *m.Decided
		c.Decided = &d
	}
	return &c
}

func cloneEvent(e *core.Event) *core.Event {
	c := *e
	if e.Then != nil {
		then := *e.Then
		c.Then = &then
	}
	c.Data = bytes.Clone(e.Data)
	if e.Message != nil {
		c.Message = cloneInbox(e.Message)
	}
	return &c
}

func cloneOutbox(o *core.OutboxItem) *core.OutboxItem {
	c := *o
	if o.Message != nil {
		m := cloneMessage(*o.Message)
		c.Message = &m
	}
	c.Reply = cloneReply(o.Reply)
	c.Body = bytes.Clone(o.Body)
	c.Answer = bytes.Clone(o.Answer)
	return &c
}

func cloneStoredReply(r *core.StoredReply) *core.StoredReply {
	c := *r
	c.Reply = *cloneReply(&r.Reply)
	c.V2 = bytes.Clone(r.V2)
	return &c
}

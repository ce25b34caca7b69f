// Package memory is a core.Store that forgets everything when it is closed: for
// tests, and to compare the durable ones with. It keeps copies, so that what a
// caller does to a value later changes nothing here.
package memory

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/group"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
	"github.com/opengatewayprotocol/ogp/core/window"
)

type receiptKey struct {
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
	group.Leases

	mu         sync.Mutex // guards all below
	closed     bool
	peers      map[core.PublicKey]*core.Peer
	receipts   map[receiptKey]*core.Receipt
	inbox      map[string]*core.InboxMessage
	events     map[string]*core.Event
	deliveries map[deliveryKey]*core.Delivery
	outbox     map[string]*core.OutboxItem
	replies    map[replyKey]*core.StoredReply
	meta       map[string]string
	kv         map[kvKey][]byte
	shared     bool
	windows    window.Windows
	changed    uint64                    // the last change of peers or meta
	touched    map[core.PublicKey]uint64 // the changes of peers, also of those that are gone
	written    map[string]uint64         // the changes of meta
	news       chan struct{}
	seq        int            // the last place that was given
	places     map[string]int // of messages and events, in the order in which they were kept
}

var (
	_ core.Store  = (*Store)(nil)
	_ core.Shared = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{
		peers:      map[core.PublicKey]*core.Peer{},
		receipts:   map[receiptKey]*core.Receipt{},
		inbox:      map[string]*core.InboxMessage{},
		events:     map[string]*core.Event{},
		deliveries: map[deliveryKey]*core.Delivery{},
		outbox:     map[string]*core.OutboxItem{},
		replies:    map[replyKey]*core.StoredReply{},
		meta:       map[string]string{},
		kv:         map[kvKey][]byte{},
		places:     map[string]int{},
		changed:    1,
		touched:    map[core.PublicKey]uint64{},
		written:    map[string]uint64{},
		news:       make(chan struct{}, 1),
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
		return nil, rows.ErrClosed
	}
	return s.mu.Unlock, nil
}

// with does something with the open store.
func with[T any](ctx context.Context, s *Store, f func() (T, error)) (v T, err error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return v, err
	}
	defer unlock()
	return f()
}

// one finds a copy of the value under a key, and says what it did not find by a name.
func one[K comparable, V any](ctx context.Context, s *Store, all map[K]V, key K, clone func(V) V, what string, name any) (V, error) {
	return with(ctx, s, func() (v V, err error) {
		found, ok := all[key]
		if !ok {
			return v, rows.NotFound("%s %q", what, name)
		}
		return clone(found), nil
	})
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
	s.change(c)
	if c.Receipt != nil {
		s.receipts[receiptKey{c.Receipt.Peer, c.Receipt.Nonce}] = cloneReceipt(c.Receipt)
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
			return rows.Malformed("event", e.ID, errors.New("a message is its own event"))
		}
	}
	for _, d := range c.Deliveries {
		brought := slices.ContainsFunc(c.Inbox, func(m *core.InboxMessage) bool { return m.ID == d.EventID }) ||
			slices.ContainsFunc(c.Events, func(e *core.Event) bool { return e.ID == d.EventID })
		if _, ok := s.event(d.EventID); !ok && !brought {
			return rows.NotFound("event %q for a delivery", d.EventID)
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
	if s.moved(c) {
		return core.Refuse(core.Moved, "store: another node has changed a peer")
	}
	if err := s.Stand(c.Fences); err != nil {
		return err
	}
	if c.Receipt != nil {
		if _, taken := s.receipts[receiptKey{c.Receipt.Peer, c.Receipt.Nonce}]; taken {
			return rows.ErrTaken
		}
	}
	return s.take(c) // the last: it counts
}

// take counts a change, if nothing of that is too much.
func (s *Store) take(c *core.Change) (err error) {
	var tokens []window.Token
	if c.Limit != nil && c.Receipt != nil {
		var t window.Token
		t, err = s.windows.Take(window.Key{Peer: c.Receipt.Peer, Intent: c.Receipt.Intent}, *c.Limit, c.Receipt.At, c.Receipt.Bytes)
		tokens = append(tokens, t)
	}
	for i := 0; i < len(c.Uses) && err == nil; i++ {
		var t window.Token
		t, err = s.windows.Use(c.Uses[i])
		tokens = append(tokens, t)
	}
	if err != nil {
		for _, t := range tokens {
			t.Return()
		}
	}
	return err
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
	found = found[:min(len(found), rows.Limited(limit))]
	for i, v := range found {
		found[i] = clone(v)
	}
	return found
}

// first is a copy of the first value that matches, in an order.
func first[K comparable, V any](ctx context.Context, s *Store, all map[K]*V, match func(*V) bool, order func(a, b *V) int, clone func(*V) *V, what string, name any) (*V, error) {
	return with(ctx, s, func() (*V, error) {
		found := pick(all, match, order, 1, clone)
		if len(found) == 0 {
			return nil, rows.NotFound("%s %q", what, name)
		}
		return found[0], nil
	})
}

// Peers returns all peers, in the order of their keys.
func (s *Store) Peers(ctx context.Context) ([]*core.Peer, error) {
	return with(ctx, s, func() ([]*core.Peer, error) {
		return pick(s.peers, func(*core.Peer) bool { return true },
			func(a, b *core.Peer) int { return bytes.Compare(a.Key[:], b.Key[:]) }, len(s.peers), (*core.Peer).Clone), nil
	})
}

// Meta finds a value by its key.
func (s *Store) Meta(ctx context.Context, key string) (string, error) {
	return one(ctx, s, s.meta, key, strings.Clone, "meta", key)
}

// KV finds a value of a plugin's memory.
func (s *Store) KV(ctx context.Context, plugin, key string) ([]byte, error) {
	return one(ctx, s, s.kv, kvKey{plugin, key}, bytes.Clone, "value", key)
}

// KVList returns the sizes of a plugin's values whose keys begin with prefix.
func (s *Store) KVList(ctx context.Context, plugin, prefix string) (map[string]int, error) {
	return with(ctx, s, func() (map[string]int, error) {
		sizes := map[string]int{}
		for k, value := range s.kv {
			if k.plugin == plugin && strings.HasPrefix(k.key, prefix) {
				sizes[k.key] = len(value)
			}
		}
		return sizes, nil
	})
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

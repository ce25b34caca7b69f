package memory

import (
	"context"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/window"
)

// NewShared returns an empty store that several gateways of one process share, as nodes
// share a database.
func NewShared() *Store {
	s := New()
	s.shared = true
	return s
}

// Shared reports whether several gateways may use the store.
func (s *Store) Shared() bool { return s.shared }

// Changed has a value after a change of peers or Meta.
func (s *Store) Changed() <-chan struct{} { return s.news }

// change notes what a change changes of peers and Meta. Called with mu held.
func (s *Store) change(c *core.Change) {
	if len(c.Peers)+len(c.Forget)+len(c.Meta) == 0 {
		return
	}
	s.changed++
	for _, p := range c.Peers {
		s.touched[p.Key] = s.changed
	}
	for _, k := range c.Forget {
		s.touched[k] = s.changed
	}
	for key := range c.Meta {
		s.written[key] = s.changed
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// moved reports whether what a change has seen is no more. Called with mu held.
func (s *Store) moved(c *core.Change) bool {
	if c.Seen == 0 {
		return false
	}
	for _, e := range c.Expect {
		if s.touched[e.Peer] > c.Seen {
			return true
		}
	}
	return s.changed > c.Seen && len(c.Peers)+len(c.Forget)+len(c.Meta) > 0
}

// Since is what was changed of peers and Meta after a change.
func (s *Store) Since(ctx context.Context, seen uint64) (core.News, error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return core.News{}, err
	}
	defer unlock()
	n := core.News{Seen: s.changed, Meta: map[string]string{}}
	for k, at := range s.touched {
		switch p := s.peers[k]; {
		case at <= seen:
		case p == nil:
			n.Gone = append(n.Gone, k)
		default:
			n.Peers = append(n.Peers, p.Clone())
		}
	}
	for key, at := range s.written {
		if at > seen {
			n.Meta[key] = s.meta[key]
		}
	}
	return n, nil
}

// Uses counts what a peer was let send of an intent since a time, or uses of a name.
func (s *Store) Uses(ctx context.Context, peer core.PublicKey, intent string, since time.Time) (n int, bytes int64, err error) {
	unlock, err := s.open(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	if strings.HasPrefix(intent, "\x01") {
		key, now := window.Key{Peer: peer, Intent: intent}, time.Now()
		return s.windows.Used(key, now.Sub(since), now), s.windows.UsedBytes(key, now.Sub(since), now), nil
	}
	for k, r := range s.receipts {
		if k.peer == peer && r.Intent == intent && r.At.After(since) {
			n++
			bytes += int64(r.Bytes)
		}
	}
	return n, bytes, nil
}

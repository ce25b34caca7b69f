package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/digest"
	"github.com/opengatewayprotocol/ogp/core/follow"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// readAll reads all peers, and what else is kept of before.
func (s *state) readAll(ctx context.Context) error {
	s.memory.Mu, s.memory.Apply = &s.mu, s.apply
	shared, err := s.memory.Open(ctx, s.o.Store)
	if err != nil {
		return fmt.Errorf("gateway: read peers: %w", err)
	}
	if !shared {
		records, err := s.o.Store.Peers(ctx)
		if err != nil {
			return fmt.Errorf("gateway: read peers: %w", err)
		}
		text, err := s.o.Store.Meta(ctx, digest.Key)
		if err == nil {
			s.digest, err = digest.Read(text)
		}
		if err != nil && !errors.Is(err, core.NotFound) {
			return fmt.Errorf("gateway: read digest: %w", err)
		}
		for _, p := range records {
			s.peers.Put(p)
		}
	}
	for _, p := range s.peers.All() {
		if s.peers.OwnsAlias(p) {
			continue
		}
		if peers.KeepsAlias(p) {
			s.log.Warn("the alias of a peer is left out, as it cannot be used; \"ogp federation alias\" gives it another",
				"peer", p.Key.Fingerprint(), "alias", p.Alias, "reason", core.NotAlias(p.Alias))
		} // else it has gone, and the name with it
		p = p.Clone()
		p.Alias = ""
		s.peers.Put(p)
	}
	return nil
}

// apply takes over what other nodes have changed. Called with mu held.
func (s *state) apply(news core.News, whole bool) {
	for _, p := range s.peers.Unsorted() {
		if whole && !slices.ContainsFunc(news.Peers, func(q *core.Peer) bool { return q.Key == p.Key }) {
			s.peers.Forget(p.Key)
		}
	}
	for _, k := range news.Gone {
		s.peers.Forget(k)
	}
	for _, p := range news.Peers {
		s.replace(p)
		s.plan(p)
	}
	if text, ok := news.Meta[digest.Key]; ok {
		d, err := digest.Read(text)
		if err != nil {
			s.log.Error("digest not readable", "err", err)
		}
		s.digest = d
	}
	s.o.Brake.Follow(news.Meta, s.peers.Unsorted())
}

// Lag is how long ago what is in memory was as the store has it, where other nodes share that.
func (s *state) Lag() time.Duration { return s.memory.Lag() }

// replace puts a record in the place of the one before.
func (s *state) replace(p *core.Peer) {
	old := s.peers.Get(p.Key)
	s.peers.Put(p)
	if old != nil && (old.URL != p.URL || old.Trust != p.Trust) {
		s.outbox.Alive(p.Key)
	}
}

// Resolve finds the one peer that an operator means, as peers.Index does.
func (s *state) Resolve(ref string) (*core.Peer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return follow.Judged(ctx, &s.memory, func() (*core.Peer, error) { return s.peers.Resolve(ref) })
}

// judged judges an envelope of a kind by what is true of all nodes, and counts it.
func (s *state) judged(ctx context.Context, kind string, judge func() (core.Answer, error)) (core.Answer, error) {
	a, err := follow.Judged(ctx, &s.memory, judge)
	s.counters.Add(kind, a, err)
	return a, err
}

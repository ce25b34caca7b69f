package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

const (
	// lookEvery is how often a node looks for what others have changed, beside hearing of it.
	lookEvery = time.Second
	// awayMost is how long a node can be cut off and still catch up: after that it reads all.
	awayMost = time.Hour
	// maxDecided is how often a change is decided on anew because another node was faster.
	maxDecided = 20
)

// readAll reads all peers, and what else is kept of before.
func (s *state) readAll(ctx context.Context) ([]*core.Peer, error) {
	if s.shared == nil {
		records, err := s.o.Store.Peers(ctx)
		if err != nil {
			return nil, fmt.Errorf("gateway: read peers: %w", err)
		}
		if err := s.readDigest(ctx); err != nil {
			return nil, fmt.Errorf("gateway: read digest: %w", err)
		}
		return records, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = time.Now()
	news, err := s.shared.Since(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("gateway: read peers: %w", err)
	}
	s.takeMeta(news)
	s.seen.Store(news.Seen)
	return news.Peers, nil
}

// runRefresh takes over what other nodes change until ctx is done.
func (s *state) runRefresh(ctx context.Context) {
	if s.shared == nil {
		return
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.shared.Changed():
		}
		switch err := s.refresh(ctx, time.Now()); {
		case err == nil:
			failing = false
		case ctx.Err() == nil && !failing:
			failing = true
			s.log.Error("what other nodes have changed is not readable", "err", err)
		}
	}
}

// refresh takes over what other nodes have changed before a time, or does nothing where
// that is known already. Memory is a hint: what is kept is judged by the store.
func (s *state) refresh(ctx context.Context, before time.Time) error {
	if s.shared == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read.After(before) {
		return nil
	}
	return s.refreshNow(ctx)
}

// refreshNow is refresh, called with mu held.
func (s *state) refreshNow(ctx context.Context) error {
	began, from := time.Now(), s.seen.Load()
	if began.Sub(s.read) > awayMost {
		from = 0
	}
	news, err := s.shared.Since(ctx, from)
	if err != nil {
		return err
	}
	if from == 0 {
		for _, p := range s.peers.Unsorted() {
			if !slices.ContainsFunc(news.Peers, func(q *core.Peer) bool { return q.Key == p.Key }) {
				news.Gone = append(news.Gone, p.Key)
			}
		}
	}
	for _, k := range news.Gone {
		s.peers.Forget(k)
	}
	for _, p := range news.Peers {
		s.replace(p)
		s.plan(p)
	}
	s.takeMeta(news)
	s.read = began
	s.seen.Store(news.Seen)
	return nil
}

// takeMeta takes over what is kept beside the peers.
func (s *state) takeMeta(news core.News) {
	if text, ok := news.Meta[digestKey]; ok {
		var d digest
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			s.log.Error("digest not readable", "err", err)
		}
		s.digest = d
	}
	s.o.Brake.Follow(news.Meta, s.peers.Unsorted())
}

// replace puts a record in the place of the one before.
func (s *state) replace(p *core.Peer) {
	old := s.peers.Get(p.Key)
	s.peers.Put(p)
	if old != nil && (old.URL != p.URL || old.Trust != p.Trust) {
		s.outbox.Alive(p.Key)
	}
}

// decided does what is kept only if no other node has changed a peer meanwhile, until that
// is so. A refusal is given only by what was known after it was asked for. Called with mu
// held.
func (s *state) decided(ctx context.Context, f func() error) error {
	for looked := false; ; looked = true {
		var err error
		seen := s.seen.Load()
		for range maxDecided {
			if err = f(); s.shared == nil || !errors.Is(err, core.Moved) {
				break
			}
			if later := s.refreshNow(ctx); later != nil {
				return later
			}
		}
		switch {
		case s.shared != nil && errors.Is(err, core.Moved):
			return &core.Error{Kind: core.Unavailable, Public: "Try again", RetryAfter: time.Second, Err: err}
		case looked || !s.perhaps(err) || s.refreshNow(ctx) != nil || s.seen.Load() == seen:
			return err
		}
	}
}

// perhaps reports whether a refusal may come from what this node does not know yet.
func (s *state) perhaps(err error) bool {
	if s.shared == nil || err == nil {
		return false
	}
	var e *core.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Kind {
	case core.Malformed, core.Stale, core.RateLimited, core.TooLarge, core.Unavailable, core.Full, core.Internal, core.Unreachable:
		return false
	}
	return true
}

// judged does something that may be refused: where other nodes share the store, only by what
// was known after it came. One that another node has taken meanwhile is looked up.
func judged[T any](ctx context.Context, s *state, f func() (T, error)) (T, error) {
	came := time.Now()
	for n := 1; ; n++ {
		seen := s.seen.Load()
		v, err := f()
		switch {
		case !s.perhaps(err) || n == maxJudged:
			return v, err
		case errors.Is(err, core.Replayed): // commit has noted it
		case s.refresh(ctx, came) != nil || s.seen.Load() == seen:
			return v, err
		}
	}
}

// Resolve finds the one peer that an operator means, as peers.Index does.
func (s *state) Resolve(ref string) (*core.Peer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*lookEvery)
	defer cancel()
	return judged(ctx, s, func() (*core.Peer, error) { return s.peers.Resolve(ref) })
}

// keepAliases takes the aliases from records that cannot have them.
func (s *state) keepAliases(records []*core.Peer) {
	for _, p := range records {
		if s.keepsAlias(p) {
			continue
		}
		if peers.KeepsAlias(p) {
			s.log.Warn("a peer goes without its alias, which can be none; \"ogp federation alias\" gives it another",
				"peer", p.Key.Fingerprint(), "alias", p.Alias, "reason", core.NotAlias(p.Alias))
		} // else it has gone, and the name with it
		p.Alias = ""
		s.peers.Put(p)
	}
}

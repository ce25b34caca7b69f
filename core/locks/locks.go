// Package locks holds locks by name, each there for as long as somebody holds or
// wants it, so that work on one thing waits for no work on another.
package locks

import (
	"context"
	"sync"

	"github.com/opengatewayprotocol/ogp/core"
)

// Set is a set of locks. The zero value is ready. Safe for concurrent use.
type Set[K comparable] struct {
	mu   sync.Mutex // guards held
	held map[K]*lock
}

type lock struct {
	free  chan struct{} // holds a token while nobody holds the lock
	users int           // who hold or want it; guarded by Set.mu
}

// Lock waits for a lock and returns how to give it back. The error is ctx's, as
// one of kind Unavailable.
func (s *Set[K]) Lock(ctx context.Context, name K) (unlock func(), err error) {
	s.mu.Lock()
	if s.held == nil {
		s.held = map[K]*lock{}
	}
	x := s.held[name]
	if x == nil {
		x = &lock{free: make(chan struct{}, 1)}
		x.free <- struct{}{}
		s.held[name] = x
	}
	x.users++
	s.mu.Unlock()
	select {
	case <-x.free:
		return func() { x.free <- struct{}{}; s.leave(name, x) }, nil
	case <-ctx.Done():
		s.leave(name, x)
		return nil, &core.Error{Kind: core.Unavailable, Err: ctx.Err()}
	}
}

func (s *Set[K]) leave(name K, x *lock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.users--; x.users == 0 {
		delete(s.held, name)
	}
}

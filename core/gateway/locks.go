package gateway

import (
	"context"
	"sync"

	"github.com/opengatewayprotocol/ogp/core"
)

// locks are named locks, each there for as long as somebody holds or wants it.
// The zero value is ready. Safe for concurrent use.
type locks struct {
	mu   sync.Mutex // guards held
	held map[lockName]*lock
}

// lockName is what a lock is about.
type lockName struct {
	what string // envelope, request, reply, inbox, outbox, line
	peer core.PublicKey
	name string
}

type lock struct {
	free  chan struct{} // holds a token while nobody holds the lock
	users int           // who hold or want it; guarded by locks.mu
}

// lock waits for a lock and returns how to give it back. The error is ctx's, as
// one of kind Unavailable.
func (l *locks) lock(ctx context.Context, n lockName) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[lockName]*lock{}
	}
	x := l.held[n]
	if x == nil {
		x = &lock{free: make(chan struct{}, 1)}
		x.free <- struct{}{}
		l.held[n] = x
	}
	x.users++
	l.mu.Unlock()
	select {
	case <-x.free:
		return func() { x.free <- struct{}{}; l.leave(n, x) }, nil
	case <-ctx.Done():
		l.leave(n, x)
		return nil, &core.Error{Kind: core.Unavailable, Err: ctx.Err()}
	}
}

func (l *locks) leave(n lockName, x *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.users--; x.users == 0 {
		delete(l.held, n)
	}
}

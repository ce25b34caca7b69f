// Package valkey keeps what a rendezvous knows in a Valkey or a Redis, so that
// several servers are one rendezvous and none of them has anything to lose. What
// must hold over all of them is decided in scripts there, by the engine's clock.
//
// The engine is no authority. Whoever can write to it can make records vanish, and
// cannot make a server hand on what its key has not signed.
//
// docs/rendezvous.md#several-servers, docs/threat-model.md#v1
package valkey

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// Options are a Store's settings.
type Options struct {
	// At is where the engine is, as ParseURL reads it.
	At Address
	// Limits bound what is kept. Servers that share an engine should have the same.
	Limits rendezvous.Limits
	// MaxAge is the longest life that the server grants, for the warning that an engine
	// which keeps nothing would lose records for longer.
	MaxAge time.Duration
	// Logger gets what an operator should see. Nil: none.
	Logger *slog.Logger
	// Now is the clock. Nil: the engine's, so that servers whose clocks differ agree.
	Now func() time.Time
}

// Store is a rendezvous.Store. Safe for concurrent use.
type Store struct {
	o    Options
	link *link

	offset  atomic.Int64 // the engine's clock less ours, ns
	hold    atomic.Int64 // ms: nothing expires before it, as of the last Counts
	shares  map[rendezvous.Budget]*share
	checked checked
	fresh   fresh
	odd     throttle // values that are none of ours

	closing context.CancelFunc
	done    sync.WaitGroup
}

// Open returns a Store. Where the engine cannot be reached for now it says so in the
// log and goes on trying; a mistake in the configuration is an error of kind
// Unavailable, whose hint says what to do.
//
// Call Close.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{o: o, shares: map[rendezvous.Budget]*share{}}
	for _, b := range []rendezvous.Budget{rendezvous.BudgetPosts, rendezvous.BudgetReads} {
		if rate, ok := o.Limits.Rate(b); ok {
			s.shares[b] = newShare(b, rate)
		}
	}
	s.link = newLink(o)
	if err := s.link.open(ctx); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	s.closing = cancel
	s.done.Go(func() { s.link.keep(running) })
	return s, nil
}

// Close ends the connections.
func (s *Store) Close() {
	s.closing()
	s.done.Wait()
	s.link.close()
}

// given is the time as the scripts take it: empty where the engine's clock counts.
func (s *Store) given() string {
	if s.o.Now == nil {
		return ""
	}
	return ms(s.o.Now().UnixMilli())
}

// now is the time in ms, as near as we know the engine's.
func (s *Store) now() int64 {
	if s.o.Now != nil {
		return s.o.Now().UnixMilli()
	}
	return time.Now().Add(time.Duration(s.offset.Load())).UnixMilli()
}

package follow

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	// lookEvery is how often a node looks for what others have changed, beside hearing of it.
	lookEvery = time.Second
	// awayMost is how long a node can be cut off and still catch up: after that it reads all.
	awayMost = time.Hour
	// maxDecided is how often a change is decided on anew because another node was faster.
	maxDecided = 20
	// maxJudged is how often something is judged anew because another node knew more.
	maxJudged = 5
)

// State is what a node holds in memory of a store that it shares: a hint, as the store
// judges what is kept. Open fills it; without that, there is one node alone, and every
// method does nothing but what it is given. Safe for concurrent use.
type State struct {
	// Mu is held over every change of what is in memory.
	Mu *sync.Mutex
	// Apply takes news over into memory, with Mu held. whole says that they are all there is.
	Apply func(news core.News, whole bool)

	shared core.Shared // nil: there is one node alone
	seen   atomic.Uint64
	read   atomic.Pointer[time.Time] // when the store was last looked at; changed with Mu held
}

// Open reads all there is. A store that is not shared leaves that to its node, and Open
// reports false.
func (s *State) Open(ctx context.Context, store any) (bool, error) {
	shared, ok := store.(core.Shared)
	if !ok || !shared.Shared() {
		return false, nil
	}
	s.shared = shared
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return true, s.RefreshNow(ctx)
}

// Shared is the store, where several nodes use it; else nil.
func (s *State) Shared() core.Shared { return s.shared }

// Seen is up to which change all is in memory, for core.Change.Seen.
func (s *State) Seen() uint64 { return s.seen.Load() }

// Lag is how long ago what is in memory was as the store has it.
func (s *State) Lag() time.Duration {
	if read := s.read.Load(); read != nil { // Mu is held for as long as a database says nothing
		return time.Since(*read)
	}
	return 0
}

// Kept notes a change of ours that was kept.
func (s *State) Kept(c *core.Change) {
	if c.Seen != 0 && len(c.Peers)+len(c.Forget)+len(c.Meta) > 0 {
		s.seen.CompareAndSwap(c.Seen, c.Seen+1) // nobody has changed anything between
	}
}

// Run takes over what other nodes change until ctx is done.
func (s *State) Run(ctx context.Context, log *slog.Logger) {
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
		switch err := s.Refresh(ctx, time.Now()); {
		case err == nil:
			failing = false
		case ctx.Err() == nil && !failing:
			failing = true
			log.Error("what other nodes have changed is not readable", "err", err)
		}
	}
}

// Refresh takes over what other nodes have changed before a time, or does nothing where
// that is known already.
func (s *State) Refresh(ctx context.Context, before time.Time) error {
	if s.shared == nil {
		return nil
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if read := s.read.Load(); read != nil && read.After(before) {
		return nil
	}
	return s.RefreshNow(ctx)
}

// RefreshNow is Refresh, called with Mu held.
func (s *State) RefreshNow(ctx context.Context) error {
	began, from := time.Now(), s.seen.Load()
	if read := s.read.Load(); read == nil || began.Sub(*read) > awayMost {
		from = 0
	}
	news, err := s.shared.Since(ctx, from)
	if err != nil {
		return err
	}
	if from != news.Seen {
		s.Apply(news, from == 0)
	}
	s.read.Store(&began)
	s.seen.Store(news.Seen)
	return nil
}

// Decide does what is kept only if no other node has changed a peer meanwhile, until that
// is so. A refusal is given only by what was known after it was asked for. Called with Mu
// held.
func (s *State) Decide(ctx context.Context, f func() error) error {
	for looked := false; ; looked = true {
		var err error
		seen := s.seen.Load()
		for range maxDecided {
			if err = f(); s.shared == nil || !errors.Is(err, core.Moved) {
				break
			}
			if later := s.RefreshNow(ctx); later != nil {
				return later
			}
		}
		switch {
		case s.shared != nil && errors.Is(err, core.Moved):
			return &core.Error{Kind: core.Unavailable, Public: "Try again", RetryAfter: time.Second, Err: err}
		case looked || !s.perhaps(err) || s.RefreshNow(ctx) != nil || s.seen.Load() == seen:
			return err
		}
	}
}

// perhaps reports whether a refusal may come from what this node does not know yet.
func (s *State) perhaps(err error) bool {
	e, ok := errors.AsType[*core.Error](err)
	return ok && s.shared != nil && !slices.Contains([]core.Kind{core.Malformed, core.Stale, core.RateLimited, core.TooLarge,
		core.Unavailable, core.Full, core.Internal, core.Unreachable}, e.Kind)
}

// Judged does something that may be refused: where other nodes share the store, only by what
// was known after it came. What another node has taken meanwhile is looked up.
func Judged[T any](ctx context.Context, s *State, f func() (T, error)) (T, error) {
	came := time.Now()
	for n := 1; ; n++ {
		seen := s.seen.Load()
		v, err := f()
		switch {
		case !s.perhaps(err) || n == maxJudged:
			return v, err
		case errors.Is(err, core.Replayed): // whoever kept it has noted that
		case s.Refresh(ctx, came) != nil || s.seen.Load() == seen:
			return v, err
		}
	}
}

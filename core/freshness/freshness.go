// Package freshness says whether an envelope comes near its time, and only once. A
// Guard needs no disk: what it remembers is filled from the store at the start
// and kept in step with what the store keeps.
//
// The order of calls matters: Near before anything is believed, Seen only after
// the signature holds, so that nothing is remembered for a stranger.
//
// docs/protocol.md#freshness
package freshness

import (
	"cmp"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Guard is the window and the nonce memory. Its zero value is ready, with the
// defaults. Safe for concurrent use.
type Guard struct {
	Window   time.Duration    // zero: core.DefaultWindow; SetTimes changes it later
	Remember time.Duration    // zero: core.DefaultRemember; SetTimes changes it later
	Now      func() time.Time // nil: time.Now

	set atomic.Pointer[times] // nil: as Window and Remember say

	mu      sync.Mutex // guards the rest
	filling bool       // what was used before is not all there
	young   map[uint64]struct{}
	old     map[uint64]struct{}
	rotated time.Time
}

func (g *Guard) now() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	return time.Now()
}

// SetTimes puts another window and another memory in force, for what comes from now
// on: what a shorter memory has forgotten does not come back with a longer one.
func (g *Guard) SetTimes(window, remember time.Duration) {
	g.set.Store(&times{window, remember})
}

type times struct{ window, remember time.Duration }

func (g *Guard) window() time.Duration {
	if t := g.set.Load(); t != nil {
		return cmp.Or(t.window, core.DefaultWindow)
	}
	return cmp.Or(g.Window, core.DefaultWindow)
}

func (g *Guard) remember() time.Duration {
	if t := g.set.Load(); t != nil {
		return cmp.Or(t.remember, core.DefaultRemember)
	}
	return cmp.Or(g.Remember, core.DefaultRemember)
}

// Near returns nil when sentAt lies within the window around now, the ends
// included, and otherwise an error of kind Stale.
//
// docs/threat-model.md#l4
func (g *Guard) Near(sentAt time.Time) error {
	off := g.now().Sub(sentAt)
	// The wire carries milliseconds, so the window is counted in them.
	if off.Abs().Truncate(time.Millisecond) <= g.window() {
		return nil
	}
	return &core.Error{Kind: core.Stale,
		Err: fmt.Errorf("freshness: stale: sent %v from now, window %v", off.Round(time.Millisecond), g.window())}
}

// Note remembers that a peer has used a nonce at a time. An envelope from before
// the memory's span is not taken up.
func (g *Guard) Note(peer core.PublicKey, nonce core.Nonce, at time.Time) {
	h := core.NonceHash(peer, nonce)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	if g.now().Sub(at) >= 2*g.remember() {
		return
	}
	g.young[h] = struct{}{}
}

// Seen reports whether the peer may have used the nonce. False is certain: it
// has not, within the memory's span. True is to be looked up in the store, as
// different nonces can share a hash.
func (g *Guard) Seen(peer core.PublicKey, nonce core.Nonce) bool {
	h := core.NonceHash(peer, nonce)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	if g.filling {
		return true
	}
	if _, ok := g.young[h]; ok {
		return true
	}
	_, ok := g.old[h]
	return ok
}

// Expect says that nonces which were used before are still to be filled in: until
// Fill has ended, Seen is true of every nonce, and the store is the judge.
func (g *Guard) Expect() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.filling = true
}

// Fill takes up the nonces that were used before, by their core.NonceHash, which load
// gives to add. When load fails, the store goes on being the judge.
func (g *Guard) Fill(load func(add func(hash uint64)) error) error {
	err := load(func(hash uint64) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.turn()
		g.young[hash] = struct{}{}
	})
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.filling = false
	}
	return err
}

// Span is how long a nonce that is noted now will be seen at the least.
func (g *Guard) Span() time.Duration { return g.remember() }

// turn starts a new generation each span, so that an entry lives for one span at
// the least and two at the most, with nothing to sweep. Called with mu held.
func (g *Guard) turn() {
	now := g.now()
	if g.young == nil {
		g.young, g.old, g.rotated = map[uint64]struct{}{}, map[uint64]struct{}{}, now
	}
	if now.Sub(g.rotated) >= g.remember() {
		g.old, g.young, g.rotated = g.young, make(map[uint64]struct{}, len(g.young)/2), now
	}
}

// Package budget bounds how often others may do something: by key, by network, and for
// warnings by what they say. All of it is in memory, bounded, and forgotten by a restart.
package budget

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// TooMany is the refusal of what is over a budget, with when there is room again.
func TooMany(text string, again time.Duration) error {
	e := core.Refuse(core.RateLimited, text)
	e.RetryAfter = core.RoundUp(again)
	return e
}

// ByKey counts by key within a sliding window. Make it with its two numbers. Safe for
// concurrent use.
type ByKey struct {
	Most   int
	Window time.Duration

	mu   sync.Mutex // guards seen
	seen map[core.PublicKey][]time.Time
}

// Take counts one, or says when there is room for it: an error of kind RateLimited that
// names what there are too many of.
func (l *ByKey) Take(k core.PublicKey, now time.Time, what string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[core.PublicKey][]time.Time{}
	}
	times := slices.DeleteFunc(l.seen[k], func(t time.Time) bool { return now.Sub(t) >= l.Window })
	if len(times) >= l.Most {
		l.seen[k] = times
		return TooMany("Too many "+what, l.Window-now.Sub(times[0]))
	}
	l.seen[k] = append(times, now)
	return nil
}

// ByNetwork counts strangers' requests by network, for an hour. The networks are forgotten
// in two generations, so that many of them cost no more than few. The zero value is ready.
// Safe for concurrent use.
//
// docs/threat-model.md#t6
type ByNetwork struct {
	mu         sync.Mutex // guards all below
	young, old map[netip.Prefix][]time.Time
	turned     time.Time
}

// Take counts a request of a network, or says when there is room for it.
func (l *ByNetwork) Take(block netip.Prefix, most int, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.young == nil || now.Sub(l.turned) >= time.Hour {
		l.old, l.young, l.turned = l.young, map[netip.Prefix][]time.Time{}, now
	}
	gone := func(t time.Time) bool { return now.Sub(t) >= time.Hour }
	times := l.young[block]
	if times == nil {
		times = slices.Clone(l.old[block])
	}
	if times = slices.DeleteFunc(times, gone); len(times) >= most {
		l.young[block] = times
		return TooMany(TooManyOfNetwork, time.Hour-now.Sub(times[0]))
	}
	l.young[block] = append(times, now)
	return nil
}

// TooManyOfNetwork refuses what is over the budget of a network.
const TooManyOfNetwork = "Too many federation requests from your network"

// Key stands for a network where keys are counted. It is nobody's: who has a key that begins
// like it has not made it as one makes keys.
func Key(block netip.Prefix) (k core.PublicKey) {
	text, _ := block.MarshalBinary() // at most 17 bytes
	copy(k[copy(k[:], "network"):], text)
	return k
}

// Network is the block that requests from strangers are counted by: /24 for IPv4, /48 for
// IPv6; the zero prefix for addresses that say nothing.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	if !a.IsValid() || a.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits)
	return p
}

// maxWarnings is how many warnings are remembered at the same time.
const maxWarnings = 4096

// Warnings bounds how often the same thing is said, named by an N, as anyone can bring it
// about again. The zero value is ready. Safe for concurrent use.
type Warnings[N comparable] struct {
	mu   sync.Mutex // guards last
	last map[N]time.Time
}

// Due reports whether a while has gone by since it last was due.
func (w *Warnings[N]) Due(n N, now time.Time, interval time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.last[n]; ok && now.Sub(at) < interval {
		return false
	}
	if w.last == nil {
		w.last = map[N]time.Time{}
	}
	if len(w.last) >= maxWarnings {
		maps.DeleteFunc(w.last, func(_ N, at time.Time) bool { return now.Sub(at) >= interval })
	}
	if len(w.last) >= maxWarnings {
		return false
	}
	w.last[n] = now
	return true
}

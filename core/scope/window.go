package scope

import (
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// windows counts by key and intent: time and size of each message let in, so that a
// limit holds in every window there is, not only in aligned ones.
type windows struct {
	mu   sync.Mutex // guards seen
	seen map[windowKey][]use
}

// use is one message that was let in.
type use struct {
	at    time.Time
	bytes int
}

// windowKey is the peer's key, not one of its labels: a spelling of the id is no
// new budget. docs/threat-model.md#n5
type windowKey struct {
	peer   core.PublicKey
	intent string
}

// Token is one message that was counted.
type Token struct {
	w   *windows
	key windowKey
	at  use
}

// Return gives the token back: the message was not let in after all.
func (t Token) Return() {
	if t.w == nil {
		return
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	uses := t.w.seen[t.key]
	for i := len(uses) - 1; i >= 0; i-- {
		if uses[i].at.Equal(t.at.at) && uses[i].bytes == t.at.bytes {
			t.w.seen[t.key] = append(uses[:i], uses[i+1:]...)
			return
		}
	}
}

// take counts one if both limits allow it, else says how long until they do, and
// whether it was the size.
func (w *windows) take(key windowKey, rate core.RateLimit, size core.ByteLimit, one use) (ok bool, wait time.Duration, large bool) {
	if rate.Requests < 1 || rate.WindowSeconds < 1 || size.WindowSeconds < 1 {
		return false, time.Hour, false // a grant of nothing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[windowKey][]use{}
	}
	now := one.at
	window, span := windowOf(rate.WindowSeconds), windowOf(size.WindowSeconds)
	uses := w.seen[key]
	// Uses are in order. Those that have left both windows are of no use to these
	// limits; a limit that is widened later starts from what is left.
	gone := 0
	for gone < len(uses) && now.Sub(uses[gone].at) >= max(window, span) {
		gone++
	}
	if gone > 0 {
		uses = append(uses[:0], uses[gone:]...)
		w.seen[key] = uses
	}
	in := len(uses)
	for in > 0 && now.Sub(uses[in-1].at) < window {
		in--
	}
	if n := len(uses) - in; n >= rate.Requests {
		wait = window - now.Sub(uses[len(uses)-rate.Requests].at)
	}
	total := int64(one.bytes)
	for i := len(uses) - 1; i >= 0 && now.Sub(uses[i].at) < span; i-- {
		if total += int64(uses[i].bytes); total > size.Bytes { // until this one has left
			if later := span - now.Sub(uses[i].at); later > wait {
				wait, large = later, true
			}
			break
		}
	}
	if wait > 0 {
		return false, wait, large
	}
	w.seen[key] = insert(uses, one)
	return true, 0, false
}

// windowOf is a limit's window. One beyond core.MaxRateWindow counts as that: so does
// one that is more nanoseconds than a time.Duration holds.
func windowOf(seconds int) time.Duration {
	if seconds > int(core.MaxRateWindow/time.Second) {
		return core.MaxRateWindow
	}
	return time.Duration(seconds) * time.Second
}

// insert keeps uses in order, as two that come together may be counted in any.
func insert(uses []use, one use) []use {
	i := len(uses)
	for i > 0 && uses[i-1].at.After(one.at) {
		i--
	}
	return slices.Insert(uses, i, one)
}

// Count notes a message that was let in before a restart. Call it before the
// first Allow, best in the order of time.
func (d *Checker) Count(peer core.PublicKey, intent string, at time.Time, bytes int) {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	if d.windows.seen == nil {
		d.windows.seen = map[windowKey][]use{}
	}
	key := windowKey{peer, intent}
	d.windows.seen[key] = insert(d.windows.seen[key], use{at, bytes})
}

// Used says how many messages of an intent are counted within a window.
func (d *Checker) Used(peer core.PublicKey, intent string, window time.Duration, now time.Time) int {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	n := 0
	for _, u := range d.windows.seen[windowKey{peer, intent}] {
		if now.Sub(u.at) < window {
			n++
		}
	}
	return n
}

// UsedBytes says how much of messages of an intent is counted within a window.
func (d *Checker) UsedBytes(peer core.PublicKey, intent string, window time.Duration, now time.Time) (n int64) {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	for _, u := range d.windows.seen[windowKey{peer, intent}] {
		if now.Sub(u.at) < window {
			n += int64(u.bytes)
		}
	}
	return n
}

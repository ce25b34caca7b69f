// Package window counts what peers were let send, so that a limit holds in every window
// there is, not only in aligned ones.
//
// docs/protocol.md#scopes
package window

import (
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Windows counts by peer and intent: time and size of each message let in. The zero value
// is ready. Safe for concurrent use.
type Windows struct {
	mu   sync.Mutex // guards seen
	seen map[Key][]use
}

// use is one message that was let in.
type use struct {
	at    time.Time
	bytes int
	sum   int64 // of bytes, with all before it, counted from any start
}

// Key is what is counted together. It has the peer's key, not one of its labels: a
// spelling of the id is no new budget. docs/threat-model.md#n5
type Key struct {
	Peer   core.PublicKey
	Intent string
}

// Token is one message that was counted.
type Token struct {
	w   *Windows
	key Key
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
			t.w.seen[t.key] = summed(slices.Delete(uses, i, i+1), i)
			return
		}
	}
}

// Take counts one message if both limits allow it. The error is of kind RateLimited, with
// RetryAfter: when they do.
func (w *Windows) Take(key Key, limit core.Limit, at time.Time, bytes int) (Token, error) {
	one := use{at: at, bytes: bytes}
	if ok, wait, large := w.take(key, limit.Rate, limit.Size, one); !ok {
		e := core.Refusef(core.RateLimited, "Rate limit exceeded for intent '%s'", Shown(key.Intent))
		if large {
			e = core.Refusef(core.RateLimited, "Rate limit exceeded for intent '%s': %s in all", Shown(key.Intent), limit.Size)
		}
		e.RetryAfter = max(core.RoundUp(wait), time.Second)
		return Token{}, e
	}
	return Token{w, key, one}, nil
}

// Use counts a use, or only judges it. The error is of kind RateLimited, with RetryAfter, and
// wraps core.Over.
func (w *Windows) Use(u core.Use) (Token, error) {
	key, one := Key{u.Peer, u.Of}, use{at: u.At, bytes: u.Bytes}
	if ok, wait, _ := w.take(key, u.Most.Rate, u.Most.Size, one); !ok {
		return Token{}, &core.Error{Kind: core.RateLimited, Public: u.Over, RetryAfter: max(core.RoundUp(wait), time.Second), Err: core.Over{Of: u.Of}}
	}
	t := Token{w, key, one}
	if u.Only {
		t.Return()
		return Token{}, nil
	}
	return t, nil
}

// Shown bounds what a peer wrote before it goes back to the peer.
func Shown(s string) string {
	const most = 128
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// take counts one if both limits allow it, else says how long until they do, and
// whether it was the size.
func (w *Windows) take(key Key, rate core.RateLimit, size core.ByteLimit, one use) (ok bool, wait time.Duration, large bool) {
	if rate.Requests < 1 || rate.WindowSeconds < 1 || size.WindowSeconds < 1 {
		return false, time.Hour, false // a grant of nothing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[Key][]use{}
	}
	now := one.at
	window, span := windowOf(rate.WindowSeconds), windowOf(size.WindowSeconds)
	uses := w.seen[key]
	// Uses are in order. Those that have left both windows are of no use to these
	// limits; a limit that is widened later starts from what is left.
	if gone := since(uses, now, max(window, span)); gone > 0 {
		uses = uses[gone:]
		w.seen[key] = uses
	}
	if n := len(uses) - since(uses, now, window); n >= rate.Requests {
		wait = window - now.Sub(uses[len(uses)-rate.Requests].at)
	}
	// The newest with which its followers and this one are too many bytes: until it has left.
	counted := uses[since(uses, now, span):]
	i := sort.Search(len(counted), func(i int) bool { return bytesOf(counted[i:])+int64(one.bytes) <= size.Bytes })
	if i > 0 {
		if later := span - now.Sub(counted[i-1].at); later > wait {
			wait, large = later, true
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

// since is the place of the first use that is younger than a window.
func since(uses []use, now time.Time, window time.Duration) int {
	return sort.Search(len(uses), func(i int) bool { return now.Sub(uses[i].at) < window })
}

// bytesOf is how many bytes uses are that stand beside each other.
func bytesOf(uses []use) int64 {
	if len(uses) == 0 {
		return 0
	}
	return uses[len(uses)-1].sum - uses[0].sum + int64(uses[0].bytes)
}

// insert keeps uses in order, as two that come together may be counted in any.
func insert(uses []use, one use) []use {
	i := len(uses)
	for i > 0 && uses[i-1].at.After(one.at) {
		i--
	}
	return summed(slices.Insert(uses, i, one), i)
}

// summed sets the sums from a place on.
func summed(uses []use, from int) []use {
	for i := from; i < len(uses); i++ {
		uses[i].sum = int64(uses[i].bytes)
		if i > 0 {
			uses[i].sum += uses[i-1].sum
		}
	}
	return uses
}

// Count notes a message that was let in elsewhere, or before a restart, best in the order of
// time.
func (w *Windows) Count(key Key, at time.Time, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[Key][]use{}
	}
	w.seen[key] = insert(w.seen[key], use{at: at, bytes: bytes})
}

// Forget counts nothing of a key any more.
func (w *Windows) Forget(key Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, key)
}

// Used says how many messages are counted within a window.
func (w *Windows) Used(key Key, window time.Duration, now time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	uses := w.seen[key]
	return len(uses) - since(uses, now, window)
}

// UsedBytes says how much of messages is counted within a window.
func (w *Windows) UsedBytes(key Key, window time.Duration, now time.Time) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	uses := w.seen[key]
	return bytesOf(uses[since(uses, now, window):])
}

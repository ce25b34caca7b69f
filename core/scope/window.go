package scope

import (
	"slices"
	"sort"
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
	sum   int64 // of bytes, with all before it, counted from any start
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
			t.w.seen[t.key] = summed(slices.Delete(uses, i, i+1), i)
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

// Count notes a message that was let in before a restart. Call it before the
// first Allow, best in the order of time.
func (d *Checker) Count(peer core.PublicKey, intent string, at time.Time, bytes int) {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	if d.windows.seen == nil {
		d.windows.seen = map[windowKey][]use{}
	}
	key := windowKey{peer, intent}
	d.windows.seen[key] = insert(d.windows.seen[key], use{at: at, bytes: bytes})
}

// Used says how many messages of an intent are counted within a window.
func (d *Checker) Used(peer core.PublicKey, intent string, window time.Duration, now time.Time) int {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	uses := d.windows.seen[windowKey{peer, intent}]
	return len(uses) - since(uses, now, window)
}

// UsedBytes says how much of messages of an intent is counted within a window.
func (d *Checker) UsedBytes(peer core.PublicKey, intent string, window time.Duration, now time.Time) int64 {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	uses := d.windows.seen[windowKey{peer, intent}]
	return bytesOf(uses[since(uses, now, window):])
}

// Counted is what the limits of grants look back on: how many messages of one intent at
// the most, and how far.
func Counted(grants []core.Grant) (requests int, back time.Duration) {
	for _, grant := range grants {
		if rate := grant.RateLimit; rate != nil {
			requests, back = max(requests, rate.Requests), max(back, min(rate.Window(), core.MaxRateWindow))
		}
		if size := grant.ByteLimit; size != nil {
			back = max(back, min(size.Window(), core.MaxRateWindow))
		}
	}
	return requests, back
}

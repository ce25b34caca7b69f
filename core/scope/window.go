package scope

import (
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// windows counts by key and intent: one time for each message let in, so that a
// limit holds in every window there is, not only in aligned ones.
type windows struct {
	mu   sync.Mutex // guards seen
	seen map[windowKey][]time.Time
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
	at  time.Time
}

// Return gives the token back: the message was not let in after all.
func (t Token) Return() {
	if t.w == nil {
		return
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	times := t.w.seen[t.key]
	for i := len(times) - 1; i >= 0; i-- {
		if times[i].Equal(t.at) {
			t.w.seen[t.key] = append(times[:i], times[i+1:]...)
			return
		}
	}
}

// take counts one if the limit allows it, else says how long until it does.
func (w *windows) take(key windowKey, rate core.RateLimit, now time.Time) (bool, time.Duration) {
	if rate.Requests < 1 || rate.WindowSeconds < 1 {
		return false, time.Hour // a grant of nothing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[windowKey][]time.Time{}
	}
	window := windowOf(rate)
	times := w.seen[key]
	// Times are in order. Those that have left the window are of no use to this
	// limit; a limit that is widened later starts from what is left.
	gone := 0
	for gone < len(times) && now.Sub(times[gone]) >= window {
		gone++
	}
	if gone > 0 {
		times = append(times[:0], times[gone:]...)
		w.seen[key] = times
	}
	if len(times) >= rate.Requests {
		return false, window - now.Sub(times[len(times)-rate.Requests])
	}
	w.seen[key] = insert(times, now)
	return true, 0
}

// windowOf is a limit's window. One beyond core.MaxRateWindow counts as core.MaxRateWindow: so does
// one that is more nanoseconds than a time.Duration holds.
func windowOf(rate core.RateLimit) time.Duration {
	if rate.WindowSeconds > int(core.MaxRateWindow/time.Second) {
		return core.MaxRateWindow
	}
	return rate.Window()
}

// insert keeps times in order, as two that come together may be counted in any.
func insert(times []time.Time, t time.Time) []time.Time {
	i := len(times)
	for i > 0 && times[i-1].After(t) {
		i--
	}
	return slices.Insert(times, i, t)
}

// Count notes a message that was let in before a restart. Call it before the
// first Allow, best in the order of time.
func (d *Checker) Count(peer core.PublicKey, intent string, at time.Time) {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	if d.windows.seen == nil {
		d.windows.seen = map[windowKey][]time.Time{}
	}
	key := windowKey{peer, intent}
	d.windows.seen[key] = insert(d.windows.seen[key], at)
}

// Used says how many messages of an intent are counted within a window.
func (d *Checker) Used(peer core.PublicKey, intent string, window time.Duration, now time.Time) int {
	d.windows.mu.Lock()
	defer d.windows.mu.Unlock()
	n := 0
	for _, t := range d.windows.seen[windowKey{peer, intent}] {
		if now.Sub(t) < window {
			n++
		}
	}
	return n
}

package rendezvous

import (
	"sync"
	"time"
)

// maxFloodWait bounds the Retry-After under a flood of wrong codes.
const maxFloodWait = time.Minute

// flood bounds the wrong codes from all addresses together. While it lasts wrong
// ones are refused with a time to wait, which doubles with each minute's worth of
// them; a right one is answered, as its asker is bounded by itself. Safe for
// concurrent use.
//
// docs/threat-model.md#v4
type flood struct {
	interval, slack time.Duration

	mu      sync.Mutex // guards the rest
	at      int64      // when all misses are earned back, Unix ns
	refused int64      // in this flood
}

func newFlood(perMinute int) *flood {
	interval := time.Minute / time.Duration(max(perMinute, 1))
	return &flood{interval: interval, slack: time.Minute}
}

// on reports whether there are too many wrong codes.
func (f *flood) on(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := time.Duration(f.at-now.UnixNano()) - f.slack
	if wait < -f.slack/2 { // half of it earned back: over
		f.refused = 0
	}
	return wait > 0
}

// refuse counts a refusal in a flood and returns when to come again.
func (f *flood) refuse(now time.Time) (retryAfter time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := time.Duration(f.at-now.UnixNano()) - f.slack
	f.refused++
	perMinute := int64(time.Minute / f.interval)
	for level := f.refused / perMinute; level > 0 && wait < maxFloodWait; level /= 2 {
		wait = 2 * max(wait, time.Second)
	}
	return min(wait, maxFloodWait)
}

func (f *flood) miss(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = max(f.at, now.UnixNano()) + int64(f.interval)
}

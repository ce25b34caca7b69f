package rendezvous

import (
	"sync"
	"time"
)

// maxFloodWait bounds the Retry-After under a flood of wrong codes.
const maxFloodWait = time.Minute

// flood bounds the wrong codes from all addresses together. While it lasts every
// code is refused unseen, and the time to wait doubles with each wrong code's
// worth of refusals, so that honest clients come back when it is over. Safe for
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

func (f *flood) check(now time.Time) (ok bool, retryAfter time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := time.Duration(f.at-now.UnixNano()) - f.slack
	if wait <= 0 {
		if wait < -f.slack/2 { // half of it earned back: over
			f.refused = 0
		}
		return true, 0
	}
	f.refused++
	perMinute := int64(time.Minute / f.interval)
	for level := f.refused / perMinute; level > 0 && wait < maxFloodWait; level /= 2 {
		wait = 2 * max(wait, time.Second)
	}
	return false, min(wait, maxFloodWait)
}

func (f *flood) miss(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = max(f.at, now.UnixNano()) + int64(f.interval)
}

package core

import (
	"math/rand/v2"
	"time"
)

// Backoff is how long to wait after a failed attempt, counted from 1: first, then
// twice as long each time, up to most. The result is spread over the upper half
// of that, so that those who failed together do not come back together.
func Backoff(attempt int, first, most time.Duration) time.Duration {
	d := first << min(max(attempt, 1)-1, 30)
	if d <= 0 || d > most {
		d = most
	}
	return d/2 + rand.N(d/2+1)
}

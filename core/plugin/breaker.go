package plugin

import (
	"errors"
	"time"
)

// breaker sets a plugin aside that fails again and again: after failuresInARow for firstRest, then, for as long
// as the one call that is tried afterwards fails too, for twice as long each time up to longestRest.
type breaker struct {
	row   int
	rests int
	until time.Time
	last  string // the last failure's text
}

const (
	failuresInARow = 5
	firstRest      = 15 * time.Second
	longestRest    = 10 * time.Minute
)

func (b *breaker) resting(now time.Time) time.Duration { return max(0, b.until.Sub(now)) }

// report notes an outcome and says for how long the plugin now rests, if it begins to.
func (b *breaker) report(err error, now time.Time) time.Duration {
	if err == nil || errors.Is(err, Failed) {
		b.row, b.rests = 0, 0
		if err != nil {
			b.last = err.Error()
		}
		return 0
	}
	if errors.Is(err, Canceled) || errors.Is(err, Busy) || errors.Is(err, Denied) {
		return 0
	}
	b.last = err.Error()
	if b.row++; b.row < failuresInARow {
		return 0
	}
	rest := min(firstRest<<min(b.rests, 10), longestRest)
	b.row = failuresInARow - 1 // one more failure after the rest begins the next
	b.rests++
	b.until = now.Add(rest)
	return rest
}

// resting says for how long calls are refused.
func (p *Plugin) resting(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.breaker.until.IsZero() {
		return 0
	}
	return p.breaker.resting(p.host.now())
}

func (p *Plugin) report(err error) {
	p.mu.Lock()
	rest := p.breaker.report(err, p.host.now())
	p.mu.Unlock()
	if rest > 0 {
		p.host.log.Error("plugin set aside", "plugin", p.name, "rest", rest, "error", err)
	}
}

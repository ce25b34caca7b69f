package plugin

import (
	"errors"
	"time"
)

// breaker pauses a plugin that fails again and again: after failuresInARow for firstPause, then, for as long
// as the one call that is tried afterwards fails too, for twice as long each time up to longestPause.
type breaker struct {
	row    int
	pauses int
	until  time.Time
	last   string // the last failure's text
	failed int    // calls that failed since the last one that worked
}

const (
	failuresInARow = 5
	firstPause     = 15 * time.Second
	longestPause   = 10 * time.Minute
)

func (b *breaker) paused(now time.Time) time.Duration { return max(0, b.until.Sub(now)) }

// report notes an outcome and says for how long the plugin is now paused, if it begins to be.
func (b *breaker) report(err error, now time.Time) time.Duration {
	if err == nil {
		b.row, b.pauses, b.failed = 0, 0, 0
		return 0
	}
	if errors.Is(err, Canceled) || errors.Is(err, Busy) || errors.Is(err, Denied) {
		return 0
	}
	b.last = err.Error()
	b.failed++
	if errors.Is(err, Failed) {
		b.row, b.pauses = 0, 0
		return 0
	}
	if b.row++; b.row < failuresInARow {
		return 0
	}
	pause := min(firstPause<<min(b.pauses, 10), longestPause)
	b.row = failuresInARow - 1 // one more failure after the pause begins the next
	b.pauses++
	b.until = now.Add(pause)
	return pause
}

// paused says for how long calls are refused.
func (p *Plugin) paused() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.breaker.paused(p.host.now())
}

func (p *Plugin) report(err error) {
	p.mu.Lock()
	pause := p.breaker.report(err, p.host.now())
	p.mu.Unlock()
	if pause > 0 {
		p.host.log.Error("plugin paused after repeated failures", "plugin", p.name, "pause", pause, "error", err)
	}
}

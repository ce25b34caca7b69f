package rendezvous

import "time"

// preservation watches the renewals. When far fewer come than must, the fault is
// rather our network's than theirs, and nobody is forgotten for a while. After
// Netflix Eureka's self-preservation mode, whose 85 % is the one here.
type preservation struct {
	interval time.Duration // how often a record is renewed
	least    int64         // fewer live records than this prove nothing

	started time.Time // of the window
	live    int64     // at its start
	renewed int64     // the counters at its start
	dropped int64
	skip    bool      // the window after a hold: the dead go first
	until   time.Time // of the hold
}

const (
	preserveWindow = time.Minute // below the 90 s after which records expire
	preserveShare  = 0.85
	preserveHold   = 5 * time.Minute
)

// tick judges the window once it is over. It returns until when nothing may expire;
// zero when all is well. Only records of the ordinary life count: one of a day has
// most of it left when a renewal fails.
func (p *preservation) tick(now time.Time, c Counts) time.Time {
	took := now.Sub(p.started)
	if p.started.IsZero() || took >= preserveWindow {
		left := p.live - (c.Dropped - p.dropped)
		expected := float64(left) * float64(took) / float64(p.interval)
		switch {
		case p.started.IsZero() || now.Before(p.until):
		case c.Renewed < p.renewed: // the store has lost what it knew, and all come back
		case p.skip:
			p.skip = false
		case left >= p.least && float64(c.Renewed-p.renewed) < preserveShare*expected:
			p.until, p.skip = now.Add(preserveHold), true
		}
		p.started, p.live, p.renewed, p.dropped = now, c.Brief, c.Renewed, c.Dropped
	}
	if now.Before(p.until) {
		return p.until
	}
	return time.Time{}
}

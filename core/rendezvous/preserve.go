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

// tick judges the window once it is over. renewed and dropped count renewals and
// deregistrations since the start of the server, live is how many records there
// are now. It returns until when nothing may expire; zero when all is well.
func (p *preservation) tick(now time.Time, renewed, dropped, live int64) time.Time {
	took := now.Sub(p.started)
	if p.started.IsZero() || took >= preserveWindow {
		left := p.live - (dropped - p.dropped)
		expected := float64(left) * float64(took) / float64(p.interval)
		switch {
		case p.started.IsZero() || now.Before(p.until):
		case p.skip:
			p.skip = false
		case left >= p.least && float64(renewed-p.renewed) < preserveShare*expected:
			p.until, p.skip = now.Add(preserveHold), true
		}
		p.started, p.live, p.renewed, p.dropped = now, live, renewed, dropped
	}
	if now.Before(p.until) {
		return p.until
	}
	return time.Time{}
}

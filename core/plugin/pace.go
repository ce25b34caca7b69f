package plugin

import (
	"slices"
	"sync"
	"time"
)

// Pace is how long the last calls took, and what they cost.
type Pace struct {
	Calls     int     `json:"calls"` // that it is of, at most 256
	P50Micros float64 `json:"p50Micros"`
	P99Micros float64 `json:"p99Micros"`
	Work      int64   `json:"work"` // units of work of a call, at the median
	MostWork  int64   `json:"mostWork"`
}

// PaceOf is the pace of calls that took so many nanoseconds and units of work, each at least one. It sorts both.
func PaceOf(nanos, work []int64) Pace {
	slices.Sort(nanos)
	slices.Sort(work)
	n := len(nanos)
	at := func(share float64) int { return min(int(share*float64(n)), n-1) }
	return Pace{n, float64(nanos[at(0.5)]) / 1000, float64(nanos[at(0.99)]) / 1000, work[at(0.5)], work[n-1]}
}

// PaceHour is what the calls of an hour took, each on average.
type PaceHour struct {
	From   time.Time `json:"from"`
	Calls  int64     `json:"calls"`
	Micros float64   `json:"micros"`
	Work   int64     `json:"work"` // units of work
}

// mostHours is how far back the hours go.
const mostHours = 48

type hour struct{ n, calls, nanos, work int64 } // n: hours since 1970

// Paces remembers the last calls, and the hours of the last two days. The zero value remembers none; safe for concurrent use.
type Paces struct {
	mu   sync.Mutex // guards the rest
	next int
	took []int64 // nanoseconds
	work []int64

	hours [mostHours]hour
}

const mostPaces = 256

// Add remembers a call.
func (p *Paces) Add(took time.Duration, work int64) {
	n := time.Now().Unix() / 3600
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &p.hours[n%mostHours]
	if h.n != n {
		*h = hour{n: n}
	}
	h.calls, h.nanos, h.work = h.calls+1, h.nanos+took.Nanoseconds(), h.work+work
	if len(p.took) < mostPaces {
		p.took, p.work = append(p.took, took.Nanoseconds()), append(p.work, work)
		return
	}
	p.took[p.next], p.work[p.next] = took.Nanoseconds(), work
	p.next = (p.next + 1) % mostPaces
}

// Pace is that of the calls that are remembered; nil where there are none.
func (p *Paces) Pace() *Pace {
	p.mu.Lock()
	took, work := slices.Clone(p.took), slices.Clone(p.work)
	p.mu.Unlock()
	if len(took) == 0 {
		return nil
	}
	out := PaceOf(took, work)
	return &out
}

// Hours are those of the last two days that had calls, the oldest first.
func (p *Paces) Hours() (out []PaceHour) {
	oldest := time.Now().Unix()/3600 - mostHours
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.hours {
		if h.n > oldest && h.calls > 0 {
			out = append(out, PaceHour{time.Unix(h.n*3600, 0).UTC(), h.calls, float64(h.nanos) / float64(h.calls) / 1000, h.work / h.calls})
		}
	}
	slices.SortFunc(out, func(a, b PaceHour) int { return a.From.Compare(b.From) })
	return out
}

package brake

import (
	"sync"
	"time"
)

// Use is what is counted.
type Use struct {
	Messages int   `json:"messages,omitzero" koanf:"messages" unit:"messages" check:"0.." doc:"Messages that reach the agent. 0: no limit."`
	Bytes    int64 `json:"bytes,omitzero" koanf:"bytes" unit:"bytes" check:"0.." doc:"The size of those messages. 0: no limit."`
	Runs     int   `json:"runs,omitzero" koanf:"runs" unit:"runs" check:"0.." doc:"Runs of the agent: each notice is one, however many messages it tells of. 0: no limit."`
	Tokens   int64 `json:"tokens,omitzero" koanf:"tokens" unit:"tokens" check:"0.." doc:"Tokens of the agent's model, where its notifier reports them. 0: no limit."`
}

// Plus adds.
func (u Use) Plus(v Use) Use {
	return Use{u.Messages + v.Messages, u.Bytes + v.Bytes, u.Runs + v.Runs, u.Tokens + v.Tokens}
}

// Over reports whether a count is beyond a bound, of which zero members bound nothing.
func (u Use) Over(most Use) bool {
	return most.Messages > 0 && u.Messages > most.Messages || most.Bytes > 0 && u.Bytes > most.Bytes ||
		most.Runs > 0 && u.Runs > most.Runs || most.Tokens > 0 && u.Tokens > most.Tokens
}

const hours = 24

// bucket is the use of one hour.
type bucket struct {
	hour int64 // since 1970
	use  Use
}

// Tally counts uses by key over the last 24 hours, by the hour: what is older than 24
// hours counts no more, what is younger than 23 does. Its zero value is ready. Safe for
// concurrent use.
type Tally[K comparable] struct {
	mu   sync.Mutex // guards days
	days map[K]*[hours]bucket
}

// Take adds a use if the count stays within a bound, and reports whether it did.
func (t *Tally[K]) Take(k K, now time.Time, u, most Use) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of(k, now).Plus(u).Over(most) {
		return false
	}
	t.add(k, now, u)
	return true
}

// Add adds a use, whatever the count.
func (t *Tally[K]) Add(k K, at time.Time, u Use) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(k, at, u)
}

// Of is what was counted in the 24 hours before now.
func (t *Tally[K]) Of(k K, now time.Time) Use {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of(k, now)
}

// Each calls f with every count that is not zero. f must not use the tally.
func (t *Tally[K]) Each(now time.Time, f func(K, Use)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.days {
		if u := t.of(k, now); u != (Use{}) {
			f(k, u)
		}
	}
}

func (t *Tally[K]) of(k K, now time.Time) (sum Use) {
	t.each(k, now, func(_ int64, u Use) { sum = sum.Plus(u) })
	return sum
}

// hours calls f with what was counted in each of the 24 hours before now.
func (t *Tally[K]) hours(k K, now time.Time, f func(hour int64, u Use)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each(k, now, f)
}

func (t *Tally[K]) each(k K, now time.Time, f func(hour int64, u Use)) {
	day, hour := t.days[k], hourOf(now)
	if day == nil {
		return
	}
	for _, b := range day {
		if b.hour > hour-hours && b.hour <= hour {
			f(b.hour, b.use)
		}
	}
}

func (t *Tally[K]) add(k K, at time.Time, u Use) {
	if t.days == nil {
		t.days = map[K]*[hours]bucket{}
	}
	hour := hourOf(at)
	day := t.days[k]
	if day == nil {
		for other := range t.days { // forget one or two that count nothing, so that it stays small
			if t.of(other, at) != (Use{}) {
				break
			}
			delete(t.days, other)
		}
		day = new([hours]bucket)
		t.days[k] = day
	}
	b := &day[hour%hours]
	switch {
	case b.hour > hour: // older than what is counted
	case b.hour < hour:
		*b = bucket{hour, u}
	default:
		b.use = b.use.Plus(u)
	}
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

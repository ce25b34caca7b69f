package history

import (
	"context"
	"time"
)

// Params say how a history is shown. Zero fields are the defaults.
type Params struct {
	Step  int `json:"step,omitempty"`  // minutes of a point; 0: 1
	Hours int `json:"hours,omitempty"` // how far back, at the most 24; 0: 24
	Peers int `json:"peers,omitempty"` // how many of the busiest peers; 0: 50
}

// View is the last day, or the part of it that we were running.
type View struct {
	Since   time.Time `json:"since"`   // when we began to count
	Step    int       `json:"step"`    // minutes of a point
	Points  []Point   `json:"points"`  // the oldest first, without gaps
	Plugins []Plugin  `json:"plugins"` // in all
	Peers   []Peer    `json:"-"`       // the busiest within 24 hours
	All     Traffic   `json:"all"`     // of all peers within 24 hours
	Talking int       `json:"talking"` // how many peers have sent or received
}

// Point is what happened within one step. Queues are as long, and the oldest in them as
// old, as they were at their worst.
type Point struct {
	At             time.Time `json:"at"`    // when it began
	Known          bool      `json:"known"` // we were running
	Accepted       int       `json:"accepted"`
	Refused        int       `json:"refused"` // envelopes of any kind
	Held           int       `json:"held"`
	Sent           int       `json:"sent"`
	Questions      int       `json:"questions"`      // put to policies
	QuestionMillis float64   `json:"questionMillis"` // mean time of an answer
	Commits        int       `json:"commits"`        // transactions of the store
	CommitMillis   float64   `json:"commitMillis"`   // mean time of one, to disk
	Outbox         int       `json:"outbox"`         // waiting for peers
	OutboxAge      int       `json:"outboxAge"`      // seconds
	Deliveries     int       `json:"deliveries"`     // waiting for notifiers
	DeliveryAge    int       `json:"deliveryAge"`    // seconds
	Waiting        int       `json:"waiting"`        // held messages
	Plugins        []Plugin  `json:"plugins,omitempty"`
}

func mean(sum time.Duration, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(sum.Microseconds()) / float64(n) / 1000
}

// View shows what is kept.
func (h *History) View(ctx context.Context, p Params) (View, error) {
	h.sample(ctx)
	now := h.o.Now()
	step := int64(min(max(p.Step, 1), 120))
	span := int64(p.Hours) * 60
	if span <= 0 || span > minutes {
		span = minutes
	}
	v := View{Since: h.start, Step: int(step), Points: []Point{}, Plugins: []Plugin{}, Peers: []Peer{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	last := now.Unix() / 60
	for at := (last - span + step) / step * step; at <= last; at += step {
		point := h.point(at, min(step, last-at+1))
		v.Points = append(v.Points, point)
		for _, x := range point.Plugins {
			v.Plugins = addPlugin(v.Plugins, x)
		}
	}
	most := p.Peers
	if most <= 0 {
		most = 50
	}
	all := h.busiest(now)
	v.All, v.Talking = sum(&h.others, now), len(all)
	for _, x := range all {
		v.All.add(x.Traffic)
	}
	v.Peers = append(v.Peers, all[:min(len(all), most)]...)
	return v, nil
}

// point sums up some minutes. The caller holds mu.
func (h *History) point(from, n int64) Point {
	out := Point{At: time.Unix(from*60, 0).UTC()}
	var questions, batches uint64
	var asked, committed time.Duration
	for at := from; at < from+n; at++ {
		m := &h.ring[at%minutes]
		if m.at != at {
			continue
		}
		out.Known = true
		out.Accepted += int(m.accepted)
		out.Held += int(m.held)
		out.Sent += int(m.sent)
		out.Refused += int(m.refused)
		questions, batches, asked, committed = questions+m.questions, batches+m.batches, asked+m.asked, committed+m.committed
		out.Outbox, out.OutboxAge = max(out.Outbox, m.outbox), max(out.OutboxAge, m.outAged)
		out.Deliveries, out.DeliveryAge = max(out.Deliveries, m.deliveries), max(out.DeliveryAge, m.aged)
		out.Waiting = max(out.Waiting, m.waits)
		for _, p := range m.plugins {
			out.Plugins = addPlugin(out.Plugins, p)
		}
	}
	out.Questions, out.QuestionMillis = int(questions), mean(asked, questions)
	out.Commits, out.CommitMillis = int(batches), mean(committed, batches)
	return out
}

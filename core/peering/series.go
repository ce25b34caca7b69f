package peering

import (
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// A peer is asked about a hint in rounds, which make a series.
// docs/protocol.md#confirmation

// maxSeriesADay is how many series hints begin, for each peer.
const maxSeriesADay = 6

// maxImmuneDays is the longest that a peer is immune against removal hints.
const maxImmuneDays = 30

// Due is when a peer is to be asked next.
func Due(p *core.Peer, rounds []time.Duration) time.Time {
	a := &p.Asking
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	switch {
	case a.Series != nil:
		sooner(a.Series.From.Add(roundAt(a.Series, rounds)))
	case a.Pending != 0 && len(a.Started) >= maxSeriesADay:
		sooner(a.Started[len(a.Started)-maxSeriesADay].Add(24 * time.Hour))
	case a.Pending != 0:
		return time.Unix(0, 0)
	}
	if a.Series == nil && StateOf(p).InDoubt() {
		sooner(a.Next)
	}
	if !a.Confirm.IsZero() {
		sooner(a.Confirm)
	}
	return at
}

// roundAt is when a series' next round is, from its beginning.
func roundAt(s *core.Series, rounds []time.Duration) time.Duration {
	if s.Prompt && s.Round == 0 {
		return 0
	}
	return rounds[min(s.Round, len(rounds)-1)]
}

// Hint notes in a record that the peer is to be asked about something. request is
// what it asked for, for HintRequest. prompt says that the peer wrote down what it
// did before it told us, so that it can be asked at once.
func Hint(p *core.Peer, about core.Hint, now time.Time, request *core.Request, prompt bool) {
	a := &p.Asking
	a.Started = slices.DeleteFunc(slices.Clone(a.Started), func(t time.Time) bool { return now.Sub(t) >= 24*time.Hour })
	if a.Series != nil || len(a.Started) >= maxSeriesADay {
		a.Pending |= about
		return
	}
	a.Started = append(a.Started, now)
	a.Series = &core.Series{About: about, From: now, Request: request, Prompt: prompt}
}

// Restart gives the record without a series that is about the record as it no longer
// is, and with the one that is pending, if there may be one.
func Restart(p *core.Peer, now time.Time) *core.Peer {
	next := p.Clone()
	a := &next.Asking
	if a.Series != nil && a.Series.Revision != p.Revision {
		a.Series = nil
	}
	if a.Series == nil && StateOf(next).InDoubt() && a.Next.Before(now) {
		a.Next = now
	}
	HintPending(next, now)
	return next
}

// HintPending notes what is pending, where no series runs: see [Hint].
func HintPending(p *core.Peer, now time.Time) {
	if about := p.Asking.Pending; about != 0 && p.Asking.Series == nil {
		p.Asking.Pending = 0
		Hint(p, about, now, nil, false)
	}
}

// Refuted makes a peer immune against removal hints for a while, as one was none of
// its own: a day, and twice as long each time, up to a month. docs/threat-model.md#t10
func Refuted(p *core.Peer, now time.Time) {
	days := min(max(1, 2*p.Asking.ImmuneDays), maxImmuneDays)
	if p.Asking.ImmuneDays > 0 && now.Sub(p.Asking.Immune) > 2*maxImmuneDays*24*time.Hour {
		days = 1 // long ago
	}
	p.Asking.ImmuneDays, p.Asking.Immune = days, now.Add(time.Duration(days)*24*time.Hour)
}

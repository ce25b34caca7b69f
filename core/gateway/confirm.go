package gateway

import (
	"context"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// The bounds of asking. docs/threat-model.md#t10
const (
	maxRoundsAtOnce = 8 // in all
	doubtLife       = 30 * 24 * time.Hour
)

// confirmer asks peers whether they have us approved, when something that proves
// nothing by itself says so or the contrary. What it asks, and when, is in the
// peers' records, so that it survives a restart.
//
// docs/threat-model.md#t10
type confirmer struct {
	*state
	trust *trust // set once, before anything runs
	due   *queue.Engine[core.PublicKey]
}

func newConfirmer(s *state) *confirmer {
	c := &confirmer{state: s}
	c.due = queue.New(maxRoundsAtOnce, c.askDue)
	return c
}

// run asks those who are due until ctx is done.
func (c *confirmer) run(ctx context.Context) {
	for _, p := range c.peers.All() { // also those that another node has had to ask
		c.plan(p)
	}
	c.due.Run(ctx)
}

// plan has a peer asked when it is due.
func (c *confirmer) plan(p *core.Peer) {
	if peers.Asks(p) {
		c.due.In(p.Key, c.until(p))
	}
}

// until is how long it takes until a peer is to be asked, or looked at again: the clock
// may be set meanwhile.
func (c *confirmer) until(p *core.Peer) time.Duration {
	return min(peering.Due(p, c.times().Rounds).Sub(c.o.Now()), time.Hour)
}

func inDoubt(p *core.Peer) bool { return peering.StateOf(p).InDoubt() }

func (s *state) times() *ours.Times { return &s.settings.Load().Times }

// askDue asks one peer one round, if it is due, and does what it means. It returns after
// how long to look again; zero: there is nothing to ask.
func (c *confirmer) askDue(ctx context.Context, k core.PublicKey) time.Duration {
	p := c.peers.Get(k)
	if p == nil || !peers.Asks(p) {
		return 0
	}
	if wait := c.until(p); wait > 0 {
		return wait
	}
	a := p.Asking
	var h heard
	pending := a.Series == nil && a.Pending != 0 && !inDoubt(p)
	if !pending {
		h = c.round(ctx, p, p.URL)
		if ctx.Err() != nil {
			return 0
		}
	}
	next, err := c.transition(ctx, k, func(now *core.Peer, st *step) (*core.Peer, error) {
		if now == nil {
			return nil, nil
		}
		if now.Revision != p.Revision || pending || a.Series != nil && (now.Asking.Series == nil || !now.Asking.Series.From.Equal(a.Series.From)) {
			return peering.Restart(now, st.now), nil
		}
		return c.heard(now, h, st)
	})
	if err != nil {
		c.log.Error("what a peer said was not stored", "peer", p.Name(), "err", err)
		return 5 * time.Second
	}
	if next == nil || !peers.Asks(next) {
		return 0
	}
	return max(c.until(next), 50*time.Millisecond)
}

// heard does what a peer's word means for its record.
func (c *confirmer) heard(p *core.Peer, h heard, st *step) (*core.Peer, error) {
	next := p.Clone()
	confirm := !p.Asking.Confirm.IsZero() && !p.Asking.Confirm.After(st.now)
	if confirm {
		next.Asking.Confirm = time.Time{}
		if h.word == core.HeardNo && !h.unknown && peering.StateOf(p) == peering.Approved && p.Asking.Series == nil && mayResend(p, st.now) {
			next.Asking.Resent = true // it had not written our approval down, or over it
			item, err := c.trust.tellApproved(next, true, st)
			if err != nil {
				return nil, err
			}
			item.GiveUp = p.Asking.Ordered.Add(outbox.ApproveWithin)
		}
	}
	if h.card.Version != "" {
		next.Version = h.card.Version
	}
	if h.signed {
		next.V2, next.OldForm = true, false
	}
	h.rename(next, c.self)
	if err := c.trust.sure(next, h, st); err != nil {
		return nil, err
	}
	series := next.Asking.Series
	if series == nil {
		if !inDoubt(p) {
			return next, nil
		}
		return c.heardInDoubt(next, h, st)
	}
	series.Round++
	if h.word != core.HeardNil {
		series.Heard = h.word
	}
	next, err := c.act(next, series, h, st)
	if err != nil {
		return nil, err
	}
	series = next.Asking.Series
	if series != nil && series.Round >= len(c.times().Rounds) {
		if next, err = c.close(next, series, h, st); err != nil {
			return nil, err
		}
	}
	if inDoubt(next) {
		c.trust.tellOfDoubt(next, st)
	}
	return next, nil
}

// act does at once what a round of a series means.
func (c *confirmer) act(p *core.Peer, series *core.Series, h heard, st *step) (*core.Peer, error) {
	state, removal := peering.StateOf(p), series.About&core.HintRemoval != 0
	switch {
	case h.word == core.HeardYes && state.InDoubt():
		next, err := c.again(c.trust.restored(p, peering.Yes, st))
		if err == nil && removal {
			peering.Refuted(next, st.now)
		}
		return next, err
	case h.word == core.HeardYes && state == peering.Requested && series.About&(core.HintApproval|core.HintRequest) != 0:
		return c.trust.heardYes(p, nil, st)
	case h.word == core.HeardNo && h.signed && (state == peering.Lapsed || state == peering.Unconfirmed && series.About&core.HintRequest != 0):
		return c.trust.lost(p, peering.Lost, series.Request, st)
	case h.word == core.HeardNo && state == peering.Unconfirmed && h.signed:
		return c.trust.partedBy(st, p, peering.RemovedBy)
	case h.word == core.HeardNo && state.InDoubt():
		p.Doubt.Heard = core.HeardNo
	case h.word == core.HeardNo && state == peering.Approved && removal:
		p.Asking.Immune = time.Time{}
		next, err := peering.Apply(p, peering.No, st.now)
		if err == nil {
			next.Doubt.Heard = core.HeardNo
		}
		return c.again(next, err)
	case h.word == core.HeardNo && state == peering.Approved && h.signed && series.About&core.HintRequest != 0:
		return c.trust.lost(p, peering.Lost, series.Request, st)
	}
	return p, nil
}

// again ties an open series to the record that it has changed itself.
func (c *confirmer) again(next *core.Peer, err error) (*core.Peer, error) {
	if err == nil && next.Asking.Series != nil {
		next.Asking.Series.Revision = 0
	}
	return next, err
}

// close ends a series: the last yes or no decides.
func (c *confirmer) close(p *core.Peer, series *core.Series, h heard, st *step) (*core.Peer, error) {
	about, said := series.About, series.Heard
	p.Asking.Series = nil
	state := peering.StateOf(p)
	if state == peering.Approved && said == core.HeardYes && about&core.HintRemoval != 0 && !st.now.Before(p.Asking.Immune) {
		peering.Refuted(p, st.now)
	}
	if said == core.HeardNo && (state == peering.Approved || state == peering.Unconfirmed) && about&core.HintRequest != 0 {
		next, err := c.trust.lost(p, peering.Lapse, series.Request, st)
		if err != nil {
			return nil, err
		}
		p = next
		p.Doubt.Heard = core.HeardNo
	}
	if inDoubt(p) {
		p.Asking.Next = st.now.Add(c.times().Silent)
		if said == core.HeardNo {
			p.Asking.Next = st.now.Add(c.times().No)
		}
	}
	peering.HintPending(p, st.now)
	return p, nil
}

// heardInDoubt does what a round means that no series asked, as the record is in
// doubt.
func (c *confirmer) heardInDoubt(p *core.Peer, h heard, st *step) (*core.Peer, error) {
	p.Asking.Next = st.now.Add(c.times().Silent)
	switch {
	case h.word == core.HeardYes:
		next, err := c.trust.restored(p, peering.Yes, st)
		if err == nil {
			peering.Refuted(next, st.now)
		}
		return next, err
	case h.word == core.HeardNo && h.signed && peering.StateOf(p) == peering.Lapsed:
		return c.trust.lost(p, peering.Lost, nil, st)
	case h.word == core.HeardNo && h.signed:
		return c.trust.partedBy(st, p, peering.RemovedBy)
	case h.word == core.HeardNo:
		p.Doubt.Heard = core.HeardNo
		p.Asking.Next = st.now.Add(c.times().No)
	}
	if st.now.Sub(p.Doubt.Since) >= doubtLife {
		if peering.StateOf(p) == peering.Lapsed {
			return peering.Apply(p, peering.Expired, st.now)
		}
		return c.trust.partedBy(st, p, peering.Expired)
	}
	if p.Asking.Pending != 0 {
		return peering.Restart(p, st.now), nil
	}
	return p, nil
}

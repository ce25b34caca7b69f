package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// The bounds of asking. docs/threat-model.md#t10
const (
	maxRoundsAtOnce = 8 // in all
	doubtLife       = 30 * 24 * time.Hour
	maxImmuneDays   = 30
)

// confirmer asks peers whether they have us approved, when something that proves
// nothing by itself says so or the contrary. What it asks, and when, is in the
// peers' records, so that it survives a restart.
//
// docs/threat-model.md#t10
type confirmer struct {
	*state
	trust *trust // set once, before anything runs
	work  chan struct{}

	busyMu sync.Mutex // guards busy
	busy   map[core.PublicKey]bool
}

func newConfirmer(s *state) *confirmer {
	return &confirmer{state: s, work: make(chan struct{}, 1), busy: map[core.PublicKey]bool{}}
}

// look makes the confirmer look for what is due.
func (c *confirmer) look() {
	select {
	case c.work <- struct{}{}:
	default:
	}
}

func inDoubt(p *core.Peer) bool { return peering.StateOf(p).InDoubt() }

func (s *state) times() *Times { return &s.settings.Load().Times }

// run asks what is due until ctx is done.
func (c *confirmer) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxRoundsAtOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.work:
		case <-timer.C:
		}
		now, next := c.o.Now(), c.o.Now().Add(time.Hour)
		for _, p := range c.peers.ToAsk() {
			at := peering.Due(p, c.times().Rounds)
			if at.After(now) {
				if at.Before(next) {
					next = at
				}
				continue
			}
			if !c.take(p.Key) {
				continue
			}
			wg.Go(func() {
				defer c.look()
				defer c.give(p.Key)
				select {
				case slots <- struct{}{}:
					c.askDue(ctx, p.Key)
					<-slots
				case <-ctx.Done():
				}
			})
		}
		timer.Reset(max(next.Sub(now), 50*time.Millisecond))
	}
}

func (c *confirmer) take(k core.PublicKey) bool {
	c.busyMu.Lock()
	defer c.busyMu.Unlock()
	if c.busy[k] {
		return false
	}
	c.busy[k] = true
	return true
}

func (c *confirmer) give(k core.PublicKey) {
	c.busyMu.Lock()
	defer c.busyMu.Unlock()
	delete(c.busy, k)
}

// askDue asks one peer one round, and does what it means.
func (c *confirmer) askDue(ctx context.Context, k core.PublicKey) {
	p := c.peers.Get(k)
	if p == nil || !peers.Asks(p) || peering.Due(p, c.times().Rounds).After(c.o.Now()) {
		return
	}
	a := p.Asking
	var h heard
	pending := a.Series == nil && a.Pending != 0 && !inDoubt(p)
	if !pending {
		h = c.round(ctx, p, p.URL)
		if ctx.Err() != nil {
			return
		}
	}
	_, err := c.transition(ctx, k, func(now *core.Peer, st *step) (*core.Peer, error) {
		if now == nil {
			return nil, nil
		}
		if now.Revision != p.Revision || pending || a.Series != nil && (now.Asking.Series == nil || !now.Asking.Series.From.Equal(a.Series.From)) {
			return c.restart(now, st), nil
		}
		return c.heard(now, h, st)
	})
	if err != nil {
		c.log.Error("what a peer said was not stored", "peer", p.Name(), "err", err)
		wait(ctx, 5*time.Second)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// restart drops a series that is about a record as it no longer is, and begins the
// one that is pending, if there may be one.
func (c *confirmer) restart(p *core.Peer, st *step) *core.Peer {
	next := p.Clone()
	a := &next.Asking
	if a.Series != nil && a.Series.Revision != p.Revision {
		a.Series = nil
	}
	if inDoubt(next) && a.Series == nil && a.Next.Before(st.now) {
		a.Next = st.now
	}
	if a.Series == nil && a.Pending != 0 {
		about := a.Pending
		a.Pending = 0
		peering.Hint(next, about, st.now, nil, false)
	}
	return next
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
	c.rename(next, h)
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
			refuted(next, st.now)
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
		refuted(p, st.now)
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
	if pending := p.Asking.Pending; pending != 0 {
		p.Asking.Pending = 0
		peering.Hint(p, pending, st.now, nil, false)
	}
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
			refuted(next, st.now)
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
		return c.restart(p, st), nil
	}
	return p, nil
}

// refuted makes a peer immune against removal hints for a while, as one was none of
// its own.
func refuted(p *core.Peer, now time.Time) {
	days := min(max(1, 2*p.Asking.ImmuneDays), maxImmuneDays)
	if p.Asking.ImmuneDays > 0 && now.Sub(p.Asking.Immune) > 2*maxImmuneDays*24*time.Hour {
		days = 1 // long ago
	}
	p.Asking.ImmuneDays, p.Asking.Immune = days, now.Add(time.Duration(days)*24*time.Hour)
}

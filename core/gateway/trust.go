package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/budget"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// trust makes and ends federations: it changes peers by the table of core/peering, at
// the word of the operator, of a policy, or of an envelope that is signed, timed and
// for us. What is less is a hint, about which the confirmer asks.
//
// docs/threat-model.md#t10
type trust struct {
	*state
	asks    budget.ByNetwork
	changes budget.ByKey // of what approved peers may send without end
	fetches chan struct{}

	background sync.WaitGroup
	stop       context.Context
	cancel     context.CancelFunc
}

func newTrust(s *state) *trust {
	t := &trust{state: s, fetches: make(chan struct{}, maxFetches), changes: budget.ByKey{Most: maxChanges, Window: time.Hour}}
	t.stop, t.cancel = context.WithCancel(context.Background())
	return t
}

// inBackground runs f in the background of the gateway's life.
func (g *trust) inBackground(f func(ctx context.Context)) {
	g.background.Go(func() { f(g.stop) })
}

// The refusals that several ways share.
var (
	errNotApproved = core.Refuse(core.NotApproved, "Peer not approved")
	errUnknownPeer = core.Refuse(core.NotFound, "Unknown peer")
	errNoPending   = core.Refuse(core.NotFound, "No pending peer found")
	errOldForm     = core.Refuse(core.BadSignature, "v2 signature required")
)

func isApproved(p *core.Peer) bool { return p.Trust == core.Approved }

func sameKey(text string, k core.PublicKey) bool { return strings.EqualFold(text, k.String()) }

// sender returns the approved peer that a verified envelope is from, and holds it to
// the newest signature that it has shown. docs/threat-model.md#l7
func (g *trust) sender(ctx context.Context, k core.PublicKey, v2 bool) (*core.Peer, error) {
	p := g.peers.Get(k)
	switch {
	case p == nil || !isApproved(p):
		return nil, errNotApproved
	case p.V2 && !v2:
		return nil, g.oldForm(ctx, p)
	case !v2 || p.V2:
		return p, nil
	}
	return g.transition(context.WithoutCancel(ctx), k, func(p *core.Peer, _ *step) (*core.Peer, error) {
		switch {
		case p == nil || !isApproved(p):
			return nil, errNotApproved
		case p.V2: // another message was faster
			return nil, nil
		}
		next := p.Clone()
		next.V2 = true
		return next, nil
	})
}

// oldForm refuses a verified envelope in the old form of a peer that has shown v2,
// and tells the operator once what to do if it has gone back to an older gateway.
//
// docs/threat-model.md#t12
func (g *trust) oldForm(ctx context.Context, p *core.Peer) error {
	_, err := g.transition(ctx, p.Key, func(p *core.Peer, st *step) (*core.Peer, error) {
		if p != nil {
			g.warn(st, p, "old form", 24*time.Hour, "%s has signed in the v2 form before and now sends the old form, which is refused, as anyone could have stripped it. "+
				"If its operator has gone back to an older gateway: \"ogp federation remove %s\", and let it ask again.", p.Name(), p.Name())
		}
		return nil, nil
	})
	return errors.Join(errOldForm, err)
}

// sure notes that a peer says it has approved us: what it has refused of our approvals
// is not tried again.
func (g *trust) sure(p *core.Peer, h heard, st *step) error {
	if h.word != core.HeardYes {
		return nil
	}
	p.Asking.Sure = st.now
	return g.outbox.CancelApprovals(context.Background(), p.Key, "the peer says that it has approved us", true, &st.Change)
}

// restored makes a peer in doubt approved again, as whole as it was.
func (g *trust) restored(p *core.Peer, e peering.Event, st *step) (*core.Peer, error) {
	next, err := peering.Apply(p, e, st.now)
	if err != nil {
		return nil, err
	}
	st.digest.Restored++
	g.log.Info("a removal notice was refuted", "peer", p.Name(), "by", e)
	return next, nil
}

// restore makes a peer in doubt approved again by a verified message of its own,
// dated after the notice, that names us. docs/threat-model.md#t10
func (g *trust) restore(ctx context.Context, k core.PublicKey, v2 bool, sentAt time.Time, to string) error {
	_, err := g.transition(ctx, k, func(p *core.Peer, st *step) (*core.Peer, error) {
		if p == nil || !inDoubt(p) || p.V2 && !v2 || !sentAt.After(p.Doubt.Notice) || !g.settings.Load().Named(to) {
			return nil, nil
		}
		next, err := g.restored(p, peering.Restored, st)
		if err != nil {
			return nil, err
		}
		next.V2 = next.V2 || v2
		next.Asking.Series, next.Asking.Pending = nil, 0
		peering.Refuted(next, st.now)
		return next, nil
	})
	return err
}

// tellOfDoubt tells the agent of a removal in doubt, once: what becomes of it later
// goes into the digest, and that it becomes final is nothing new.
func (g *trust) tellOfDoubt(p *core.Peer, st *step) {
	if p.Doubt.Notified {
		return
	}
	p.Doubt.Notified = true
	if st.now.Sub(p.Asking.Notified) < 24*time.Hour {
		return
	}
	p.Asking.Notified = st.now
	st.Events = append(st.Events, g.removedEvent(p, core.Them))
}

// partedBy makes a removal final that came from the peer. One in doubt was told of
// before.
func (g *trust) partedBy(st *step, p *core.Peer, e peering.Event) (*core.Peer, error) {
	was := peering.StateOf(p)
	next, err := peering.Apply(p, e, st.now)
	if err != nil {
		return nil, errUnknownPeer
	}
	next.Asking = core.Asking{}
	if was.Waits() && p.ApprovedAt.IsZero() { // a stranger who withdraws is nobody's event
		return next, nil
	}
	if !was.InDoubt() || !p.Doubt.Notified || was == peering.Lapsed {
		st.Events = append(st.Events, g.removedEvent(next, core.Them))
	}
	return next, g.outbox.Cancel(context.Background(), p.Key, "the peer has removed us", &st.Change)
}

// lost takes an approved peer's request up that says, when asked, that it has us no
// more: a human says yes again. e is peering.Lost where that is proven, else
// peering.Lapse, by which nothing is lost for good.
func (g *trust) lost(p *core.Peer, e peering.Event, request *core.Request, st *step) (*core.Peer, error) {
	was := peering.StateOf(p)
	next, err := peering.Apply(p, e, st.now)
	if err != nil {
		return nil, err
	}
	next.Asking.Series = nil
	if was == peering.Lapsed { // it was told of then
		return next, g.outbox.Cancel(context.Background(), p.Key, "the peer has removed us and asks again", &st.Change)
	}
	next.Warning = "it was approved, and has lost or removed us"
	if request != nil {
		next.Names, next.Offered = peers.Names(request.Peer.Names()), peers.Words(request.OfferedIntents)
	}
	g.tellOfRequest(p.Trust, next, st)
	if e == peering.Lapse {
		next.Doubt.Notified, next.Doubt.Notice = true, st.now
		return next, nil
	}
	return next, g.outbox.Cancel(context.Background(), p.Key, "the peer has removed us and asks again", &st.Change)
}

// heardYes approves a peer that says it has approved us, where our operator has
// asked it: that is our own yes. grants may be nil for what it had or the defaults.
func (g *trust) heardYes(p *core.Peer, grants []core.Grant, st *step) (*core.Peer, error) {
	was := peering.StateOf(p)
	next, err := peering.Apply(p, peering.Yes, st.now)
	if err != nil {
		return nil, err
	}
	next.Asking.Series, next.Asking.Pending = nil, 0
	if was == peering.Approved || was.InDoubt() {
		return next, nil
	}
	if next.Granted == nil || len(grants) > 0 {
		g.grant(next, grants)
	}
	if _, err := g.tellApproved(next, true, st); err != nil {
		return nil, err
	}
	st.Events = append(st.Events, g.event(core.EventApproved, next, core.Them, "The peer says that it has approved us.",
		map[string]any{"unverified": next.Names, "gatewayUrl": next.URL}))
	return next, nil
}

// removedEvent tells of the end of a federation; both sides get one.
func (g *trust) removedEvent(p *core.Peer, by string) *core.Event {
	text := "We have removed the peer: the federation is terminated."
	data := map[string]any{"type": "federation_removed", "peerId": p.Key.ID(), "unverified": p.Names}
	if by == core.Them {
		text = "The peer has removed us: the federation is terminated."
		if inDoubt(p) {
			text = "The peer seems to have removed us. Nothing is sent to it or taken from it, and it is asked."
			data["unconfirmed"] = true
		}
	}
	return g.event(core.EventRemoved, p, by, text, data)
}

// grant gives a peer its grants; none means the configured ones. It never reads
// what the peer asked for. docs/threat-model.md#t9
func (g *trust) grant(p *core.Peer, grants []core.Grant) {
	if len(grants) == 0 {
		grants = g.settings.Load().Grants
	}
	p.Granted = &core.Bundle{Version: core.BundleVersion, GrantedAt: core.FormatTime(g.o.Now()), Scopes: slices.Clone(grants)}
}

// The bounds on what strangers and peers may leave with us.
const (
	maxFetches = 8  // cards of strangers that are looked at at the same time
	maxChanges = 30 // grants and identities that an approved peer may change in an hour
)

// takeChange counts a change of an approved peer's, or refuses it. Where several nodes share
// the store, that counts it with the change.
func (g *trust) takeChange(k core.PublicKey, st *step, what string) error {
	if g.memory.Shared() == nil {
		return g.changes.Take(k, st.now, what)
	}
	most := core.Unlimited(g.changes.Window)
	most.Rate.Requests = g.changes.Most
	st.Uses = append(st.Uses, core.Use{Peer: k, Of: core.UseChanged, At: st.now, Most: most, Over: "Too many " + what})
	return nil
}

// takeRequest counts a stranger's request toward what its network may have wait within an
// hour, and looks whether there is room for it, now that it is decided on. Where several
// nodes share the store, that counts it with the request.
func (g *trust) takeRequest(r *requester, next *core.Peer, st *step) error {
	if next == nil || r.invited || !peering.StateOf(r.peer).IsNothing() {
		return nil
	}
	if next.Trust == core.Pending && !g.roomInAll(r, len(st.digest.Withdrawn)) {
		return tooManyWait()
	}
	if block := budget.Network(r.from); r.counted && g.memory.Shared() != nil {
		most := core.Unlimited(time.Hour)
		most.Rate.Requests = g.settings.Load().Limits.PendingPerNetworkPerHour
		st.Uses = append(st.Uses, core.Use{Peer: budget.Key(block), Of: core.UseAsked, At: st.now, Most: most, Over: budget.TooManyOfNetwork})
	}
	return nil
}

// bookkeepingOf is bookkeeping for an envelope by its digest.
func bookkeepingOf(shape envelope.Shape, digest [32]byte) core.Nonce {
	return bookkeeping(shape, hex.EncodeToString(digest[:]))
}

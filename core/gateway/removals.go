package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// ReceiveRemoval takes the body of POST /federation/removed.
//
// docs/protocol.md#removed
func (g *trust) ReceiveRemoval(ctx context.Context, body []byte) (core.Answer, error) {
	return g.judged(ctx, "removed", func() (core.Answer, error) { return g.receiveRemoval(ctx, body) })
}

// removable reports whether a removal notice means anything for a peer.
func removable(p *core.Peer) bool { return !peering.StateOf(p).IsNothing() }

func (g *trust) receiveRemoval(ctx context.Context, body []byte) (core.Answer, error) {
	none := core.Answer{}
	opened, err := envelope.Open(g.opener(ctx), envelope.Removal, body, g.removers)
	if err != nil {
		return none, err
	}
	nonce := bookkeepingOf(envelope.ShapeRemoval, opened.Digest)
	if a, err := g.answered(ctx, opened.Key, nonce, opened.Digest); !errors.Is(err, core.NotFound) {
		return a, err
	}
	if p := g.peers.Get(opened.Key); p != nil && p.V2 && !opened.V2 && removable(p) {
		err := g.oldForm(ctx, p)
		var e *core.Error
		if errors.As(err, &e) && e.Kind == core.BadSignature {
			err = core.Refuse(core.Forbidden, e.Public)
		}
		return none, err
	}
	taken := core.Answer{}
	_, err = g.transition(ctx, opened.Key, func(p *core.Peer, st *step) (*core.Peer, error) {
		if p == nil || !removable(p) {
			return nil, errUnknownPeer
		}
		taken = answer.RemovalTaken(p.Key.ID())
		st.remember(p.Key, nonce, opened.Digest, taken)
		switch {
		case !opened.V2:
			return g.doubt(p, opened, st)
		case opened.SentAt.Before(p.ApprovedAt): // from before what is now
			return nil, core.Refuse(core.Conflict, "The removal is older than the federation")
		}
		next, err := g.partedBy(st, p, peering.RemovedBy)
		if err != nil {
			return nil, err
		}
		next.V2 = true
		if peering.StateOf(p).Waits() && p.ApprovedAt.IsZero() && p.Alias == "" && !p.Refused { // a stranger who withdraws leaves nothing but its place
			st.Forget = append(st.Forget, p.Key)
			st.digest.TakenBack(p.RequestedAt)
			return nil, nil
		}
		return next, nil
	})
	switch {
	case errors.Is(err, core.Replayed):
		return g.answered(ctx, opened.Key, nonce, opened.Digest)
	case err != nil:
		return none, err
	}
	g.peers.Contact(opened.Key, g.o.Now())
	return taken, nil
}

// removers finds the keys that a notice may be from. Those who have something to
// remove come first, and strangers cannot use up the tries of approved peers.
func (g *trust) removers(label string) ([]core.PublicKey, error) {
	fits := g.peers.Fits(label, isApproved)
	for _, wanted := range []func(*core.Peer) bool{
		func(p *core.Peer) bool { return removable(p) && !isApproved(p) },
		func(p *core.Peer) bool { return !removable(p) },
	} {
		fits = append(fits, g.peers.Fits(label, wanted)...)
	}
	if len(fits) == 0 {
		return nil, errUnknownPeer
	}
	return peers.Keys(fits), nil
}

// doubt takes a notice in the old form, which names nobody and has the text of a
// heartbeat that the peer's friends all hold. It acts at once, and reversibly.
//
// docs/threat-model.md#t5
func (g *trust) doubt(p *core.Peer, notice envelope.Opened[core.Removal], st *step) (*core.Peer, error) {
	next := p.Clone()
	next.Asking.Removal, next.Asking.Confirm = st.now, time.Time{}
	switch peering.StateOf(p) {
	case peering.Requested: // an approval still counts
		next.Warning = "a removal notice came that may be its own"
		return next, nil
	case peering.Approved:
		if st.now.Before(p.Asking.Immune) { // one like it was refuted; the peer is asked, and heard
			peering.Hint(next, core.HintRemoval, st.now, nil, false)
			return next, nil
		}
	}
	next, err := peering.Apply(next, peering.Doubted, st.now)
	if err != nil {
		return nil, errUnknownPeer
	}
	if notice.SentAt.After(next.Doubt.Notice) {
		next.Doubt.Notice = notice.SentAt
	}
	if peering.StateOf(next) == peering.Withdrawn {
		next.Warning = "perhaps withdrawn: a removal notice came that may be its own"
		return next, nil
	}
	about := core.HintRemoval
	if series := next.Asking.Series; series != nil && peering.StateOf(p) == peering.Approved { // what it asked about is no more
		about, next.Asking.Series = about|series.About, nil
	}
	peering.Hint(next, about, st.now, nil, false)
	if next.Asking.Series == nil { // too many today: it is asked later, and told of now
		g.tellOfDoubt(next, st)
	}
	return next, nil
}

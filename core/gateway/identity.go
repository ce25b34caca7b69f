package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// maxSeenIDs bounds how many identities in the old form a peer may ever send.
const maxSeenIDs = 64

// ReceiveIdentity takes the body of POST /federation/update-identity.
//
// docs/protocol.md#update-identity
func (g *trust) ReceiveIdentity(ctx context.Context, body []byte) (core.Answer, error) {
	return g.judged(ctx, "update-identity", func() (core.Answer, error) { return g.receiveIdentity(ctx, body) })
}

func (g *trust) receiveIdentity(ctx context.Context, body []byte) (core.Answer, error) {
	none := core.Answer{}
	opened, err := envelope.Open(g.opener(ctx), envelope.Identity, body, nil)
	if err != nil {
		return none, err
	}
	if p := g.peers.Get(opened.Key); p != nil && isApproved(p) && p.V2 && !opened.V2 {
		return none, g.oldForm(ctx, p)
	}
	taken := answer.IdentityTaken()
	next, err := g.transition(ctx, opened.Key, func(p *core.Peer, st *step) (*core.Peer, error) {
		switch {
		case p == nil:
			return nil, core.Refuse(core.NotFound, "Peer not found - no existing federation")
		case !isApproved(p):
			return nil, core.Refuse(core.Forbidden, "Cannot update identity - peer is not approved")
		}
		next := p.Clone()
		if opened.V2 {
			nonce := bookkeeping(envelope.ShapeIdentity, string(opened.Nonce))
			switch _, err := g.answered(ctx, p.Key, nonce, opened.Digest); {
			case errors.Is(err, core.NotFound):
			case err == nil, errors.Is(err, core.Conflict):
				return nil, nil
			default:
				return nil, err
			}
			next.V2 = true
			st.remember(p.Key, nonce, opened.Digest, taken)
		} else {
			// The old form has no time, so its very bytes count once for good.
			digest := hex.EncodeToString(opened.Digest[:16])
			if slices.Contains(p.SeenIDs, digest) {
				return nil, nil
			}
			if len(p.SeenIDs) >= maxSeenIDs {
				return nil, core.Refuse(core.Forbidden, "Too many identity updates without a time")
			}
			next.SeenIDs = append(next.SeenIDs, digest)
		}
		if err := g.takeChange(p.Key, st, "changes of identity"); err != nil {
			return nil, err
		}
		g.identify(next, opened.Value, opened.V2)
		return next, nil
	})
	if err != nil {
		return none, err
	}
	g.peers.Contact(opened.Key, g.o.Now())
	switch {
	case next.Claimed != "":
		g.inBackground(func(ctx context.Context) {
			if card, err := g.cardOf(ctx, next, next.Claimed); err == nil {
				g.moved(ctx, next, next.Claimed, card)
			}
		})
	case !opened.V2:
		g.inBackground(func(ctx context.Context) { g.readNames(ctx, next) })
	}
	return taken, nil
}

// identify writes what a peer says of itself into its record. The old form names
// nobody and has no time: of it only what no card says is taken, as claimed.
//
// docs/threat-model.md#t13
func (g *trust) identify(p *core.Peer, id core.Identity, v2 bool) {
	names := peers.Names(core.Names{DisplayName: id.DisplayName, Email: id.Email, HumanName: id.HumanName,
		AgentName: id.AgentName, Organization: id.Organization})
	if !v2 {
		names.DisplayName, names.Email = p.Names.DisplayName, p.Names.Email
	}
	p.Names = names
	if url, err := core.GatewayURL(id.GatewayURL); err == nil && v2 {
		p.Claimed = ""
		if url != p.URL {
			p.Claimed = url
		}
	}
}

// readNames reads a peer's names again from its card at the URL that we have.
func (g *trust) readNames(ctx context.Context, p *core.Peer) {
	card, err := g.cardOf(ctx, p, p.URL)
	if err != nil {
		return
	}
	_, err = g.change(ctx, p.Key, func(p *core.Peer) error {
		peers.TakeNames(p, card.DisplayName, card.Email)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		g.log.Error("names not stored", "peer", p.Name(), "err", err)
	}
}

// moved takes over the URL that a peer has said it has moved to, now that the card
// there has shown its key.
func (g *trust) moved(ctx context.Context, was *core.Peer, url string, card core.Card) {
	_, err := g.transition(ctx, was.Key, func(p *core.Peer, _ *step) (*core.Peer, error) {
		if p == nil || p.Claimed != url {
			return nil, nil
		}
		next := p.Clone()
		next.Claimed = ""
		if g.peers.ByURL(url, p.Key) != nil {
			next.Warning = "it claims the gateway URL of another peer"
			return next, nil
		}
		next.URL = url
		next.Features, next.Version = peers.Runs(card)
		return next, nil
	})
	if err != nil {
		g.log.Error("a peer's new URL was not stored", "peer", was.Name(), "err", err)
		return
	}
	g.log.Info("a peer has moved", "peer", was.Name(), "url", url)
	g.outbox.Alive(was.Key)
}

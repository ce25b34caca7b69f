package gateway

import (
	"context"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// runTell tells approved peers where we are and what we are called, when that is not
// what each was last told, until all know.
//
// docs/protocol.md#update-identity
func (g *trust) runTell(ctx context.Context) {
	g.assumeNotified(ctx)
	timer := time.NewTimer(min(tellFirst, g.times().Tell))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.changed:
			timer.Reset(min(tellFirst, g.times().Tell))
			continue
		case <-timer.C:
		}
		for _, p := range g.peers.Untold(g.settings.Load().Notified()) {
			if ctx.Err() != nil {
				return
			}
			if err := g.TellPeer(ctx, p.Key, false); err != nil {
				g.log.Info("a peer could not be told what we are", "peer", p.Name(), "err", err)
			}
		}
		timer.Reset(g.times().Tell)
	}
}

// assumeNotified takes it that peers of which nothing is on record know what we are now.
func (g *trust) assumeNotified(ctx context.Context) {
	s := g.settings.Load()
	for _, p := range g.peers.All() {
		if !isApproved(p) || p.Notified.URL != "" {
			continue
		}
		if _, err := g.change(ctx, p.Key, func(p *core.Peer) error { p.Notified = s.Notified(); return nil }); err != nil {
			g.log.Error("what a peer knows of us was not stored", "peer", p.Name(), "err", err)
			return
		}
	}
}

// tellFirst is how long after the start, or a change, peers are notified.
const tellFirst = 5 * time.Second

// TellPeer tells an approved peer where we are and what we are called. A peer that
// has not shown v2 hears of another URL by our approval, and of names by its own
// endpoint, if it has one. asked says that an operator asked for it.
//
// Errors are of kind NotApproved, or Unreachable and Refused as for Send.
func (g *trust) TellPeer(ctx context.Context, k core.PublicKey, asked bool) error {
	p := g.peers.Get(k)
	if p == nil {
		return errNoSuchPeer
	}
	if err := peering.NotApproved(p); err != nil {
		return err
	}
	s := g.settings.Load()
	notified := s.Notified()
	if !p.V2 && p.Notified.URL != s.URL {
		if !peers.HearsOfMoves(p) {
			return core.Refusef(core.Refused, "the version of %s cannot be told of another gateway URL", p.Name()).
				WithHint("its operator must ask for federation at " + s.URL)
		}
		item := g.approvalItem(p, true)
		if err := g.keep(ctx, &core.Change{Outbox: []*core.OutboxItem{item}}); err != nil {
			return err
		}
		if _, err := g.outbox.SendNow(ctx, item); err != nil {
			return err
		}
	}
	err := g.postIdentity(ctx, p, s)
	switch {
	case err == errNoIdentity:
		notified.Deaf = true
		if !asked {
			err = nil
		}
	case err != nil:
		return err
	}
	_, stored := g.change(ctx, k, func(p *core.Peer) error { p.Notified = notified; return nil })
	if err == nil {
		err = stored
	}
	return err
}

var errNoIdentity = &core.Error{Kind: core.Refused, Public: "the peer's version cannot be told of other names",
	Hint: "it has what it got with our request or approval"}

func (g *trust) postIdentity(ctx context.Context, p *core.Peer, s *ours.Settings) error {
	body, err := g.to(p).SealIdentity(p.Key, s.Identity())
	if err != nil {
		return err
	}
	got, err := g.o.Transport.Post(ctx, p.URL, core.PathIdentity, body)
	if err != nil {
		g.peers.Checked(p.Key, err, g.o.Now(), s.Health.Failures)
		return err
	}
	j := g.outbox.Judge(ctx, p, answer.Identity, got, answer.Try{})
	g.peers.Checked(p.Key, outbox.Unheard(j.Err()), g.o.Now(), s.Health.Failures)
	if j.Verdict == answer.NoEndpoint {
		return errNoIdentity
	}
	return j.Err()
}

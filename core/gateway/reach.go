package gateway

import (
	"context"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// reach looks after peers: our card, theirs, and whether envelopes get through.
type reach struct {
	*state
	trust *trust
}

// Card is the answer of GET /.well-known/ogp. The three values are those of the
// X-OGP headers; when they prove an approved peer, the card carries our view of
// it.
//
// docs/protocol.md#card
func (g *reach) Card(peerID, timestamp, signature string) core.Card {
	card := g.settings.Load().Card(g.o.Version, g.handled())
	opened, err := envelope.Open(g.opener(context.Background()), envelope.CardRequest, envelope.CardRequestBody(peerID, timestamp, signature), func(label string) ([]core.PublicKey, error) {
		return peers.Keys(g.peers.Fits(label, isApproved)), nil
	})
	if err != nil {
		return card
	}
	now := g.o.Now()
	g.peers.Contact(opened.Key, now)
	card.PeerStatus = g.peerStatus(opened.Key, now)
	return card
}

func (g *reach) peerStatus(k core.PublicKey, now time.Time) *core.PeerStatus {
	h := g.peers.Health(k)
	status := &core.PeerStatus{PeerID: k.ID(), Healthy: h.Failures < g.settings.Load().Health.Failures, HealthCheckFailures: h.Failures}
	if word := h.Word(now, 2*g.settings.Load().Health.Interval); word != "" {
		status.HealthState = &word
	}
	at := func(t time.Time) *string {
		if t.IsZero() {
			return nil
		}
		text := core.FormatTime(t)
		return &text
	}
	status.LastCheckedAt, status.LastCheckFailedAt = at(h.LastCheck), at(h.LastFailure)
	return status
}

// Pong is the answer of GET /federation/ping.
func (g *reach) Pong() core.Pong { return g.settings.Load().Pong(g.o.Now()) }

const maxChecksAtOnce = 8

// runChecks looks after every approved peer each interval, spread over the
// interval's last fifth.
func (g *reach) runChecks(ctx context.Context) {
	for {
		every := g.settings.Load().Health.Interval
		if every < 0 {
			every = time.Hour
		}
		if core.Sleep(ctx, every*9/10+rand.N(every/5+1)); ctx.Err() != nil {
			return
		}
		if g.settings.Load().Health.Interval > 0 {
			g.CheckPeers(ctx)
		}
	}
}

// CheckPeers gets the card of every peer that is approved, or removed without its
// word, and notes how it went. A card with another key than the peer's is a failure.
func (g *reach) CheckPeers(ctx context.Context) {
	slots := make(chan struct{}, maxChecksAtOnce)
	var wg sync.WaitGroup
	for _, p := range g.peers.All() {
		if !isApproved(p) && !inDoubt(p) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			_, _ = g.CheckPeer(ctx, p)
		})
	}
	wg.Wait()
}

// CheckPeer gets one peer's card, compares its key with the pinned one, and
// notes how it went.
func (g *reach) CheckPeer(ctx context.Context, p *core.Peer) (core.Card, error) {
	failing := g.peers.Health(p.Key).Failures > 0
	card, err := g.cardOf(ctx, p, p.URL)
	if ctx.Err() == nil || err == nil {
		g.peers.Checked(p.Key, err, g.o.Now(), g.settings.Load().Health.Failures)
	}
	if err == nil {
		g.outbox.Alive(p.Key)
	}
	if p.Claimed != "" {
		if moved, err := g.cardOf(ctx, p, p.Claimed); err == nil {
			g.trust.moved(ctx, p, p.Claimed, moved)
			return moved, nil
		}
	}
	if err != nil {
		return card, err
	}
	features, version := peers.Runs(card)
	askNow := failing && inDoubt(p) && p.Doubt.Heard == core.HeardNil && p.Asking.Series == nil
	if version == p.Version && slices.Equal(features, p.Features) && !askNow {
		return card, nil
	}
	_, err = g.change(ctx, p.Key, func(p *core.Peer) error {
		p.Features, p.Version = features, version
		if askNow && p.Doubt != nil {
			p.Asking.Next = g.o.Now().UTC()
		}
		return nil
	})
	return card, err
}

// cardOf gets the card at a URL, which must show the peer's key.
func (s *state) cardOf(ctx context.Context, p *core.Peer, url string) (core.Card, error) {
	limited, cancel := context.WithTimeout(ctx, s.settings.Load().Health.Timeout)
	defer cancel()
	card, err := s.o.Transport.Card(limited, url, nil)
	if err == nil && !sameKey(card.PublicKey, p.Key) {
		err = core.Refuse(core.Conflict, "another key answers at the peer's URL")
		s.log.Warn("another key answers at a peer's URL", "peer", p.Name(), "url", url)
	}
	return card, err
}

const pruneEvery = time.Hour

// runPrune forgets what has had its time.
func (g *reach) runPrune(ctx context.Context) {
	for core.Sleep(ctx, time.Minute); ctx.Err() == nil; core.Sleep(ctx, pruneEvery) {
		if err := g.Prune(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("prune", "err", err)
		}
	}
}

// Prune forgets envelopes, messages and requests that have had their time.
func (g *reach) Prune(ctx context.Context) error {
	s := g.settings.Load()
	now := g.o.Now()
	_, span := g.limits()
	if err := g.prunePending(ctx, now.Add(-s.Limits.PendingLife)); err != nil {
		return err
	}
	return g.o.Store.Prune(ctx, core.Cutoffs{
		Receipts: now.Add(-span - time.Hour),
		Inbox:    now.Add(-s.Inbox.Keep), Events: now.Add(-s.Inbox.Keep),
		Outbox:  now.Add(-s.KeepSent()),
		Replies: now,
	})
}

// prunePending forgets requests that nobody has answered. docs/threat-model.md#t6
func (s *state) prunePending(ctx context.Context, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decide(ctx, func(st *step) error {
		for _, p := range s.peers.All() {
			if peering.StateOf(p).Waits() && p.RequestedAt.Before(before) && p.ApprovedAt.IsZero() && !p.Refused {
				st.Forget = append(st.Forget, p.Key)
				st.Expect = append(st.Expect, core.Expect{Peer: p.Key, Revision: p.Revision})
			}
		}
		st.digest.Expire(before)
		if len(st.Forget) > 0 {
			s.log.Info("requests forgotten that nobody has answered", "count", len(st.Forget))
		}
		return nil
	})
}

// runDigest sends the digest of strangers' requests when it is due.
func (g *reach) runDigest(ctx context.Context) {
	core.Every(ctx, 15*time.Second, func(ctx context.Context) {
		if err := g.sendDigest(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("digest not kept", "err", err)
		}
	})
}

// Moved lists the approved peers that know another gateway URL of ours.
func (s *state) Moved() []*core.Peer {
	at := s.settings.Load().URL
	return slices.DeleteFunc(s.peers.Untold(s.settings.Load().Notified()), func(p *core.Peer) bool { return p.Notified.URL == "" || p.Notified.URL == at })
}

// PersonaOf resolves a message's toAgent to the persona that it reaches.
func (s *state) PersonaOf(toAgent string) (core.Persona, bool) {
	return s.settings.Load().Persona(toAgent)
}

// Peers returns all peers, the longest known first.
func (s *state) Peers() []*core.Peer { return s.peers.All() }

// PeersFrom lists peers, as peers.Index does.
func (s *state) PeersFrom(after peers.Place, state core.Trust) iter.Seq[*core.Peer] {
	return s.peers.From(after, state)
}

// PeerStates counts the peers by peers.Listed.
func (s *state) PeerStates() map[core.Trust]int { return s.peers.States() }

// Peer returns a peer by key, or nil.
func (s *state) Peer(k core.PublicKey) *core.Peer { return s.peers.Get(k) }

// Health says how a peer can be reached.
func (s *state) Health(k core.PublicKey) peering.Health { return s.peers.Health(k) }

// PingGateway asks a gateway whether it is there.
func (g *reach) PingGateway(ctx context.Context, url string) (core.Pong, time.Duration, error) {
	start := time.Now()
	pong, err := g.o.Transport.Ping(ctx, url)
	if err == nil {
		for _, p := range g.peers.Unsorted() {
			if p.URL == strings.TrimRight(url, "/") {
				g.outbox.Alive(p.Key)
			}
		}
	}
	return pong, time.Since(start), err
}

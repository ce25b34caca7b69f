package gateway

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// Card is the answer of GET /.well-known/ogp. The three values are those of the
// X-OGP headers; when they prove an approved peer, the card carries our view of
// it.
//
// docs/protocol.md#card
func (g *Gateway) Card(peerID, timestamp, signature string) core.Card {
	s := g.settings.Load()
	card := core.Card{
		Version: g.o.Version, DisplayName: s.Names.DisplayName, Email: s.Names.Email, GatewayURL: s.URL, PublicKey: g.self.String(),
		Capabilities: core.Capabilities{
			Intents:  g.intents(),
			Features: []string{core.FeatureScopes, core.FeatureReplies, core.FeatureHealth, core.FeaturePersonas, core.FeatureV2},
		},
		Endpoints: core.Endpoints{Request: s.URL + core.PathRequest, Approve: s.URL + core.PathApprove, Message: s.URL + core.PathMessage, Reply: s.URL + core.PathReply + ":nonce"},
		Agents:    s.Personas,
	}
	opened, err := envelope.Open(g.opener(), envelope.CardRequest, envelope.CardRequestBody(peerID, timestamp, signature), func(label string) ([]core.PublicKey, error) {
		return keysOf(g.peers.fits(label, func(p *core.Peer) bool { return p.Trust == core.Approved })), nil
	})
	if err != nil {
		return card
	}
	now := g.o.Now()
	g.peers.contact(opened.Key, now)
	card.PeerStatus = g.peerStatus(opened.Key, now)
	return card
}

func (g *Gateway) peerStatus(k core.PublicKey, now time.Time) *core.PeerStatus {
	h := g.peers.healthOf(k)
	status := &core.PeerStatus{PeerID: k.ID(), Healthy: h.Failures < g.settings.Load().CheckFailures, HealthCheckFailures: h.Failures}
	if word := h.Word(now, 2*g.settings.Load().CheckInterval); word != "" {
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
func (g *Gateway) Pong() core.Pong {
	s := g.settings.Load()
	return core.Pong{Pong: true, DisplayName: s.Names.DisplayName, GatewayURL: s.URL, Timestamp: core.FormatTime(g.o.Now())}
}

const maxChecksAtOnce = 8

// runChecks looks after every approved peer each interval, spread over the
// interval's last fifth.
func (g *Gateway) runChecks(ctx context.Context) {
	for {
		every := g.settings.Load().CheckInterval
		if every < 0 {
			every = time.Hour
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every*9/10 + rand.N(every/5+1)):
		}
		if g.settings.Load().CheckInterval > 0 {
			g.CheckPeers(ctx)
		}
	}
}

// CheckPeers gets the card of every approved peer and notes how it went. A card
// with another key than the peer's is a failure.
func (g *Gateway) CheckPeers(ctx context.Context) {
	slots := make(chan struct{}, maxChecksAtOnce)
	var wg sync.WaitGroup
	for _, p := range g.peers.all() {
		if p.Trust != core.Approved {
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
func (g *Gateway) CheckPeer(ctx context.Context, p *core.Peer) (core.Card, error) {
	s := g.settings.Load()
	limited, cancel := context.WithTimeout(ctx, s.CheckTimeout)
	defer cancel()
	card, err := g.o.Transport.Card(limited, p.URL, nil)
	if err == nil {
		key, perr := keys.Parse(card.PublicKey)
		if perr != nil || key != p.Key {
			err = core.Refuse(core.Conflict, "another key answers at the peer's URL")
			g.log.Warn("another key answers at a peer's URL", "peer", p.Name(), "url", p.URL)
		}
	}
	if ctx.Err() == nil || err == nil {
		g.peers.checked(p.Key, err, g.o.Now(), s.CheckFailures)
	}
	if err == nil {
		g.outbox.Alive(p.Key)
	}
	if err == nil {
		features, version := cleanIntents(card.Capabilities.Features), clean(card.Version, 32)
		if version != p.Version || !slices.Equal(features, p.Features) {
			_, err2 := g.change(ctx, p.Key, func(p *core.Peer) error {
				p.Features, p.Version = features, version
				return nil
			})
			return card, err2
		}
	}
	return card, err
}

const pruneEvery = time.Hour

// runPrune forgets what has had its time.
func (g *Gateway) runPrune(ctx context.Context) {
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := g.Prune(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("prune", "err", err)
		}
		timer.Reset(pruneEvery)
	}
}

// Prune forgets envelopes, messages and requests that have had their time.
func (g *Gateway) Prune(ctx context.Context) error {
	s := g.settings.Load()
	now := g.o.Now()
	if err := g.prunePending(ctx, now.Add(-s.PendingLife)); err != nil {
		return err
	}
	return g.o.Store.Prune(ctx, core.Cutoffs{
		Receipts: now.Add(-g.letterSpan() - time.Hour),
		Inbox:    now.Add(-s.InboxKeep), Events: now.Add(-s.InboxKeep),
		Outbox:  now.Add(-max(s.ReplyLife, 7*24*time.Hour)),
		Replies: now,
	})
}

// prunePending forgets requests that nobody has answered. docs/threat-model.md#t6
func (g *Gateway) prunePending(ctx context.Context, before time.Time) error {
	g.transitions.Lock()
	defer g.transitions.Unlock()
	change := &core.Change{}
	for _, p := range g.peers.all() {
		if p.Trust == core.Pending && p.RequestedAt.Before(before) && p.ApprovedAt.IsZero() {
			change.Forget = append(change.Forget, p.Key)
		}
	}
	if len(change.Forget) == 0 {
		return nil
	}
	g.log.Info("requests forgotten that nobody has answered", "count", len(change.Forget))
	return g.keep(ctx, change)
}

// runDigest sends the digest of strangers' requests when it is due.
func (g *Gateway) runDigest(ctx context.Context) {
	core.Every(ctx, 15*time.Second, func(ctx context.Context) {
		if err := g.sendDigest(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("digest not kept", "err", err)
		}
	})
}

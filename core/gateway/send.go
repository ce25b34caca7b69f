package gateway

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/follow"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// Sending is a message of ours.
type Sending struct {
	Intent         string
	Payload        core.Raw // JSON
	ToAgent        string
	ConversationID string
	WantReply      bool // ask for the reply at our own gateway URL even where that cannot be reached from elsewhere
	Now            bool // try once, and give up if that fails
	ByAgent        bool // the agent sends it, and not its human

	// Wait is how long to wait for the reply, once it has left or waits to; zero: not at
	// all. A reply that comes meanwhile is not told to the agent.
	Wait time.Duration
}

// Send signs a message and sends it. It is kept in the outbox first, so that it
// is tried again until the peer has it, unless Now says otherwise. The first try
// is made before Send returns: Outgoing.Err tells what came of it, and Outgoing.Reply has
// what came within the wait.
//
// Errors are of kind NotApproved or Malformed.
//
// docs/protocol.md#messages
func (g *replies) Send(ctx context.Context, k core.PublicKey, m Sending) (Outgoing, error) {
	nonce, over := envelope.NewNonce(), func() {}
	if m.Wait > 0 { // its reply may come before its own answer does
		over = g.awaits.Begin(ctx, awaitName(nonce))
	}
	out, err := follow.Judged(ctx, &g.memory, func() (Outgoing, error) { return g.send(ctx, k, nonce, m) })
	if m.Wait <= 0 || err != nil || out.Item.State != core.OutSent && out.Item.State != core.OutWaiting {
		over()
		return out, err
	}
	wait, cancel := context.WithTimeout(ctx, m.Wait)
	defer cancel()
	if out.Reply, err = g.awaitUntil(wait, out.Item, over); errors.Is(err, core.Unavailable) {
		err = nil
	}
	return out, err
}

func (g *replies) send(ctx context.Context, k core.PublicKey, nonce core.Nonce, m Sending) (Outgoing, error) {
	p := g.peers.Get(k)
	if p == nil {
		return Outgoing{}, core.Refuse(core.NotFound, "no such peer")
	}
	if err := peering.NotApproved(p); err != nil {
		return Outgoing{}, err
	}
	switch m.Intent {
	case "":
		return Outgoing{}, core.Refuse(core.Malformed, "the message has no intent")
	case core.IntentStatus:
		return Outgoing{}, core.Refusef(core.Malformed, "the intent %s is reserved", core.IntentStatus)
	}
	if m.ToAgent != "" && p.Version != "" && !p.HasFeature(core.FeaturePersonas) {
		return Outgoing{}, core.Refusef(core.Malformed, "Peer %s does not advertise the '%s' capability — --to-agent %s cannot be honored. Drop --to-agent or upgrade the peer.",
			p.Name(), core.FeaturePersonas, m.ToAgent) // the words of the gateways in the field
	}
	item := g.outbox.Item(k, core.OutMessage)
	item.Nonce = nonce
	item.Message = &core.Message{
		Intent: m.Intent, From: cmp.Or(p.OurLabel, g.self.ID()), To: peers.Label(p), ToAgent: m.ToAgent, Nonce: item.Nonce,
		ConversationID: m.ConversationID, Payload: m.Payload,
	}
	if m.Intent == core.IntentAgentComms && m.ConversationID == "" {
		item.Message.ConversationID = string(item.Nonce)
	}
	if url := g.settings.Load().URL; m.WantReply && url != "" || core.Reachable(url) {
		item.Message.ReplyTo = url + core.PathReply + string(item.Nonce)
	}
	// It is signed and stored in one commit: whatever becomes of us, the peer gets these
	// very bytes as long as their time is fresh.
	var err error
	if item.Message.Hops, err = g.o.Brake.Sends(k, item.Message.ConversationID, m.ByAgent); err != nil {
		return Outgoing{}, err
	}
	if item.Body, err = g.to(p).SealMessage(k, *item.Message); err != nil && !errors.Is(err, core.Unavailable) {
		return Outgoing{}, err
	} // what cannot be signed now is when it leaves
	item.SignedAt = item.Created
	if m.Now {
		item.GiveUp = item.Created
	}
	change := &core.Change{Outbox: []*core.OutboxItem{item}, Expect: []core.Expect{{Peer: k, Revision: p.Revision}}}
	if m.ByAgent {
		g.agentActs(change, core.EventAgentSent, p, Act{OutboxID: item.ID, Intent: m.Intent, Conversation: item.Message.ConversationID, Bytes: len(m.Payload)})
	}
	if err := g.keepFor(ctx, change, nobody); err != nil {
		return Outgoing{}, err
	}
	if m.Now {
		item, err = g.outbox.Once(ctx, item)
		return Outgoing{Peer: p, Item: item, Err: err}, nil
	}
	item, err = g.outbox.SendNow(ctx, item)
	return Outgoing{Peer: p, Item: item, Err: err}, nil
}

// outward is the gateway as its outbox sees it.
type outward struct {
	*state
	trust   *trust
	replies *replies
}

var _ outbox.Gateway = outward{}

func (o outward) Peer(k core.PublicKey) *core.Peer { return o.peers.Get(k) }

func (o outward) Tried(k core.PublicKey, err error) {
	o.peers.Checked(k, err, o.o.Now().UTC(), o.settings.Load().Health.Failures)
}

// Store also has it asked whether an approval has arrived, and what a message is answered.
func (o outward) Store(ctx context.Context, c *core.Change) error {
	if err := o.keep(ctx, c); err != nil {
		return err
	}
	for _, item := range c.Outbox {
		o.replies.poll(item, true)
		if item.Kind == core.OutApprove && item.State == core.OutSent && item.Nonce != "" {
			o.trust.approvalSent(item.Peer, item)
		}
	}
	return nil
}

func (o outward) OutboxSettings() outbox.Settings {
	s := o.settings.Load()
	return outbox.Settings{Times: queue.Times(s.Outbox), Window: s.Freshness.Window}
}

func (o outward) Seal(p *core.Peer, item *core.OutboxItem) ([]byte, error) {
	to := o.to(p)
	switch item.Kind {
	case core.OutMessage:
		return to.SealMessage(p.Key, *item.Message)
	case core.OutReply:
		return to.SealReply(p.Key, *item.Reply)
	case core.OutReject:
		no := false
		return to.SealApproval(p.Key, core.Approval{Approved: &no, FromPublicKey: o.self.String(), Nonce: envelope.NewNonce()})
	}
	return to.SealApproval(p.Key, o.settings.Load().Approval(p, item.Nonce))
}

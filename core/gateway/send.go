package gateway

import (
	"context"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// Sending is a message of ours.
type Sending struct {
	Intent         string
	Payload        core.Raw // JSON
	ToAgent        string
	ConversationID string
	WantReply      bool // ask for the reply at our own gateway URL
	Now            bool // try once, and give up if that fails
}

// Send signs a message and sends it. It is kept in the outbox first, so that it
// is tried again until the peer has it, unless Now says otherwise. The first try
// is made before Send returns: Outgoing.Err tells what came of it.
//
// Errors are of kind NotApproved or Malformed.
//
// docs/protocol.md#messages
func (g *Gateway) Send(ctx context.Context, k core.PublicKey, m Sending) (Outgoing, error) {
	p := g.peers.get(k)
	if p == nil {
		return Outgoing{}, core.Refuse(core.NotFound, "no such peer")
	}
	if p.Trust != core.Approved {
		e := core.Refusef(core.NotApproved, "%s is not approved, but %s", p.Name(), p.Trust)
		e.Hint = `"ogp federation list" shows where each peer stands`
		return Outgoing{}, e
	}
	if m.Intent == "" {
		return Outgoing{}, core.Refuse(core.Malformed, "no intent")
	}
	item := g.outbox.Item(k, core.OutMessage)
	item.Nonce = envelope.NewNonce()
	item.Message = &core.Message{
		Intent: m.Intent, From: g.self.ID(), To: k.ID(), ToAgent: m.ToAgent, Nonce: item.Nonce,
		ConversationID: m.ConversationID, Payload: m.Payload,
	}
	if m.Intent == core.IntentAgentComms && m.ConversationID == "" {
		item.Message.ConversationID = string(item.Nonce)
	}
	if m.WantReply {
		item.Message.ReplyTo = g.settings.Load().URL + core.PathReply + string(item.Nonce)
	}
	if p.Label != "" { // an old gateway knows itself by the id that it announced
		item.Message.To = p.Label
	}
	// It is signed and stored in one commit: whatever becomes of us, the peer gets these
	// very bytes as long as their time is fresh.
	var err error
	if item.Body, err = g.sealer.SealMessage(k, *item.Message); err != nil {
		return Outgoing{}, err
	}
	item.SignedAt = item.Created
	if m.Now {
		item.GiveUp = item.Created
	}
	if err := g.keep(ctx, &core.Change{Outbox: []*core.OutboxItem{item}}); err != nil {
		return Outgoing{}, err
	}
	if m.Now {
		item, err = g.outbox.Attempt(ctx, item, true)
		return Outgoing{p, item, err}, nil
	}
	item, err = g.outbox.SendNow(ctx, item)
	return Outgoing{p, item, err}, nil
}

// outward is the gateway as its outbox sees it.
type outward struct{ g *Gateway }

var _ outbox.Gateway = outward{}

func (o outward) Peer(k core.PublicKey) *core.Peer { return o.g.peers.get(k) }

func (o outward) Tried(k core.PublicKey, err error) {
	o.g.peers.checked(k, err, o.g.o.Now().UTC(), o.g.settings.Load().CheckFailures)
}

func (o outward) Store(ctx context.Context, c *core.Change) error { return o.g.keep(ctx, c) }

func (o outward) OutboxSettings() outbox.Settings {
	s := o.g.settings.Load()
	window := s.Window
	setDefault(&window, 5*time.Minute)
	return outbox.Settings{Times: queue.Times{First: s.OutboxFirst, Most: s.OutboxMax, GiveUp: s.OutboxGiveUp}, Window: window}
}

func (o outward) Seal(p *core.Peer, item *core.OutboxItem) ([]byte, error) {
	g := o.g
	switch item.Kind {
	case core.OutMessage:
		return g.sealer.SealMessage(p.Key, *item.Message)
	case core.OutReply:
		return g.sealer.SealReply(p.Key, *item.Reply)
	case core.OutReject:
		no := false
		return g.sealer.SealApproval(p.Key, core.Approval{Approved: &no, FromPublicKey: g.self.String(), Nonce: envelope.NewNonce()}), nil
	}
	return g.sealer.SealApproval(p.Key, g.approval(p, item)), nil
}

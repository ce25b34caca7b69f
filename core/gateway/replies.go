package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/follow"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// replies gives and takes the answers to messages.
type replies struct {
	*state
	trust  *trust
	awaits *lease.Awaits
	polls  *queue.Engine[string] // by outbox id: messages of which the answer is polled for
}

// InboxReply answers a kept message. It is sent to the sender's replyTo, if the
// message named one, and can be polled at our gateway either way. Outgoing.Item
// is nil when there is nowhere to send it. byAgent says that the agent answers, and not
// its human.
//
// Errors are of kind NotFound, NotApproved, Conflict (it has been answered) or
// Malformed.
//
// docs/protocol.md#replies
func (g *replies) InboxReply(ctx context.Context, id string, reply core.Reply, byAgent bool) (Outgoing, error) {
	out, err := follow.Judged(ctx, &g.memory, func() (out Outgoing, err error) {
		out.Peer, out.Item, err = g.keepReply(ctx, id, reply, byAgent, nil)
		return out, err
	})
	p, item := out.Peer, out.Item
	if err != nil || item == nil {
		return out, err
	}
	item, err = g.outbox.SendNow(ctx, item)
	return Outgoing{Peer: p, Item: item, Err: err}, nil
}

// ReplyBack keeps the agent's answer that a notifier has brought back, in one step with the
// notice that brought it: after a crash there are both or neither. It is sent by itself.
//
// Errors are as for InboxReply; with one, the notice is pending as it was.
//
// docs/threat-model.md#g3
func (g *replies) ReplyBack(ctx context.Context, d *core.Delivery, reply core.Reply) error {
	p, item, err := g.keepReply(ctx, d.EventID, reply, true, d)
	if err == nil && item != nil {
		g.outbox.Wake(p.Key)
	}
	return err
}

// keepReply writes our answer to a kept message down, and that the notice that brought it
// is delivered; nil: none did. item is nil when there is nowhere to send it.
func (g *replies) keepReply(ctx context.Context, id string, reply core.Reply, byAgent bool, notice *core.Delivery) (p *core.Peer, item *core.OutboxItem, err error) {
	unlock, err := g.locks.Lock(ctx, lockName{"inbox", core.PublicKey{}, id})
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	m, err := g.o.Store.InboxMessage(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	p = g.peers.Get(m.Peer)
	if p == nil || p.Trust != core.Approved {
		return nil, nil, core.Refuse(core.NotApproved, "the sender is no longer an approved peer")
	}
	if m.Reply != nil {
		return nil, nil, errAnswered
	}
	change := &core.Change{Inbox: []*core.InboxMessage{m}, Expect: []core.Expect{{Peer: p.Key, Revision: p.Revision}}}
	if err := g.replyTo(p, m, reply, change); err != nil {
		return nil, nil, err
	}
	g.once(change, p.Key, "answered", id)
	if byAgent {
		g.o.Brake.Answers(p.Key, m.Message.ConversationID)
		act := Act{InboxID: id, Intent: m.Message.Intent, Conversation: m.Message.ConversationID, Bytes: len(reply.Data) + len(reply.Error)}
		if notice != nil {
			act.Notifier = notice.Notifier
			change.Delivered = append(change.Delivered, notice)
		}
		g.agentActs(change, core.EventAgentReplied, p, act)
	}
	switch err := g.keepFor(ctx, change, nobody); {
	case errors.Is(err, core.Replayed):
		return nil, nil, errAnswered
	case err != nil:
		return nil, nil, err
	}
	if len(change.Outbox) > 0 {
		item = change.Outbox[0]
	}
	return p, item, nil
}

var errAnswered = core.Refuse(core.Conflict, "this message has been answered already")

// replyTo fills a change with our answer to a message.
func (g *replies) replyTo(p *core.Peer, m *core.InboxMessage, reply core.Reply, change *core.Change) error {
	s := g.settings.Load()
	now := g.o.Now().UTC()
	reply.Nonce, reply.From, reply.To = m.Message.Nonce, g.self.ID(), p.Key.ID()
	reply.Timestamp = core.FormatTime(now)
	kept := &core.StoredReply{Nonce: reply.Nonce, Peer: p.Key, Ours: true, Reply: reply, At: now, Expires: now.Add(s.Replies.Life)}
	body, err := g.signReply(p, kept)
	if err != nil && !errors.Is(err, core.Unavailable) { // else it is signed when it leaves
		return err
	}
	m.Status, m.Reply = core.InboxReplied, &reply
	change.Replies = append(change.Replies, kept)
	if m.Message.ReplyTo != "" {
		item := g.outbox.Item(p.Key, core.OutReply)
		item.Nonce, item.URL, item.Reply = reply.Nonce, m.Message.ReplyTo, &reply
		item.Body, item.SignedAt = body, now
		change.Outbox = append(change.Outbox, item)
	}
	return nil
}

// signReply signs an answer of ours for whoever polls, and returns its envelope.
func (s *state) signReply(p *core.Peer, r *core.StoredReply) ([]byte, error) {
	body, err := s.to(p).SealReply(p.Key, r.Reply)
	if err != nil {
		return nil, err
	}
	var sealed struct {
		ReplyStr  string   `json:"replyStr"`
		Signature string   `json:"signature"`
		V2        core.Raw `json:"v2"`
	}
	if err := json.Unmarshal(body, &sealed); err != nil {
		return nil, err
	}
	r.Text, r.Sig, r.V2 = sealed.ReplyStr, sealed.Signature, sealed.V2
	return body, nil
}

// ReceiveReply takes the body of POST /federation/reply/:nonce.
//
// docs/threat-model.md#r1
func (g *replies) ReceiveReply(ctx context.Context, nonce core.Nonce, body []byte) (core.Answer, error) {
	return g.judged(ctx, "reply", func() (core.Answer, error) { return g.receiveReply(ctx, nonce, body) })
}

func (g *replies) receiveReply(ctx context.Context, nonce core.Nonce, body []byte) (core.Answer, error) {
	none := core.Answer{}
	item, err := g.o.Store.OutboxByNonce(ctx, nonce)
	expected := err == nil && (item.State == core.OutWaiting || g.o.Now().Sub(left(item)) <= g.settings.Load().Replies.Life)
	if err != nil && !errors.Is(err, core.NotFound) {
		return none, err
	}
	var from []core.PublicKey
	if expected {
		from = append(from, item.Peer)
	}
	opened, err := envelope.Open(g.opener(ctx), envelope.Reply, body, envelope.From(from...))
	if errors.Is(err, core.BadSignature) && !expected {
		return none, core.Refuse(core.NotFound, "No reply is expected under this nonce")
	}
	if err != nil {
		return none, err
	}
	p, err := g.trust.sender(ctx, opened.Key, opened.V2)
	if err != nil {
		return none, err
	}
	if opened.Value.Nonce != nonce {
		return none, core.Refuse(core.Malformed, "The reply is for another nonce")
	}
	if err := g.takeReply(ctx, p, item, opened.Value); err != nil {
		return none, err
	}
	return answer.Received(), nil
}

// left is when a message of ours left, or else when it was made.
func left(item *core.OutboxItem) time.Time {
	if item.Done.IsZero() {
		return item.Created
	}
	return item.Done
}

// takeReply keeps a verified reply to a message of ours. A receipt gives way to a
// real answer; the same reply again changes nothing.
func (g *replies) takeReply(ctx context.Context, p *core.Peer, item *core.OutboxItem, r core.Reply) error {
	g.peers.Contact(p.Key, g.o.Now().UTC())
	unlock, err := g.outbox.LockReply(ctx, p.Key, r.Nonce)
	if err != nil {
		return err
	}
	defer unlock()
	if err = g.tryReply(ctx, p, item.ID, r); errors.Is(err, core.Moved) { // perhaps nobody waits any more
		err = g.tryReply(ctx, p, item.ID, r)
	}
	return err
}

// tryReply keeps a reply to the message of an id, by who waits for it now.
func (g *replies) tryReply(ctx context.Context, p *core.Peer, id string, r core.Reply) error {
	now := g.o.Now().UTC()
	item, err := g.o.Store.OutboxItem(ctx, id) // as it is now: a try of it may have ended in the meantime
	if err != nil {
		return err
	}
	old, err := g.o.Store.Reply(ctx, p.Key, r.Nonce)
	if err != nil && !errors.Is(err, core.NotFound) {
		return err
	}
	if err == nil {
		if answer.SameReply(old.Reply, r) || answer.IsReceipt(&r) {
			return nil
		}
		if !answer.IsReceipt(&old.Reply) {
			return core.Refuse(core.Conflict, "A different reply was received already")
		}
	}
	change := &core.Change{Expect: []core.Expect{{Peer: p.Key, Revision: p.Revision}}, Replies: []*core.StoredReply{{Nonce: r.Nonce, Peer: p.Key, Reply: r, At: now,
		Expires: now.Add(g.settings.Load().KeepSent())}}} // as long as what it answers
	if item.State == core.OutWaiting { // the peer has the message, whatever became of its answer
		next := *item
		next.State, next.Done, next.Error, next.Hint = core.OutSent, now, "", ""
		change.Outbox = append(change.Outbox, &next)
	}
	receipt := answer.IsReceipt(&r)
	change.Events = append(change.Events, g.event(core.EventReply, p, core.Them, "The peer has answered a message of ours.", map[string]any{
		"nonce": r.Nonce, "outboxId": item.ID, "success": r.Success, "data": r.Data, "error": clean(r.Error, 500), "receipt": receipt,
		"timestamp": clean(r.Timestamp, 40), "question": questionOf(item.Message)}))
	// A receipt is no news to the agent, and neither is what somebody is being shown.
	awaited, fences := g.awaits.Has(ctx, awaitName(r.Nonce))
	told := !receipt && !awaited
	change.Fences = fences
	g.once(change, p.Key, map[bool]string{true: "receipt", false: "replied"}[receipt], string(r.Nonce))
	if err = g.keepFor(ctx, change, func(string) bool { return told }); errors.Is(err, core.Replayed) {
		return nil // another node has it
	}
	return err
}

// question is a message of ours as its answer is told with.
type question struct {
	Intent         string `json:"intent"`
	Topic          string `json:"topic,omitempty"`
	ConversationID string `json:"conversationId,omitempty"`
	Text           string `json:"text,omitempty"`
}

func questionOf(m *core.Message) *question {
	if m == nil {
		return nil
	}
	q := &question{Intent: m.Intent, ConversationID: m.ConversationID}
	if topic, ok := topicOf(m); ok {
		q.Topic = topic
	}
	var payload struct {
		Text        string `json:"text"`
		Message     string `json:"message"`
		Description string `json:"description"`
		Summary     string `json:"summary"`
	}
	if json.Unmarshal(m.Payload, &payload) == nil {
		q.Text = clean(cmp.Or(payload.Text, payload.Message, payload.Description, payload.Summary), 500)
	}
	if q.Text == "" {
		q.Text = clean(string(m.Payload), 500)
	}
	return q
}

// awaitName names a reply that somebody waits for.
func awaitName(n core.Nonce) string { return "reply/" + string(n) }

// PollReply answers GET /federation/reply/:nonce. Anyone with the nonce may poll until
// the reply expires. One of ours comes with its signature.
//
// docs/threat-model.md#r1
func (g *replies) PollReply(ctx context.Context, nonce core.Nonce) (core.Answer, error) {
	r, err := g.o.Store.OurReply(ctx, nonce)
	if err != nil && !errors.Is(err, core.NotFound) {
		return core.Answer{}, err
	}
	if err != nil || !g.o.Now().Before(r.Expires) {
		return answer.NoReplyYet(nonce), nil
	}
	if p := g.peers.Get(r.Peer); r.Text == "" && p != nil { // it could not be signed when it was given
		if _, err := g.signReply(p, r); err != nil {
			return core.Answer{}, err
		}
	}
	return answer.Polled(nonce, r), nil
}

// pollEvery is how often AwaitReply asks the peer.
const pollEvery = 2 * time.Second

// AwaitReply waits for the reply to a message of ours, until ctx is done: for
// one that is posted to us, and, by polling, for one that is left at the peer.
// It returns the best that came: a receipt only when ctx ends. What it returns is not
// told to the agent.
//
// Errors are of kind Unavailable when nothing came in time.
func (g *replies) AwaitReply(ctx context.Context, item *core.OutboxItem) (*core.StoredReply, error) {
	return g.awaitUntil(ctx, item, g.awaits.Begin(ctx, awaitName(item.Nonce)))
}

// awaitUntil is AwaitReply for one that is awaited already, until over is called.
func (g *replies) awaitUntil(ctx context.Context, item *core.OutboxItem, over func()) (*core.StoredReply, error) {
	r, err := g.awaitReply(ctx, item)
	over()
	if err == nil && !answer.IsReceipt(&r.Reply) {
		return r, nil
	}
	// One that came while we stopped waiting was kept from the agent for us.
	late := context.WithoutCancel(ctx)
	unlock, lockErr := g.outbox.LockReply(late, item.Peer, item.Nonce)
	if lockErr != nil {
		return r, err
	}
	defer unlock()
	if now, readErr := g.o.Store.Reply(late, item.Peer, item.Nonce); readErr == nil && !answer.IsReceipt(&now.Reply) {
		return now, nil
	}
	return r, err
}

func (g *replies) awaitReply(ctx context.Context, item *core.OutboxItem) (*core.StoredReply, error) {
	events, stop := g.Watch()
	defer stop()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		// One that has come is found even if the time is just up.
		r, err := g.o.Store.Reply(context.WithoutCancel(ctx), item.Peer, item.Nonce)
		if err == nil && !answer.IsReceipt(&r.Reply) {
			return r, nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				return r, nil
			}
			return nil, core.Refuse(core.Unavailable, "no reply came in time")
		case e, open := <-events:
			if !open {
				events = nil // too many to keep up with; the ticker still looks
			} else if e.Type != core.EventReply || e.Peer != item.Peer {
				continue
			}
		case <-ticker.C:
			if err := g.pollPeer(ctx, item); err != nil {
				g.log.Debug("poll", "nonce", item.Nonce, "err", err)
			}
			ticker.Reset(pollPause(g.o.Now().Sub(item.Created) - 2*time.Minute)) // at first somebody sits and waits
		}
	}
}

// pollPeer asks the peer for its reply. One without a signature of that peer is
// not a reply.
func (g *replies) pollPeer(ctx context.Context, item *core.OutboxItem) error {
	p := g.peers.Get(item.Peer)
	if p == nil || p.Trust != core.Approved {
		return nil
	}
	a, err := g.o.Transport.PollReply(ctx, p.URL, item.Nonce)
	if err != nil || a.Status != http.StatusOK {
		return err
	}
	body, err := answer.ReplyIn(a.Body)
	if err != nil || body == nil {
		return err
	}
	opener := g.opener(ctx)
	opener.Near = nil // it was signed when it was given, and is bound to the nonce that we ask for
	opened, err := envelope.Open(opener, envelope.Reply, body, envelope.From(p.Key))
	if err != nil {
		return err
	}
	if opened.Value.Nonce != item.Nonce {
		return core.Refuse(core.Malformed, "reply for another nonce")
	}
	if _, err := g.trust.sender(ctx, opened.Key, opened.V2); err != nil {
		return err
	}
	return g.takeReply(ctx, p, item, opened.Value)
}

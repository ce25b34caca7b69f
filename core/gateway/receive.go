package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// inbound is the way of a message that comes in.
type inbound struct {
	*state
	trust   *trust
	replies *replies
	scopes  scope.Checker
}

// ReceiveMessage takes the body of POST /federation/message all its way: who,
// when, may, minds, answer, keep. It returns the answer, which may itself be a
// refusal that is on record, or an error for what is not recorded.
//
// docs/protocol.md#messages
func (g *inbound) ReceiveMessage(ctx context.Context, body []byte) (core.Answer, error) {
	return g.judged(ctx, "message", func() (core.Answer, error) { return g.receiveMessage(ctx, body) })
}

func (g *inbound) receiveMessage(ctx context.Context, body []byte) (core.Answer, error) {
	came := time.Now()
	opened, err := envelope.Open(g.opener(ctx), envelope.Message, body, g.messageKeys)
	if err != nil {
		if errors.Is(err, core.NotApproved) || errors.Is(err, core.UnknownPeer) {
			if seen := g.memory.Seen(); g.memory.Refresh(ctx, came) == nil && g.memory.Seen() != seen {
				return core.Answer{}, err // it is judged again
			}
			if a, ok, err := g.statusForOthers(body); ok {
				return a, err
			}
		}
		return core.Answer{}, err
	}
	if p := g.peers.Get(opened.Key); p != nil && inDoubt(p) { // restoring comes before answering
		if err := g.trust.restore(ctx, p.Key, opened.V2, opened.SentAt, opened.Value.To); err != nil {
			return core.Answer{}, err
		}
	}
	// The same envelope twice at the same time is decided on once.
	unlock, err := g.locks.Lock(ctx, lockName{"envelope", opened.Key, string(opened.Value.Nonce)})
	if err != nil {
		return core.Answer{}, err
	}
	defer unlock()
	for range maxJudged {
		if opened.Value.Intent == core.IntentStatus { // no commit judges our word
			if err := g.memory.Refresh(ctx, came); err != nil {
				return core.Answer{}, err
			}
		}
		began := time.Now()
		a, err := g.take(ctx, opened)
		if !errors.Is(err, core.Moved) {
			return a, err
		}
		if err := g.memory.Refresh(ctx, began); err != nil {
			return core.Answer{}, notStored(err)
		}
	}
	return core.Answer{}, &core.Error{Kind: core.Unavailable, Public: "Try again", RetryAfter: time.Second}
}

// maxJudged is how often a message is judged anew because its sender has changed
// meanwhile.
const maxJudged = 5

// take lets one verified message in. It returns an error of kind Moved, and has done
// nothing, when its sender's standing has changed while it was judged.
func (g *inbound) take(ctx context.Context, opened envelope.Opened[core.Message]) (core.Answer, error) {
	none := core.Answer{}
	s, m, seen := g.settings.Load(), &opened.Value, g.memory.Seen()
	p, err := g.trust.sender(ctx, opened.Key, opened.V2)
	if err != nil {
		return none, err
	}
	if err := addressed(s, m, p); err != nil {
		return none, err
	}
	now := g.o.Now()
	g.peers.Contact(p.Key, now)
	if m.Intent == core.IntentStatus && opened.V2 {
		return g.statusAnswer(p.Key, m.Nonce, true)
	}
	if a, err := g.answered(ctx, p.Key, m.Nonce, opened.Digest); !errors.Is(err, core.NotFound) {
		return a, err
	}

	topic, hasTopic := topicOf(m)
	persona, hasPersona := s.Persona(m.ToAgent)
	change := &core.Change{Expect: []core.Expect{{Peer: p.Key, Revision: p.Revision}}, Seen: seen}
	token, err := g.allow(p, scope.Access{Intent: m.Intent, Topic: topic, HasTopic: hasTopic, Persona: persona.ID, Bytes: len(m.Payload)}, now, change)
	if err != nil {
		return none, err
	}
	in := incoming{s: s, p: p, m: m, topic: topic, bytes: len(opened.Text), now: now, hasPersona: hasPersona}
	said, err := g.decide(ctx, &in, change)
	if err != nil { // cannot say: nothing is recorded, and the sender may try again
		token.Return()
		return none, err
	}
	change.Receipt = &core.Receipt{Peer: p.Key, Nonce: m.Nonce, Digest: opened.Digest, At: now, Intent: m.Intent,
		Bytes: len(m.Payload), Status: said.Status, Answer: said.Body}
	if err := g.keep(ctx, change); err != nil {
		token.Return()
		if g.notKept(in.braked, err) {
			return none, core.Moved
		}
		if errors.Is(err, core.Replayed) { // stored by another node
			g.fresh.Note(p.Key, m.Nonce, now)
			return g.answered(ctx, p.Key, m.Nonce, opened.Digest)
		}
		if errors.Is(err, core.RateLimited) {
			g.scopes.Reached(p.Key, m.Intent, len(m.Payload), *change.Limit, now, err)
		}
		return none, err
	}
	g.fresh.Note(p.Key, m.Nonce, now)
	if len(change.Outbox) > 0 {
		g.outbox.Wake(p.Key)
	}
	return said, nil
}

// allow says whether the grants let a message in, and has it counted: here, or by the store
// where several nodes let messages in.
func (g *inbound) allow(p *core.Peer, a scope.Access, now time.Time, change *core.Change) (token scope.Token, err error) {
	if g.memory.Shared() == nil {
		return g.scopes.Allow(p, a, now)
	}
	change.Limit, err = g.scopes.Limit(p, a, now)
	return token, err
}

// messageKeys finds the keys that a message's `from` may be.
func (g *inbound) messageKeys(label string) ([]core.PublicKey, error) {
	// Only those who may be let in are tried, so that strangers cannot use up the tries.
	fits := g.peers.Fits(label, isApproved)
	fits = append(fits, g.peers.Fits(label, inDoubt)...)
	if len(fits) > 0 {
		return peers.Keys(fits), nil
	}
	if len(g.peers.Fits(label, nil)) > 0 {
		return nil, errNotApproved
	}
	return nil, core.Refuse(core.UnknownPeer, "Unknown peer")
}

// addressed checks what a message says of its way: a nonce, ourselves as the
// recipient, and a reply address that is the sender's own.
func addressed(s *ours.Settings, m *core.Message, p *core.Peer) error {
	everybody := m.To == core.PublicKey{}.ShortID() // what 0.2 and 0.3 call us, and everybody else
	switch {
	case m.Nonce == "":
		return core.Refuse(core.Malformed, "Missing nonce")
	case !m.Nonce.Sound():
		return core.Refuse(core.Malformed, "Invalid nonce")
	case everybody && (p.V2 || p.Version != "" && !peers.Before(p, 0, 4)), !everybody && !s.Named(m.To) && (p.OurLabel == "" || m.To != p.OurLabel):
		return core.Refuse(core.Malformed, "Message is addressed to another gateway")
	case m.ReplyTo != "" && !core.SameOrigin(m.ReplyTo, p.URL):
		return core.Refuse(core.Malformed, "replyTo must be at the sender's gateway URL")
	}
	return nil
}

// topicOf reads the topic of an agent-comms message.
func topicOf(m *core.Message) (topic string, ok bool) {
	if m.Intent != core.IntentAgentComms {
		return "", false
	}
	var payload struct {
		Topic string `json:"topic"`
	}
	if json.Unmarshal(m.Payload, &payload) != nil || payload.Topic == "" {
		return "general", false
	}
	return payload.Topic, true
}

// incoming is a message whose sender is known and whose grants allow it.
type incoming struct {
	s          *ours.Settings
	p          *core.Peer
	m          *core.Message
	topic      string
	bytes      int
	now        time.Time
	hasPersona bool
	braked     braked
}

const topicOff = "This topic is not open to you here."

// response is what a message is answered with before a handler adds its own.
func (in *incoming) response(handled bool) answer.Response {
	r := answer.Response{Received: true, Timestamp: core.FormatTime(in.now)}
	if in.m.Intent == core.IntentAgentComms {
		r.Topic = in.topic
	}
	if in.m.ReplyTo == "" && (in.m.Intent == core.IntentAgentComms || handled) {
		r.ReplyEndpoint = core.PathReply + string(in.m.Nonce)
	}
	return r
}

// decide asks what the grants cannot say and fills the change with what is to be
// kept. Refusals are answers, too: they are recorded, so that the same bytes get
// them again. An error means that nobody could say.
func (g *inbound) decide(ctx context.Context, in *incoming, change *core.Change) (core.Answer, error) {
	s, p, m := in.s, in.p, in.m
	handler, err := g.handler(m.Intent)
	if err != nil {
		return core.Answer{}, err
	}
	if !s.Knows(m.Intent) && handler == nil {
		return answer.Refusal(http.StatusBadRequest, core.Refuse(core.Forbidden, "Unknown intent: "+clean(m.Intent, 64))), nil
	}
	if !in.hasPersona {
		return answer.Refusal(http.StatusNotFound, core.Refuse(core.Forbidden, "Unknown agent: '"+clean(m.ToAgent, 64)+"' is not a configured persona on this gateway")), nil
	}
	if why := g.o.Brake.Loops(m.Hops); why != "" && handler == nil {
		return g.circle(p, why, in.now, change), nil
	}
	kept := &core.InboxMessage{ID: newID(), Peer: p.Key, At: in.now.UTC(), Status: core.InboxNew, Alias: p.Alias, Message: *m}
	if m.Intent == core.IntentAgentComms {
		kept.Level = scope.Level(p, in.topic, s.Levels)
		if kept.Level == scope.LevelOff {
			return answer.Rejected(topicOff, "topic-not-permitted", topicOff), nil
		}
	}
	question := core.Question{Kind: core.HookMessage, Now: in.now, Peer: p, Message: m, Topic: in.topic, Bytes: in.bytes}
	verdict, err := g.ask(ctx, question)
	if err != nil {
		return core.Answer{}, err
	}
	switch verdict.Decision {
	case core.Deny:
		g.record(change, question, verdict, "")
		return answer.Rejected("Message refused by policy", cmp.Or(clean(verdict.Code, 64), "policy"), clean(verdict.Reason, 200)), nil
	case core.Hold:
		kept.Status, kept.Reason = core.InboxHeld, clean(verdict.Reason, 200)
		change.Events = append(change.Events, g.heldEvent(p, kept, verdict))
	}
	if kept.Status == core.InboxNew && handler == nil {
		in.braked = g.brake(p, kept, change)
	}
	kept.Level = scope.Stricter(kept.Level, verdict.Level)
	response := in.response(handler != nil)
	if handler != nil && kept.Status != core.InboxHeld {
		if err := g.handle(ctx, handler, in, kept, &response, change); err != nil {
			return core.Answer{}, err
		}
	}
	change.Inbox = append(change.Inbox, kept)
	g.record(change, question, verdict, kept.ID)
	return answer.MessageTaken(m.Nonce, response), nil
}

// handler finds who answers an intent, or nil.
func (g *inbound) handler(intent string) (core.Handler, error) {
	plugins, err := g.plugins()
	if err != nil {
		return nil, err
	}
	for _, h := range plugins.Handlers {
		if slices.Contains(h.Intents(), intent) {
			return h, nil
		}
	}
	return nil, nil
}

// handle lets a handler answer: its answer is the message's response and, as for
// a human's answer, the reply.
func (g *inbound) handle(ctx context.Context, h core.Handler, in *incoming, kept *core.InboxMessage, response *answer.Response, change *core.Change) error {
	said, err := g.askHandler(ctx, h, in.p, in.m)
	if err != nil {
		return err
	}
	response.Status, response.Data, response.Error = "ok", said.Data, said.Error
	if !said.OK {
		response.Status = "error"
	}
	return g.replies.replyTo(in.p, kept, core.Reply{Success: said.OK, Data: said.Data, Error: said.Error}, change)
}

// askHandler calls a handler. When it fails, nobody can say: an error of kind
// Unavailable.
func (g *inbound) askHandler(ctx context.Context, h core.Handler, p *core.Peer, m *core.Message) (core.HandlerAnswer, error) {
	said, err := h.Handle(ctx, p, m)
	if err != nil {
		g.log.Error("handler failed", "handler", h.Name(), "intent", m.Intent, "peer", p.Name(), "err", err)
		e := core.Refuse(core.Unavailable, "Handler unavailable")
		e.RetryAfter, e.Err = 30*time.Second, err
		return core.HandlerAnswer{}, e
	}
	return said, nil
}

// Used says how much of a grant's rate and size a peer has used up.
func (g *inbound) Used(k core.PublicKey, grant core.Grant) (n int, bytes int64) {
	limit, now := scope.LimitOf(grant), g.o.Now()
	if g.memory.Shared() == nil {
		return g.scopes.Used(k, grant.Intent, limit.Rate.Window(), now), g.scopes.UsedBytes(k, grant.Intent, limit.Size.Window(), now)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	n, _, err := g.memory.Shared().Uses(ctx, k, grant.Intent, now.Add(-limit.Rate.Window()))
	if err == nil {
		_, bytes, err = g.memory.Shared().Uses(ctx, k, grant.Intent, now.Add(-limit.Size.Window()))
	}
	if err != nil {
		g.log.Warn("what a peer has used of its limits is not readable", "err", err)
	}
	return n, bytes
}

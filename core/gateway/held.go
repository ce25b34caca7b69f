package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// Release lets a held message through after all: grants and trust are checked again, and
// the handler of its intent answers it, if there is one, or the agent is told of it, once.
// The rates of the grants are not: they counted it when it came. by is who decided so, for
// the record.
//
// Errors are of kind NotFound, Conflict (it is not held), NotApproved, Forbidden (the
// grants do not allow it any more) or Unavailable (the handler cannot say: it stays held).
//
// docs/operating.md#held-messages
func (g *Gateway) Release(ctx context.Context, id, by string) (*core.InboxMessage, error) {
	unlock, m, err := g.heldMessage(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var said *core.HandlerAnswer // a handler is asked once, however often its sender's record changes meanwhile
	for range maxJudged {
		kept := *m
		if err = g.release(ctx, &kept, by, &said); !errors.Is(err, core.Moved) {
			return &kept, err
		}
	}
	return nil, err
}

func (g *Gateway) release(ctx context.Context, m *core.InboxMessage, by string, said **core.HandlerAnswer) error {
	s, now := g.settings.Load(), g.o.Now().UTC()
	p := g.peers.Get(m.Peer)
	if p == nil || p.Trust != core.Approved {
		return core.Refuse(core.NotApproved, "the sender is no longer an approved peer").
			WithHint("\"ogp inbox deny " + m.ID + "\" ends it")
	}
	topic, hasTopic := topicOf(&m.Message)
	persona, known := s.Persona(m.Message.ToAgent)
	if !known {
		return core.Refusef(core.Forbidden, "there is no agent %q here any more", clean(m.Message.ToAgent, 64))
	}
	access := scope.Access{Intent: m.Message.Intent, Topic: topic, HasTopic: hasTopic, Persona: persona.ID, Bytes: len(m.Message.Payload)}
	if _, err := scope.Permit(p, access, now); err != nil {
		return err
	}
	if m.Message.Intent == core.IntentAgentComms {
		level := scope.Level(p, topic, s.Levels)
		if level == scope.LevelOff {
			return core.Refusef(core.Forbidden, "the topic %q is off for this peer", clean(topic, 64))
		}
		m.Level = scope.Stricter(m.Level, level)
	}
	handler, err := g.handler(m.Message.Intent)
	if err != nil {
		return err
	}
	if !s.Knows(m.Message.Intent) && handler == nil {
		return core.Refusef(core.Forbidden, "nobody here takes the intent %q any more", clean(m.Message.Intent, 64))
	}
	m.Status = core.InboxNew
	m.Decided = &core.Decided{As: core.Released, By: clean(by, 64), At: now}
	change := &core.Change{Expect: []core.Expect{{Peer: p.Key, Revision: p.Revision}}, Inbox: []*core.InboxMessage{m}}
	if handler != nil {
		if *said == nil {
			answer, err := g.askHandler(ctx, handler, p, &m.Message)
			if err != nil {
				return err
			}
			*said = &answer
		}
		reply := core.Reply{Success: (*said).OK, Data: (*said).Data, Error: (*said).Error}
		if err := g.replyTo(p, m, reply, change); err != nil {
			return err
		}
	}
	if err := g.keepDecided(ctx, change, m); err != nil {
		return err
	}
	if len(change.Outbox) > 0 {
		g.outbox.Wake(p.Key)
	}
	return nil
}

// keepDecided keeps what was decided about a held message, unless another node has decided.
func (g *Gateway) keepDecided(ctx context.Context, change *core.Change, m *core.InboxMessage) error {
	g.once(change, m.Peer, "decided", m.ID)
	err := g.keep(ctx, change)
	if errors.Is(err, core.Replayed) {
		return core.Refusef(core.Conflict, "message %s was decided on already", m.ID)
	}
	return err
}

// Deny turns a held message down. Its sender gets a signed reply that says so, if it is
// still an approved peer: at the message's replyTo, or when it polls. Outgoing.Item is nil
// when there is nowhere to send it.
//
// Errors are of kind NotFound or Conflict (it is not held).
func (g *Gateway) Deny(ctx context.Context, id, by, reason string) (Outgoing, error) {
	unlock, m, err := g.heldMessage(ctx, id)
	if err != nil {
		return Outgoing{}, err
	}
	defer unlock()
	reason = clean(reason, 300)
	change := &core.Change{Inbox: []*core.InboxMessage{m}}
	p := g.peers.Get(m.Peer)
	if p != nil && p.Trust == core.Approved {
		reply := core.Reply{Error: cmp.Or(reason, "The message was not let through."), Data: encode(struct {
			Status string `json:"status"`
			Reason string `json:"reason,omitempty"`
		}{"rejected", reason})}
		if err := g.replyTo(p, m, reply, change); err != nil {
			return Outgoing{}, err
		}
	}
	m.Status = core.InboxDenied
	m.Decided = &core.Decided{As: core.Denied, By: clean(by, 64), At: g.o.Now().UTC(), Reason: reason}
	if err := g.keepDecided(ctx, change, m); err != nil {
		return Outgoing{}, err
	}
	out := Outgoing{Peer: p}
	if len(change.Outbox) > 0 {
		out.Item, out.Err = g.outbox.SendNow(ctx, change.Outbox[0])
	}
	return out, nil
}

// heldMessage finds a held message and keeps others from deciding on it.
func (g *Gateway) heldMessage(ctx context.Context, id string) (unlock func(), m *core.InboxMessage, err error) {
	unlock, err = g.locks.Lock(ctx, lockName{"inbox", core.PublicKey{}, id})
	if err != nil {
		return nil, nil, err
	}
	m, err = g.o.Store.InboxMessage(ctx, id)
	if err == nil && m.Status != core.InboxHeld {
		what := "is " + string(m.Status) + ", and not held"
		if d := m.Decided; d != nil {
			what = fmt.Sprintf("was %s by the %s already", d.As, d.By)
		}
		e := core.Refusef(core.Conflict, "message %s %s", id, what)
		e.Hint = `"ogp inbox list --held" shows what is`
		err = e
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return unlock, m, nil
}

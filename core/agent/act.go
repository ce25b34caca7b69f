package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// Bounds on one act.
const (
	maxText = 48 << 10 // with its escapes it fits into a message
	maxWait = 55 * time.Second
)

// recount counts what the agent has sent within 24 hours from the events of it, so that a
// restart forgets nothing.
func (r *Role) recount(ctx context.Context) error {
	return r.o.Store.EachEvent(ctx, r.o.Now().Add(-24*time.Hour), []core.EventType{core.EventAgentSent, core.EventAgentReplied}, r.count)
}

// Elsewhere counts an event of another node.
func (r *Role) Elsewhere(e *core.Event) { r.count(e.Counted()) }

// count counts an event that this role has not brought about: one of before the start, or of
// another node.
func (r *Role) count(e core.Counted) {
	var a gateway.Act
	if (e.Type == core.EventAgentSent || e.Type == core.EventAgentReplied) && json.Unmarshal(e.Data, &a) == nil {
		r.used.Add(e.Peer, e.At, brake.Use{Messages: 1, Bytes: int64(a.Bytes)})
	}
}

// take counts one act, or refuses it.
func (r *Role) take(p *core.Peer, bytes int) error {
	most := r.o.PerDay()
	u := brake.Use{Messages: 1, Bytes: int64(bytes)}
	if r.used.Take(p.Key, r.o.Now(), u, most) {
		return nil
	}
	return tooMuch(p)
}

func tooMuch(p *core.Peer) error {
	e := core.Refusef(core.RateLimited, "you have sent %s as much as your human lets you send within 24 hours; tell your human, who can raise [agent] messages_per_day or bytes_per_day", p.Name())
	e.RetryAfter = time.Hour
	return e
}

// notDone is why an act to a peer was not done, for the agent. What it has done at other
// nodes, the store has counted.
func notDone(p *core.Peer, err error) error {
	var over core.Over
	if errors.As(err, &over) && over.Of == core.UseSent {
		return tooMuch(p)
	}
	return plain(err)
}

// untake takes back what was counted for an act that did not happen.
func (r *Role) untake(p *core.Peer, bytes int) {
	r.used.Add(p.Key, r.o.Now(), brake.Use{Messages: -1, Bytes: -int64(bytes)})
}

// Send sends a message to an approved peer, within the agent's limits.
func (r *Role) Send(ctx context.Context, p api.AgentSendParams) (api.AgentSent, error) {
	none := api.AgentSent{}
	peer, err := r.find(p.Peer)
	if err != nil {
		return none, err
	}
	payload, err := payloadOf(&p)
	if err != nil {
		return none, err
	}
	if err := r.take(peer, len(payload)); err != nil {
		return none, err
	}
	sent, err := r.o.Gateway.Send(ctx, peer.Key, gateway.Sending{Intent: p.Intent, Payload: payload, ToAgent: p.ToAgent,
		ConversationID: p.Conversation, WantReply: p.WantReply || p.WaitMillis > 0, ByAgent: true, Wait: waitOf(p.WaitMillis)})
	if sent.Item == nil {
		r.untake(peer, len(payload))
	}
	if err != nil {
		return none, notDone(peer, err)
	}
	return r.nowSent(ctx, sent.Item, p.WaitMillis > 0)
}

// waitOf is how long to wait for an answer.
func waitOf(millis int64) time.Duration {
	return time.Duration(min(max(millis, 0), maxWait.Milliseconds())) * time.Millisecond
}

// await waits for the answer, if it is to, and shows what became of a message of ours.
func (r *Role) await(ctx context.Context, item *core.OutboxItem, millis int64) (api.AgentSent, error) {
	wait := waitOf(millis)
	if wait > 0 && (item.State == core.OutSent || item.State == core.OutWaiting) {
		waiting, cancel := context.WithTimeout(ctx, wait)
		_, err := r.o.Gateway.AwaitReply(waiting, item)
		cancel()
		if err != nil && !errors.Is(err, core.Unavailable) {
			return api.AgentSent{}, err
		}
	}
	return r.nowSent(ctx, item, wait > 0)
}

// nowSent shows what became of a message of ours, after a wait by now, also where that was
// cut short, as by a stop of the gateway: whoever hears nothing sends once more.
func (r *Role) nowSent(ctx context.Context, item *core.OutboxItem, waited bool) (_ api.AgentSent, err error) {
	ctx = context.WithoutCancel(ctx)
	if waited {
		if item, err = r.o.Store.OutboxItem(ctx, item.ID); err != nil {
			return api.AgentSent{}, err
		}
	}
	return r.sent(ctx, item, readBytes)
}

// payloadOf makes the payload of a message, and fills its intent in.
func payloadOf(p *api.AgentSendParams) (core.Raw, error) {
	if p.Intent == "" {
		p.Intent = core.IntentAgentComms
	}
	if word(p.Intent) != p.Intent || word(p.Conversation) != p.Conversation || word(p.ToAgent) != p.ToAgent || word(p.Topic) != p.Topic {
		return nil, core.Refuse(core.Malformed, "intent, topic, conversation and toAgent are words of letters, digits and -._:/, at most 64 of them")
	}
	switch {
	case len(p.Data) > 0 && p.Text != "":
		return nil, core.Refuse(core.Malformed, "give text or data, not both")
	case len(p.Data) > 0:
		if v := jsontext.Value(p.Data); !v.IsValid() || v.Kind() != '{' || len(v) > maxText {
			return nil, core.Refuse(core.Malformed, "data must be a JSON object of at most 48 KiB")
		}
		return p.Data, nil
	case strings.TrimSpace(p.Text) == "":
		return nil, core.Refuse(core.Malformed, "the message is empty; give text")
	case len(p.Text) > maxText:
		return nil, core.Refuse(core.TooLarge, "the text is longer than 48 KiB")
	}
	v := core.Plain(p.Intent, p.Topic, p.Text)
	if v == nil {
		v = core.Plain(core.IntentMessage, "", p.Text)
	}
	return json.Marshal(v, json.Deterministic(true))
}

// ours finds a message or an answer of ours to an approved peer.
func (r *Role) ours(ctx context.Context, id string) (*core.OutboxItem, error) {
	none := core.Refuse(core.NotFound, "there is no message of ours with this id; the tool outbox lists them")
	item, err := r.o.Store.OutboxItem(ctx, strings.ToUpper(strings.TrimSpace(id)))
	if errors.Is(err, core.NotFound) {
		return nil, none
	}
	if err != nil {
		return nil, err
	}
	peer := r.o.Gateway.Peer(item.Peer)
	if item.Kind != core.OutMessage && item.Kind != core.OutReply || peer == nil || peer.Trust != core.Approved {
		return nil, none
	}
	return item, nil
}

// Result says what became of a message of ours.
func (r *Role) Result(ctx context.Context, p api.AgentResultParams) (api.AgentSent, error) {
	item, err := r.ours(ctx, p.ID)
	if err != nil {
		return api.AgentSent{}, err
	}
	if item.Kind == core.OutMessage {
		return r.await(ctx, item, p.WaitMillis)
	}
	return r.sent(ctx, item, readBytes)
}

func (r *Role) reply(ctx context.Context, p api.AgentReplyParams) (api.AgentSent, error) {
	none := api.AgentSent{}
	m, err := r.findMessage(ctx, p.ID)
	if err != nil {
		return none, err
	}
	reply, err := replyOf(p)
	if err != nil {
		return none, err
	}
	peer := r.visible(m)
	if peer == nil {
		return none, core.Refuse(core.NotApproved, "the sender is no longer an approved peer")
	}
	bytes := len(reply.Data) + len(reply.Error)
	if err := r.take(peer, bytes); err != nil {
		return none, err
	}
	out, err := r.o.Gateway.InboxReply(ctx, m.ID, reply, true)
	if err != nil {
		r.untake(peer, bytes)
		return none, notDone(peer, err)
	}
	if out.Item != nil {
		return r.sent(ctx, out.Item, readBytes)
	}
	m.Reply = &reply
	v := r.replied(peer, m)
	v.At = r.o.Now().UTC()
	return *v, nil
}

// ReplyBack is an answer of the agent's that a notifier has brought back: an act like
// reply, and counted as one. With a nil error the notice is written down as delivered.
func (r *Role) ReplyBack(ctx context.Context, d *core.Delivery, reply core.Reply) error {
	peer := r.o.Gateway.Peer(d.Event.Peer)
	if peer == nil || peer.Trust != core.Approved {
		return core.Refuse(core.NotApproved, "the sender is no longer an approved peer")
	}
	bytes := len(reply.Data) + len(reply.Error)
	if err := r.take(peer, bytes); err != nil {
		return err
	}
	err := r.o.Gateway.ReplyBack(ctx, d, reply)
	if err != nil {
		r.untake(peer, bytes)
	}
	return err
}

// replyOf makes an answer.
func replyOf(p api.AgentReplyParams) (core.Reply, error) {
	given := 0
	for _, is := range []bool{p.Text != "", len(p.Data) > 0, p.Error != ""} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return core.Reply{}, core.Refuse(core.Malformed, "give one of text, data and error")
	case len(p.Text)+len(p.Data)+len(p.Error) > maxText:
		return core.Reply{}, core.Refuse(core.TooLarge, "the answer is longer than 48 KiB")
	case p.Error != "":
		return core.Reply{Error: p.Error}, nil
	case len(p.Data) > 0:
		if !jsontext.Value(p.Data).IsValid() {
			return core.Reply{}, core.Refuse(core.Malformed, "data is not JSON")
		}
		return core.Reply{Success: true, Data: p.Data}, nil
	}
	data, err := json.Marshal(map[string]string{"text": p.Text})
	return core.Reply{Success: true, Data: data}, err
}

var errProposed = core.Refuse(core.Conflict, "your human has been told of this already; only the human can approve")

// proposeAgain is how long one proposal stands before the human is told of it again.
const proposeAgain = 24 * time.Hour

// propose makes an event for the human, and nothing else.
func (r *Role) propose(ctx context.Context, p api.AgentProposeParams) (api.AgentProposed, error) {
	var fits []*core.Peer
	for _, peer := range r.o.Gateway.Peers() {
		if ref := strings.TrimSpace(p.Fingerprint); peer.Trust == core.Pending && len(ref) >= 9 && begins(peer.Key.Fingerprint(), ref) {
			fits = append(fits, peer)
		}
	}
	if len(fits) != 1 {
		return api.AgentProposed{}, core.Refuse(core.NotFound, "no gateway with this fingerprint asks to federate; give at least two groups of it, as the notice has it")
	}
	last, err := r.o.Store.Meta(ctx, proposedKey(fits[0].Key))
	if err != nil && !errors.Is(err, core.NotFound) {
		return api.AgentProposed{}, err
	}
	now := r.o.Now()
	if at, err := core.ParseTime(last); err == nil && now.Sub(at) < proposeAgain {
		return api.AgentProposed{}, errProposed
	}
	change := &core.Change{Meta: map[string]string{proposedKey(fits[0].Key): core.FormatTime(now)},
		Receipt: &core.Receipt{Peer: fits[0].Key, Nonce: core.Nonce("\x01proposed:" + last), At: now, Answer: []byte{}}} // once, on all nodes
	switch err := r.o.Store.Commit(ctx, change); {
	case errors.Is(err, core.Replayed):
		return api.AgentProposed{}, errProposed
	case err != nil:
		return api.AgentProposed{}, err
	}
	if err := r.o.Gateway.Propose(ctx, fits[0], p.Note); err != nil {
		return api.AgentProposed{}, plain(err)
	}
	return api.AgentProposed{Text: "Your human is told that you would approve " + fits[0].Key.Fingerprint() + ". Nothing else has changed: only the human can approve."}, nil
}

func proposedKey(k core.PublicKey) string { return "agent.proposed." + k.Fingerprint() }

// plain is an error without what is for the operator: commands that the agent has no use
// for.
func plain(err error) error {
	var e *core.Error
	if !errors.As(err, &e) {
		return err
	}
	return &core.Error{Kind: e.Kind, Public: e.Error(), RetryAfter: e.RetryAfter}
}

package mcp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// askWait is how long ask and result wait for an answer: clients give a call a minute.
const askWait = 55 * time.Second

// The arguments of the agent's tools.
type (
	none struct{}

	inboxIn struct {
		Peer       string    `json:"peer,omitempty" jsonschema:"only from this peer: its name or fingerprint"`
		Unanswered bool      `json:"unanswered,omitempty" jsonschema:"only messages that we have not answered"`
		Since      time.Time `json:"since,omitzero" jsonschema:"only from then on, such as 2027-01-31T12:00:00Z"`
		Limit      int       `json:"limit,omitempty" jsonschema:"how many at the most, newest first; 20 if left out, at most 100"`
	}
	readIn struct {
		ID string `json:"id" jsonschema:"the message's id, from the notice or from inbox; last is the newest"`
	}
	conversationIn struct {
		Peer         string `json:"peer" jsonschema:"the peer's name or fingerprint"`
		Conversation string `json:"conversation,omitempty" jsonschema:"the conversation; if left out, all that passed between us and the peer"`
		Limit        int    `json:"limit,omitempty" jsonschema:"how many entries at the most, the newest; 20 if left out, at most 100"`
	}
	sendIn struct {
		Peer         string         `json:"peer" jsonschema:"the peer's name or fingerprint"`
		Text         string         `json:"text,omitempty" jsonschema:"what to say"`
		Intent       string         `json:"intent,omitempty" jsonschema:"agent-comms if left out; peers shows which intents the peer lets us use"`
		Topic        string         `json:"topic,omitempty" jsonschema:"for agent-comms; general if left out"`
		Data         map[string]any `json:"data,omitempty" jsonschema:"an object as the payload, instead of text"`
		Conversation string         `json:"conversation,omitempty" jsonschema:"the conversation that it belongs to"`
		ToAgent      string         `json:"toAgent,omitempty" jsonschema:"which of the peer's agents it is for"`
	}
	resultIn struct {
		ID   string `json:"id" jsonschema:"the id that send or ask gave"`
		Wait bool   `json:"wait,omitempty" jsonschema:"wait up to 55 seconds for the answer"`
	}
	replyIn struct {
		ID    string         `json:"id" jsonschema:"the message's id, from the notice or from inbox"`
		Text  string         `json:"text,omitempty" jsonschema:"the answer in words"`
		Data  map[string]any `json:"data,omitempty" jsonschema:"the answer as an object, instead of text"`
		Error string         `json:"error,omitempty" jsonschema:"why it cannot be answered, instead of an answer"`
	}
	outboxIn struct {
		Peer    string `json:"peer,omitempty" jsonschema:"only to this peer: its name or fingerprint"`
		Waiting bool   `json:"waiting,omitempty" jsonschema:"only what the peer does not have yet"`
		Limit   int    `json:"limit,omitempty" jsonschema:"how many at the most, newest first; 20 if left out, at most 100"`
	}
	proposeIn struct {
		Fingerprint string `json:"fingerprint" jsonschema:"of the gateway that asks to federate, as the notice gave it"`
		Note        string `json:"note,omitempty" jsonschema:"why, for your human; one line"`
	}
)

// The answers: a tool's answer is an object.
type (
	peers struct {
		Peers []api.AgentPeer `json:"peers"`
	}
	messages struct {
		Messages []api.AgentMessage `json:"messages"`
	}
	entries struct {
		Entries []api.AgentEntry `json:"entries" jsonschema:"oldest first"`
	}
	items struct {
		Items []api.AgentSent `json:"items"`
	}
)

func agentTools(s *sdk.Server, c control.Caller) {
	readingTools(s, c)
	speakingTools(s, c)
}

func readingTools(s *sdk.Server, c control.Caller) {
	tool(s, "peers", "List the federated peers that we can talk to: other people's agents and gateways, whether each can be reached, and what it lets us send.",
		reads("List peers"), func(ctx context.Context, _ none) (peers, error) {
			l, err := api.AgentPeers.Call(ctx, c, api.None{})
			return peers{l}, err
		}, peersText)
	tool(s, "inbox", "Show messages that federated peers have sent us, newest first: what is new, and what still waits for an answer.",
		reads("Show messages"), func(ctx context.Context, p inboxIn) (messages, error) {
			l, err := api.AgentInbox.Call(ctx, c, api.AgentInboxParams{Peer: p.Peer, Unanswered: p.Unanswered, Since: p.Since, Limit: p.Limit})
			return messages{l}, err
		}, messagesText)
	tool(s, "read", "Read one message of a federated peer in full, by the id that an [OGP] notice or inbox gives.",
		reads("Read a message"), func(ctx context.Context, p readIn) (api.AgentMessage, error) {
			return api.AgentRead.Call(ctx, c, api.IDParams{ID: p.ID})
		}, func(m api.AgentMessage) string { return m.Text })
	tool(s, "conversation", "Show what was said between us and a federated peer, oldest first: the history of one conversation, or of all.",
		reads("Show a conversation"), func(ctx context.Context, p conversationIn) (entries, error) {
			l, err := api.AgentConversation.Call(ctx, c, api.AgentConversationParams{Peer: p.Peer, Conversation: p.Conversation, Limit: p.Limit})
			return entries{l}, err
		}, entriesText)
	tool(s, "result", "See what became of a message that we sent to a federated peer, and its answer if there is one.",
		reads("See an answer"), func(ctx context.Context, p resultIn) (api.AgentSent, error) {
			q := api.AgentResultParams{ID: p.ID}
			if p.Wait {
				q.WaitMillis = askWait.Milliseconds()
			}
			return api.AgentResult.Call(ctx, c, q)
		}, sentText)
	tool(s, "outbox", "List what we sent to federated peers, newest first: delivered, waiting, refused or given up.",
		reads("List what we sent"), func(ctx context.Context, p outboxIn) (items, error) {
			l, err := api.AgentOutbox.Call(ctx, c, api.AgentOutboxParams{Peer: p.Peer, Waiting: p.Waiting, Limit: p.Limit})
			return items{l}, err
		}, itemsText)
	tool(s, "status", "See how our gateway is doing: how many peers, what waits for an answer, and how much you may still send today.",
		reads("Status"), func(ctx context.Context, _ none) (api.AgentState, error) {
			return api.AgentStatus.Call(ctx, c, api.None{})
		}, stateText)
}

func speakingTools(s *sdk.Server, c control.Caller) {
	send := func(ctx context.Context, p sendIn, wait time.Duration) (api.AgentSent, error) {
		q := api.AgentSendParams{Peer: p.Peer, Text: p.Text, Intent: p.Intent, Topic: p.Topic, Conversation: p.Conversation, ToAgent: p.ToAgent,
			WantReply: wait > 0, WaitMillis: wait.Milliseconds()}
		var err error
		if q.Data, err = object(p.Data); err != nil {
			return api.AgentSent{}, err
		}
		return api.AgentSend.Call(ctx, c, q)
	}
	tool(s, "send", "Send a message to a federated peer, without waiting for an answer. A peer out of reach gets it later.",
		acts("Send a message"), func(ctx context.Context, p sendIn) (api.AgentSent, error) { return send(ctx, p, 0) }, sentText)
	tool(s, "ask", "Ask a federated peer something and wait for the answer, up to 55 seconds. If none has come by then you get an id: call result with it later.",
		acts("Ask and wait"), func(ctx context.Context, p sendIn) (api.AgentSent, error) { return send(ctx, p, askWait) }, sentText)
	tool(s, "reply", "Answer a message from a federated peer. The answer goes back to whoever asked; a message can be answered once.",
		acts("Answer a message"), func(ctx context.Context, p replyIn) (api.AgentSent, error) {
			q := api.AgentReplyParams{ID: p.ID, Text: p.Text, Error: p.Error}
			var err error
			if q.Data, err = object(p.Data); err != nil {
				return api.AgentSent{}, err
			}
			return api.AgentReply.Call(ctx, c, q)
		}, sentText)
	tool(s, "propose_approval", "Tell your human that a gateway which asks to federate could be approved. It approves nobody: only your human can.",
		acts("Propose an approval"), func(ctx context.Context, p proposeIn) (api.AgentProposed, error) {
			return api.AgentPropose.Call(ctx, c, api.AgentProposeParams{Fingerprint: p.Fingerprint, Note: p.Note})
		}, func(p api.AgentProposed) string { return p.Text })
}

// object is an argument as JSON; nil is none.
func object(v map[string]any) (core.Raw, error) {
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return nil, core.Refuse(core.Malformed, "data cannot be written as JSON")
	}
	return text, nil
}

func peersText(p peers) string {
	if len(p.Peers) == 0 {
		return "There is no approved peer yet."
	}
	var b strings.Builder
	for _, x := range p.Peers {
		fmt.Fprintf(&b, "%s (fingerprint %s), %s. We may send: %s. It may send us: %s.\n", x.Name, x.Fingerprint, x.Reach, list(x.WeMay), list(x.TheyMay))
	}
	return b.String()
}

func list(words []string) string {
	if len(words) == 0 {
		return "nothing that we know of"
	}
	return strings.Join(words, "; ")
}

// paragraphs says one thing after the other, or none where there is nothing.
func paragraphs[T any](list []T, none string, say func(T) string) string {
	if len(list) == 0 {
		return none
	}
	parts := make([]string, len(list))
	for i, x := range list {
		parts[i] = say(x)
	}
	return strings.Join(parts, "\n\n")
}

func messagesText(m messages) string {
	return paragraphs(m.Messages, "There is no such message.", messageText)
}

func messageText(m api.AgentMessage) string {
	if m.Answered {
		return "(answered) " + m.Text
	}
	return m.Text
}

func entriesText(e entries) string {
	return paragraphs(e.Entries, "Nothing was said there.", func(x api.AgentEntry) string {
		if x.Received != nil {
			return messageText(*x.Received)
		}
		return sentText(*x.Sent)
	})
}

func itemsText(l items) string { return paragraphs(l.Items, "Nothing was sent.", sentText) }

func sentText(s api.AgentSent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Our %s to %s: %s.", s.Kind, s.To, s.State)
	if s.ID != "" {
		fmt.Fprintf(&b, " Id %s.", s.ID)
	}
	if s.Words != "" {
		fmt.Fprintf(&b, "\nWe said: %s", s.Words)
	}
	switch {
	case s.Answer != "":
		b.WriteString("\n" + s.Answer)
	case s.Kind == string(core.OutMessage) && s.State == string(core.OutSent):
		b.WriteString("\nNo answer has come yet; result shows it when it has.")
	}
	if s.Problem != "" {
		b.WriteString("\n" + s.Problem)
	}
	return b.String()
}

func stateText(s api.AgentState) string {
	var b strings.Builder
	fmt.Fprintf(&b, "We are %s, fingerprint %s, at %s.\nApproved peers: %d. Messages of the last day that wait for an answer: %d. Ours that wait for their peers: %d.\n",
		s.Name, s.Fingerprint, s.URL, s.Peers, s.Unanswered, s.Waiting)
	for _, u := range s.Used {
		fmt.Fprintf(&b, "Sent to %s within 24 hours: messages %d, bytes %d.\n", u.Peer, u.Messages, u.Bytes)
	}
	if s.PerDay.Messages > 0 {
		fmt.Fprintf(&b, "Messages that you may send to each peer within 24 hours: %d.\n", s.PerDay.Messages)
	}
	return b.String()
}

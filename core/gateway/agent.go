package gateway

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core"
)

// Act is the data of an event about what the agent did.
type Act struct {
	Intent       string `json:"intent,omitempty"`
	Conversation string `json:"conversation,omitempty"`
	OutboxID     string `json:"outboxId,omitempty"`
	InboxID      string `json:"inboxId,omitempty"` // of the message that it answered
	Bytes        int    `json:"bytes,omitzero"`
	Note         string `json:"note,omitempty"`     // the agent's own words
	Notifier     string `json:"notifier,omitempty"` // that brought the answer back; empty: the agent sent it itself
}

// nobody is told of an event: it is kept, and watchers see it.
func nobody(string) bool { return false }

// agentActs lets a change keep what the agent did, in one step with it.
func (g *state) agentActs(change *core.Change, t core.EventType, p *core.Peer, a Act) {
	change.Events = append(change.Events, g.agentEvent(t, p, a))
	if most := g.o.AgentMost; most != nil && g.memory.Shared() != nil && (t == core.EventAgentSent || t == core.EventAgentReplied) {
		change.Uses = append(change.Uses, core.Use{Peer: p.Key, Of: core.UseSent, At: g.o.Now(), Bytes: a.Bytes, Most: most(), Over: "The agent has sent this peer as much as it may"})
	}
}

func (g *state) agentEvent(t core.EventType, p *core.Peer, a Act) *core.Event {
	text := map[core.EventType]string{core.EventAgentSent: "The agent sent a message.", core.EventAgentReplied: "The agent answered a message.",
		core.EventAgentCancelled: "The agent cancelled a message of its own.",
		core.EventAgentProposed:  "The agent proposes to approve this gateway. Its human decides."}[t]
	return g.event(t, p, core.Us, text, a)
}

// Propose tells the human that the agent would approve a peer, and changes nothing else.
func (g *state) Propose(ctx context.Context, p *core.Peer, note string) error {
	change := &core.Change{}
	g.agentActs(change, core.EventAgentProposed, p, Act{Note: clean(note, 500)})
	return g.keep(ctx, change)
}

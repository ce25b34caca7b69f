package gateway

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/brake"
)

// circleText says what an agent's sender is told of a chain that ends here.
var circleText = map[string]string{
	"loop":  "The agents go in a circle: this has been here twice.",
	"depth": "The agents have handed this on too often.",
}

// circle refuses a message that the agents have brought about in a circle. The human is
// told once in a while. docs/threat-model.md#g2
func (g *inbound) circle(p *core.Peer, why string, now time.Time, change *core.Change) core.Answer {
	if g.warned.Due(lockName{"circle", p.Key, ""}, now, time.Hour) {
		change.Events = append(change.Events, g.event(core.EventWarning, p, core.Us, "A message was refused, as it would go on and on: "+circleText[why], map[string]any{"reason": why}))
	}
	return answer.Rejected(circleText[why], why, circleText[why])
}

// braked is a message as the brake has judged it; zero: it was not asked.
type braked struct {
	arrival brake.Arrival
	verdict brake.Verdict
}

// brake lets the brake judge a message that all else lets in. What it holds, the human is
// told of once a day for each reason.
func (g *inbound) brake(p *core.Peer, kept *core.InboxMessage, change *core.Change) braked {
	m := &kept.Message
	a := brake.Arrival{Peer: p.Key, Intent: m.Intent, Conversation: m.ConversationID, Hops: m.Hops, Payload: m.Payload}
	v := g.o.Brake.Arrives(a)
	if v.Hold == "" {
		change.Uses = append(change.Uses, g.o.Brake.Uses(a)...)
		return braked{a, v}
	}
	kept.Status, kept.Reason = core.InboxHeld, clean(v.Hold, 180)
	if v.Tell {
		change.Events = append(change.Events, g.heldEvent(p, kept, core.Verdict{Policy: "brake"}))
	}
	kept.Reason = brake.Held + kept.Reason
	if v.Pause != nil {
		change.Meta = map[string]string{brake.MetaKey(p.Key): v.Pause.Text()}
	}
	return braked{a, v}
}

// notKept undoes what was counted of a message that the store has refused. It reports
// whether that was as other nodes have used up what its sender's messages may cost: judged
// once more, it is held.
func (g *inbound) notKept(b braked, err error) bool {
	b.verdict.Undo()
	return g.o.Brake.Spent(b.arrival, err)
}

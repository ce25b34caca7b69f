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

// brake lets the brake judge a message that all else lets in. What it holds, the human is
// told of once a day for each reason.
func (g *inbound) brake(p *core.Peer, kept *core.InboxMessage, change *core.Change) {
	m := &kept.Message
	v := g.o.Brake.Arrives(brake.Arrival{Peer: p.Key, Intent: m.Intent, Conversation: m.ConversationID, Hops: m.Hops, Payload: m.Payload})
	if v.Hold == "" {
		return
	}
	kept.Status, kept.Reason = core.InboxHeld, clean(v.Hold, 180)
	if v.Tell {
		change.Events = append(change.Events, g.heldEvent(p, kept, core.Verdict{Policy: "brake"}))
	}
	kept.Reason = brake.Held + kept.Reason
	if v.Pause != nil {
		change.Meta = map[string]string{brake.MetaKey(p.Key): v.Pause.Text()}
	}
}

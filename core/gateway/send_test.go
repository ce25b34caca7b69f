package gateway_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// A message for one of the peer's agents is refused here where the peer's card says that it
// has none, with the words of the gateways in the field; where its card has not been seen,
// the peer judges. docs/protocol.md#personas
func TestSendToAnAgentOfNone(t *testing.T) {
	r := newRig(t, nil)
	for name, c := range map[string]struct {
		version  string
		features []string
		toAgent  string
		refused  bool
	}{
		"old":               {"0.4.3", []string{"scope-negotiation"}, "scribe", true},
		"old, to nobody":    {"0.4.3", []string{"scope-negotiation"}, "", false},
		"with agents":       {"0.7.2", []string{core.FeaturePersonas}, "scribe", false},
		"card not seen yet": {"", nil, "scribe", false},
	} {
		p := befriend(t, r.Gateway, func(p *core.Peer) { p.Version, p.Features = c.version, c.features })
		out, err := r.Send(t.Context(), p.key, gateway.Sending{Intent: "message", ToAgent: c.toAgent, Payload: core.Raw(`{"text":"hi"}`)})
		switch {
		case c.refused && (!errors.Is(err, core.Malformed) || !strings.Contains(err.Error(), "does not advertise the 'multi-agent-personas' capability — --to-agent scribe cannot be honored")):
			t.Errorf("%s: Send = %v, want it refused", name, err)
		case !c.refused && (err != nil || out.Item.Message.ToAgent != c.toAgent):
			t.Errorf("%s: Send = %+v, %v", name, out.Item.Message, err)
		}
	}
}

package agent_test

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/agent"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/sdk/wording"
)

// TestG4Cancel: what the agent sent and the peer does not have is given up; what the human
// sent, or the peer has, is not. docs/threat-model.md#g4
func TestG4Cancel(t *testing.T) {
	r := newRig(t)
	role, err := agent.New(t.Context(), agent.Options{Gateway: r.Gateway.Gateway, Store: r.Store, PerDay: func() brake.Use { return brake.Use{} }})
	if err != nil {
		t.Fatal(err)
	}
	has, err := role.Send(t.Context(), api.AgentSendParams{Peer: "bob", Text: "you have this"})
	if err != nil || has.State != string(core.OutSent) {
		t.Fatalf("Send = %+v, %v; want it sent", has, err)
	}
	_, err = role.Cancel(t.Context(), has.ID)
	wantKind(t, "cancelling what the peer has", err, core.Conflict)
	r.bob.Offline()
	waits, err := role.Send(t.Context(), api.AgentSendParams{Peer: "bob", Text: "not this"})
	if err != nil || waits.State != string(core.OutWaiting) {
		t.Fatalf("Send = %+v, %v; want it waiting", waits, err)
	}
	human, err := r.Send(t.Context(), r.bob.Key(), gateway.Sending{Intent: core.IntentAgentComms, Payload: core.Raw(`{"topic":"general","message":"mine"}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = role.Cancel(t.Context(), human.Item.ID)
	wantKind(t, "cancelling the human's", err, core.Conflict)
	if strings.Contains(waits.Problem, wording.Notice) || !strings.Contains(waits.Problem, "<<<OUR REPORT") {
		t.Errorf("the problem of what nobody answered is %q, want it as a report of ours", waits.Problem)
	}
	if v, err := role.Cancel(t.Context(), waits.ID); err != nil || v.State != "cancelled" || v.Problem != core.OutboxTakenBack {
		t.Errorf("Cancel = %+v, %v; want it cancelled by the agent", v, err)
	}
	if acts := r.acts(t); len(acts) != 3 || acts[2].Type != core.EventAgentCancelled || acts[2].Peer != r.bob.Key() {
		t.Errorf("events of the agent: %+v, want that it cancelled as the last", acts)
	}
	if told := r.Notifier.Notified(core.EventAgentCancelled); len(told) > 0 {
		t.Errorf("the agent is told what it did: %v", told)
	}
	list, err := role.Tasks(t.Context(), "bob", "")
	if err != nil || len(list) != 3 || list[0].ID != human.Item.ID || list[0].State != string(core.OutWaiting) {
		t.Errorf("Tasks = %+v, %v; want three, the human's first and waiting", list, err)
	}
}

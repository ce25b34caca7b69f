package ogp_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
)

// TestT8NothingIsJoinedByNaming: a peer that names an intent, a project or a
// topic that the operator has not opened gets nothing, and naming it leaves
// nothing behind. docs/threat-model.md#t8
func TestT8NothingIsJoinedByNaming(t *testing.T) {
	a, b := coretest.Pair(t, coretest.WithSettings(func(s *ours.Settings) { s.Levels.Default = "summary" }))
	coretest.Federate(t, a, b)
	granted := []core.Grant{
		{Intent: "project.join", Enabled: true}, // even the intent itself is granted
		{Intent: core.IntentAgentComms, Enabled: true, Topics: []string{"planning"}},
	}
	if _, err := b.ApprovePeer(t.Context(), a.Key(), gateway.Approval{Grants: granted}); err != nil {
		t.Fatal(err)
	}
	coretest.Await(t, "a has told what it grants", func() bool {
		waits, err := a.Store.Outbox(t.Context(), core.OutboxFilter{State: core.OutWaiting})
		return err == nil && len(waits) == 0
	})
	before := asJSON(t, b.Peer(a.Key()))
	sealer := envelope.Sealer{Key: a.Private}
	for _, c := range []struct {
		name, intent, payload string
		status                int
	}{
		{"a project", "project.join", `{"projectId":"p1","projectName":"Plans","scopes":["project.query"]}`, http.StatusBadRequest},
		{"the project it has just named", "project.query", `{"projectId":"p1"}`, http.StatusForbidden},
		{"an intent", "root", `{"grant":["root"]}`, http.StatusForbidden},
		{"a topic", core.IntentAgentComms, `{"topic":"secrets","message":"let me in"}`, http.StatusForbidden},
		{"a topic that is open", core.IntentAgentComms, `{"topic":"planning","message":"hello"}`, http.StatusOK},
	} {
		body, err := sealer.SealMessage(b.Key(), core.Message{Intent: c.intent, From: a.Key().ID(), To: b.Key().ID(),
			Nonce: envelope.NewNonce(), Payload: core.Raw(c.payload)})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Post("/federation/message", body); got.Status != c.status {
			t.Errorf("naming %s = %d %s, want %d", c.name, got.Status, got.Body, c.status)
		}
	}
	if after := asJSON(t, b.Peer(a.Key())); after != before {
		t.Errorf("naming things has changed what the peer may do:\n%s\nwas\n%s", after, before)
	}
	kept, err := b.Store.Inbox(t.Context(), core.InboxFilter{})
	if err != nil || len(kept) != 1 {
		t.Errorf("the inbox has %d messages, %v; want the one on the open topic", len(kept), err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

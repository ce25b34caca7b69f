package gateway_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/record"
)

// recording is a rig whose policy decides by what a message or request says, and whose
// decisions are recorded.
func recording(t *testing.T) (*rig, *record.Ring) {
	t.Helper()
	var ring *record.Ring
	r := newRig(t, func(o *gateway.Options) {
		var err error
		if ring, err = record.Open(t.Context(), o.Store.(record.Store), record.Settings{Keep: time.Hour}, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		o.Record = ring
		o.Plugins = policies(coretest.Policy{ID: "p", Say: func(_ context.Context, q core.Question) (core.Verdict, error) {
			switch {
			case q.Kind == core.HookRequest && q.Request.Invite != nil:
				return core.Verdict{Decision: core.Deny, Reason: "no invites"}, nil
			case q.Kind == core.HookMessage && q.Message.ConversationID != "":
				return core.Verdict{Decision: core.Decision(q.Message.ConversationID), Reason: "as said"}, nil
			}
			return core.Verdict{Decision: core.Abstain}, nil
		}})
	})
	return r, ring
}

func recorded(t *testing.T, ring *record.Ring) []record.Decision {
	t.Helper()
	list, err := ring.Page(t.Context(), time.Time{}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What policies decided about messages is recorded, whatever it was.
func TestMessagesRecorded(t *testing.T) {
	r, ring := recording(t)
	p := befriend(t, r.Gateway, nil)
	for _, say := range []core.Decision{core.Deny, core.Hold, core.Allow, ""} {
		_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.ConversationID = string(say) }))
		want(t, "message", err, "")
		d := recorded(t, ring)[0]
		if say == "" {
			say = core.Abstain
		}
		if d.Verdict != say || d.Peer != p.key || (d.InboxID == "") != (say == core.Deny) || d.Message == nil || len(d.Message.Payload) > 0 {
			t.Errorf("%q: recorded %+v", say, d)
		}
	}
	if n := len(recorded(t, ring)); n != 4 {
		t.Errorf("%d recorded, want 4", n)
	}
}

// A request that is withdrawn leaves nothing, one that is refused leaves its place in
// the strangers' ring.
func TestRequestsRecorded(t *testing.T) {
	r, ring := recording(t)
	refused := newPeer(nil)
	_, err := r.ReceiveRequest(t.Context(), refused.request(r.Key(), func(q *core.Request) { q.Invite = &core.Invited{Token: "x"} }), nowhere)
	want(t, "a request that the policy refuses", err, core.Forbidden)
	waits := newPeer(nil)
	_, err = r.ReceiveRequest(t.Context(), waits.request(r.Key(), nil), nowhere)
	want(t, "a request", err, "")
	list := recorded(t, ring)
	if len(list) != 2 || list[0].Verdict != core.Abstain || list[1].Verdict != core.Deny || list[1].Reason != "no invites" {
		t.Fatalf("recorded %+v", list)
	}
	_, err = r.ReceiveRemoval(t.Context(), waits.SealRemoval(r.Key()))
	want(t, "its withdrawal", err, "")
	if list := recorded(t, ring); len(list) != 1 || list[0].Peer != refused.key {
		t.Errorf("after the withdrawal: %+v", list)
	}
	sizes, err := r.store.KVList(t.Context(), "_decisions", "")
	if err != nil || len(sizes) != 1 {
		t.Errorf("the store keeps %d, %v", len(sizes), err)
	}
}

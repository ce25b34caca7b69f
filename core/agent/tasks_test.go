package agent_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/agent"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/scope"
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

// TestG4Follow: who follows a message hears at once that the peer has it, that it has
// answered, and that it is no peer any more; and an answer is there as long as what it
// answers. docs/threat-model.md#g4
func TestG4Follow(t *testing.T) {
	var role atomic.Pointer[agent.Role]
	var later atomic.Int64
	us := coretest.New(t, coretest.WithStore("sqlite"), coretest.WithNow(func() time.Time { return time.Now().Add(time.Duration(later.Load())) }),
		coretest.WithKept(func(c *core.Change) {
			if r := role.Load(); r != nil {
				r.Kept(c)
			}
		}))
	bob := coretest.New(t, coretest.WithSettings(func(s *ours.Settings) { s.Levels = scope.Levels{Default: scope.LevelFull} }))
	coretest.Federate(t, us, bob)
	if _, err := us.SetAlias(t.Context(), bob.Key(), "bob"); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	r, err := agent.New(t.Context(), agent.Options{Gateway: us.Gateway, Store: us.Store, Now: now, PerDay: func() brake.Use { return brake.Use{} }})
	if err != nil {
		t.Fatal(err)
	}
	role.Store(r)
	// changes follows a message while f makes something of it, and shows how it stands then.
	changes := func(last api.AgentSent, f func()) (api.AgentSent, error) {
		t.Helper()
		type result struct {
			api.AgentSent
			error
		}
		done := make(chan result, 1)
		go func() {
			v, err := r.Follow(t.Context(), last, time.Hour)
			done <- result{v, err}
		}()
		time.Sleep(20 * time.Millisecond)
		f()
		select {
		case v := <-done:
			return v.AgentSent, v.error
		case <-time.After(60 * time.Second):
			t.Fatalf("nobody heard of a change of %+v", last)
			return last, nil
		}
	}
	bob.Offline()
	v, err := r.Send(t.Context(), api.AgentSendParams{Peer: "bob", Text: "when?", WantReply: true})
	if err != nil || v.State != string(core.OutWaiting) {
		t.Fatalf("Send = %+v, %v; want it waiting", v, err)
	}
	if v, err = changes(v, bob.Online); err != nil || v.State != string(core.OutSent) {
		t.Fatalf("Follow = %+v, %v; want it sent", v, err)
	}
	asked := bob.Notifier.Await(t, 1, core.EventMessage)[0].Event
	v, err = changes(v, func() {
		if _, err := bob.InboxReply(t.Context(), asked.ID, core.Reply{Success: true, Data: core.Raw(`"at nine"`)}, true); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil || !v.Answered || !strings.Contains(v.Answer, "at nine") || !v.Changed.After(v.At) {
		t.Fatalf("Follow = %+v, %v; want the answer, later than the question", v, err)
	}
	v2, err := r.Send(t.Context(), api.AgentSendParams{Peer: "bob", Text: "can you?", WantReply: true})
	if err != nil {
		t.Fatal(err)
	}
	asked = bob.Notifier.Await(t, 2, core.EventMessage)[1].Event
	if v2, err = changes(v2, func() { // what fails is no mere receipt
		if _, err := bob.InboxReply(t.Context(), asked.ID, core.Reply{Data: core.Raw(`{"received":true}`)}, true); err != nil {
			t.Fatal(err)
		}
	}); err != nil || !v2.Answered || !v2.Failed {
		t.Fatalf("Follow = %+v, %v; want it failed", v2, err)
	}
	cut, cancel := context.WithCancel(t.Context()) // as a stop of the gateway does
	time.AfterFunc(100*time.Millisecond, cancel)
	if v, err := r.Send(cut, api.AgentSendParams{Peer: "bob", Text: "wait", WaitMillis: 20_000}); err != nil || v.ID == "" || v.State != string(core.OutSent) {
		t.Errorf("a wait that is cut short = %+v, %v; want what was sent", v, err)
	}
	silent, err := r.Send(t.Context(), api.AgentSendParams{Peer: "bob", Text: "and where?", WantReply: true})
	if err != nil {
		t.Fatal(err)
	}
	later.Store(int64(25 * time.Hour))
	if err := us.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, err := r.Result(t.Context(), api.AgentResultParams{ID: v.ID}); err != nil || !v.Answered || !strings.Contains(v.Answer, "at nine") {
		t.Errorf("after a day: %+v, %v; want the answer as long as the message", v, err)
	}
	if silent, err = r.Result(t.Context(), api.AgentResultParams{ID: silent.ID}); err != nil || silent.State != agent.Unanswered || silent.Problem == "" {
		t.Errorf("without an answer: %+v, %v; want it %s", silent, err, agent.Unanswered)
	}
	_, err = changes(silent, func() {
		if _, _, err := us.RemovePeer(t.Context(), bob.Key()); err != nil {
			t.Fatal(err)
		}
	})
	wantKind(t, "following what went to a former peer", err, core.NotFound)
}

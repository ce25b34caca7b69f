package gateway_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// heldRig is a gateway that holds every message, and one held message of a peer.
func heldRig(t *testing.T, f func(*core.Message)) (*rig, *peer, *core.InboxMessage, *[]*core.Delivery) {
	t.Helper()
	var pending []*core.Delivery
	r := newRig(t, func(o *gateway.Options) {
		o.Plugins = policies(says("hours", core.Verdict{Decision: core.Hold, Reason: "outside of hours"}))
		o.Queued = func(d []*core.Delivery) { pending = append(pending, d...) }
	})
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.Alias = "ben" })
	_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) {
		m.Payload = core.Raw(`{"text":"SECRET WORDS"}`)
		if f != nil {
			f(m)
		}
	}))
	want(t, "message", err, "")
	list := inbox(t, r.store)
	if len(list) != 1 || list[0].Status != core.InboxHeld {
		t.Fatalf("kept %v, want one that is held", list)
	}
	return r, p, list[0], &pending
}

func TestHeldIsNotifiedWithoutItsWords(t *testing.T) {
	r, _, m, pending := heldRig(t, nil)
	held := events(t, r.store, core.EventHeld)
	if len(held) != 1 || len(*pending) != 1 || (*pending)[0].EventID != held[0].ID {
		t.Fatalf("events %v, pending %v, want that the notifiers are told that one is held", held, *pending)
	}
	data := string(held[0].Data)
	if strings.Contains(data+held[0].Text, "SECRET") || !strings.Contains(data, m.ID) || !strings.Contains(data, "outside of hours") || !strings.Contains(data, "hours") {
		t.Errorf("told %s", data)
	}
}

func TestRelease(t *testing.T) {
	r, _, m, pending := heldRig(t, nil)
	*pending = nil
	got, err := r.Release(t.Context(), m.ID, "operator")
	if err != nil || got.Status != core.InboxNew {
		t.Fatalf("Release = %+v, %v", got, err)
	}
	kept := inbox(t, r.store)[0]
	if kept.Status != core.InboxNew || kept.Decided == nil || kept.Decided.As != core.Released || kept.Decided.By != "operator" || kept.Decided.At.IsZero() {
		t.Errorf("kept %+v %+v, want a record of who let it through", kept, kept.Decided)
	}
	if len(*pending) != 1 || (*pending)[0].EventID != m.ID || (*pending)[0].Event.Message.Alias != "ben" {
		t.Errorf("pending %v, want the message once", *pending)
	}
	if due, err := r.store.DueDeliveries(t.Context(), "n", time.Now(), 0); err != nil || len(due) != 2 {
		t.Errorf("%d are due in the store, %v, want that it is held and the message", len(due), err)
	}
	for range 2 { // once
		if _, err := r.Release(t.Context(), m.ID, "operator"); !errors.Is(err, core.Conflict) || !strings.HasSuffix(err.Error(), " was released by the operator already") {
			t.Errorf("Release again = %v, want Conflict", err)
		}
		if _, err := r.Deny(t.Context(), m.ID, "operator", ""); !errors.Is(err, core.Conflict) {
			t.Errorf("Deny after Release = %v, want Conflict", err)
		}
	}
	if len(*pending) != 1 {
		t.Errorf("pending %d, want 1", len(*pending))
	}
}

// What was held is let through only as far as grants and trust reach now.
func TestReleaseIsChecked(t *testing.T) {
	r, p, m, _ := heldRig(t, nil)
	if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{Grants: []core.Grant{{Intent: "agent-comms", Enabled: true}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Release(t.Context(), m.ID, "operator"); !errors.Is(err, core.Forbidden) {
		t.Errorf("Release without the grant = %v, want Forbidden", err)
	}
	if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Release(t.Context(), m.ID, "operator"); !errors.Is(err, core.NotApproved) {
		t.Errorf("Release after the removal = %v, want NotApproved", err)
	}
	if _, err := r.Release(t.Context(), "nonesuch", "operator"); !errors.Is(err, core.NotFound) {
		t.Errorf("Release of nothing = %v, want NotFound", err)
	}
	if out, err := r.Deny(t.Context(), m.ID, "operator", ""); err != nil || out.Item != nil {
		t.Errorf("Deny after the removal = %+v, %v, want it ended without a word", out, err)
	}
}

// A message for a handler plugin is answered by the handler when it is let through: once,
// also when the sender's record changes meanwhile, and not by the agent. A handler that
// fails leaves it held.
func TestReleaseToHandler(t *testing.T) {
	var (
		calls   int
		fails   = true
		during  func()
		pending []*core.Delivery
	)
	handler := coretest.Handler{Intent: "custom", Do: func(context.Context, *core.Peer, *core.Message) (core.HandlerAnswer, error) {
		calls++
		if during != nil {
			during()
		}
		if fails {
			return core.HandlerAnswer{}, errors.New("trap")
		}
		return core.HandlerAnswer{OK: true, Data: core.Raw(`{"sum":3}`)}, nil
	}}
	held := policies(says("hours", core.Verdict{Decision: core.Hold}))
	r := newRig(t, func(o *gateway.Options) {
		o.Plugins = func() (gateway.Plugins, error) {
			p, err := held()
			p.Handlers = []core.Handler{handler}
			return p, err
		}
		o.Queued = func(d []*core.Delivery) { pending = append(pending, d...) }
	})
	p := befriend(t, r.Gateway, nil)
	_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.Intent = "custom" }))
	want(t, "message", err, "")
	m := inbox(t, r.store)[0]
	if m.Status != core.InboxHeld || calls != 0 {
		t.Fatalf("%s after %d calls, want it held and the handler not asked", m.Status, calls)
	}
	if _, err := r.Release(t.Context(), m.ID, "operator"); !errors.Is(err, core.Unavailable) || inbox(t, r.store)[0].Status != core.InboxHeld {
		t.Fatalf("Release with a handler that fails = %v and %s, want Unavailable and held", err, inbox(t, r.store)[0].Status)
	}
	fails, calls, pending = false, 0, nil
	during = func() { // the sender's record changes while the handler works
		if _, err := r.SetAlias(t.Context(), p.key, "renamed"); err != nil {
			t.Error(err)
		}
	}
	got, err := r.Release(t.Context(), m.ID, "operator")
	if err != nil || got.Status != core.InboxReplied || calls != 1 {
		t.Fatalf("Release = %+v, %v after %d calls, want one answer of the handler's", got, err, calls)
	}
	kept := inbox(t, r.store)[0]
	if kept.Status != core.InboxReplied || kept.Reply == nil || string(kept.Reply.Data) != `{"sum":3}` || kept.Decided == nil || kept.Decided.As != core.Released {
		t.Errorf("kept %+v, want the answer and who let it through", kept)
	}
	if reply, err := r.store.OurReply(t.Context(), m.Message.Nonce); err != nil || !reply.Reply.Success || reply.Sig == "" && reply.V2 == nil {
		t.Errorf("the reply to poll is %+v, %v, want the handler's, signed", reply, err)
	}
	if len(pending) != 0 {
		t.Errorf("the agent is told %v of what the handler has answered", pending)
	}
	if _, err := r.Release(t.Context(), m.ID, "operator"); !errors.Is(err, core.Conflict) || calls != 1 {
		t.Errorf("Release again = %v after %d calls, want Conflict and 1", err, calls)
	}
}

// What was held was counted when it came: a rate that is used up does not keep it.
func TestReleaseTakesNoToken(t *testing.T) {
	r, p, m, _ := heldRig(t, nil)
	one := core.Grant{Intent: "message", Enabled: true, RateLimit: &core.RateLimit{Requests: 1, WindowSeconds: 3600}}
	if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{Grants: []core.Grant{one}}); err != nil {
		t.Fatal(err)
	}
	_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil))
	want(t, "the next message", err, core.RateLimited)
	if _, err := r.Release(t.Context(), m.ID, "operator"); err != nil {
		t.Errorf("Release with the rate used up = %v, want it let through", err)
	}
}

func TestDeny(t *testing.T) {
	var at string
	r, _, m, pending := heldRig(t, nil)
	r.wire.answer(func(_ context.Context, url, _ string, _ []byte) (core.Answer, error) {
		at = url
		return status(200), nil
	})
	*pending = nil
	out, err := r.Deny(t.Context(), m.ID, "operator", "not today")
	if err != nil {
		t.Fatal(err)
	}
	kept := inbox(t, r.store)[0]
	if kept.Status != core.InboxDenied || kept.Decided == nil || kept.Decided.As != core.Denied || kept.Decided.Reason != "not today" {
		t.Errorf("kept %+v %+v", kept, kept.Decided)
	}
	if len(*pending) != 0 {
		t.Errorf("the agent is told %v", *pending)
	}
	reply, err := r.store.OurReply(t.Context(), m.Message.Nonce)
	if err != nil || reply.Reply.Success || reply.Reply.Error != "not today" || !strings.Contains(string(reply.Reply.Data), `"status":"rejected"`) || reply.Sig == "" && reply.V2 == nil {
		t.Errorf("reply %+v, %v, want a signed rejection", reply, err)
	}
	if out.Item != nil || at != "" {
		t.Errorf("sent %+v to %q, want it left to be polled", out.Item, at)
	}
}

package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

var broken = coretest.Policy{ID: "broken", Say: func(context.Context, core.Question) (core.Verdict, error) {
	return core.Verdict{Decision: core.Allow}, errors.New("trap")
}}

func never(t *testing.T) core.Policy {
	return coretest.Policy{ID: "never", Say: func(context.Context, core.Question) (core.Verdict, error) {
		t.Error("a policy was asked after the first refusal")
		return core.Verdict{}, nil
	}}
}

// A policy that fails fails closed: not now, and nothing is recorded.
func TestP3FailureIsNotNow(t *testing.T) {
	plugins := []func() (gateway.Plugins, error){
		policies(says("yes", core.Verdict{Decision: core.Allow}), broken),
		func() (gateway.Plugins, error) { return gateway.Plugins{}, core.Refuse(core.Unavailable, "starting") },
	}
	for _, f := range plugins {
		works := false
		r := newRig(t, func(o *gateway.Options) {
			o.Plugins = func() (gateway.Plugins, error) {
				if works {
					return gateway.Plugins{}, nil
				}
				return f()
			}
		})
		p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true; p.Granted.Scopes[0].RateLimit.Requests = 1 })
		stranger := newPeer(nil)
		message, request := p.message(t, r.Key(), nil), stranger.request(r.Key(), nil)
		before := state(t, r)
		for range 2 {
			_, err := r.ReceiveMessage(t.Context(), message)
			want(t, "message", err, core.Unavailable)
			_, err = r.ReceiveRequest(t.Context(), request, nowhere)
			want(t, "request", err, core.Unavailable)
		}
		if after := state(t, r); after != before {
			t.Errorf("something was recorded:\n%s", cmp.Diff(before, after))
		}
		works = true
		_, err := r.ReceiveMessage(t.Context(), message)
		want(t, "the message again", err, "")
		_, err = r.ReceiveRequest(t.Context(), request, nowhere)
		want(t, "the request again", err, "")
	}
}

func TestP3Decisions(t *testing.T) {
	allow, deny := core.Verdict{Decision: core.Allow}, core.Verdict{Decision: core.Deny, Code: "busy"}
	hold := core.Verdict{Decision: core.Hold, Reason: "look at\nthis"}
	for _, c := range []struct {
		name     string
		policies []core.Policy
		status   int
		kept     core.InboxStatus
		trust    core.Trust
	}{
		{"none", nil, 200, core.InboxNew, core.Pending},
		{"abstain", []core.Policy{says("a", core.Verdict{Decision: core.Abstain})}, 200, core.InboxNew, core.Pending},
		{"nothing said", []core.Policy{says("a", core.Verdict{})}, 200, core.InboxNew, core.Pending},
		{"allow", []core.Policy{says("a", allow)}, 200, core.InboxNew, core.Approved},
		{"deny first", []core.Policy{says("a", deny), never(t)}, 403, "", core.Stranger},
		{"deny after allow", []core.Policy{says("a", allow), says("b", deny)}, 403, "", core.Stranger},
		{"deny after hold", []core.Policy{says("a", hold), says("b", deny)}, 403, "", core.Stranger},
		{"hold", []core.Policy{says("a", hold)}, 200, core.InboxHeld, core.Pending},
		{"hold then allow", []core.Policy{says("a", hold), says("b", allow)}, 200, core.InboxHeld, core.Pending},
		{"allow then hold", []core.Policy{says("a", allow), says("b", hold)}, 200, core.InboxHeld, core.Pending},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(o *gateway.Options) { o.Plugins = policies(c.policies...) })
			p := befriend(t, r.Gateway, nil)
			a, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil))
			want(t, "message", err, "")
			if a.Status != c.status {
				t.Errorf("message answered %d, want %d", a.Status, c.status)
			}
			list := inbox(t, r.store)
			if c.kept == "" && len(list) != 0 || c.kept != "" && (len(list) != 1 || list[0].Status != c.kept) {
				t.Errorf("kept %v, want one %q", list, c.kept)
			}
			d, err := r.store.Depths(t.Context(), 0)
			if err != nil || (d.Deliveries == 1) != (c.kept != "") {
				t.Errorf("%d deliveries, %v: a new message is told, and of a held one that it is held", d.Deliveries, err)
			}
			if held := events(t, r.store, core.EventHeld); len(held) != map[bool]int{true: 1}[c.kept == core.InboxHeld] {
				t.Errorf("%d events of a held message", len(held))
			}

			stranger := newPeer(nil)
			_, err = r.ReceiveRequest(t.Context(), stranger.request(r.Key(), nil), nowhere)
			want(t, "request", err, map[bool]core.Kind{true: core.Forbidden, false: ""}[c.trust == core.Stranger])
			wantTrust(t, r.Gateway, stranger.key, c.trust)
		})
	}
}

// Policies see what the grants allow, and no more.
func TestP3AfterGrants(t *testing.T) {
	r := newRig(t, func(o *gateway.Options) { o.Plugins = policies(never(t)) })
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.Granted.Scopes = p.Granted.Scopes[1:] })
	_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil))
	want(t, "a message without a grant", err, core.Forbidden)
}

// No policy widens what another allows, nor the operator's level.
func TestP3NoWidening(t *testing.T) {
	grants := func(g ...core.Grant) core.Verdict { return core.Verdict{Decision: core.Allow, Grants: g} }
	on := func(intent string, requests, window int, topics ...string) core.Grant {
		return core.Grant{Intent: intent, Enabled: true, RateLimit: &core.RateLimit{Requests: requests, WindowSeconds: window}, Topics: topics}
	}
	for _, c := range []struct {
		name string
		a, b core.Verdict
		want []core.Grant // nil: held for the human
	}{
		{"the slower rate", grants(on("message", 100, 10)), grants(on("message", 5, 10)), []core.Grant{on("message", 5, 10)}},
		{"the slower rate first", grants(on("message", 5, 10)), grants(on("message", 100, 10)), []core.Grant{on("message", 5, 10)}},
		{"common intents", grants(on("message", 1, 1), on("x", 1, 1)), grants(on("y", 1, 1), on("message", 1, 1)), []core.Grant{on("message", 1, 1)}},
		{"common topics", grants(on("agent-comms", 1, 1, "a", "b")), grants(on("agent-comms", 1, 1, "a/b", "c")), []core.Grant{on("agent-comms", 1, 1, "a/b")}},
		{"topics of one", grants(on("agent-comms", 1, 1)), grants(on("agent-comms", 1, 1, "a")), []core.Grant{on("agent-comms", 1, 1, "a")}},
		{"one names none", grants(), grants(on("message", 5, 10)), []core.Grant{on("message", 5, 10)}},
		{"nothing in common", grants(on("message", 1, 1)), grants(on("status-update", 1, 1)), nil},
		{"no topic in common", grants(on("agent-comms", 1, 1, "a")), grants(on("agent-comms", 1, 1, "b")), nil},
		{"switched off", grants(on("message", 1, 1)), grants(core.Grant{Intent: "message"}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(o *gateway.Options) { o.Plugins = policies(says("a", c.a), says("b", c.b)) })
			p := newPeer(nil)
			_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere)
			want(t, "ReceiveRequest", err, "")
			got := r.Peer(p.key)
			if c.want == nil {
				wantTrust(t, r.Gateway, p.key, core.Pending)
				return
			}
			if diff := cmp.Diff(c.want, got.Granted.Scopes); diff != "" {
				t.Errorf("granted (-want +got):\n%s", diff)
			}
		})
	}

	for _, c := range []struct{ operator, a, b, want string }{
		{scope.LevelSummary, scope.LevelFull, "", scope.LevelSummary},
		{scope.LevelSummary, scope.LevelEscalate, scope.LevelFull, scope.LevelEscalate},
		{scope.LevelFull, scope.LevelSummary, scope.LevelDeny, scope.LevelDeny},
		{scope.LevelFull, "", "", scope.LevelFull},
		{scope.LevelFull, "root", "", scope.LevelFull},
	} {
		r := newRig(t, func(o *gateway.Options) {
			o.Settings.Levels.Default = c.operator
			o.Plugins = policies(says("a", core.Verdict{Decision: core.Allow, Level: c.a}), says("b", core.Verdict{Decision: core.Allow, Level: c.b}))
		})
		p := befriend(t, r.Gateway, nil)
		_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) {
			m.Intent, m.Payload = core.IntentAgentComms, core.Raw(`{"topic":"t","message":"x"}`)
		}))
		want(t, "ReceiveMessage", err, "")
		if got := inbox(t, r.store)[0].Level; got != c.want {
			t.Errorf("operator %q, policies %q and %q: level %q, want %q", c.operator, c.a, c.b, got, c.want)
		}
	}
}

// A policy that takes its time holds up nobody but who it is asked about.
func TestPolicyHoldsNoLock(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(o *gateway.Options) {
		o.Plugins = policies(coretest.Policy{ID: "slow", Say: func(_ context.Context, q core.Question) (core.Verdict, error) {
			if q.Kind == "request" {
				close(asked)
				<-goOn
			}
			return core.Verdict{Decision: core.Allow}, nil
		}})
	})
	p := newPeer(nil)
	done := make(chan error, 1)
	go func() {
		_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere)
		done <- err
	}()
	<-asked
	q := befriend(t, r.Gateway, nil)
	_, err := r.ReceiveMessage(t.Context(), q.message(t, r.Key(), nil))
	want(t, "a message meanwhile", err, "")
	if _, _, err := r.RemovePeer(t.Context(), q.key); err != nil {
		t.Error(err)
	}
	close(goOn)
	want(t, "the request", <-done, "")
	wantTrust(t, r.Gateway, p.key, core.Approved)
}

// A policy approves strangers: whom our operator has rejected or removed waits for our
// operator, also when it asks again, claims an invite, parts and comes back, or waits long.
func TestP3NoPolicyTakesBackARefusal(t *testing.T) {
	var ring *record.Ring
	r := newRig(t, func(o *gateway.Options) {
		var err error
		if ring, err = record.Open(t.Context(), o.Store.(record.Store), record.Settings{Keep: time.Hour}, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		o.Record, o.Plugins = ring, policies(says("yes", core.Verdict{Decision: core.Allow}))
		o.Settings.Limits.PendingLife = time.Nanosecond
	})
	times := 0
	ask := func(p *peer, invite *core.Invited) {
		t.Helper()
		times++ // no two envelopes are the same, however quick they are
		_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), func(q *core.Request) {
			q.Invite, q.OfferedIntents = invite, []string{fmt.Sprint("intent", times)}
		}), nowhere)
		want(t, "a request", err, "")
	}
	for _, no := range []struct {
		trust  core.Trust
		refuse func(core.PublicKey) error
	}{
		{core.Pending, func(k core.PublicKey) error { _, err := r.RejectPeer(t.Context(), k, false); return err }},
		{core.Approved, func(k core.PublicKey) error { _, _, err := r.RemovePeer(t.Context(), k); return err }},
	} {
		p := newPeer(nil)
		add(t, r.Gateway, p, no.trust, nil)
		if err := no.refuse(p.key); err != nil {
			t.Fatal(err)
		}
		ask(p, nil)
		wantTrust(t, r.Gateway, p.key, core.Pending)
		if d := recorded(t, ring)[0]; d.Verdict != core.Hold || !d.Question(nil).Peer.Refused { // so that a replay decides the same
			t.Errorf("recorded %+v, want held, as it is refused", d)
		}
		ask(p, &core.Invited{Token: "abcdef"})
		wantTrust(t, r.Gateway, p.key, core.Pending)
		_, err := r.ReceiveRemoval(t.Context(), p.SealRemoval(r.Key()))
		want(t, "a removal", err, "")
		ask(p, nil)
		wantTrust(t, r.Gateway, p.key, core.Pending)
		if err := r.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantTrust(t, r.Gateway, p.key, core.Pending)
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
			t.Fatal(err)
		}
		if got := r.Peer(p.key); got.Trust != core.Approved || got.Refused {
			t.Errorf("approved by us: %s, refused %v, want approved, and no refusal", got.Trust, got.Refused)
		}
	}
}

func TestHandler(t *testing.T) {
	fails := true
	handler := coretest.Handler{Intent: "custom", Do: func(_ context.Context, p *core.Peer, m *core.Message) (core.HandlerAnswer, error) {
		if fails {
			return core.HandlerAnswer{}, errors.New("trap")
		}
		return core.HandlerAnswer{OK: m.ToAgent == "", Data: m.Payload, Error: "no"}, nil
	}}
	plugins := func() (gateway.Plugins, error) { return gateway.Plugins{Handlers: []core.Handler{handler}}, nil }
	a, b := coretest.Pair(t, coretest.WithPlugins(plugins), coretest.WithSettings(func(s *ours.Settings) {
		s.Grants = []core.Grant{{Intent: "custom", Enabled: true}}
	}))
	coretest.Federate(t, a, b)
	if got := b.Card("", "", "").Capabilities.Intents; !strings.Contains(strings.Join(got, " "), "custom") {
		t.Errorf("the card names %v, want custom among them", got)
	}
	send := func(reply bool) gateway.Outgoing {
		out, err := a.Send(t.Context(), b.Key(), gateway.Sending{Intent: "custom", Payload: core.Raw(`{"n":1}`), WantReply: reply, Now: true})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := send(false); out.Item.State != core.OutExpired || !strings.Contains(out.Err.Error(), "503") {
		t.Errorf("with a handler that fails: %s, %v, want a 503", out.Item.State, out.Err)
	}
	if n := len(inbox(t, b.Store)); n != 0 {
		t.Errorf("%d messages kept that were answered 503, want 0", n)
	}
	fails = false
	for _, reply := range []bool{true, false} { // by callback, and by polling
		out := send(reply)
		if out.Err != nil || !strings.Contains(string(out.Item.Answer), `"status":"ok","data":{"n":1}`) {
			t.Fatalf("answer %s, %v, want the handler's", out.Item.Answer, out.Err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		got, err := a.AwaitReply(ctx, out.Item)
		if err != nil || !got.Reply.Success || string(got.Reply.Data) != `{"n":1}` {
			t.Errorf("reply %+v, %v, want the handler's", got, err)
		}
	}
	if m := inbox(t, b.Store)[0]; m.Status != core.InboxReplied || m.Reply == nil {
		t.Errorf("kept as %s, want replied", m.Status)
	}
}

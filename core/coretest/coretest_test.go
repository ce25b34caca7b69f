package coretest_test

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

func TestMain(m *testing.M) { coretest.Main(m) }

const hello = `{"text":"hello"}`

func send(t *testing.T, from *coretest.Gateway, to core.PublicKey, m gateway.Sending) gateway.Outgoing {
	t.Helper()
	if m.Intent == "" {
		m.Intent, m.Payload = core.IntentMessage, core.Raw(hello)
	}
	out, err := from.Send(t.Context(), to, m)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return out
}

func sent(t *testing.T, out gateway.Outgoing) {
	t.Helper()
	if out.Err != nil || out.Item.State != core.OutSent {
		t.Fatalf("envelope is %s (%v), want sent", out.Item.State, out.Err)
	}
}

// The whole life of a federation between two of ours, over each store.
func TestPairLifecycle(t *testing.T) {
	for _, kind := range []string{"memory", "sqlite"} {
		t.Run(kind, func(t *testing.T) {
			a, b := coretest.Pair(t, coretest.WithStore(kind))
			coretest.Ask(t, a, b)
			if got := a.TrustOf(b); got != core.Requested {
				t.Fatalf("after asking, a has b %q, want requested", got)
			}
			if got := b.TrustOf(a); got != core.Pending {
				t.Fatalf("after asking, b has a %q, want pending", got)
			}
			b.Notifier.Await(t, 1, core.EventRequest)
			coretest.Approve(t, b, a)
			coretest.Await(t, "both have the other's grants", func() bool {
				return b.Peer(a.Key()).Received != nil && a.Peer(b.Key()).Received != nil
			})
			for _, g := range []*coretest.Gateway{a, b} {
				if n := g.Notifier.Await(t, 1, core.EventApproved); len(n) != 1 {
					t.Errorf("%d notices of the approval, want 1", len(n))
				}
			}

			sent(t, send(t, a, b.Key(), gateway.Sending{}))
			sent(t, send(t, b, a.Key(), gateway.Sending{}))
			if m := b.Notifier.Await(t, 1, core.EventMessage)[0].Event.Message; string(m.Message.Payload) != hello {
				t.Errorf("payload %s, want %s", m.Message.Payload, hello)
			}

			a.Restart()
			b.Restart()
			sent(t, send(t, a, b.Key(), gateway.Sending{}))

			_, notified, err := a.RemovePeer(t.Context(), b.Key())
			if err != nil || notified != nil {
				t.Fatalf("RemovePeer = %v, %v, want nil, nil", notified, err)
			}
			if a.TrustOf(b) != core.Removed || b.TrustOf(a) != core.Removed {
				t.Errorf("after removal: %q and %q, want removed on both sides", a.TrustOf(b), b.TrustOf(a))
			}
			if by := a.Notifier.Await(t, 1, core.EventRemoved)[0].Event.By; by != core.Us {
				t.Errorf("the remover's notice says by %q, want us", by)
			}
			if by := b.Notifier.Await(t, 1, core.EventRemoved)[0].Event.By; by != core.Them {
				t.Errorf("the removed side's notice says by %q, want them", by)
			}
			if _, err := a.Send(t.Context(), b.Key(), gateway.Sending{Intent: "message"}); err == nil {
				t.Error("Send to a removed peer = nil, want NotApproved")
			}
			coretest.Federate(t, b, a)
			sent(t, send(t, a, b.Key(), gateway.Sending{}))
		})
	}
}

func compat(s *ours.Settings) {
	s.Levels = scope.Levels{Default: scope.LevelFull}
}

// exchange sends messages both ways and has one of ours answered.
func exchange(t *testing.T, g *coretest.Gateway, old *coretest.LegacyGateway) {
	t.Helper()
	k := old.Key.Public()
	for _, m := range []struct{ intent, payload string }{
		{core.IntentMessage, hello}, {core.IntentAgentComms, `{"topic":"general","message":"hello"}`},
	} {
		before := len(g.Notifier.Notified(core.EventMessage))
		if _, a := old.Send(g.Key(), m.intent, m.payload, false); a.Status != 200 {
			t.Fatalf("%s from %s: %d %s", m.intent, old.Era, a.Status, a.Body)
		}
		g.Notifier.Await(t, before+1, core.EventMessage)
		before = len(old.Messages())
		sent(t, send(t, g, k, gateway.Sending{Intent: m.intent, Payload: core.Raw(m.payload)}))
		if got := len(old.Messages()); got != before+1 {
			t.Fatalf("%s has %d messages, want %d", old.Era, got, before+1)
		}
	}
	// They ask us and get a real answer at their replyTo.
	nonce, a := old.Send(g.Key(), core.IntentMessage, hello, true)
	if a.Status != 200 {
		t.Fatalf("message with replyTo from %s: %d %s", old.Era, a.Status, a.Body)
	}
	list, err := g.Store.Inbox(t.Context(), core.InboxFilter{Peer: k, Limit: 1})
	if err != nil || len(list) != 1 || list[0].Message.Nonce != nonce {
		t.Fatalf("inbox: %v, %v", list, err)
	}
	out, err := g.InboxReply(t.Context(), list[0].ID, core.Reply{Success: true, Data: core.Raw(`{"answer":42}`)}, false)
	if err != nil {
		t.Fatal(err)
	}
	sent(t, out)
	if r, ok := old.Reply(nonce); !ok || string(r.Data) != `{"answer":42}` {
		t.Errorf("%s got reply %s (%v), want our answer", old.Era, r.Data, ok)
	}
}

// identify sends the identity envelope that the last eras have.
func identify(t *testing.T, g *coretest.Gateway, old *coretest.LegacyGateway) {
	t.Helper()
	if !old.Era.Signed() && old.Era != coretest.N {
		return
	}
	if _, a := old.UpdateIdentity(g.URL, "Renamed"); a.Status != 200 {
		t.Fatalf("update-identity from %s: %d %s", old.Era, a.Status, a.Body)
	}
	human := "Hu Man"
	if old.Era == coretest.E0 { // its operator has set none
		human = ""
	}
	if got := g.Peer(old.Key.Public()).Names; got.DisplayName == "Renamed" || got.HumanName != human {
		t.Errorf("%s is called %+v, want the name on its card, and the human that it claims", old.Era, got)
	}
}

func end(t *testing.T, g *coretest.Gateway, old *coretest.LegacyGateway, weRemove bool) {
	t.Helper()
	k := old.Key.Public()
	switch {
	case weRemove:
		_, notified, err := g.RemovePeer(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		if old.Era == coretest.H {
			if notified == nil || !strings.Contains(notified.Error(), "404") {
				t.Errorf("notified = %v, want the 404 of a gateway that knows no removal", notified)
			}
			return
		}
		if notified != nil || old.Peer(g.Key()).Status != "removed" {
			t.Errorf("notified = %v and the peer has us %q, want nil and removed", notified, old.Peer(g.Key()).Status)
		}
	case old.Era == coretest.H:
		old.Remove(g.Key()) // tells nobody
		return
	default:
		old.Remove(g.Key())
		coretest.Await(t, "the removal is taken", func() bool { return g.TrustOfKey(k) == core.Removed })
		if by := g.Notifier.Await(t, 1, core.EventRemoved)[0].Event.By; by != core.Them {
			t.Errorf("by %q, want them", by)
		}
	}
	if got := g.TrustOfKey(k); got != core.Removed {
		t.Errorf("the peer is %q, want removed", got)
	}
}

// Every era asks us, and we approve.
func TestLegacyAsks(t *testing.T) {
	for _, era := range coretest.Eras {
		for _, weRemove := range []bool{true, false} {
			t.Run(string(era)+map[bool]string{true: " we part", false: " they part"}[weRemove], func(t *testing.T) {
				g, old := coretest.New(t, coretest.WithSettings(compat)), coretest.Legacy(t, era)
				if a := old.Request(g.URL); a.Status != 200 || !strings.Contains(string(a.Body), `"status":"pending"`) {
					t.Fatalf("request: %d %s", a.Status, a.Body)
				}
				if _, err := g.ApprovePeer(t.Context(), old.Key.Public(), gateway.Approval{}); err != nil {
					t.Fatal(err)
				}
				coretest.Await(t, "the approval is there", func() bool { return old.Peer(g.Key()).Received != nil })
				p := old.Peer(g.Key())
				if p.Status != "approved" || p.Received == nil {
					t.Fatalf("%s has us %+v, want approved with grants", era, p)
				}
				exchange(t, g, old)
				identify(t, g, old)
				end(t, g, old, weRemove)
			})
		}
	}
}

// We ask every era, and they approve.
func TestLegacyIsAsked(t *testing.T) {
	for _, era := range coretest.Eras {
		for _, weRemove := range []bool{true, false} {
			t.Run(string(era)+map[bool]string{true: " we part", false: " they part"}[weRemove], func(t *testing.T) {
				g, old := coretest.New(t, coretest.WithSettings(compat)), coretest.Legacy(t, era)
				asked, err := g.RequestFederation(t.Context(), gateway.Ask{URL: old.URL})
				if err != nil || asked.Status != "pending" {
					t.Fatalf("RequestFederation = %q, %v, want pending", asked.Status, err)
				}
				if a := old.Approve(g.Key()); a.Status != 200 {
					t.Fatalf("approve: %d %s", a.Status, a.Body)
				}
				coretest.Await(t, "our grants are there", func() bool { return old.Peer(g.Key()).Received != nil })
				coretest.Await(t, "it is approved", func() bool { return g.TrustOfKey(old.Key.Public()) == core.Approved })
				if got := g.TrustOfKey(old.Key.Public()); got != core.Approved {
					t.Fatalf("the peer is %q, want approved", got)
				}
				exchange(t, g, old)
				identify(t, g, old)
				end(t, g, old, weRemove)
			})
		}
	}
}

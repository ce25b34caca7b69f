package gateway_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// A label that fits several peers is resolved by trying their keys.
func TestK3SharedLabel(t *testing.T) {
	r := newRig(t, nil)
	short := func(m *core.Message) { m.From = m.From[:16] }
	var peers []*peer
	for range 40 {
		peers = append(peers, befriend(t, r.Gateway, nil))
	}
	// Strangers with the same label, seen last, use up no try.
	for i := range 60 {
		s := newPeer(nil)
		if _, err := r.ReceiveRequest(t.Context(), without(t, s.request(r.Key(), nil), "v2"), addr(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range peers {
		if _, err := r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), nil), "v2")); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range slices.Backward(peers) {
		_, err := r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), short), "v2"))
		if i < len(peers)-32 {
			want(t, "an envelope of one that was not seen for longest", err, core.BadSignature)
			continue
		}
		want(t, "an envelope of one of the 32 last seen", err, "")
		if m := inbox(t, r.store)[0]; m.Peer != p.key {
			t.Fatalf("message kept as from %v, want its signer", m.Peer.ID())
		}
	}
	// Who is seen under its whole id is found under the short one, too.
	for _, p := range peers {
		if _, err := r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), nil), "v2")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), short), "v2")); err != nil {
			t.Fatalf("under the short id = %v, want nil", err)
		}
	}
	// Once a peer has shown v2 it is not tried under a label that old gateways use.
	if _, err := r.ReceiveMessage(t.Context(), peers[0].message(t, r.Key(), nil)); err != nil {
		t.Fatal(err)
	}
	_, err := r.ReceiveMessage(t.Context(), without(t, peers[0].message(t, r.Key(), short), "v2"))
	want(t, "under the short id after v2", err, core.BadSignature)
}

// Nobody chooses the id that we address them by, beyond their own host and port.
func TestK3AnnouncedLabel(t *testing.T) {
	r := newRig(t, nil)
	victim := befriend(t, r.Gateway, nil)
	for id, label := range map[string]string{
		victim.key.ID():          "",
		victim.key.String():      "",
		"bob":                    "",
		"victim.example:18790":   "",
		"peer.example:18790":     "peer.example:18790",
		"peer.example:99999":     "",
		"peer.example:18790 bob": "",
	} {
		p := newPeer(nil)
		p.url = "http://peer.example"
		_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), func(x *core.Request) { x.Peer.ID = id }), nowhere)
		want(t, "ReceiveRequest", err, "")
		if got := r.Peer(p.key).Label; got != label {
			t.Errorf("announced %q: label %q, want %q", id, got, label)
		}
		if _, err := r.Resolve("peer.example:18790"); err == nil {
			t.Error("Resolve found a pending peer by the id that it announced itself")
		}
	}
}

func TestL5Recipient(t *testing.T) {
	r := newRig(t, func(o *gateway.Options) { o.Settings.Compat.HostPortIDs = []string{"old.example:18790"} })
	p := befriend(t, r.Gateway, nil)
	for to, kind := range map[string]core.Kind{
		r.Key().ID(): "", r.Key().String(): "", r.Key().ShortID(): core.Malformed, "us.example:18790": "", "old.example:18790": "",
		"": core.Malformed, "us.example": core.Malformed, "us.example:1": core.Malformed, p.key.ID(): core.Malformed, p.key.String(): core.Malformed,
	} {
		_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.To = to }))
		want(t, "message to "+to, err, kind)
	}
	other := newPeer(nil)
	_, err := r.ReceiveMessage(t.Context(), p.message(t, other.key, func(m *core.Message) { m.To = r.Key().ID() }))
	want(t, "v2 for another", err, core.Malformed)
	// Everybody's label is taken from those who know no better.
	for version, kind := range map[string]core.Kind{"": "", "0.2.30": "", "0.3.1": "", "0.4.3": core.Malformed, "0.7.2": core.Malformed} {
		q := befriend(t, r.Gateway, func(p *core.Peer) { p.Version = version })
		_, err := r.ReceiveMessage(t.Context(), without(t, q.message(t, r.Key(), func(m *core.Message) { m.To = r.Key().ShortID() }), "v2"))
		want(t, "16 characters from "+version, err, kind)
	}
}

func TestL6SameBytesSameAnswer(t *testing.T) {
	for _, kind := range []string{"memory", "sqlite"} {
		t.Run(kind, func(t *testing.T) {
			var calls atomic.Int32
			handler := coretest.Handler{Intent: "custom", Do: func(context.Context, *core.Peer, *core.Message) (core.HandlerAnswer, error) {
				n := calls.Add(1)
				time.Sleep(5 * time.Millisecond)
				return core.HandlerAnswer{OK: true, Data: core.Raw(`{"call":` + string('0'+n) + `}`)}, nil
			}}
			g := coretest.New(t, coretest.WithStore(kind), coretest.WithPlugins(func() (gateway.Plugins, error) {
				return gateway.Plugins{Handlers: []core.Handler{handler}}, nil
			}))
			p := befriend(t, g.Gateway, func(p *core.Peer) { p.Granted.Scopes[2].RateLimit.Requests = 1 })
			custom := func(m *core.Message) { m.Intent, m.Nonce = "custom", "11111111-2222-4333-8444-555555555555" }
			body := p.message(t, g.Key(), custom)

			const most = 16
			var wg sync.WaitGroup
			answers := make([]core.Answer, most)
			for i := range most {
				wg.Go(func() { answers[i] = g.Post("/federation/message", body) })
			}
			wg.Wait()
			g.Restart()
			answers = append(answers, g.Post("/federation/message", body))
			for i, a := range answers {
				if a.Status != 200 || string(a.Body) != string(answers[0].Body) {
					t.Errorf("answer %d: %d %s, want %s", i, a.Status, a.Body, answers[0].Body)
				}
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("the handler was called %d times, want 1", n)
			}
			if n := len(inbox(t, g.Store)); n != 1 {
				t.Errorf("%d messages kept, want 1", n)
			}

			other := p.message(t, g.Key(), func(m *core.Message) { custom(m); m.Payload = core.Raw(`{"text":"other"}`) })
			if a := g.Post("/federation/message", other); a.Status != 409 {
				t.Errorf("other bytes under a used nonce: %d %s, want 409", a.Status, a.Body)
			}
			none := p.message(t, g.Key(), func(m *core.Message) { m.Nonce = "" })
			if a := g.Post("/federation/message", none); a.Status != 400 {
				t.Errorf("no nonce: %d %s, want 400", a.Status, a.Body)
			}
			long := p.message(t, g.Key(), func(m *core.Message) { m.Nonce = core.Nonce(strings.Repeat("n", core.MaxNonceBytes+1)) })
			if a := g.Post("/federation/message", long); a.Status != 400 {
				t.Errorf("long nonce: %d %s, want 400", a.Status, a.Body)
			}
			// Another peer's nonces are its own.
			q := befriend(t, g.Gateway, nil)
			if a := g.Post("/federation/message", q.message(t, g.Key(), custom)); a.Status != 200 {
				t.Errorf("the nonce of another peer: %d %s, want 200", a.Status, a.Body)
			}
		})
	}
}

// A refusal that is on record is given again; one that is not may change.
func TestL6Refusals(t *testing.T) {
	deny := true
	r := newRig(t, func(o *gateway.Options) {
		o.Plugins = policies(coretest.Policy{ID: "p", Say: func(context.Context, core.Question) (core.Verdict, error) {
			if deny {
				return core.Verdict{Decision: core.Deny, Code: "no"}, nil
			}
			return core.Verdict{Decision: core.Allow}, nil
		}})
	})
	p := befriend(t, r.Gateway, nil)
	body := p.message(t, r.Key(), nil)
	for range 2 {
		a, err := r.ReceiveMessage(t.Context(), body)
		want(t, "denied message", err, "")
		if a.Status != 403 || !strings.Contains(string(a.Body), `"reason":"no"`) {
			t.Errorf("answer %d %s, want 403 with the policy's code", a.Status, a.Body)
		}
		deny = false
	}
	for intent, status := range map[string]int{"other": 400, core.IntentMessage: 200} {
		a, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.Intent = intent }))
		want(t, intent, err, "")
		if a.Status != status {
			t.Errorf("%s: %d, want %d", intent, a.Status, status)
		}
	}
	a, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.ToAgent = "nobody" }))
	if err != nil || a.Status != 404 {
		t.Errorf("unknown persona: %d, %v, want 404", a.Status, err)
	}
}

func TestL7NoDowngrade(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	_, err := r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), nil), "v2"))
	want(t, "legacy message before v2", err, "")
	_, err = r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil))
	want(t, "v2 message", err, "")
	r.restart()
	legacy := func(body []byte) []byte { return without(t, body, "v2") }
	_, err = r.ReceiveMessage(t.Context(), legacy(p.message(t, r.Key(), nil)))
	want(t, "legacy message after v2", err, core.BadSignature)
	_, err = r.ReceiveRequest(t.Context(), legacy(p.request(r.Key(), nil)), nowhere)
	want(t, "legacy request after v2", err, core.BadSignature)
	_, err = r.ReceiveApproval(t.Context(), legacy(p.approval(r.Key(), nil)))
	want(t, "legacy approval after v2", err, core.BadSignature)
	_, err = r.ReceiveRemoval(t.Context(), legacy(p.SealRemoval(r.Key())))
	want(t, "legacy removal after v2", err, core.Forbidden)
	_, err = r.ReceiveIdentity(t.Context(), legacy(p.SealIdentity(r.Key(), core.Identity{HumanName: "H", PublicKey: p.key.String()})))
	want(t, "legacy identity after v2", err, core.BadSignature)
	wantTrust(t, r.Gateway, p.key, core.Approved)
	if e := events(t, r.store, core.EventWarning); len(e) != 1 || !strings.Contains(e[0].Text, "ogp federation remove") {
		t.Errorf("warnings %v, want one that names the command", e)
	}
	// Its removal does not make us forget, but it may ask. docs/threat-model.md#t12
	if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
		t.Fatal(err)
	}
	_, err = r.ReceiveRequest(t.Context(), legacy(p.request(r.Key(), nil)), nowhere)
	want(t, "legacy request after removal", err, "")
	if p := r.Peer(p.key); p.Trust != core.Pending || !p.V2 || !strings.Contains(p.Warning, "older gateway") {
		t.Errorf("after it: %s, v2 %v, %q, want one that waits with a warning", p.Trust, p.V2, p.Warning)
	}
}

func TestR2ReplyTo(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.URL, p.V2 = "http://peer.example:18790", true })
	for replyTo, kind := range map[string]core.Kind{
		"":                                                      "",
		"http://peer.example:18790/x":                           "",
		"http://PEER.example:18790/x":                           "",
		"https://peer.example:18790/x":                          core.Malformed,
		"http://peer.example/x":                                 core.Malformed,
		"http://peer.example:18790@evil.com/x":                  core.Malformed,
		"http://u@peer.example:18790/x":                         core.Malformed,
		"http://evil.example:18790/x":                           core.Malformed,
		"//peer.example:18790/x":                                core.Malformed,
		"file:///etc/passwd":                                    core.Malformed,
		"http://169.254.169.254/latest":                         core.Malformed,
		"http://peer.example:18790/" + strings.Repeat("x", 600): core.Malformed,
	} {
		before := state(t, r)
		_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.ReplyTo = replyTo }))
		want(t, "replyTo "+replyTo, err, kind)
		if kind != "" && state(t, r) != before {
			t.Errorf("replyTo %s was refused and left something behind", replyTo)
		}
	}
}

// Rates are counted by key, not by spelling, and survive a restart.
func TestN5Rates(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *gateway.Options) { o.Now = c.Now })
	p := newPeer(c.Now)
	add(t, r.Gateway, p, core.Approved, func(p *core.Peer) {
		p.Granted.Scopes[0].RateLimit = &core.RateLimit{Requests: 3, WindowSeconds: 100}
	})
	send := func(from string) error {
		_, err := r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), func(m *core.Message) { m.From = from }), "v2"))
		return err
	}
	for _, from := range []string{p.key.ID(), p.key.String(), p.key.ShortID()} {
		want(t, "message from "+from, send(from), "")
		c.Add(10 * time.Second)
	}
	r.restart()
	for _, from := range []string{p.key.ID(), p.key.String(), p.key.ShortID()} {
		err := send(from)
		want(t, "message over the limit from "+from, err, core.RateLimited)
		var e *core.Error
		if errors.As(err, &e); e.RetryAfter != 70*time.Second {
			t.Errorf("retry after %v, want 70s: when the first of the three leaves the window", e.RetryAfter)
		}
	}
	c.Add(69 * time.Second)
	want(t, "a second too early", send(p.key.ID()), core.RateLimited)
	c.Add(time.Second)
	want(t, "when the first has left the window", send(p.key.ID()), "")
	want(t, "and then again", send(p.key.ID()), core.RateLimited)
}

// The door is shut at once for a peer that is removed while a policy thinks.
func TestRemovedWhileDeciding(t *testing.T) {
	var g *gateway.Gateway
	var k core.PublicKey
	r := newRig(t, func(o *gateway.Options) {
		o.Plugins = policies(coretest.Policy{ID: "slow", Say: func(ctx context.Context, q core.Question) (core.Verdict, error) {
			_, _, err := g.RemovePeer(ctx, k)
			return core.Verdict{Decision: core.Allow}, err
		}})
	})
	p := befriend(t, r.Gateway, nil)
	g, k = r.Gateway, p.key
	_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil))
	want(t, "ReceiveMessage", err, core.NotApproved)
	if n := len(inbox(t, r.store)); n != 0 {
		t.Errorf("%d messages kept of a removed peer, want 0", n)
	}
}

// An envelope that waits for a lock gives up with its context.
func TestEnvelopeWaitsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		r := newRig(t, func(o *gateway.Options) {
			o.Plugins = policies(coretest.Policy{ID: "slow", Say: func(context.Context, core.Question) (core.Verdict, error) {
				<-block
				return core.Verdict{}, nil
			}})
		})
		p := befriend(t, r.Gateway, nil)
		body := p.message(t, r.Key(), nil)
		first := make(chan error, 1)
		go func() { _, err := r.ReceiveMessage(t.Context(), body); first <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.ReceiveMessage(ctx, body)
		want(t, "the same envelope meanwhile", err, core.Unavailable)
		close(block)
		want(t, "the first", <-first, "")
	})
}

package gateway_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// A reply of which the answer got lost is known again when it comes signed anew.
func TestReplySignedAnew(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *gateway.Options) { o.Now = c.Now })
	p := newPeer(c.Now)
	add(t, r.Gateway, p, core.Approved, func(p *core.Peer) { p.V2 = true })
	x := sendTo(t, r, p)
	for range 2 {
		if _, err := r.ReceiveReply(t.Context(), x.Nonce, p.reply(t, r.Key(), x.Nonce, `{"answer":1}`)); err != nil {
			t.Errorf("ReceiveReply = %v, want nil", err)
		}
		c.Add(10 * time.Minute)
	}
	if n := len(events(t, r.store, core.EventReply)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// A refusal of which the answer got lost is given again to the message signed anew: a 409
// would tell its sender that we have it.
func TestRefusedSignedAnew(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *gateway.Options) {
		o.Now = c.Now
		o.Plugins = policies(says("no", core.Verdict{Decision: core.Deny, Reason: "no"}))
	})
	p := newPeer(c.Now)
	add(t, r.Gateway, p, core.Approved, func(p *core.Peer) { p.V2 = true })
	var m core.Message
	first, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(x *core.Message) { m = *x }))
	if err != nil {
		t.Fatal(err)
	}
	c.Add(10 * time.Minute)
	again, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(x *core.Message) { *x = m }))
	if err != nil || again.Status != 403 || string(again.Body) != string(first.Body) {
		t.Errorf("signed anew: %d %s, %v, want %d %s", again.Status, again.Body, err, first.Status, first.Body)
	}
}

// A pause of ours ends with a sign of life also where the peer's gateway has said "not
// now" and no time.
func TestWakesAfterNotNow(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(core.Answer{Status: 500, Body: []byte(`{"success":false,"error":"Internal server error"}`)}))
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		r.wire.answer(answers(status(200)))
		if _, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(aliveEvery + time.Second)
		if x := item(t, r, out.Item.ID); x.State != core.OutSent {
			t.Errorf("%s, and tried again in %v, want sent", x.State, time.Until(x.Next))
		}
	})
}

// aliveEvery is how often signs of life lead to a try.
const aliveEvery = 5 * time.Second

// A reply goes to where the peer has moved since it asked.
func TestReplyFollows(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		if _, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.ReplyTo = p.url + core.PathReply + string(m.Nonce) })); err != nil {
			t.Fatal(err)
		}
		r.wire.answer(answers(status(0)))
		if _, err := r.InboxReply(t.Context(), inbox(t, r.store)[0].ID, core.Reply{Success: true, Data: core.Raw(`1`)}, false); err != nil {
			t.Fatal(err)
		}
		const moved = "http://moved.example"
		r.wire.mu.Lock()
		r.wire.card = func(_ context.Context, url string, _ map[string]string) (core.Card, error) {
			if url != moved {
				return core.Card{}, errSilent
			}
			return core.Card{PublicKey: p.key.String(), GatewayURL: moved}, nil
		}
		r.wire.mu.Unlock()
		r.wire.answer(func(_ context.Context, url, _ string, _ []byte) (core.Answer, error) {
			if !strings.HasPrefix(url, moved+core.PathReply) {
				return core.Answer{}, errSilent
			}
			return status(200), nil
		})
		if _, err := r.ReceiveIdentity(t.Context(), p.SealIdentity(r.Key(), core.Identity{GatewayURL: moved, PublicKey: p.key.String()})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		list, err := r.store.Outbox(t.Context(), core.OutboxFilter{})
		if err != nil || len(list) != 1 || list[0].State != core.OutSent {
			t.Errorf("the outbox holds %+v, %v, want one reply that was sent", list, err)
		}
	})
}

// Where we cannot be reached, an answer is polled for, whatever became of the message
// before it left.
func TestPollsGoOn(t *testing.T) {
	for name, hinder := range map[string]func(t *testing.T, r *rig, p *peer, id string){
		"given up, and tried again": func(t *testing.T, r *rig, p *peer, id string) {
			time.Sleep(25 * time.Hour)
			r.wire.answer(answers(status(200)))
			if _, _, err := r.RetryOutbox(t.Context(), id, core.PublicKey{}); err != nil {
				t.Fatal(err)
			}
		},
		"waiting when we are started": func(t *testing.T, r *rig, p *peer, id string) {
			r.restart()
			r.wire.answer(answers(status(200)))
		},
		"that somebody waited for": func(t *testing.T, r *rig, p *peer, id string) {
			r.wire.answer(answers(status(200)))
		},
		"to one that shows v2 later": func(t *testing.T, r *rig, p *peer, id string) {
			r.wire.answer(answers(status(200)))
			time.Sleep(time.Hour)
			if _, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(o *gateway.Options) { o.Settings.Health.Interval, o.Settings.URL = -1, "http://localhost:18790" })
				p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = !strings.Contains(name, "v2") })
				stop := r.run()
				r.wire.answer(answers(status(0)))
				m := message(1)
				m.WantReply = strings.Contains(name, "waited")
				out, err := r.Send(t.Context(), p.key, m)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(name, "started") {
					stop()
				}
				hinder(t, r, p, out.Item.ID)
				if strings.Contains(name, "started") {
					stop = r.run()
				}
				defer func() { stop() }()
				time.Sleep(5 * time.Second)
				if x := item(t, r, out.Item.ID); x.State != core.OutSent {
					t.Fatalf("%s %s, want sent", x.State, x.Error)
				}
				r.wire.mu.Lock()
				r.wire.poll = func(n core.Nonce) (core.Answer, error) {
					return core.Answer{Status: 200, Body: p.reply(t, r.Key(), n, `{"answer":1}`)}, nil
				}
				r.wire.mu.Unlock()
				time.Sleep(11 * time.Minute)
				if _, err := r.store.Reply(t.Context(), p.key, out.Item.Nonce); err != nil {
					t.Errorf("no answer: %v", err)
				}
			})
		})
	}
}

// A send costs a few tries at the most, however many wait that something before the peer
// answers for it; and when it lives again, all leave in order.
func TestSendBehindPages(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(core.Answer{Status: 530, Body: []byte("error code: 1033")}))
		for n := range 100 {
			time.Sleep(7 * time.Minute)
			before := len(r.wire.sent(core.PathMessage))
			if _, err := r.Send(t.Context(), p.key, message(n)); err != nil {
				t.Fatal(err)
			}
			if tries := len(r.wire.sent(core.PathMessage)) - before; tries > 6 {
				t.Fatalf("message %d cost %d tries, want a few", n, tries)
			}
		}
		var got []int
		r.wire.answer(func(_ context.Context, _, _ string, body []byte) (core.Answer, error) {
			got = append(got, number(t, body))
			return status(200), nil
		})
		if _, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(aliveEvery + time.Second)
		synctest.Wait()
		if len(got) != 100 || !slices.IsSorted(got) {
			t.Errorf("%v left, want all in order", got)
		}
	})
}

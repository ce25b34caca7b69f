package gateway_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// sendTo sends a message and returns its item.
func sendTo(t *testing.T, r *rig, p *peer) *core.OutboxItem {
	t.Helper()
	out, err := r.Send(t.Context(), p.key, gateway.Sending{Intent: "message", Payload: core.Raw(`{}`), WantReply: true})
	if err != nil || out.Err != nil {
		t.Fatal(err, out.Err)
	}
	return out.Item
}

func (p *peer) reply(t *testing.T, to core.PublicKey, n core.Nonce, data string) []byte {
	t.Helper()
	body, err := p.SealReply(to, core.Reply{Nonce: n, Success: true, Data: core.Raw(data)})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestR1Reply(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *gateway.Options) { o.Now = c.Now })
	p, other := newPeer(c.Now), newPeer(c.Now)
	add(t, r.Gateway, p, core.Approved, nil)
	add(t, r.Gateway, other, core.Approved, nil)
	item := sendTo(t, r, p)
	receive := func(what string, n core.Nonce, body []byte, kind core.Kind) {
		t.Helper()
		_, err := r.ReceiveReply(t.Context(), n, body)
		want(t, what, err, kind)
	}
	receive("another approved peer's", item.Nonce, other.reply(t, r.Key(), item.Nonce, `1`), core.BadSignature)
	receive("under a nonce of nobody", "nobody", p.reply(t, r.Key(), "nobody", `1`), core.NotFound)
	item2 := sendTo(t, r, p)
	receive("for another nonce of the peer", item2.Nonce, p.reply(t, r.Key(), item.Nonce, `1`), core.Malformed)
	receive("a receipt", item.Nonce, p.reply(t, r.Key(), item.Nonce, `{"received":true}`), "")
	answer := p.reply(t, r.Key(), item.Nonce, `{"answer":1}`)
	receive("the answer after the receipt", item.Nonce, answer, "")
	receive("the same again", item.Nonce, answer, "")
	receive("a receipt after the answer", item.Nonce, p.reply(t, r.Key(), item.Nonce, `{"received":true}`), "")
	receive("another answer", item.Nonce, p.reply(t, r.Key(), item.Nonce, `{"answer":2}`), core.Conflict)
	receive("without v2 after v2", item2.Nonce, without(t, p.reply(t, r.Key(), item2.Nonce, `1`), "v2"), core.BadSignature)
	if got, err := r.store.Reply(t.Context(), p.key, item.Nonce); err != nil || string(got.Reply.Data) != `{"answer":1}` {
		t.Errorf("kept %s, %v, want the answer", got.Reply.Data, err)
	}
	if n := len(events(t, r.store, core.EventReply)); n != 2 {
		t.Errorf("%d events, want 2: the receipt and the answer", n)
	}
	c.Add(25 * time.Hour)
	receive("after its life", item2.Nonce, p.reply(t, r.Key(), item2.Nonce, `1`), core.NotFound)
}

// Two different answers at once: one counts.
func TestR1Concurrent(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	for range 20 {
		item := sendTo(t, r, p)
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, data := range []string{`1`, `2`} {
			wg.Go(func() { _, errs[i] = r.ReceiveReply(t.Context(), item.Nonce, p.reply(t, r.Key(), item.Nonce, data)) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("two answers: %v and %v, want one nil and one Conflict", errs[0], errs[1])
		}
	}
}

// A reply of ours can be polled, more than once, by who knows the nonce, with
// our signature, until its life ends.
func TestR1Poll(t *testing.T) {
	c := newClock()
	g := coretest.New(t, coretest.WithNow(c.Now))
	p := newPeer(c.Now)
	add(t, g.Gateway, p, core.Approved, nil)
	nonce := envelope.NewNonce()
	path := "/federation/reply/" + string(nonce)
	if a := g.Get(path); a.Status != 404 || string(a.Body) != `{"nonce":"`+string(nonce)+`","status":"pending","message":"Reply not yet available"}` {
		t.Errorf("before: %d %s", a.Status, a.Body)
	}
	if a := g.Post("/federation/message", p.message(t, g.Key(), func(m *core.Message) { m.Nonce = nonce })); a.Status != 200 {
		t.Fatalf("message: %d %s", a.Status, a.Body)
	}
	id := inbox(t, g.Store)[0].ID
	out, err := g.InboxReply(t.Context(), id, core.Reply{Success: true, Data: core.Raw(`{"x":1}`)}, false)
	if err != nil || out.Item != nil {
		t.Fatalf("InboxReply = %v, %v, want nothing to send", out.Item, err)
	}
	if _, err := g.InboxReply(t.Context(), id, core.Reply{Success: true}, false); err == nil {
		t.Error("a second reply = nil, want Conflict")
	}
	for range 2 {
		a := g.Get(path)
		var got struct {
			Status, ReplyStr, Signature string
			Reply                       core.Reply
		}
		if err := json.Unmarshal(a.Body, &got, json.MatchCaseInsensitiveNames(true)); err != nil || a.Status != 200 || got.Status != "complete" {
			t.Fatalf("poll: %d %s, %v", a.Status, a.Body, err)
		}
		var o map[string]jsontext.Value
		if err := json.Unmarshal(a.Body, &o); err != nil {
			t.Fatal(err)
		}
		o["reply"] = jsontext.Value(got.ReplyStr)
		body, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := envelope.Open(&envelope.Opener{Self: p.key}, envelope.Reply, body, envelope.From(g.Key())); err != nil {
			t.Errorf("the polled reply does not open: %v", err)
		}
	}
	c.Add(25 * time.Hour)
	if a := g.Get(path); a.Status != 404 {
		t.Errorf("after its life: %d %s, want 404", a.Status, a.Body)
	}
}

// We poll the peer, and believe only what it has signed.
func TestR1WePoll(t *testing.T) { synctest.Test(t, wePoll) }

// Who sits and waits hears soon of an answer that is left at the peer; who waits for long
// does not ask it all day.
func TestAwaitReplyPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		item := sendTo(t, r, befriend(t, r.Gateway, nil))
		asked := map[bool]int{} // within the first minute or so, and after
		began := time.Now()
		r.wire.poll = func(core.Nonce) (core.Answer, error) {
			asked[time.Since(began) <= 90*time.Second]++
			return core.Answer{Status: 404, Body: []byte(`{}`)}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		if _, err := r.AwaitReply(ctx, item); err == nil {
			t.Error("AwaitReply = nil, want that nothing came")
		}
		if asked[true] < 40 || asked[false] > 120 {
			t.Errorf("asked %d times in a minute and a half, and %d in three hours; want 45 or so, and far fewer than 5,000", asked[true], asked[false])
		}
	})
}

func wePoll(t *testing.T) {
	r := newRig(t, nil)
	p, mallory := befriend(t, r.Gateway, nil), newPeer(nil)
	item := sendTo(t, r, p)
	polled := func(by *peer, n core.Nonce) core.Answer {
		var in map[string]any
		if err := json.Unmarshal(by.reply(t, r.Key(), n, `{"answer":1}`), &in); err != nil {
			t.Fatal(err)
		}
		in["status"] = "complete"
		out, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		return core.Answer{Status: 200, Body: out}
	}
	answers := []core.Answer{
		{Status: 200, Body: []byte(`{"nonce":"x","status":"complete","reply":{"success":true,"data":1}}`)}, // unsigned
		polled(mallory, item.Nonce),
		polled(p, "another"),
		polled(p, item.Nonce),
	}
	asked := 0
	r.wire.poll = func(core.Nonce) (core.Answer, error) {
		a := answers[min(asked, len(answers)-1)]
		asked++
		return a, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := r.AwaitReply(ctx, item)
	if err != nil || string(got.Reply.Data) != `{"answer":1}` || got.Peer != p.key {
		t.Errorf("AwaitReply = %+v, %v, want the peer's own", got, err)
	}
	if asked != len(answers) {
		t.Errorf("asked %d times, want %d: the others are no replies", asked, len(answers))
	}
}

// Old gateways send a receipt first; the answer replaces it.
func TestReceipts(t *testing.T) {
	for _, era := range []coretest.Era{coretest.M, coretest.E} {
		t.Run(string(era), func(t *testing.T) {
			g := coretest.New(t)
			old := coretest.Legacy(t, era)
			old.Request(g.URL)
			if _, err := g.ApprovePeer(t.Context(), old.Key.Public(), gateway.Approval{}); err != nil {
				t.Fatal(err)
			}
			coretest.Await(t, "the approval is there", func() bool { return old.Peer(g.Key()).Status == "approved" })
			out, err := g.Send(t.Context(), old.Key.Public(), gateway.Sending{Intent: "message", Payload: core.Raw(`{"text":"?"}`), WantReply: true})
			if err != nil || out.Err != nil {
				t.Fatal(err, out.Err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			got, err := g.AwaitReply(ctx, out.Item)
			if err != nil || string(got.Reply.Data) != `{"received":true}` {
				t.Fatalf("AwaitReply = %+v, %v, want the receipt when the time is up", got, err)
			}
			if a := old.SendReply(old.Messages()[0], `{"answer":42}`); a.Status != 200 {
				t.Fatalf("reply: %d %s", a.Status, a.Body)
			}
			ctx2, cancel2 := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel2()
			if got, err = g.AwaitReply(ctx2, out.Item); err != nil || string(got.Reply.Data) != `{"answer":42}` {
				t.Errorf("AwaitReply = %+v, %v, want the answer", got, err)
			}
		})
	}
}

// A reply shows that the message came, even when its answer got lost.
func TestReplyBeforeAnswer(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	r.wire.answer(func(ctx context.Context, _, path string, body []byte) (core.Answer, error) {
		var in struct {
			Message core.Message `json:"message"`
		}
		if err := json.Unmarshal(body, &in, json.RejectUnknownMembers(false)); err != nil {
			t.Error(err)
		}
		if _, err := r.ReceiveReply(ctx, in.Message.Nonce, p.reply(t, r.Key(), in.Message.Nonce, `{"received":true}`)); err != nil {
			t.Errorf("ReceiveReply: %v", err)
		}
		return core.Answer{}, errSilent
	})
	out, err := r.Send(t.Context(), p.key, gateway.Sending{Intent: "message", Payload: core.Raw(`{}`), WantReply: true})
	if err != nil || out.Err != nil || out.Item.State != core.OutSent {
		t.Errorf("Send = %s, %v, %v, want sent", out.Item.State, out.Err, err)
	}
}

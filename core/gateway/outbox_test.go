package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

func message(n int) gateway.Sending {
	return gateway.Sending{Intent: "message", Payload: core.Raw(fmt.Sprintf(`{"n":%d}`, n))}
}

func item(t *testing.T, r *rig, id string) *core.OutboxItem {
	t.Helper()
	x, err := r.store.OutboxItem(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func answers(list ...core.Answer) func(context.Context, string, string, []byte) (core.Answer, error) {
	var n atomic.Int32
	return func(context.Context, string, string, []byte) (core.Answer, error) {
		a := list[min(int(n.Add(1)), len(list))-1]
		if a.Status == 0 {
			return a, errSilent
		}
		return a, nil
	}
}

// status is a gateway's own answer.
func status(n int) core.Answer {
	if n/100 == 2 {
		return core.Answer{Status: n, Body: []byte(`{"success":true,"received":true,"updated":true}`)}
	}
	return core.Answer{Status: n, Body: []byte(`{"success":false,"error":"Unknown peer"}`)}
}

// in runs a test with a gateway whose background works, in a bubble of time.
func in(t *testing.T, f func(t *testing.T, r *rig, p *peer)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *gateway.Options) { o.Settings.Health.Interval = -1 })
		p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true })
		stop := r.run()
		defer stop()
		synctest.Wait() // its first look at what waits would else meet what f sends
		f(t, r, p)
	})
}

func TestOutboxRetries(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(status(0), status(0), status(503), status(200)))
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil || !errors.Is(out.Err, core.Unreachable) || out.Item.State != core.OutWaiting {
			t.Fatalf("Send = %+v, %v, want an envelope that waits", out, err)
		}
		time.Sleep(time.Minute)
		if x := item(t, r, out.Item.ID); x.State != core.OutSent || x.Attempts != 4 {
			t.Errorf("after a minute: %s after %d attempts, want sent after 4", x.State, x.Attempts)
		}
		sent := r.wire.sent(core.PathMessage)
		for i, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			if d := sent[i+1].At.Sub(sent[i].At); d < least || d > 2*least+time.Second {
				t.Errorf("wait %d was %v, want %v to %v", i, d, least, 2*least)
			}
			if string(sent[i+1].Body) != string(sent[0].Body) {
				t.Error("a body that is fresh was signed anew")
			}
		}
	})
}

func TestOutboxRetryAfter(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		busy := status(429)
		busy.RetryAfter = 10 * time.Minute
		r.wire.answer(answers(busy, status(200)))
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil || !errors.Is(out.Err, core.Refused) || out.Item.State != core.OutWaiting {
			t.Fatalf("Send = %+v, %v", out, err)
		}
		// An envelope behind it does not pass it, nor ask sooner.
		out2, err := r.Send(t.Context(), p.key, message(2))
		if err != nil || !errors.Is(out2.Err, core.Unavailable) {
			t.Fatalf("second Send = %v, %v, want one that waits", out2.Err, err)
		}
		time.Sleep(9 * time.Minute)
		if n := len(r.wire.sent(core.PathMessage)); n != 1 {
			t.Errorf("%d tries before the time that the peer named, want 1", n)
		}
		time.Sleep(2 * time.Minute)
		for _, o := range []gateway.Outgoing{out, out2} {
			if x := item(t, r, o.Item.ID); x.State != core.OutSent {
				t.Errorf("envelope is %s, want sent", x.State)
			}
		}
	})
}

// A time that the peer asks for is how long the later ones wait, however often it asks.
func TestOutboxAskedTime(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		busy := core.Answer{Status: 429, Body: []byte(`{"success":false,"error":"Rate limit exceeded for intent 'a'","statusCode":429,"retryAfter":1}`), RetryAfter: time.Second}
		r.wire.answer(func(_ context.Context, _, _ string, body []byte) (core.Answer, error) {
			if number(t, body) == 0 {
				return busy, nil
			}
			return status(200), nil
		})
		for n := range 3 {
			if _, err := r.Send(t.Context(), p.key, message(n)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3500 * time.Millisecond) // tried at 0, 1, 2 and 3 s
		waiting, err := r.store.Outbox(t.Context(), core.OutboxFilter{State: core.OutWaiting})
		if err != nil || len(waiting) != 1 || number(t, waiting[0].Body) != 0 {
			t.Errorf("%d wait, %v, want the one that its peer has no time for", len(waiting), err)
		}
	})
}

func TestOutboxGivesUp(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(status(0)))
		var ids []string
		for n := range 3 {
			out, err := r.Send(t.Context(), p.key, message(n))
			if err != nil || out.Item.State != core.OutWaiting {
				t.Fatalf("Send = %+v, %v", out, err)
			}
			ids = append(ids, out.Item.ID)
		}
		time.Sleep(25 * time.Hour)
		for _, id := range ids {
			if x := item(t, r, id); x.State != core.OutExpired {
				t.Errorf("after 25 hours: %s, want expired", x.State)
			}
		}
		failed := events(t, r.store, core.EventDeliveryFailed)
		for _, e := range failed { // it is told in the same words, whatever becomes of the peer
			if e.Then == nil || e.Then.Trust != core.Approved {
				t.Errorf("an event without the peer as it was: %+v", e)
			}
		}
		if len(failed) != 3 {
			t.Errorf("%d events, want one for each envelope", len(failed))
		}
		if n := len(r.wire.sent(core.PathMessage)); n > 250 {
			t.Errorf("%d tries in a day, want no more than the backoff makes", n)
		}
	})
}

// An envelope whose time is over while the gateway was off is not sent any more.
func TestOutboxExpiresUnsent(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *gateway.Options) { o.Now = c.Now })
	p := newPeer(c.Now)
	add(t, r.Gateway, p, core.Approved, nil)
	r.wire.answer(answers(status(0)))
	out, err := r.Send(t.Context(), p.key, message(1))
	if err != nil {
		t.Fatal(err)
	}
	c.Add(30 * time.Hour)
	r.wire.answer(nil)
	r.restart()
	if _, err := r.Send(t.Context(), p.key, message(2)); err != nil {
		t.Fatal(err)
	}
	if x := item(t, r, out.Item.ID); x.State != core.OutExpired {
		t.Errorf("the old envelope is %s, want expired", x.State)
	}
	if n := len(r.wire.sent(core.PathMessage)); n != 2 {
		t.Errorf("%d envelopes were sent, want the old one's first try and the new one", n)
	}
}

func TestOutboxNow(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(status(0)))
		m := message(1)
		m.Now = true
		out, err := r.Send(t.Context(), p.key, m)
		if err != nil || !errors.Is(out.Err, core.Unreachable) || out.Item.State != core.OutExpired {
			t.Fatalf("Send = %s, %v, %v, want one try", out.Item.State, out.Err, err)
		}
		time.Sleep(time.Hour)
		if n := len(r.wire.sent(core.PathMessage)); n != 1 {
			t.Errorf("%d tries, want 1", n)
		}
		if n := len(events(t, r.store, core.EventDeliveryFailed)); n != 0 {
			t.Errorf("%d events for what Send itself has told, want 0", n)
		}
	})
}

func TestOutboxRefusals(t *testing.T) {
	for code, state := range map[int]core.OutboxState{
		200: core.OutSent, 202: core.OutSent, 400: core.OutRefused, 401: core.OutRefused, 403: core.OutRefused, 404: core.OutRefused,
		409: core.OutRefused, 413: core.OutRefused, 302: core.OutWaiting,
		408: core.OutWaiting, 429: core.OutWaiting, 500: core.OutWaiting, 502: core.OutWaiting, 503: core.OutWaiting, 504: core.OutWaiting, 507: core.OutWaiting,
	} {
		r := newRig(t, nil)
		p := befriend(t, r.Gateway, nil)
		r.wire.answer(answers(status(code)))
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil || out.Item.State != state || (out.Err == nil) != (state == core.OutSent) {
			t.Errorf("%d: %s, %v, %v, want %s", code, out.Item.State, out.Err, err, state)
		}
	}
}

// After a try whose answer got lost, 409 says that the peer has the envelope; the
// envelope is signed anew once its time is stale, under the same nonce.
func TestOutboxAmbiguous(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(status(0)))
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Minute)
		r.wire.answer(answers(status(409)))
		time.Sleep(15 * time.Minute)
		if x := item(t, r, out.Item.ID); x.State != core.OutSent {
			t.Errorf("after 409: %s, want sent", x.State)
		}
		sent := r.wire.sent(core.PathMessage)
		first, last := sent[0].Body, sent[len(sent)-1].Body
		if string(first) == string(last) {
			t.Error("an envelope of more than 5 minutes ago was sent as it was")
		}
		var a, b struct {
			Message core.Message `json:"message"`
		}
		if err := errors.Join(json.Unmarshal(first, &a), json.Unmarshal(last, &b)); err != nil {
			t.Fatal(err)
		}
		if a.Message.Nonce != b.Message.Nonce || a.Message.Timestamp == b.Message.Timestamp {
			t.Errorf("first %v, last %v: want the same nonce and another time", a.Message, b.Message)
		}
	})
}

// Receipts to one peer leave in order, the approval that they need first; a peer
// that is slow or silent holds up nobody else.
func TestOutboxOrder(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		pending := newPeer(nil)
		add(t, r.Gateway, pending, core.Pending, func(p *core.Peer) { p.V2 = true })
		var order []string
		var mu sync.Mutex
		down := true
		r.wire.answer(func(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
			if url == p.url { // answers, but late
				time.Sleep(9 * time.Second)
				return status(200), nil
			}
			mu.Lock()
			defer mu.Unlock()
			if down {
				return core.Answer{}, errSilent
			}
			var in struct {
				Message struct {
					Payload struct{ N int } `json:"payload"`
				} `json:"message"`
			}
			if err := json.Unmarshal(body, &in, json.MatchCaseInsensitiveNames(true)); err != nil {
				t.Error(err)
			}
			order = append(order, fmt.Sprintf("%s %d", path, in.Message.Payload.N))
			return status(200), nil
		})
		if _, err := r.ApprovePeer(t.Context(), pending.key, gateway.Approval{}); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if _, err := r.Send(t.Context(), pending.key, message(n)); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 20 {
			go func() {
				if _, err := r.Send(t.Context(), p.key, message(n)); err != nil {
					t.Error(err)
				}
			}()
		}
		mu.Lock()
		down = false
		mu.Unlock()
		time.Sleep(2 * time.Minute) // the slow one needs three
		mu.Lock()
		want := []string{"/federation/approve 0", "/federation/message 0", "/federation/message 1", "/federation/message 2"}
		if !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		mu.Unlock()
		time.Sleep(2 * time.Minute)
		d, err := r.store.Depths(t.Context(), 0)
		if err != nil || d.Outbox != 0 {
			t.Errorf("%d envelopes wait, %v, want none", d.Outbox, err)
		}
	})
}

// Who sends an envelope behind many does not wait for all of them.
func TestOutboxLongLine(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(status(0)))
		for n := range 10 {
			if _, err := r.Send(t.Context(), p.key, message(n)); err != nil {
				t.Fatal(err)
			}
		}
		r.wire.answer(func(context.Context, string, string, []byte) (core.Answer, error) {
			time.Sleep(9 * time.Second)
			return status(200), nil
		})
		start := time.Now()
		out, err := r.Send(t.Context(), p.key, message(10))
		if took := time.Since(start); err != nil || !errors.Is(out.Err, core.Unavailable) || took > 30*time.Second {
			t.Errorf("Send = %v, %v after %v, want an envelope that waits", out.Err, err, took)
		}
		time.Sleep(5 * time.Minute)
		if x := item(t, r, out.Item.ID); x.State != core.OutSent {
			t.Errorf("the envelope is %s, want sent", x.State)
		}
	})
}

// One envelope that its peer never takes does not hold up the others for a day.
func TestOutboxPoison(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(func(_ context.Context, _, _ string, body []byte) (core.Answer, error) {
			if strings.Contains(string(body), `{\"n\":0}`) {
				return status(500), nil
			}
			return status(200), nil
		})
		var last gateway.Outgoing
		for n := range 3 {
			var err error
			if last, err = r.Send(t.Context(), p.key, message(n)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		if x := item(t, r, last.Item.ID); x.State != core.OutSent {
			t.Errorf("the last envelope is %s, want sent", x.State)
		}
	})
}

// What is tried again by order leaves in its turn, and what ended it before is forgotten.
func TestOutboxRetryInTurn(t *testing.T) {
	in(t, func(t *testing.T, r *rig, p *peer) {
		r.wire.answer(answers(status(0)))
		var ids []string
		for n := range 3 {
			out, err := r.Send(t.Context(), p.key, message(n))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, out.Item.ID)
		}
		retry := func(id string, k core.PublicKey, want, wantBehind int) {
			t.Helper()
			if n, behind, err := r.RetryOutbox(t.Context(), id, k); n != want || behind != wantBehind || err != nil {
				t.Errorf("RetryOutbox = %d, %d behind, %v, want %d, %d", n, behind, err, want, wantBehind)
			}
		}
		retry(ids[0], core.PublicKey{}, 1, 0)
		retry(ids[2], core.PublicKey{}, 1, 1)
		retry("", p.key, 3, 2)
		retry("", core.PublicKey{}, 3, 2)
		if n, err := r.CancelOutbox(t.Context(), ids[1], core.PublicKey{}); n != 1 || err != nil {
			t.Fatalf("CancelOutbox = %d, %v", n, err)
		}
		retry("", p.key, 2, 1)
		retry(ids[1], core.PublicKey{}, 1, 1)
		if x := item(t, r, ids[1]); x.State != core.OutWaiting || strings.Contains(x.Error, "cancelled") {
			t.Errorf("%s with %q, want that it waits and says nothing of the end before", x.State, x.Error)
		}
		r.wire.answer(answers(status(200)))
		time.Sleep(5 * time.Minute)
		for _, id := range ids {
			if x := item(t, r, id); x.State != core.OutSent || x.Error != "" {
				t.Errorf("%s: %s %q, want sent", id, x.State, x.Error)
			}
		}
	})
}

func TestOutboxCancelledByRemoval(t *testing.T) {
	for _, us := range []bool{true, false} {
		in(t, func(t *testing.T, r *rig, p *peer) {
			r.wire.answer(answers(status(0)))
			out, err := r.Send(t.Context(), p.key, message(1))
			if err != nil {
				t.Fatal(err)
			}
			if us {
				_, _, err = r.RemovePeer(t.Context(), p.key)
			} else {
				_, err = r.ReceiveRemoval(t.Context(), p.SealRemoval(r.Key()))
			}
			if err != nil {
				t.Fatal(err)
			}
			if x := item(t, r, out.Item.ID); x.State != core.OutExpired || !strings.Contains(x.Error, "removed") {
				t.Errorf("envelope is %s (%s), want expired by the removal", x.State, x.Error)
			}
			before := len(r.wire.sent(core.PathMessage))
			time.Sleep(time.Hour)
			if n := len(r.wire.sent(core.PathMessage)); n != before {
				t.Errorf("%d tries after the removal", n-before)
			}
		})
	}
}

// What waits survives a restart.
func TestOutboxRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		p := befriend(t, r.Gateway, nil)
		r.wire.answer(answers(status(0)))
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil {
			t.Fatal(err)
		}
		r.restart()
		r.wire.answer(nil)
		stop := r.run()
		defer stop()
		time.Sleep(10 * time.Second)
		if x := item(t, r, out.Item.ID); x.State != core.OutSent {
			t.Errorf("after a restart: %s, want sent", x.State)
		}
	})
}

// A check that takes too long is a failure, and a card with another key is one.
func TestCheckPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		p := befriend(t, r.Gateway, nil)
		r.wire.card = func(ctx context.Context, _ string, _ map[string]string) (core.Card, error) {
			<-ctx.Done()
			return core.Card{}, errSilent
		}
		for n := 1; n <= 3; n++ {
			r.CheckPeers(t.Context())
			if h := r.Health(p.key); h.Failures != n {
				t.Errorf("%d failures after %d checks without an answer", h.Failures, n)
			}
		}
		if h := r.Health(p.key); h.Outbound != "down" {
			t.Errorf("outbound %s, want down", h.Outbound)
		}
		r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
			return core.Card{PublicKey: p.key.String(), Version: "1", Capabilities: core.Capabilities{Features: []string{"a"}}}, nil
		}
		r.CheckPeers(t.Context())
		if h, q := r.Health(p.key), r.Peer(p.key); h.Outbound != "up" || h.Failures != 0 || !q.HasFeature("a") {
			t.Errorf("health %+v with features %v, want up with a", h, q.Features)
		}
		r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
			return core.Card{PublicKey: newPeer(nil).key.String()}, nil
		}
		r.CheckPeers(t.Context())
		if h := r.Health(p.key); h.Failures != 1 || !strings.Contains(h.LastError, "another key") {
			t.Errorf("health %+v, want a failure for another key", h)
		}
	})
}

// What something before the peer's gateway answers is no answer: the envelope waits,
// and a removal is not said to have arrived.
func TestNobodysAnswer(t *testing.T) {
	page := core.Answer{Status: 200, Body: []byte("<html><title>Welcome to Hotel WiFi</title></html>"), Server: "portal"}
	for _, a := range []core.Answer{page, {Status: 204}, {Status: 200, Body: []byte("{}")}, {Status: 530, Server: "cloudflare"},
		{Status: 404, Body: []byte(`{"error":"Not Found"}`)}, {Status: 403, Body: []byte("<html>blocked</html>")}} {
		r := newRig(t, nil)
		p := befriend(t, r.Gateway, nil)
		r.wire.answer(answers(a))
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil || out.Item.State != core.OutWaiting || !errors.Is(out.Err, core.Unreachable) {
			t.Errorf("%d %s: %s, %v, %v, want one that waits", a.Status, a.Body, out.Item.State, out.Err, err)
		}
		if strings.HasSuffix(out.Item.Error, ":") || !strings.Contains(out.Item.Error, fmt.Sprint(a.Status)) {
			t.Errorf("error %q", out.Item.Error)
		}
		_, notified, err := r.RemovePeer(t.Context(), p.key)
		if err != nil || notified == nil {
			t.Errorf("%d %s: RemovePeer = %v, %v, want that the notice was not taken", a.Status, a.Body, notified, err)
		}
	}
}

// An old gateway without the endpoint says so for good, where its own card stands.
func TestNoSuchEndpoint(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	page := core.Answer{Status: 404, Body: []byte("<pre>Cannot POST /federation/message</pre>")}
	r.wire.answer(answers(page))
	out, err := r.Send(t.Context(), p.key, message(1))
	if err != nil || out.Item.State != core.OutWaiting {
		t.Errorf("without a card: %s, %v, want one that waits", out.Item.State, err)
	}
	r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
		return core.Card{PublicKey: p.key.String()}, nil
	}
	out, err = r.Send(t.Context(), p.key, message(2))
	if err != nil {
		t.Fatal(err)
	}
	if x := item(t, r, out.Item.ID); x.State != core.OutRefused {
		t.Errorf("with the peer's card: %s %q, want refused", x.State, x.Error)
	}
}

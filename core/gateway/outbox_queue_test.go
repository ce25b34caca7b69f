package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// number reads the n of a message that was posted.
func number(t *testing.T, body []byte) int {
	t.Helper()
	var in struct {
		Message struct {
			Payload struct {
				N int `json:"n"`
			} `json:"payload"`
		} `json:"message"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		t.Error(err)
	}
	return in.Message.Payload.N
}

// queued keeps n messages for a peer, as a gateway that could not send has them.
func queued(t *testing.T, r *rig, p *peer, n int) {
	t.Helper()
	now := time.Now().UTC()
	change := &core.Change{}
	for i := range n {
		nonce := core.Nonce(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		change.Outbox = append(change.Outbox, &core.OutboxItem{ID: fmt.Sprintf("01%024d", i), Peer: p.key, Kind: core.OutMessage, State: core.OutWaiting,
			Nonce: nonce, Created: now, Next: now, GiveUp: now.Add(24 * time.Hour),
			Message: &core.Message{Intent: "message", From: r.Key().ID(), To: p.key.ID(), Nonce: nonce, Payload: core.Raw(fmt.Sprintf(`{"n":%d}`, i))}})
	}
	if err := r.store.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

// A queue of any length leaves in order, and all of it can be cancelled.
func TestOutboxAnyLength(t *testing.T) {
	const n = 10_050
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *gateway.Options) { o.Settings.Health.Interval = -1 })
		p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true })
		queued(t, r, p, n)
		var next atomic.Int64
		r.wire.answer(func(_ context.Context, _, _ string, body []byte) (core.Answer, error) {
			if got, want := number(t, body), int(next.Add(1)-1); got != want {
				t.Errorf("message %d left, want %d", got, want)
			}
			return status(200), nil
		})
		stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		if got := next.Load(); got != n {
			t.Errorf("%d left, want %d", got, n)
		}
	})
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	queued(t, r, p, n)
	if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
		t.Fatal(err)
	}
	if d, err := r.store.Depths(t.Context(), 0); err != nil || d.Outbox != 0 {
		t.Errorf("%d wait after the peer was removed, %v, want none", d.Outbox, err)
	}
}

// A sign of life ends the pause, but for a time that the peer asked for.
func TestOutboxWakesOnLife(t *testing.T) {
	for name, live := range map[string]func(t *testing.T, r *rig, p *peer){
		"an envelope": func(t *testing.T, r *rig, p *peer) {
			if _, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil)); err != nil {
				t.Fatal(err)
			}
		},
		"a check": func(t *testing.T, r *rig, p *peer) {
			r.wire.mu.Lock()
			r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
				return core.Card{PublicKey: p.key.String()}, nil
			}
			r.wire.mu.Unlock()
			r.CheckPeers(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig, p *peer) {
				r.wire.answer(answers(status(0)))
				out, err := r.Send(t.Context(), p.key, message(1))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Hour) // the pauses are long now
				r.wire.answer(answers(status(200)))
				live(t, r, p)
				time.Sleep(time.Second)
				if x := item(t, r, out.Item.ID); x.State != core.OutSent {
					t.Errorf("after a sign of life: %s, want sent", x.State)
				}

				busy := status(429)
				busy.RetryAfter = 30 * time.Minute
				r.wire.answer(answers(busy, status(200)))
				if out, err = r.Send(t.Context(), p.key, message(2)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				live(t, r, p)
				time.Sleep(time.Minute)
				if x := item(t, r, out.Item.ID); x.Attempts != 1 {
					t.Errorf("%d tries before the time that the peer asked for, want 1", x.Attempts)
				}
			})
		})
	}
}

// A crash between the peer's 200 and our note ends as sent, also when the restart
// comes after the signature's window.
func TestOutboxCrashAfterAnswer(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 2 * time.Hour} {
		c := newClock()
		r := newRig(t, func(o *gateway.Options) { o.Now = c.Now })
		p := newPeer(c.Now)
		add(t, r.Gateway, p, core.Approved, func(p *core.Peer) { p.V2 = true })
		// The peer as it is: the same bytes get the same answer, others a 409.
		var first []byte
		r.wire.answer(func(_ context.Context, _, _ string, body []byte) (core.Answer, error) {
			switch {
			case first == nil:
				first = body
				r.store.FailCommits(errors.New("killed")) // nothing of ours is written any more
				return status(200), nil
			case string(first) == string(body):
				return status(200), nil
			}
			return core.Answer{Status: 409, Body: []byte(`{"success":false,"error":"Nonce already used for another message","statusCode":409}`)}, nil
		})
		_, _ = r.Send(t.Context(), p.key, message(1))
		r.store.FailCommits(nil)
		all, err := r.store.Outbox(t.Context(), core.OutboxFilter{})
		if err != nil || len(all) != 1 || all[0].State != core.OutWaiting || all[0].Body == nil {
			t.Fatalf("the outbox holds %+v, %v, want one that waits, signed", all, err)
		}
		c.Add(away)
		r.restart()
		if _, err := r.Send(t.Context(), p.key, message(2)); err != nil { // the first leaves before it
			t.Fatal(err)
		}
		if x := item(t, r, all[0].ID); x.State != core.OutSent {
			t.Errorf("after %v: %s %q, want sent", away, x.State, x.Error)
		}
	}
}

// BenchmarkSendBehind shows that a send costs the same whatever was sent before, and
// whatever waits for others. The three gateways send in turns, so that other work on the
// machine slows all of them; the ratios are of medians. docs/performance.md#the-outbox
func BenchmarkSendBehind(b *testing.B) {
	cases := []struct {
		name            string
		history, behind int
	}{{"nothing", 0, 0}, {"history=40000", 40_000, 0}, {"others=50000", 0, 50_000}}
	var n atomic.Int64
	send := make([]func(), len(cases))
	took := make([][]time.Duration, len(cases))
	for i, x := range cases {
		r := newRig(b, func(o *gateway.Options) { o.Store = openStore(b) })
		p, other := befriend(b, r.Gateway, nil), befriend(b, r.Gateway, nil)
		now := time.Now().UTC()
		fill := func(k core.PublicKey, count int, state core.OutboxState) {
			for at := 0; at < count; at += 1000 {
				change := &core.Change{}
				for i := range 1000 {
					id := fmt.Sprintf("01%024d", n.Add(1))
					nonce := core.Nonce(id)
					change.Outbox = append(change.Outbox, &core.OutboxItem{ID: id, Peer: k, Kind: core.OutMessage, State: state, Nonce: nonce, Created: now,
						Next: now.Add(time.Hour), GiveUp: now.Add(24 * time.Hour), Message: &core.Message{Intent: "message", Nonce: nonce, Payload: core.Raw(fmt.Sprintf(`{"n":%d}`, i))}})
				}
				if err := r.o.Store.Commit(b.Context(), change); err != nil {
					b.Fatal(err)
				}
			}
		}
		fill(p.key, x.history, core.OutSent)
		fill(other.key, x.behind, core.OutWaiting)
		send[i] = func() {
			out, err := r.Send(b.Context(), p.key, message(1))
			if err != nil || out.Err != nil {
				b.Fatal(err, out.Err)
			}
		}
	}
	for b.Loop() {
		for i := range cases {
			began := time.Now()
			send[i]()
			took[i] = append(took[i], time.Since(began))
		}
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2])
	}
	base := median(took[0])
	for i, x := range cases {
		b.ReportMetric(median(took[i])/1e3, x.name+"-us")
		b.ReportMetric(median(took[i])/base, x.name+"-ratio")
	}
}

package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// nodesOf makes gateways of one key over one store. Nothing of theirs runs in the
// background, so that each knows only what it looks for.
func nodesOf(t *testing.T, n int, store func() core.Store, options ...func(*gateway.Options)) []*rig {
	key := keys.Generate()
	var all []*rig
	for range n {
		s := store()
		leases := lease.New(s, slog.New(slog.DiscardHandler))
		r := newRig(t, func(o *gateway.Options) {
			o.Signer, o.Store, o.Leases = key, s, leases
			for _, option := range options {
				option(o)
			}
		})
		r.store = &coretest.Store{Store: s}
		all = append(all, r)
	}
	return all
}

// overNodes runs a test over a store in memory, and in PostgreSQL where there is one.
func overNodes(t *testing.T, n int, test func(t *testing.T, nodes []*rig), options ...func(*gateway.Options)) {
	t.Run("memory", func(t *testing.T) {
		store := memory.NewShared()
		test(t, nodesOf(t, n, func() core.Store { return store }, options...))
	})
	t.Run("postgres", func(t *testing.T) {
		at := storetest.Postgres(t)
		test(t, nodesOf(t, n, func() core.Store {
			s, err := postgres.Open(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		}, options...))
	})
}

// What has returned on one node binds the others at once.
func TestS3WhatOneNodeHasDoneBindsAll(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		a, b := nodes[0], nodes[1]
		p := befriend(t, a.Gateway, nil)
		send := func(at *rig, intent string) error {
			got, err := at.ReceiveMessage(t.Context(), p.message(t, at.Key(), func(m *core.Message) { m.Intent = intent }))
			if err == nil && got.Status != http.StatusOK {
				return fmt.Errorf("%d %s", got.Status, got.Body)
			}
			return err
		}
		want(t, "a message of a peer that another node has approved", send(b, core.IntentMessage), "")
		// Grants leave the revision alone.
		if _, err := a.ApprovePeer(t.Context(), p.key, gateway.Approval{Grants: []core.Grant{{Intent: core.IntentStatusUpdate, Enabled: true}}}); err != nil {
			t.Fatal(err)
		}
		want(t, "an intent that another node has taken away", send(b, core.IntentMessage), core.Forbidden)
		want(t, "one that it has granted", send(b, core.IntentStatusUpdate), "")
		if _, err := b.SetAlias(t.Context(), p.key, "bob"); err != nil {
			t.Fatal(err)
		}
		if q, err := a.Resolve("bob"); err != nil || q.Key != p.key {
			t.Errorf("Resolve of an alias that another node has given = %v, %v", q, err)
		}
		other := befriend(t, a.Gateway, nil)
		if _, err := b.SetAlias(t.Context(), other.key, "bob"); err == nil {
			t.Error("an alias was given twice")
		}
		if _, _, err := a.RemovePeer(t.Context(), p.key); err != nil {
			t.Fatal(err)
		}
		asked, err := b.ReceiveMessage(t.Context(), p.message(t, b.Key(), func(m *core.Message) { m.Intent = core.IntentStatus }))
		if err != nil || !strings.Contains(string(asked.Body), `\"approved\":false`) {
			t.Errorf("the answer to whether it is approved = %s, %v, want no", asked.Body, err)
		}
		want(t, "a message of a peer that another node has removed", send(b, core.IntentStatusUpdate), core.NotApproved)
		if _, err := b.Send(t.Context(), p.key, gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{}`)}); !errors.Is(err, core.NotApproved) {
			t.Errorf("Send to it = %v, want NotApproved", err)
		}
	})
}

// While one node removes a peer, another takes its messages: none once the removal has
// returned.
func TestS3RemovalBindsAll(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		a, b := nodes[0], nodes[1]
		p := befriend(t, a.Gateway, nil)
		var removed atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for after := 0; after < 50; {
					late := removed.Load()
					if late {
						after++
					}
					if got, err := b.ReceiveMessage(t.Context(), p.message(t, b.Key(), nil)); late && err == nil {
						t.Errorf("a message after the removal = %d %s", got.Status, got.Body)
						return
					}
				}
			})
		}
		coretest.Await(t, "messages come", func() bool { return len(inbox(t, a.store)) > 3 })
		if _, _, err := a.RemovePeer(t.Context(), p.key); err != nil {
			t.Fatal(err)
		}
		removed.Store(true)
		wg.Wait()
	})
}

// An envelope is taken once, at whichever node it comes, and gets the same answer there.
func TestL6OverNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		a, b := nodes[0], nodes[1]
		p := befriend(t, a.Gateway, nil)
		body := p.message(t, a.Key(), func(m *core.Message) { m.Nonce = "once" })
		first, err := a.ReceiveMessage(t.Context(), body)
		want(t, "the message", err, "")
		again, err := b.ReceiveMessage(t.Context(), body)
		if err != nil || again.Status != first.Status || !bytes.Equal(again.Body, first.Body) {
			t.Errorf("the same bytes at another node = %d %s, %v, want %d %s", again.Status, again.Body, err, first.Status, first.Body)
		}
		_, err = b.ReceiveMessage(t.Context(), p.message(t, a.Key(), func(m *core.Message) { m.Nonce, m.Payload = "once", core.Raw(`{"text":"other"}`) }))
		want(t, "other bytes under its nonce", err, core.Conflict)
		if n := len(inbox(t, a.store)); n != 1 {
			t.Errorf("%d messages are kept, want 1", n)
		}
		request := newPeer(nil)
		sealed := request.request(a.Key(), nil)
		one, err := a.ReceiveRequest(t.Context(), sealed, nowhere)
		want(t, "a request", err, "")
		two, err := b.ReceiveRequest(t.Context(), sealed, nowhere)
		if err != nil || !bytes.Equal(one.Body, two.Body) {
			t.Errorf("the same request at another node = %s, %v, want %s", two.Body, err, one.Body)
		}
		identity := p.SealIdentity(a.Key(), core.Identity{ID: p.key.ID(), PublicKey: p.key.String(), GatewayURL: p.url, DisplayName: "New"})
		for _, at := range nodes {
			_, err := at.ReceiveIdentity(t.Context(), identity)
			want(t, "an identity", err, "")
		}
		removal := p.SealRemoval(a.Key())
		for _, at := range nodes {
			_, err := at.ReceiveRemoval(t.Context(), removal)
			want(t, "a removal", err, "")
		}
		if n := len(events(t, a.store, core.EventRemoved)); n != 1 {
			t.Errorf("%d events of the removal, want 1", n)
		}
	})
}

// A rate lets exactly so many in, whichever node they come to, and says when the next.
func TestN5RateOverNodes(t *testing.T) {
	overNodes(t, 3, func(t *testing.T, nodes []*rig) {
		rate := core.RateLimit{Requests: 10, WindowSeconds: 3600}
		p := befriend(t, nodes[0].Gateway, func(p *core.Peer) { p.Granted.Scopes[0].RateLimit = &rate })
		var in atomic.Int64
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				_, err := nodes[i%3].ReceiveMessage(t.Context(), p.message(t, nodes[0].Key(), nil))
				var e *core.Error
				switch {
				case err == nil:
					in.Add(1)
				case !errors.As(err, &e) || e.Kind != core.RateLimited || e.RetryAfter < 50*time.Minute:
					t.Errorf("ReceiveMessage = %v, want nil, or RateLimited for an hour", err)
				}
			})
		}
		wg.Wait()
		if in.Load() != 10 {
			t.Errorf("%d were let in, want 10", in.Load())
		}
		for _, at := range nodes {
			if n, size := at.Used(p.key, core.Grant{Intent: core.IntentMessage, RateLimit: &rate}); n != 10 || size == 0 {
				t.Errorf("Used = %d, %d, want 10 and their bytes", n, size)
			}
		}
	})
}

// Nodes that change the same peer, or what they sum up, lose nothing of each other.
func TestS3ChangesAtOnce(t *testing.T) {
	overNodes(t, 3, func(t *testing.T, nodes []*rig) {
		p := befriend(t, nodes[0].Gateway, nil)
		var wg sync.WaitGroup
		for i, at := range nodes {
			wg.Go(func() {
				for n := range 5 {
					if _, err := at.Tag(t.Context(), p.key, []string{fmt.Sprint("t", i, "-", n)}, nil); err != nil {
						t.Error(err)
					}
					if _, err := at.ReceiveRequest(t.Context(), newPeer(nil).request(at.Key(), nil), addr(5*i+n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if q := nodes[0].Peer(p.key); q == nil {
			t.Fatal("the peer is gone")
		}
		all, err := nodes[0].store.Peers(t.Context())
		if err != nil || len(all) != 16 {
			t.Fatalf("%d peers, %v, want 16", len(all), err)
		}
		for _, q := range all {
			if q.Key == p.key && len(q.Tags) != 15 {
				t.Errorf("the peer has the tags %v, want 15", q.Tags)
			}
		}
		if n := len(events(t, nodes[0].store, core.EventRequest)); n != 1 {
			t.Errorf("%d notices of requests, want 1, and the others in the digest", n)
		}
	})
}

// What another node changes is taken over without being asked for, also the pauses.
func TestS3Followed(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		a, b := nodes[0], nodes[1]
		stop := b.run()
		defer stop()
		p := befriend(t, a.Gateway, nil)
		coretest.Await(t, "the peer at the other node", func() bool { return b.Peer(p.key) != nil })
		if _, _, err := a.RemovePeer(t.Context(), p.key); err != nil {
			t.Fatal(err)
		}
		if _, err := a.ForgetPeer(t.Context(), p.key); err != nil && a.Peer(p.key) != nil {
			t.Fatal(err)
		}
		coretest.Await(t, "the peer is forgotten at the other node", func() bool { return b.Peer(p.key) == nil })
	})
}

// A reply that somebody waits for is shown to them alone, whichever node it comes to, also
// before the answer to the message itself. After that the agent is told of it.
func TestR1AwaitedElsewhere(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		a, b := nodes[0], nodes[1]
		p := befriend(t, a.Gateway, nil)
		told := func() (n int) {
			due, err := a.store.DueDeliveries(t.Context(), "n", time.Now().Add(time.Hour), 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range due {
				if d.Event.Type == core.EventReply {
					n++
				}
			}
			return n
		}
		reply := func(ctx context.Context, nonce core.Nonce) {
			if _, err := b.ReceiveReply(ctx, nonce, p.reply(t, a.Key(), nonce, `{"answer":1}`)); err != nil {
				t.Errorf("ReceiveReply at the other node: %v", err)
			}
		}
		a.wire.answer(func(ctx context.Context, _, _ string, body []byte) (core.Answer, error) {
			var in struct {
				Message core.Message `json:"message"`
			}
			if err := json.Unmarshal(body, &in, json.RejectUnknownMembers(false)); err != nil {
				t.Error(err)
			}
			if strings.Contains(string(in.Message.Payload), "soon") {
				reply(ctx, in.Message.Nonce)
			}
			return core.Answer{Status: 200, Body: []byte(`{"success":true}`)}, nil
		})
		sending := gateway.Sending{Intent: "message", Payload: core.Raw(`{"text":"soon"}`), WantReply: true, Wait: time.Minute}
		out, err := a.Send(t.Context(), p.key, sending)
		if err != nil || out.Reply == nil || string(out.Reply.Reply.Data) != `{"answer":1}` {
			t.Fatalf("Send = %+v, %v, want the reply that the other node took", out.Reply, err)
		}
		if n := told(); n != 0 {
			t.Errorf("the agent is told of %d replies that somebody was shown, want none", n)
		}

		sending.Payload, sending.Wait = core.Raw(`{"text":"late"}`), 50*time.Millisecond
		if out, err = a.Send(t.Context(), p.key, sending); err != nil || out.Reply != nil {
			t.Fatalf("Send = %+v, %v, want no reply in time", out.Reply, err)
		}
		reply(t.Context(), out.Item.Nonce)
		if n := told(); n != 1 {
			t.Errorf("the agent is told of %d replies that came after the wait, want 1", n)
		}
	})
}

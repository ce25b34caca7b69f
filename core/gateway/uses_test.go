package gateway_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// atOnce does something so many times at the same time, and counts how often it went well;
// else it is refused as RateLimited.
func atOnce(t *testing.T, n int, do func(i int) error) int {
	t.Helper()
	var done atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var e *core.Error
			switch err := do(i); {
			case err == nil:
				done.Add(1)
			case !errors.As(err, &e) || e.Kind != core.RateLimited || e.RetryAfter <= 0:
				t.Errorf("the %dth = %v, want nil, or RateLimited with a time", i, err)
			}
		})
	}
	wg.Wait()
	return int(done.Load())
}

// Of what one peer's messages may cost in a day exactly so much reaches the agent, whichever
// nodes they come to: the rest is held, and nothing is lost.
func TestG2BudgetOverNodes(t *testing.T) {
	for name, budget := range map[string]brake.Use{"messages": {Messages: 10}, "bytes": {Bytes: 10 * int64(len(`{"text":"hello"}`))}, "runs": {Messages: 40, Runs: 10}} {
		t.Run(name, func(t *testing.T) {
			overNodes(t, 2, func(t *testing.T, nodes []*rig) {
				p := befriend(t, nodes[0].Gateway, nil)
				n := atOnce(t, 30, func(i int) error {
					_, err := nodes[i%2].ReceiveMessage(t.Context(), p.message(t, nodes[0].Key(), nil))
					return err
				})
				if n != 30 {
					t.Errorf("%d of 30 were taken, want all", n)
				}
				told := 0
				for _, m := range inbox(t, nodes[0].store) {
					if m.Status == core.InboxNew {
						told++
					}
				}
				if told != 10 {
					t.Errorf("%d reach the agent, want 10", told)
				}
			}, func(o *gateway.Options) {
				o.Brake = brake.New(brake.Options{Shared: true, Settings: func() brake.Settings { return brake.Settings{Budget: budget} },
					Wakes: func() bool { return true }})
			})
		})
	}
}

// What the agent's model took at one node, the others have heard of when the store has it.
func TestG2TokensOverNodes(t *testing.T) {
	var brakes []*brake.Brake
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		ours := brakes[len(brakes)-2:]
		p := befriend(t, nodes[0].Gateway, nil)
		told := func() bool {
			_, err := nodes[1].ReceiveMessage(t.Context(), p.message(t, nodes[1].Key(), nil))
			want(t, "a message", err, "")
			return inbox(t, nodes[1].store)[0].Status == core.InboxNew
		}
		if !told() {
			t.Error("before the first run it is held")
		}
		ours[0].Ran([]brake.Line{{Peer: p.key, Intent: core.IntentMessage}}, 101, false)
		if err := ours[0].Write(t.Context(), nodes[0].store); err != nil {
			t.Fatal(err)
		}
		if told() {
			t.Error("what the model took at another node is not counted")
		}
		for i := range nodes { // and each shows what all have counted
			got, err := ours[i].Across(t.Context(), nodes[i].store.Store.(core.Shared), brake.Line{Peer: p.key, Intent: core.IntentMessage})
			if err != nil || got.Messages != 1 || got.Bytes == 0 || got.Runs != 1 || got.Tokens != 101 {
				t.Errorf("node %d shows %+v, %v, want 1 message and 1 run of 101 tokens", i, got, err)
			}
		}
	}, func(o *gateway.Options) {
		o.Brake = brake.New(brake.Options{Shared: true, Settings: func() brake.Settings { return brake.Settings{Budget: brake.Use{Messages: 100, Tokens: 100}} }})
		brakes = append(brakes, o.Brake)
	})
}

// What the agent may send to one peer in a day is exact, at whichever nodes it does.
func TestG1AgentOverNodes(t *testing.T) {
	most := brake.Within(brake.Use{Messages: 10})
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		p, other := befriend(t, nodes[0].Gateway, nil), befriend(t, nodes[0].Gateway, nil)
		send := func(to *peer) func(i int) error {
			return func(i int) error {
				_, err := nodes[i%2].Send(t.Context(), to.key, gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{"text":"hi"}`), ByAgent: true})
				return err
			}
		}
		if n := atOnce(t, 30, send(p)); n != 10 {
			t.Errorf("the agent has sent %d, want 10", n)
		}
		if err := send(other)(0); err != nil {
			t.Errorf("to another peer: %v", err)
		}
		if _, err := nodes[0].Send(t.Context(), p.key, gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{}`)}); err != nil {
			t.Errorf("its human: %v", err)
		}
		items, err := nodes[0].store.Outbox(t.Context(), core.OutboxFilter{Peer: p.key})
		if err != nil || len(items) != 11 {
			t.Errorf("%d are kept, %v, want 11", len(items), err)
		}
	}, func(o *gateway.Options) { o.AgentMost = func() core.Limit { return most } })
}

// What an approved peer may change within an hour is exact, at whichever nodes it does.
func TestT6ChangesOverNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		p := befriend(t, nodes[0].Gateway, nil)
		n := atOnce(t, 40, func(i int) error {
			for { // one that was judged too often meanwhile comes again
				_, err := nodes[i%2].ReceiveApproval(t.Context(), p.approval(nodes[0].Key(), func(a *core.Approval) { a.FromDisplayName = fmt.Sprint(i) }))
				if !errors.Is(err, core.Unavailable) {
					return err
				}
			}
		})
		if n != 30 {
			t.Errorf("%d changes were taken, want 30", n)
		}
	})
}

// What strangers may have wait is exact, by network and in all, at whichever nodes they ask.
func TestT6StrangersOverNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, nodes []*rig) {
		ask := func(from func(i int) netip.Addr) int {
			return atOnce(t, 20, func(i int) error {
				for body := newPeer(nil).request(nodes[0].Key(), nil); ; {
					_, err := nodes[i%2].ReceiveRequest(t.Context(), body, from(i))
					var e *core.Error
					if !errors.As(err, &e) || e.Kind != core.Unavailable {
						return err
					}
				}
			})
		}
		if n := ask(func(int) netip.Addr { return addr(1) }); n != 5 {
			t.Errorf("%d requests of one network wait, want 5", n)
		}
		if n := ask(func(i int) netip.Addr { return addr(100 + i) }); n != 7 {
			t.Errorf("%d more of others wait, want 7", n)
		}
		if _, err := nodes[0].ReceiveRequest(t.Context(), newPeer(time.Now).request(nodes[0].Key(), nil), addr(200)); !errors.Is(err, core.RateLimited) {
			t.Errorf("one more = %v, want RateLimited", err)
		}
	}, func(o *gateway.Options) {
		o.Settings.Limits.PendingPerNetworkPerHour, o.Settings.Limits.PendingTotal = 5, 12
	})
}

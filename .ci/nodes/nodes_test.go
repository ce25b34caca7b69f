// Package nodes runs three gateways on one PostgreSQL, behind a small load balancer, under
// load and kills. .ci/nodes-run builds the program and runs it; without a program it has
// nothing to do.
//
// docs/scaling.md
package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// failover is how long work may rest whose node is gone.
const failover = 15 * time.Second

// plenty of one intent, and few of another.
var grants = []core.Grant{
	{Intent: core.IntentMessage, Enabled: true, RateLimit: &core.RateLimit{Requests: 1_000_000, WindowSeconds: 3600}},
	{Intent: core.IntentTaskRequest, Enabled: true, RateLimit: &core.RateLimit{Requests: 100, WindowSeconds: 3600}},
}

// TestNodes goes through all that three nodes promise, one after the other.
func TestNodes(t *testing.T) {
	program := os.Getenv("OGP_NODES_OGP")
	if program == "" {
		t.Skip("OGP_NODES_OGP names no program: .ci/nodes-run builds it")
	}
	kills, err := strconv.Atoi(os.Getenv("OGP_NODES_KILLS"))
	if err != nil {
		kills = 10
	}
	c := newCluster(t, program)
	for _, phase := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"kills", func(t *testing.T) { c.kills(t, kills) }},
		{"wait", c.wait},
		{"events", c.events},
		{"rate", c.rate},
		{"queue", c.queue},
		{"rolling", c.rolling},
		{"upgrade", c.upgrade},
		{"removal", c.removal},
	} {
		start := time.Now()
		ok := t.Run(phase.name, phase.run)
		t.Logf("%s: %v", phase.name, time.Since(start).Round(100*time.Millisecond))
		if !ok && phase.name == "kills" {
			return // what follows would say nothing
		}
	}
}

// acknowledged are the numbers that one side was told are kept.
type acknowledged struct {
	mu sync.Mutex
	n  map[int]bool
}

func (a *acknowledged) add(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == nil {
		a.n = map[int]bool{}
	}
	a.n[n] = true
}

func payload(n int) core.Raw { return core.Raw(fmt.Sprintf(`{"text":"%d"}`, n)) }

// numbers are what messages say, in the order in which they came.
func numbers(t *testing.T, list []*core.InboxMessage) []int {
	t.Helper()
	out := make([]int, len(list))
	for i, m := range list {
		var p struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(m.Message.Payload, &p); err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(p.Text)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = n
	}
	return slices.DeleteFunc(out, func(n int) bool { return n < 0 }) // of no account
}

// senders write to one peer at the same time, each one message after the other: the numbers
// of each begin at a multiple of ofSender.
const senders, ofSender = 4, 1_000_000

// check says what was lost, doubled or out of order.
func check(t *testing.T, who string, want *acknowledged, got []int) {
	t.Helper()
	seen, last, twice, mixed, lost := map[int]bool{}, map[int]int{}, 0, 0, 0
	for _, n := range got {
		if seen[n] {
			twice++
		}
		seen[n] = true
		if n < last[n/ofSender] {
			mixed++
		}
		last[n/ofSender] = n
	}
	for n := range want.n {
		if !seen[n] {
			lost++
		}
	}
	t.Logf("%s: %d acknowledged, %d there", who, len(want.n), len(got))
	if lost > 0 || twice > 0 || mixed > 0 {
		t.Errorf("%s: of %d acknowledged messages %d are lost, %d doubled and %d out of order, want none", who, len(want.n), lost, twice, mixed)
	}
}

// kills has two peers and the nodes write to each other while nodes are killed and the
// database is restarted.
func (c *cluster) kills(t *testing.T, kills int) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	ours, theirs := make([]acknowledged, len(c.peers)), make([]acknowledged, len(c.peers))
	for i, p := range c.peers {
		for sender := range senders {
			wg.Go(func() { // ours to the peer, through any node
				for n := sender * ofSender; ctx.Err() == nil; n++ {
					var v api.OutgoingView
					if c.any().try(ctx, "send", api.SendParams{Peer: p.Key().String(), Intent: core.IntentMessage, Payload: payload(n)}, &v) == nil {
						ours[i].add(n)
					} else {
						time.Sleep(20 * time.Millisecond)
					}
				}
			})
		}
		wg.Go(func() { // the peer's to us
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := p.Send(ctx, c.key, gateway.Sending{Intent: core.IntentMessage, Payload: payload(n)}); err == nil {
					theirs[i].add(n)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	for n := range kills {
		time.Sleep(2*time.Second - rand.N(200*time.Millisecond))
		switch n {
		case kills / 3:
			c.db.restart(t, "fast")
		case 2 * kills / 3:
			c.db.restart(t, "immediate")
		}
		node := c.nodes[rand.N(len(c.nodes))]
		node.kill()
		node.start()
	}
	stop()
	wg.Wait()
	c.drain(t)

	messages := c.inbox(t)
	for i, p := range c.peers {
		list, err := p.Store.Inbox(t.Context(), core.InboxFilter{Limit: 1_000_000, Oldest: true})
		if err != nil {
			t.Fatal(err)
		}
		check(t, fmt.Sprintf("peer %d", i), &ours[i], numbers(t, list))
		check(t, fmt.Sprintf("the nodes, of peer %d", i), &theirs[i], numbers(t, messages[p.Key()]))
		c.hook.check(t, messages[p.Key()], 10*kills)
		if again := c.fronts[i].repeats(); again > 10*kills {
			t.Errorf("%d envelopes were sent again to peer %d, want at the most %d: what was under way at a kill", again, i, 10*kills)
		} else {
			t.Logf("%d envelopes were sent again", again)
		}
		if len(ours[i].n) < 5*kills || len(theirs[i].n) < 5*kills {
			t.Errorf("%d and %d messages in %d kills: too few to show anything", len(ours[i].n), len(theirs[i].n), kills)
		}
	}
}

// drain waits until nothing waits anywhere.
func (c *cluster) drain(t *testing.T) {
	t.Helper()
	least, deadline := 1<<30, time.Now().Add(40*time.Second)
	for {
		var s api.StatusView
		all := 1 << 20
		if err := c.any().try(t.Context(), "status", api.None{}, &s); err == nil {
			all = s.Depths.Outbox + s.Depths.Deliveries
			for _, p := range c.peers {
				d, err := p.Store.Depths(t.Context(), 0)
				if err != nil {
					t.Fatal(err)
				}
				all += d.Outbox
			}
		}
		switch {
		case all == 0 && s.Depths.DeadDeliveries > 0:
			t.Errorf("%d notices were set aside", s.Depths.DeadDeliveries)
			return
		case all == 0:
			return
		case all < least:
			least, deadline = all, time.Now().Add(40*time.Second)
		case time.Now().After(deadline):
			t.Fatalf("the queues do not empty: %d outward, %d notices, %d in all with the peers", s.Depths.Outbox, s.Depths.Deliveries, all)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// inbox is what the nodes have, by peer, oldest first.
func (c *cluster) inbox(t *testing.T) map[core.PublicKey][]*core.InboxMessage {
	t.Helper()
	var views []api.InboxView
	if err := c.any().try(t.Context(), "inbox", api.InboxParams{Limit: 1_000_000}, &views); err != nil {
		t.Fatal(err)
	}
	out := map[core.PublicKey][]*core.InboxMessage{}
	for i := range slices.Backward(views) {
		m := &views[i].InboxMessage
		out[m.Peer] = append(out[m.Peer], m)
	}
	return out
}

// wait has one node wait for the reply that comes to another.
func (c *cluster) wait(t *testing.T) {
	p := c.peers[1]
	c.drain(t) // a reply goes after what waits
	for i, asks := range c.nodes {
		takes := c.nodes[(i+1)%len(c.nodes)]
		c.front.only(takes)
		question := fmt.Sprintf(`{"text":"question %d"}`, i)
		go func() {
			for deadline := time.Now().Add(failover); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				list, err := p.Store.Inbox(context.Background(), core.InboxFilter{Limit: 1})
				if err == nil && len(list) > 0 && string(list[0].Message.Payload) == question {
					_, _ = p.InboxReply(context.Background(), list[0].ID, core.Reply{Success: true, Data: core.Raw(`"here"`)}, false)
					return
				}
			}
		}()
		var v api.OutgoingView
		start := time.Now()
		err := asks.try(t.Context(), "send", api.SendParams{Peer: p.Key().String(), Intent: core.IntentMessage, Payload: core.Raw(question),
			WantReply: true, WaitMillis: 8000}, &v)
		if err != nil || v.Reply == nil || string(v.Reply.Reply.Data) != `"here"` {
			t.Errorf("node %d has %v, %+v, want the reply that node %d took", i, err, v.Reply, (i+1)%len(c.nodes))
		}
		if took := time.Since(start); took > noticed {
			t.Errorf("the reply was seen after %v", took)
		}
	}
	c.front.only(nil)
}

// noticed is how soon what one node keeps is seen from another, with what a busy machine
// takes; less than the time after which one that waits for a reply looks by itself.
const noticed = 1800 * time.Millisecond

// events has each node tell what another has kept.
func (c *cluster) events(t *testing.T) {
	for i, shows := range c.nodes {
		ctx, cancel := context.WithTimeout(t.Context(), failover)
		defer cancel()
		seen := make(chan time.Time, 1)
		go func() {
			_ = api.Events.Follow(ctx, control.Dial(control.Path(shows.dir)), api.EventParams{Peer: c.peers[1].Key().String()}, func(v api.EventView) error {
				if v.Message != nil {
					seen <- time.Now()
					cancel()
				}
				return nil
			})
		}()
		time.Sleep(700 * time.Millisecond) // it listens
		start := time.Now()
		if status := c.post(t, c.peers[1], core.IntentMessage, c.nodes[(i+1)%len(c.nodes)].url()); status != http.StatusOK {
			t.Fatalf("the message is answered %d", status)
		}
		select {
		case at := <-seen:
			if at.Sub(start) > noticed {
				t.Errorf("node %d showed the event after %v", i, at.Sub(start))
			}
		case <-ctx.Done():
			t.Errorf("node %d never showed the event", i)
		}
	}
}

// flood posts messages of a peer to all nodes at once, until n were tried or the time is
// over, and counts the answers by status. from is when the first was sent.
func (c *cluster) flood(t *testing.T, p *coretest.Gateway, intent string, n int, most time.Duration, at ...*node) (statuses map[int]int) {
	t.Helper()
	statuses = map[int]int{}
	var mu sync.Mutex
	var tries atomic.Int64
	var wg sync.WaitGroup
	over := time.Now().Add(most)
	for worker := range 12 {
		wg.Go(func() {
			for i := worker; tries.Add(1) <= int64(n) && time.Now().Before(over); i++ {
				status := c.post(t, p, intent, at[i%len(at)].url())
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return statuses
}

// rate has three nodes let in as many messages together as one may.
func (c *cluster) rate(t *testing.T) {
	got := c.flood(t, c.peers[1], core.IntentTaskRequest, 600, 30*time.Second, c.nodes...)
	t.Logf("answers: %v", got)
	if got[http.StatusOK] != 100 {
		t.Errorf("%d messages were let in of 100 an hour: %v", got[http.StatusOK], got)
	}
}

// queue has a node killed that is sending to a peer: another goes on in time.
func (c *cluster) queue(t *testing.T) {
	p := c.peers[1]
	held := c.fronts[1].hang()
	first := c.nodes[0]
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := first.try(ctx, "send", api.SendParams{Peer: p.Key().String(), Intent: core.IntentMessage, Payload: core.Raw(`{"text":"held"}`)}, nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("send = %v, want it to hang at the peer", err)
	}
	first.kill()
	c.fronts[1].release()
	start := time.Now()
	for {
		list, err := p.Store.Inbox(t.Context(), core.InboxFilter{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 && string(list[0].Message.Payload) == `{"text":"held"}` {
			break
		}
		if time.Since(start) > 2*failover {
			t.Fatal("another node never sent what a dead one had in hand")
		}
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(start)
	t.Logf("the queue of a dead node was taken over after %v; it hung %v times", took.Round(10*time.Millisecond), held())
	if took > failover {
		t.Errorf("failover took %v, want at most %v", took, failover)
	}
	first.start()
	c.drain(t)
}

// rolling restarts each node in turn, while a peer writes: nothing is refused.
func (c *cluster) rolling(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	statuses := map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				status := c.post(t, c.peers[1], core.IntentMessage, c.front.URL)
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	for range 2 {
		for _, n := range c.nodes {
			time.Sleep(200 * time.Millisecond)
			n.end(t)
			n.start()
			c.front.await(t, n)
		}
	}
	stop()
	wg.Wait()
	t.Logf("answers: %v", statuses)
	if refused := len(statuses); refused != 1 || statuses[http.StatusOK] < 200 {
		t.Errorf("a rolling restart has the answers %v, want 200 alone", statuses)
	}
}

// removal has one node remove a peer while another is written to by it.
func (c *cluster) removal(t *testing.T) {
	p, a, b := c.peers[0], c.nodes[0], c.nodes[1]
	if got := c.flood(t, p, core.IntentMessage, 50, 10*time.Second, b); got[http.StatusOK] != 50 {
		t.Fatalf("before the removal the answers are %v, want 200", got)
	}
	for round := range 3 {
		var wg sync.WaitGroup
		var removed atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { // it writes on meanwhile
			for ctx.Err() == nil {
				after := removed.Load()
				if status := c.post(t, p, core.IntentMessage, b.url()); after && status == http.StatusOK {
					t.Error("a message was taken by one node after another had removed its sender")
				}
			}
		})
		time.Sleep(200 * time.Millisecond)
		if err := a.try(t.Context(), "remove", api.EndParams{Peer: p.Key().String(), Later: true}, nil); err != nil {
			t.Fatal(err)
		}
		removed.Store(true)
		tries, most := 10_000, 10*time.Second
		if round < 2 {
			tries, most = 200, time.Second
		}
		got := c.flood(t, p, core.IntentMessage, tries, most, b, c.nodes[2])
		cancel()
		wg.Wait()
		t.Logf("after the removal: %v", got)
		if got[http.StatusOK] > 0 {
			t.Errorf("%d messages of a removed peer were taken", got[http.StatusOK])
		}
		if round < 2 {
			c.federate(t, p)
		}
	}
}

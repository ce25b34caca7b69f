package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease"
)

// memory is where a node asks the one that has a notifier in hand to try what waits.
const memory = "_delivery"

func againKey(notifier string) string { return "again/" + notifier }

// again makes queues try all that the store holds for them now, on whichever node.
func (c *Dispatcher) again(which func(*notifierQueue) bool) {
	change := &core.Change{}
	c.mu.Lock()
	for name, q := range c.queues {
		if which(q) {
			c.tryNow(q)
			q.said = rand.Text()
			change.KV = append(change.KV, core.KVPut{Plugin: memory, Key: againKey(name), Value: []byte(q.said)})
		}
	}
	c.mu.Unlock()
	if !c.o.Leases.Shared() || len(change.KV) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), afterError)
	defer cancel()
	if err := c.o.Store.Commit(ctx, change); err != nil {
		c.storeFailed("other nodes were not asked to try what waits for notifiers", err)
	}
}

// tryNow makes a queue try all that waits. Called with mu held.
func (c *Dispatcher) tryNow(q *notifierQueue) {
	q.behind, q.sweep, q.until, q.warned = true, true, time.Time{}, false
	c.engine.Wake(q.n.Name())
}

// follow takes note of a lease that this node did not have before, and, while it leaves the
// notifier alone, that another node asks for what waits to be tried.
func (c *Dispatcher) follow(under context.Context, q *notifierQueue) {
	fence := lease.Fences(under)[0]
	c.mu.Lock()
	taken, paused := q.fence != fence, time.Now().Before(q.until)
	if taken { // another node may have told it meanwhile
		q.fence, q.page, q.sweep, q.until = fence, nil, true, time.Time{}
	}
	c.mu.Unlock()
	if !taken && !paused {
		return
	}
	said, err := c.o.Store.KV(under, memory, againKey(q.n.Name()))
	if err != nil && !errors.Is(err, core.NotFound) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !taken && q.said != string(said) {
		c.tryNow(q)
	}
	q.said = string(said)
}

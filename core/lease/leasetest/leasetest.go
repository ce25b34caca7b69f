// Package leasetest has several nodes share one store in a test.
package leasetest

import (
	"context"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Table is the leases of a store. The zero value is ready. Safe for concurrent use.
type Table struct {
	mu    sync.Mutex
	rows  map[string]*row
	asked int
}

type row struct {
	holder string
	n      uint64
	until  time.Time
}

// Asked is how often a lease was asked for.
func (t *Table) Asked() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked
}

// Give gives a lease to a node, whoever has it, as if the time of its holder had passed.
func (t *Table) Give(name, node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.rows[name]; r != nil {
		r.holder, r.n, r.until = node, r.n+1, time.Now().Add(time.Minute)
	}
}

// Node is one node's view of a store: its leases are in the table, and its commits are
// judged by it.
type Node struct {
	core.Store
	Table *Table
	Name  string

	mu   sync.Mutex
	away bool
}

var _ core.Store = (*Node)(nil)

// Shared says that there are others.
func (n *Node) Shared() bool { return true }

// Away has the store not answer this node, or answer it again.
func (n *Node) Away(away bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = away
}

func (n *Node) gone() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		return core.Refuse(core.Unavailable, "the store is away")
	}
	return nil
}

// Lease takes a lease, or renews it.
func (n *Node) Lease(_ context.Context, name string, ttl time.Duration) (core.Fence, error) {
	if err := n.gone(); err != nil {
		return core.Fence{}, err
	}
	n.Table.mu.Lock()
	defer n.Table.mu.Unlock()
	n.Table.asked++
	if n.Table.rows == nil {
		n.Table.rows = map[string]*row{}
	}
	r := n.Table.rows[name]
	switch {
	case r == nil:
		r = &row{n: 1}
		n.Table.rows[name] = r
	case r.holder != n.Name && time.Now().Before(r.until):
		return core.Fence{}, core.Refuse(core.Conflict, "another node has the lease")
	case r.holder != n.Name:
		r.n++
	}
	r.holder, r.until = n.Name, time.Now().Add(ttl)
	return core.Fence{Name: name, N: r.n}, nil
}

// Release gives a lease back.
func (n *Node) Release(_ context.Context, f core.Fence) error {
	n.Table.mu.Lock()
	defer n.Table.mu.Unlock()
	if r := n.Table.rows[f.Name]; r != nil && r.n == f.N {
		r.n, r.until = r.n+1, time.Time{}
	}
	return nil
}

// Leased is the fence under which a node has a lease now.
func (n *Node) Leased(_ context.Context, name string) (core.Fence, error) {
	if err := n.gone(); err != nil {
		return core.Fence{}, err
	}
	n.Table.mu.Lock()
	defer n.Table.mu.Unlock()
	if r := n.Table.rows[name]; r != nil && time.Now().Before(r.until) {
		return core.Fence{Name: name, N: r.n}, nil
	}
	return core.Fence{}, core.Refuse(core.NotFound, "no node has the lease")
}

// Commit keeps a change while its fences stand.
func (n *Node) Commit(ctx context.Context, c *core.Change) error {
	if err := n.gone(); err != nil {
		return err
	}
	n.Table.mu.Lock()
	for _, f := range c.Fences {
		if r := n.Table.rows[f.Name]; r == nil || r.n != f.N {
			n.Table.mu.Unlock()
			return core.Refuse(core.Moved, "the lease is another node's")
		}
	}
	n.Table.mu.Unlock()
	kept := *c
	kept.Fences = nil
	return n.Store.Commit(ctx, &kept)
}

package delivery

import (
	"context"
	"errors"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease"
)

// note is a delivery that was notified of.
type note struct{ event, notifier string }

// commit keeps a change, while the leases that ctx is under stand.
func (c *Dispatcher) commit(ctx context.Context, change *core.Change) error {
	change.Fences = append(change.Fences, lease.Fences(ctx)...)
	err := c.o.Store.Commit(ctx, change)
	c.o.Leases.Lost(err, change.Fences...)
	return err
}

// noteNotified notes what a notifier has been notified of. The note is written down with the next
// change of the store, or within core.LazyWait: after a kill at that very moment the
// notifier hears it again, under the same key.
func (c *Dispatcher) noteNotified(batch []*core.Delivery) {
	c.mu.Lock()
	for _, d := range batch {
		fence := core.Fence{}
		if q := c.queues[d.Notifier]; q != nil {
			fence = q.fence
		}
		c.notes[note{d.EventID, d.Notifier}] = fence
	}
	c.mu.Unlock()
	select {
	case c.noting <- struct{}{}:
	default:
	}
}

// writeNotes writes down what was delivered until ctx is done.
func (c *Dispatcher) writeNotes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.noting:
		}
		if err := c.write(ctx, true); err != nil && ctx.Err() == nil {
			c.storeFailed("deliveries not written down", err)
			core.Sleep(ctx, afterError)
			c.noteNotified(nil) // once more
		}
	}
}

// flush writes all notes down now.
func (c *Dispatcher) flush(ctx context.Context) error { return c.write(ctx, false) }

func (c *Dispatcher) write(ctx context.Context, lazy bool) error {
	c.mu.Lock()
	changes := map[core.Fence]*core.Change{} // one alone, where there is one node
	for n, fence := range c.notes {
		change := changes[fence]
		if change == nil {
			change = &core.Change{Lazy: lazy}
			if fence != (core.Fence{}) {
				change.Fences = []core.Fence{fence}
			}
			changes[fence] = change
		}
		change.Delivered = append(change.Delivered, &core.Delivery{EventID: n.event, Notifier: n.notifier})
	}
	c.mu.Unlock()
	var failed error
	for fence, change := range changes {
		err := c.o.Store.Commit(ctx, change)
		// Under a lease that is lost they are somebody else's, who tells them again.
		if err != nil && !errors.Is(err, core.NotFound) && !c.o.Leases.Lost(err, fence) {
			failed = err
			continue
		}
		c.mu.Lock()
		for _, d := range change.Delivered {
			if n := (note{d.EventID, d.Notifier}); c.notes[n] == fence {
				delete(c.notes, n)
			}
		}
		c.mu.Unlock()
	}
	return failed
}

// noted reports whether a delivery was made and is only not written down yet.
func (c *Dispatcher) noted(d *core.Delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, yes := c.notes[note{d.EventID, d.Notifier}]
	return yes
}

// Depths are the lengths of the queues, each counted up to most, without what was delivered
// and is only not written down yet. Zero counts all.
func (c *Dispatcher) Depths(ctx context.Context, most int) (core.Depths, error) {
	if err := c.flush(ctx); err != nil && ctx.Err() != nil {
		return core.Depths{}, err
	}
	return c.o.Store.Depths(ctx, most)
}
